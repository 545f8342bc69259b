"""Every policy and merge from the same trainings: what each finds, known and unknown, and the paired differences.

    python -m benchmarks.policies scenes
    python -m benchmarks.policies scenes-at-random sounds spoken digits
    python -m benchmarks.policies scenes --methods finetune joint ewc replay --seeds 5

A stream is a pack's tasks in their order; scenes-at-random is scenes cut into five tasks by lot, so that no domain
shifts. R@10 by pair for scenes and spoken, R@1 by label for sounds and digits. Defaults: infonce, mlp heads, 40
epochs, the last epoch. Differences are paired over seeds, with 95 % intervals by Student's t. Figures go to
benchmarks/results/policies-STREAM.json and .md; runs to --out, from where an interrupted one goes on.
"""

import argparse
import json
import os
import random
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.papers.tables import Row, difference, summary, write
from benchmarks.report import machine
from studies import spec, sweep

FIGURE = "recall"
POLICIES = ("reindex", "no-reindex", "matched", "aligned", "partial", "auto")
FIXED = ("reindex", "no-reindex", "matched")
PARTS = 5


@dataclass(frozen=True)
class Stream:
    """A pack, how its answers are judged, and whether it is cut into tasks by lot."""

    pack: str
    k: int
    relevance: str
    at_random: bool = False


STREAMS = {
    "scenes": Stream("scenes", 10, "pair"),
    "scenes-at-random": Stream("scenes", 10, "pair", at_random=True),
    "spoken": Stream("spoken", 10, "pair"),
    "sounds": Stream("sounds", 1, "label"),
    "digits": Stream("digits", 1, "label"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("streams", nargs="+", choices=STREAMS, metavar="STREAM")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--methods", nargs="+", default=["finetune", "joint"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    for name in given.streams:
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as scratch:
            out = (given.out or Path(scratch)) / name
            runs = made(STREAMS[name], given, out)
        rows = [row for run in runs for row in rows_of(run)]
        facts = {
            **machine(),
            "command": f"python -m benchmarks.policies {name} --methods {' '.join(given.methods)}",
            "seeds": given.seeds,
            "seconds": round(time.perf_counter() - began),
            "figure": f"recall@{STREAMS[name].k} by {STREAMS[name].relevance}",
            "rows": summary(rows, {}),
            "differences": list(gaps(rows)),
        }
        target = Path(__file__).parent / "results" / f"policies-{name}.json"
        write(target, facts)
        print(target.with_suffix(".md").read_text(encoding="utf-8"))


def made(stream: Stream, given: argparse.Namespace, out: Path) -> list[dict[str, object]]:
    """Train and evaluate a stream; return the result of every run."""
    source = (given.data / stream.pack).absolute()
    tasks = json.loads((source / "tasks.json").read_text(encoding="utf-8"))["order"]
    if stream.at_random:
        source, tasks = cut(source, out / "cut"), [f"part{number}" for number in range(PARTS)]
    described = out / "spec.toml"
    described.parent.mkdir(parents=True, exist_ok=True)
    described.write_text(_spec(source, tasks, stream, given), encoding="utf-8")
    wanted, folder = spec.load(described), out / "sweep"
    (sweep.resume if (folder / sweep.SPEC).is_file() else sweep.begin)(wanted, folder)
    sweep.run(wanted, folder, jobs=given.jobs)
    return [json.loads(path.read_bytes()) for path in sorted((folder / "results").iterdir())]


def cut(source: Path, to: Path) -> Path:
    """Copy a pack with its rows dealt to tasks by lot."""
    if not to.is_dir():
        shutil.copytree(source, to)
    rows = [json.loads(line) for line in (source / "metadata.jsonl").read_text(encoding="utf-8").splitlines()]
    random.Random(0).shuffle(rows)
    lines = [json.dumps({**row, "task": f"part{number % PARTS}"}) for number, row in enumerate(rows)]
    (to / "metadata.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return to


def _spec(source: Path, tasks: Sequence[str], stream: Stream, given: argparse.Namespace) -> str:
    """Return the sweep as TOML; heads of joint and experts are asked as they are meant to be."""
    own = {"joint": '["reindex"]', "experts": '["matched", "auto"]'}
    methods = [
        f'{{ name = "{name}", method = "{name}"'
        + (f", policy = {own[name]}" if name in own else "")
        + (", last_only = true" if name == "joint" else "")
        + " }"
        for name in given.methods
    ]
    return f"""
[stream]
source = {json.dumps(str(source))}
tasks = {json.dumps(list(tasks))}
backbone = ["builtin"]

[axes]
method = [{", ".join(methods)}]
head = ["mlp"]
policy = {json.dumps(POLICIES)}
merge = ["raw", "routed"]
seed = {list(range(given.seeds))}

[set]
epochs = {given.epochs}
keep = "last"

[evaluate]
k = [{stream.k}]
relevance = "{stream.relevance}"
"""


def rows_of(run: dict[str, object]) -> Iterator[Row]:
    """Yield what one training came to: a row for every policy, merge and direction."""
    results, seed = run["results"], run["seed"]
    assert isinstance(results, list)
    assert isinstance(seed, int)
    for one in results:
        figures = {FIGURE: one["final"]}
        if one["forgetting"] is not None:
            figures["forgetting"] = one["forgetting"]
        way = f"{one['query']} to {one['target']}, task {'known' if one['task_known'] else 'unknown'}"
        yield Row(way, _named(run["method"], one["policy"], one["merge"]), seed, figures)


def gaps(rows: Sequence[Row]) -> Iterator[dict[str, object]]:
    """Yield what is claimed of policies and merges, direction by direction, for every method."""
    for table in dict.fromkeys(row.table for row in rows):
        there = dict.fromkeys(row.method for row in rows if row.table == table)
        for method in dict.fromkeys(name.split(", ")[0] for name in there):
            for pair in _claims(method, table.endswith("unknown"), rows, table):
                if set(pair) <= set(there):
                    yield difference(rows, FIGURE, (table, *pair))


def _claims(method: str, unknown: bool, rows: Sequence[Row], table: str) -> Iterator[tuple[str, str]]:
    """Yield which two rows of a table are held beside each other."""
    merges = ("raw", "routed") if unknown else (None,)
    for policy in POLICIES if unknown else ():
        yield _named(method, policy, "routed"), _named(method, policy, "raw")
    for merge in merges:
        named = [_named(method, policy, merge) for policy in POLICIES]
        yield named[1], named[0]
        yield named[2], named[1]
        best = max(
            (_named(method, policy, merge) for policy in FIXED), key=lambda name: _mean(rows, table, name)
        )
        yield _named(method, "auto", merge), best
        yield _named(method, "matched", merge), _named("joint", "reindex", merge)


def _mean(rows: Sequence[Row], table: str, method: str) -> float:
    found = [row.figures[FIGURE] for row in rows if (row.table, row.method) == (table, method)]
    return sum(found) / len(found) if found else -1.0


def _named(method: object, policy: object, merge: object) -> str:
    return f"{method}, {policy}" + (f", {merge}" if merge else "")


if __name__ == "__main__":
    main()
