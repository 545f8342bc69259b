"""The runs of benchmarks.clip and their figures, with those of zero-shot search."""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import policies
from benchmarks.papers.tables import Row, difference, summary, write
from benchmarks.policies import FIGURE
from benchmarks.report import machine
from engine.device import resolve
from engine.errors import UserError
from engine.evaluation import metrics
from engine.types import MergeName, Relevance
from indexer.evaluation.evaluate import open_evaluation
from indexer.evaluation.protocol import EvalSettings
from indexer.policies.policies import Placement, Plan
from studies.sweeps import runner, spec

ZERO_SHOT = "zero-shot"
MERGES: Sequence[MergeName] = ("raw", "routed")
BESIDE = ("finetune, reindex", "finetune, no-reindex", "finetune, matched", "joint, reindex")
"""What is held beside zero-shot search."""


def measure(given: argparse.Namespace, runs: Path) -> Path:
    """Make the runs, write their figures, and return the page that shows them."""
    began = time.perf_counter()
    source = given.pack.resolve()
    tasks = tasks_of(source)
    made = make(_spec(source, tasks, given), runs, given)
    rows = [row for run in made for row in policies.rows_of(run)]
    rows += list(untrained(runs / str(made[0]["folder"]), given))
    facts = {
        **machine(),
        "command": f"python -m benchmarks.clip {given.pack} --backbone {given.backbone} "
        f"--methods {' '.join(given.methods)}",
        "backbone": given.backbone,
        "tasks": ", ".join(tasks),
        "seeds": given.seeds,
        "epochs": given.epochs,
        "seconds of this call": round(time.perf_counter() - began),
        "figure": f"recall@{given.k} by {given.relevance}",
        "rows": summary(rows, {}),
        "differences": [*policies.gaps(policies.hits_of(made), rows), *gains(rows)],
    }
    target: Path = given.out / f"clip-{source.name}.json"
    write(target, facts)
    return target.with_suffix(".md")


def tasks_of(source: Path) -> list[str]:
    """Return a pack's tasks, in the order in which they are to be learned."""
    try:
        if (source / "tasks.json").is_file():
            listed = json.loads((source / "tasks.json").read_text(encoding="utf-8"))
            found = [str(task) for task in listed["order"]]
        else:
            lines = (source / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
            found = list(dict.fromkeys(str(json.loads(line)["task"]) for line in lines if line.strip()))
    except OSError as error:
        raise UserError(f"cannot read {error.filename}: {(error.strerror or str(error)).lower()}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{source} does not say its tasks in tasks.json or in every row: {error!r}") from None
    if not found:
        raise UserError(f"{source} has no tasks")
    return found


def make(described: str, runs: Path, given: argparse.Namespace) -> list[dict[str, object]]:
    """Train and evaluate; return the result of every run."""
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "spec.toml"
        file.write_text(described, encoding="utf-8")
        wanted = spec.load(file)
    (runner.resume if (runs / runner.SPEC).is_file() else runner.begin)(wanted, runs)
    watch = runner.Watch(note=lambda line: print(line, file=sys.stderr))
    done = runner.run(wanted, runs, jobs=given.jobs, device=resolve(given.device), watch=watch)
    if done.failed:
        raise UserError(f"{len(done.failed)} of {len(wanted.runs)} runs failed")
    return [json.loads(path.read_bytes()) for path in sorted((runs / "results").iterdir())]


def _spec(source: Path, tasks: Sequence[str], given: argparse.Namespace) -> str:
    """Return the sweep as TOML; joint is trained last, and asked in the one space it makes."""
    own = ', policy = ["reindex"], last_only = true'
    methods = [
        f"{{ name = {_told(name)}, method = {_told(name)}{own if name == 'joint' else ''} }}"
        for name in given.methods
    ]
    return f"""
[stream]
source = {_told(str(source))}
tasks = {_told(list(tasks))}
backbone = {_told([given.backbone])}

[axes]
method = [{", ".join(methods)}]
head = ["linear"]
policy = {_told(policies.POLICIES)}
merge = {_told(MERGES)}
seed = {list(range(given.seeds))}

[set]
epochs = {given.epochs}
keep = "last"

[evaluate]
k = [{given.k}]
relevance = {_told(given.relevance)}
"""


def _told(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def untrained(root: Path, given: argparse.Namespace) -> Iterator[Row]:
    """Yield what head 0 finds in every direction, the task known or not, for every seed: it has none.

    Args:
        root: a run, which has learned every task.
    """
    relevance: Relevance = given.relevance
    with open_evaluation(root, EvalSettings(ks=[given.k], relevance=relevance, details=False)) as opened:
        for direction in opened.directions():
            plan: Plan = {task: (Placement(0, 0, 0),) for task in direction.exam.queries}
            last = len(direction.after) - 1
            for merge in (None, *MERGES):
                found = [direction.right(plan, last, task, merge) for task in plan]
                recall = metrics.mean(
                    [metrics.recall(right, given.k) for right in found if right is not None]
                )
                way = f"{direction.query} to {direction.target}, task {'unknown' if merge else 'known'}"
                for seed in range(given.seeds if recall is not None else 0):
                    yield Row(way, _merged(ZERO_SHOT, merge), seed, {FIGURE: recall or 0.0})


def gains(rows: Sequence[Row]) -> Iterator[dict[str, object]]:
    """Yield how far training is above zero-shot search, table by table."""
    for table in dict.fromkeys(row.table for row in rows):
        there = {row.method for row in rows if row.table == table}
        for merge in MERGES if table.endswith("unknown") else (None,):
            base = _merged(ZERO_SHOT, merge)
            for name in (_merged(one, merge) for one in BESIDE):
                if {name, base} <= there:
                    yield difference(rows, FIGURE, (table, name, base))


def _merged(name: str, merge: MergeName | None) -> str:
    return f"{name}, {merge}" if merge else name
