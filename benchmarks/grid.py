"""Which training method helps under which policy: one table over all streams, of what benchmarks.policies measured.

    python -m benchmarks.policies scenes sounds spoken digits --methods finetune joint ewc replay --out DIR
    python -m benchmarks.grid

Measures nothing: reads results/policies-*.json and writes results/grid.md. A cell is the mean, over streams, of the
difference of R@K to finetune under the same policy; then in how many directions of how many it is above zero (and
below) by its 95 % interval. The task is known, or unknown and merged as routed. Beside it the level of each stream.
"""

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.report import markdown
from engine import disk

RESULTS = Path(__file__).parent / "results"
POLICIES = ("reindex", "no-reindex", "matched")
CASES = {"known": "", "unknown": ", routed"}
"""How the task is told, and how that is merged."""

Told = Mapping[str, Mapping[str, Any]]
"""What was measured of each stream."""


def main() -> None:
    told = {
        path.stem.removeprefix("policies-"): json.loads(path.read_bytes())
        for path in sorted(RESULTS.glob("policies-*.json"))
    }
    streams = ", ".join(f"{name} ({facts['commit']})" for name, facts in told.items())
    page = f"# Which method under which policy\n\nOver finetune under the same policy, in {streams}.\n\n"
    page += f"{markdown(list(helped(told)))}\n\n## Levels\n\n{markdown(list(levels(told)))}\n"
    disk.replace(RESULTS / "grid.md", page.encode())
    print(page)


def helped(told: Told) -> Iterator[dict[str, object]]:
    """Yield a row for each method: what it gains over finetune, policy by policy."""
    for method in methods(told):
        if method != "finetune":
            yield {
                "method": method,
                **{
                    f"{policy}, {case}": _cell(
                        gains(told, f"{method}, {policy}", f"finetune, {policy}", case)
                    )
                    for policy in POLICIES
                    for case in CASES
                },
            }


def gains(told: Told, first: str, second: str, case: str) -> list[list[Mapping[str, Any]]]:
    """Return the differences of two rows in the directions of each stream that has both."""
    names = (first + CASES[case], second + CASES[case])
    found = [
        [
            gap
            for gap in facts["differences"]
            if gap["table"].endswith(f"task {case}") and (gap["first"], gap["second"]) == names
        ]
        for facts in told.values()
    ]
    return [gaps for gaps in found if gaps]


def levels(told: Told) -> Iterator[dict[str, object]]:
    """Yield a row for each stream, method and policy: R@K, the mean over directions."""
    for stream, facts in told.items():
        for method in methods({stream: facts}):
            row: dict[str, object] = {"stream": stream, "method": method}
            for policy in POLICIES:
                for case, merge in CASES.items():
                    found = [
                        one["figures"]["recall"]["mean"]
                        for one in facts["rows"]
                        if one["table"].endswith(f"task {case}")
                        and one["method"] == f"{method}, {policy}{merge}"
                    ]
                    row[f"{policy}, {case}"] = f"{statistics.mean(found):.3f}" if found else ""
            yield row


def methods(told: Told) -> Sequence[str]:
    """Return every method, in the order of the tables."""
    names = (one["method"].split(", ")[0] for facts in told.values() for one in facts["rows"])
    return list(dict.fromkeys(names))


def _cell(streams: Sequence[Sequence[Mapping[str, Any]]]) -> str:
    if not streams:
        return ""
    mean = statistics.mean(statistics.mean(gap["difference"] for gap in gaps) for gaps in streams)
    every = [gap for gaps in streams for gap in gaps]
    above, below = sum(gap["low"] > 0 for gap in every), sum(gap["high"] < 0 for gap in every)
    return f"{mean:+.3f} ({above} up, {below} down of {len(every)})"


if __name__ == "__main__":
    main()
