"""Every policy and merge from the same trainings: what each finds, known and unknown, and the paired differences.

    python -m benchmarks.policies scenes
    python -m benchmarks.policies scenes-at-random sounds spoken digits
    python -m benchmarks.policies scenes --methods finetune joint ewc replay --seeds 5

Streams are described in benchmarks/streams.py. R@10 by pair for scenes and spoken, R@1 by label for sounds and
digits. Defaults: infonce, mlp heads, 40 epochs, the last epoch. Intervals of differences are 95 %, by bootstrap over
queries and seeds, paired. Figures go to benchmarks/results/policies-STREAM.json and .md; runs to --out, a folder for
each method, from where an interrupted one goes on.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from benchmarks import streams
from benchmarks.papers.tables import Row, summary, write
from benchmarks.report import machine
from benchmarks.streams import STREAMS, Stream
from engine.evaluation import metrics
from engine.storage import files
from indexer.evaluation.evaluate import open_evaluation
from studies.sweeps import runner, spec

FIGURE = "recall"
POLICIES = ("reindex", "no-reindex", "matched", "aligned", "partial", "auto")
TELLING = ("reindex", "no-reindex", "matched", "auto")
"""Those that other methods than finetune are asked under: aligned and partial follow reindex."""
MANY = 20
"""With so many tasks finetune is asked under no more: aligned has a map for every two heads."""
USUAL = ("finetune", "joint")
FIXED = ("reindex", "no-reindex", "matched")

Right: TypeAlias = list[NDArray[np.bool_]]
Hits: TypeAlias = Mapping[tuple[str, str], Mapping[int, Sequence[Sequence[int]]]]
"""By table and method, and by seed: where the queries of each task find something right; 0: nowhere."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("streams", nargs="+", choices=STREAMS, metavar="STREAM")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--methods", nargs="+", default=USUAL)
    parser.add_argument("--seeds", type=int, default=5, help="of finetune and joint")
    parser.add_argument("--others", type=int, default=3, help="seeds of other methods")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path)
    parser.add_argument(
        "--again", nargs="*", default=(), help="evaluate these methods' trained runs of --out again"
    )
    given = parser.parse_args()
    for name in given.streams:
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as scratch:
            out = (given.out or Path(scratch)) / name
            source, tasks = streams.made(STREAMS[name], given.data, out / "dealt")
            runs = [
                run
                for method in given.methods
                for run in swept(_spec(source, tasks, STREAMS[name], method, given), out, method, given)
            ]
        rows = [row for run in runs for row in rows_of(run)]
        facts = {
            **machine(),
            "command": f"python -m benchmarks.policies {name} --methods {' '.join(given.methods)}",
            "seeds": f"{given.seeds} of finetune and joint, {given.others} of others",
            "seconds of this call": round(time.perf_counter() - began),
            "seconds of training, all lessons of one seed": _trained(runs),
            "figure": f"recall@{STREAMS[name].k} by {STREAMS[name].relevance}",
            "rows": summary(rows, {}),
            "differences": list(gaps(hits_of(runs), rows)),
        }
        target = Path(__file__).parent / "results" / f"policies-{name}.json"
        write(target, facts)
        print(target.with_suffix(".md").read_text(encoding="utf-8"))


def swept(described: str, out: Path, method: str, given: argparse.Namespace) -> list[dict[str, Any]]:
    """Train and evaluate one method on a stream; return the result of every run."""
    folder = out / method
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "spec.toml").write_text(described, encoding="utf-8")
    wanted, to, stored = spec.load(folder / "spec.toml"), folder / "sweep", out / "stored"
    if (to / runner.SPEC).is_file():
        runner.resume(wanted, to)
    else:
        runner.begin(wanted, to)
        stored.mkdir(exist_ok=True)
        (to / runner.STORED).symlink_to(
            stored.absolute(), target_is_directory=True
        )  # read once for all methods
    if method in given.again:
        judge_again(wanted, to)
    runner.run(wanted, to, jobs=given.jobs)
    return [json.loads(path.read_bytes()) for path in sorted((to / "results").iterdir())]


def judge_again(wanted: spec.Spec, to: Path) -> None:
    """Evaluate what is trained once more, as after a change of how directions are asked."""
    for run in wanted.runs:
        path = to / "results" / f"{run.slug}.json"
        if path.is_file():
            content = json.loads(path.read_bytes())
            with open_evaluation(to / content["folder"], run.setting) as evaluation:
                found = [runner.figures_of(one, last_only=run.last_only) for one in evaluation.results()]
            files.replace(path, files.to_json({**content, "results": found}))


def _spec(source: Path, tasks: Sequence[str], stream: Stream, method: str, given: argparse.Namespace) -> str:
    """Return the sweep of one method as TOML; heads of joint and experts are asked as they are meant to be."""
    every = POLICIES if len(tasks) < MANY else TELLING
    own = {"joint": ("reindex",), "experts": ("matched", "auto"), "finetune": every}
    last = ", last_only = true" if method == "joint" else ""
    return f"""
[stream]
source = {json.dumps(str(source))}
tasks = {json.dumps(list(tasks))}
backbone = ["builtin"]

[axes]
method = [{{ name = "{method}", method = "{method}"{last} }}]
head = ["mlp"]
policy = {json.dumps(own.get(method, TELLING))}
merge = ["raw", "routed"]
seed = {list(range(given.seeds if method in USUAL else given.others))}

[set]
epochs = {given.epochs}
keep = "last"

[evaluate]
k = [{stream.k}]
relevance = "{stream.relevance}"
"""


def rows_of(run: Mapping[str, Any]) -> Iterator[Row]:
    """Yield what one training came to: a row for every policy, merge and direction."""
    for one in run["results"]:
        figures = {FIGURE: one["final"]}
        if one["forgetting"] is not None:
            figures["forgetting"] = one["forgetting"]
        yield Row(*_place(run, one), run["seed"], figures)


def hits_of(runs: Sequence[Mapping[str, Any]]) -> Hits:
    """Return which queries found something right, after the last lesson."""
    found: dict[tuple[str, str], dict[int, Sequence[Sequence[int]]]] = {}
    for run in runs:
        for one in run["results"]:
            found.setdefault(_place(run, one), {})[run["seed"]] = [ranks for ranks in one["ranks"] if ranks]
    return found


def gaps(hits: Hits, rows: Sequence[Row]) -> Iterator[dict[str, object]]:
    """Yield what is claimed of policies and merges, direction by direction, for every method."""
    for table in dict.fromkeys(table for table, _ in hits):
        there = dict.fromkeys(method for held, method in hits if held == table)
        for method in dict.fromkeys(name.split(", ")[0] for name in there):
            for first, second in _claims(method, table.endswith("unknown"), rows, table):
                if {first, second} <= set(there) and first != second:
                    yield gap(hits, table, first, second)


def gap(hits: Hits, table: str, first: str, second: str) -> dict[str, object]:
    """Return how far one method is above another in a table, over the seeds of both."""
    both = _shared(hits[table, first], hits[table, second])
    difference, low, high = (round(value, 4) for value in metrics.paired(*both))
    return {
        "table": table,
        "first": first,
        "second": second,
        "difference": difference,
        "low": low,
        "high": high,
    }


def _shared(
    first: Mapping[int, Sequence[Sequence[int]]], second: Mapping[int, Sequence[Sequence[int]]]
) -> tuple[Right, Right]:
    """Return which queries of each task (S, Q) found something right, over the seeds of both."""
    seeds = sorted(first.keys() & second.keys())
    one, other = (
        [np.array(ranks) > 0 for ranks in zip(*(side[seed] for seed in seeds), strict=True)]
        for side in (first, second)
    )
    return one, other


def _claims(method: str, unknown: bool, rows: Sequence[Row], table: str) -> Iterator[tuple[str, str]]:
    """Yield which two rows of a table are held beside each other."""
    merges = ("raw", "routed") if unknown else (None,)
    for policy in POLICIES if unknown else ():
        yield _named(method, policy, "routed"), _named(method, policy, "raw")
    for merge in merges:
        named = [_named(method, policy, merge) for policy in POLICIES]
        yield named[1], named[0]
        yield named[2], named[1]
        yield named[2], named[0]
        best = max(
            (_named(method, policy, merge) for policy in FIXED), key=lambda name: _mean(rows, table, name)
        )
        yield _named(method, "auto", merge), best
        for policy in FIXED if method != "joint" else ():
            yield _named(method, policy, merge), _named("finetune", policy, merge)
            yield _named(method, policy, merge), _named("joint", "reindex", merge)


def _trained(runs: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return how long each method trained for all that it was asked after; of joint, the last training alone."""
    seconds: dict[str, list[float]] = {}
    for run in (run for run in runs if "lesson_seconds" in run):
        lessons = run["lesson_seconds"][-1:] if run["method"] == "joint" else run["lesson_seconds"]
        seconds.setdefault(run["method"], []).append(sum(lessons))
    return {method: round(statistics.median(held), 1) for method, held in seconds.items()}


def _mean(rows: Sequence[Row], table: str, method: str) -> float:
    found = [row.figures[FIGURE] for row in rows if (row.table, row.method) == (table, method)]
    return sum(found) / len(found) if found else -1.0


def _place(run: Mapping[str, Any], one: Mapping[str, Any]) -> tuple[str, str]:
    """Return the table of a result and its name in it."""
    table = f"{one['query']} to {one['target']}, task {'known' if one['task_known'] else 'unknown'}"
    return table, _named(run["method"], one["policy"], one["merge"])


def _named(method: object, policy: object, merge: object) -> str:
    return f"{method}, {policy}" + (f", {merge}" if merge else "")


if __name__ == "__main__":
    main()
