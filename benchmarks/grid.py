"""Which training method helps under which policy: one table over all streams, of what benchmarks.policies measured.

    python -m benchmarks.policies scenes sounds spoken digits --methods finetune joint ewc replay --out DIR
    python -m benchmarks.grid

Measures nothing: reads results/policies-*.json and writes results/grid.md. A cell is the mean, over streams, of the
difference of R@K to finetune under the same policy; then in how many directions of how many it is above zero (and
below) by its 95 % interval. joint is one head for all tasks, beside finetune under the policy. The task is known, or
unknown and merged as routed. Below it the level of each stream.
"""

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks.report import markdown
from benchmarks.streams import STREAMS
from engine.storage import files

RESULTS = Path(__file__).parent / "results"
POLICIES = ("reindex", "no-reindex", "matched")
CASES = {"known": "", "unknown": ", routed"}
"""Whether the task is known, and how tasks are merged where it is not."""

Results: TypeAlias = Mapping[str, Mapping[str, Any]]
"""By stream: the content of its results file."""

Gap: TypeAlias = tuple[float, float, float]
"""A difference, and its interval."""


def main() -> None:
    text = page(read_results())
    files.replace(RESULTS / "grid.md", text.encode())
    print(text)


def read_results() -> Results:
    """Read what was measured of each stream."""
    paths = {path: path.stem.removeprefix("policies-") for path in sorted(RESULTS.glob("policies-*.json"))}
    return {name: json.loads(path.read_bytes()) for path, name in paths.items() if name in STREAMS}


def page(results: Results) -> str:
    """Return both tables as Markdown."""
    streams = ", ".join(f"{name} ({facts['commit']})" for name, facts in results.items())
    head = f"# Which method under which policy\n\nOver finetune under the same policy, in {streams}.\n\n"
    return f"{head}{markdown(list(helped(results)))}\n\n## Levels\n\n{markdown(list(levels(results)))}\n"


def helped(results: Results) -> Iterator[dict[str, object]]:
    """Yield a row for each method: what it gains over finetune, policy by policy."""
    for method in methods(results):
        if method != "finetune":
            yield {
                "method": method,
                **{
                    f"{policy}, {case}": _cell(gains(results, method, policy, case))
                    for policy in POLICIES
                    for case in CASES
                },
            }


def gains(results: Results, method: str, policy: str, case: str) -> list[list[Gap]]:
    """Return what a method gains over finetune in the directions of each stream: difference, low, high.

    A joint head is asked as reindex has it, beside finetune under the policy.
    """
    beside = f"finetune, {policy}{CASES[case]}"
    names = {(f"{method}, {policy}{CASES[case]}", beside): 1}
    if method == "joint":
        names = {(beside, f"joint, reindex{CASES[case]}"): -1}
    by_stream = [
        [
            _times(gap, names[gap["first"], gap["second"]])
            for gap in facts["differences"]
            if gap["table"].endswith(f"task {case}") and (gap["first"], gap["second"]) in names
        ]
        for facts in results.values()
    ]
    return [gaps for gaps in by_stream if gaps]


def _times(gap: Mapping[str, Any], sign: int) -> Gap:
    low, high = sorted((sign * gap["low"], sign * gap["high"]))
    return sign * gap["difference"], low, high


def levels(results: Results) -> Iterator[dict[str, object]]:
    """Yield a row for each stream, method and policy: R@K, the mean over directions."""
    for stream, facts in results.items():
        for method in methods({stream: facts}):
            row: dict[str, object] = {"stream": stream, "method": method}
            for policy in POLICIES:
                for case, merge in CASES.items():
                    means = [
                        direction["figures"]["recall"]["mean"]
                        for direction in facts["rows"]
                        if direction["table"].endswith(f"task {case}")
                        and direction["method"] == f"{method}, {policy}{merge}"
                    ]
                    row[f"{policy}, {case}"] = f"{statistics.mean(means):.3f}" if means else ""
            yield row


def methods(results: Results) -> Sequence[str]:
    """Return every method, in the order of the tables."""
    names = (row["method"].split(", ")[0] for facts in results.values() for row in facts["rows"])
    return list(dict.fromkeys(names))


def _cell(streams: Sequence[Sequence[Gap]]) -> str:
    if not streams:
        return ""
    mean = statistics.mean(statistics.mean(gap for gap, _, _ in gaps) for gaps in streams)
    every = [gap for gaps in streams for gap in gaps]
    above, below = sum(low > 0 for _, low, _ in every), sum(high < 0 for _, _, high in every)
    return f"{mean:+.3f} ({above} up, {below} down of {len(every)})"


if __name__ == "__main__":
    main()
