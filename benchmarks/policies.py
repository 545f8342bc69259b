"""Every policy and merge from the same trainings: what each finds, known and unknown, and the paired differences.

    python -m benchmarks.policies scenes
    python -m benchmarks.policies scenes-at-random sounds spoken digits
    python -m benchmarks.policies scenes --methods finetune joint ewc replay --seeds 5
    python -m benchmarks.policies scenes sounds --methods finetune joint experts --seeds 3 --keep best

Streams are described in benchmarks/streams.py. R@10 by pair for scenes and spoken, R@1 by label for sounds and
digits. Defaults: infonce, mlp heads, 40 epochs, the last epoch. Intervals of differences are 95 %, by bootstrap over
queries and seeds, paired. Figures go to benchmarks/results/policies-STREAM.json and .md (policies-STREAM-KEEP with
--keep); runs to --out, a folder for each method, from where an interrupted one goes on.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from benchmarks import streams
from benchmarks.report import machine
from benchmarks.streams import STREAMS, Stream
from benchmarks.tables import Measurement, summary, write
from engine.evaluation import metrics
from engine.storage import files
from engine.types import Keep, PolicyName
from indexer.evaluation.evaluate import open_evaluation
from indexer.evaluation.protocol import EvalSettings
from studies.sweeps import grid, runner
from studies.sweeps.spec import Axes, Spec, Step, Variant

FIGURE = "recall"
POLICIES: Sequence[PolicyName] = get_args(PolicyName)
FEWER: Sequence[PolicyName] = ("reindex", "no-reindex", "matched", "auto")
"""Those that other methods than finetune are evaluated under: aligned and partial follow reindex."""
MANY = 20
"""With so many tasks finetune is evaluated under no more: aligned has a map for every two heads."""
USUAL = ("finetune", "joint")
FIXED = ("reindex", "no-reindex", "matched")

Right: TypeAlias = list[NDArray[np.bool_]]
Hits: TypeAlias = Mapping[tuple[str, str], Mapping[int, Sequence[Sequence[int]]]]
"""By table and method, and by seed: the rank of the first right item of each task's queries; 0: none is found."""


@dataclass(frozen=True)
class Training:
    """How long and how often each method is trained.

    Attributes:
        seeds: of finetune and joint. others: seeds of all other methods.
    """

    seeds: int = 5
    others: int = 3
    epochs: int = 40
    keep: Keep = "last"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("streams", nargs="+", choices=STREAMS, metavar="STREAM")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--methods", nargs="+", default=USUAL)
    parser.add_argument("--seeds", type=int, default=Training.seeds, help="of finetune and joint")
    parser.add_argument("--others", type=int, default=Training.others, help="seeds of other methods")
    parser.add_argument("--epochs", type=int, default=Training.epochs)
    parser.add_argument(
        "--keep", choices=get_args(Keep), help="the epoch that a lesson ends with; default: the last"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path)
    parser.add_argument(
        "--again", nargs="*", default=(), help="evaluate these methods' trained runs of --out again"
    )
    given = parser.parse_args()
    training = Training(given.seeds, given.others, given.epochs, given.keep or Training.keep)
    for name in given.streams:
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as scratch:
            out = (given.out or Path(scratch)) / name
            source, tasks = streams.prepare(STREAMS[name], given.data, out / "dealt")
            records = []
            for method in given.methods:
                spec = spec_of(STREAMS[name], [Step(source, task) for task in tasks], method, training)
                records += swept(spec, out / method, given.jobs, again=method in given.again)
        facts = {
            **machine(),
            "command": _command(name, given),
            "seeds": f"{given.seeds} of finetune and joint, {given.others} of others",
            "seconds of this call": round(time.perf_counter() - began),
            "seconds of training, all lessons of one seed": _training_seconds(records),
            "figure": f"recall@{STREAMS[name].k} by {STREAMS[name].relevance}",
            **figures_of(records),
        }
        ending = f"-{given.keep}" if given.keep else ""
        page = write(Path(__file__).parent / "results" / f"policies-{name}{ending}.json", facts)
        print(page.read_text(encoding="utf-8"))


def _command(stream: str, given: argparse.Namespace) -> str:
    command = f"python -m benchmarks.policies {stream} --methods {' '.join(given.methods)}"
    return f"{command} --seeds {given.seeds} --keep {given.keep}" if given.keep else command


def spec_of(stream: Stream, steps: Sequence[Step], method: str, training: Training) -> Spec:
    """Return the sweep of one method; heads of joint and experts are evaluated as they are meant to be used."""
    own: Mapping[str, Sequence[PolicyName]] = {
        "joint": ("reindex",),
        "experts": ("matched", "auto"),
        "finetune": POLICIES if len(steps) < MANY else FEWER,
    }
    evaluation = EvalSettings(
        own.get(method, FEWER), ("raw", "routed"), [stream.k], relevance=stream.relevance, details=False
    )
    axes = Axes(
        methods=[Variant(method, {"method": method}, last_only=method == "joint")],
        heads=[Variant("mlp", {"form": "mlp"})],
        seeds=range(training.seeds if method in USUAL else training.others),
    )
    changes = {"epochs": training.epochs, "keep": training.keep}
    return Spec(steps, grid.runs(axes, changes, evaluation), ["builtin"])


def swept(spec: Spec, folder: Path, jobs: int, *, again: bool) -> list[dict[str, Any]]:
    """Train and evaluate one method on a stream in a folder beside those of others; return every run's record.

    Args:
        again: evaluate anew what is trained already.
    """
    out, stored = folder / "sweep", folder.parent / "stored"
    is_new = not (out / runner.SPEC).is_file()
    runner.begin_or_resume(spec, out)
    if is_new:  # what is read of the packs is stored once for all methods
        stored.mkdir(exist_ok=True)
        (out / runner.STORED).symlink_to(stored.absolute(), target_is_directory=True)
    if again:
        evaluate_again(spec, out)
    runner.run(spec, out, jobs=jobs)
    return runner.read_records(out)


def evaluate_again(spec: Spec, out: Path) -> None:
    """Evaluate what is trained once more, as after a change of how directions are evaluated."""
    for run in spec.runs:
        path = out / runner.RESULTS / f"{run.slug}.json"
        if path.is_file():
            record = json.loads(path.read_bytes())
            with open_evaluation(out / record["folder"], run.evaluation) as evaluation:
                results = [
                    runner.result_record(result, last_only=run.last_only) for result in evaluation.results()
                ]
            files.replace(path, files.to_json({**record, "results": results}))


def figures_of(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return rows and differences of a results file."""
    measured = [measurement for record in records for measurement in measurements(record)]
    return {"rows": summary(measured, {}), "differences": list(gaps(hits_of(records), measured))}


def measurements(record: Mapping[str, Any]) -> Iterator[Measurement]:
    """Yield what one training came to: one for every policy, merge and direction."""
    for result in record["results"]:
        figures = {
            FIGURE: result["final"],
            "forgetting": result["forgetting"],
            "chance": result["mean_chance"],
        }
        present = {name: value for name, value in figures.items() if value is not None or name == FIGURE}
        yield Measurement(*_cell(record, result), record["seed"], present)


def hits_of(records: Sequence[Mapping[str, Any]]) -> Hits:
    """Return which queries found something right, after the last lesson."""
    hits: dict[tuple[str, str], dict[int, Sequence[Sequence[int]]]] = {}
    for record in records:
        for result in record["results"]:
            ranks = [of_task for of_task in result["ranks"] if of_task]
            hits.setdefault(_cell(record, result), {})[record["seed"]] = ranks
    return hits


def gaps(hits: Hits, measured: Sequence[Measurement]) -> Iterator[dict[str, object]]:
    """Yield what is claimed of policies and merges, direction by direction, for every method."""
    for table in dict.fromkeys(table for table, _ in hits):
        names = dict.fromkeys(name for of, name in hits if of == table)
        for method in dict.fromkeys(name.split(", ")[0] for name in names):
            for first, second in _claims(method, table.endswith("unknown"), measured, table):
                if {first, second} <= set(names) and first != second:
                    yield gap(hits, table, first, second)


def gap(hits: Hits, table: str, first: str, second: str) -> dict[str, object]:
    """Return how far one method is above another in a table, over the seeds of both."""
    both = _paired(hits[table, first], hits[table, second])
    difference, low, high = (round(value, 4) for value in metrics.paired(*both))
    named = {"table": table, "first": first, "second": second}
    return {**named, "difference": difference, "low": low, "high": high}


def _paired(
    first: Mapping[int, Sequence[Sequence[int]]], second: Mapping[int, Sequence[Sequence[int]]]
) -> tuple[Right, Right]:
    """Return which queries of each task (S, Q) found something right, over the seeds of both."""
    seeds = sorted(first.keys() & second.keys())
    one, other = (
        [np.array(ranks) > 0 for ranks in zip(*(side[seed] for seed in seeds), strict=True)]
        for side in (first, second)
    )
    return one, other


def _claims(
    method: str, unknown: bool, measured: Sequence[Measurement], table: str
) -> Iterator[tuple[str, str]]:
    """Yield which two rows of a table are held beside each other."""
    merges = ("raw", "routed") if unknown else (None,)
    for policy in POLICIES if unknown else ():
        yield _name(method, policy, "routed"), _name(method, policy, "raw")
    for merge in merges:
        reindex, no_reindex, matched = (_name(method, policy, merge) for policy in FIXED)
        yield no_reindex, reindex
        yield matched, no_reindex
        yield matched, reindex
        best = max((reindex, no_reindex, matched), key=lambda name: _mean(measured, table, name))
        yield _name(method, "auto", merge), best
        for fixed in FIXED if method != "joint" else ():
            yield _name(method, fixed, merge), _name("finetune", fixed, merge)
            yield _name(method, fixed, merge), _name("joint", "reindex", merge)


def _training_seconds(records: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return how long each method trained for all that is evaluated; of joint, the last training alone."""
    seconds: dict[str, list[float]] = {}
    for record in (record for record in records if "lesson_seconds" in record):
        lessons = record["lesson_seconds"][-1:] if record["method"] == "joint" else record["lesson_seconds"]
        seconds.setdefault(record["method"], []).append(sum(lessons))
    return {method: round(statistics.median(some), 1) for method, some in seconds.items()}


def _mean(measured: Sequence[Measurement], table: str, method: str) -> float:
    values = [m.figures[FIGURE] for m in measured if (m.table, m.method) == (table, method)]
    return sum(values) / len(values) if values else -1.0


def _cell(record: Mapping[str, Any], result: Mapping[str, Any]) -> tuple[str, str]:
    """Return the table of a result and its name in it."""
    task = "known" if result["task_known"] else "unknown"
    table = f"{result['query']} to {result['target']}, task {task}"
    return table, _name(record["method"], result["policy"], result["merge"])


def _name(method: object, policy: object, merge: object) -> str:
    return f"{method}, {policy}" + (f", {merge}" if merge else "")


if __name__ == "__main__":
    main()
