"""The runs of benchmarks.clip and their figures, with those of zero-shot search."""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import policies
from benchmarks.policies import FIGURE, POLICIES
from benchmarks.report import machine
from benchmarks.tables import Measurement, difference, summary, write
from engine.errors import UserError
from engine.evaluation import metrics
from engine.heads.embedder import resolve
from engine.types import AllTasks, MergeName, Relevance
from indexer.evaluation.evaluate import open_evaluation
from indexer.evaluation.protocol import Condition, EvalSettings, OwnTask
from indexer.evaluation.runs import judge_all
from indexer.policies.plan import Placement, Plan
from studies.sweeps import grid, runner
from studies.sweeps.spec import Axes, Spec, Step, Variant

ZERO_SHOT = "zero-shot"
MERGES: Sequence[MergeName] = ("raw", "routed")
BESIDE = ("finetune, reindex", "finetune, no-reindex", "finetune, matched", "joint, reindex")
"""What is compared with zero-shot search."""


def measure(given: argparse.Namespace, runs: Path) -> Path:
    """Make the runs, write their figures, and return the page that shows them."""
    began = time.perf_counter()
    source = given.pack.resolve()
    tasks = tasks_of(source)
    records = train(spec_of(source, tasks, given), runs, given)
    measured = [measurement for record in records for measurement in policies.measurements(record)]
    measured += list(untrained(runs / str(records[0]["folder"]), given))
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
        "rows": summary(measured, {}),
        "differences": [*policies.gaps(policies.hits_of(records), measured), *gains(measured)],
    }
    return write(given.out / f"clip-{source.name}.json", facts)


def tasks_of(source: Path) -> list[str]:
    """Return a pack's tasks, in the order in which they are to be learned."""
    try:
        if (source / "tasks.json").is_file():
            content = json.loads((source / "tasks.json").read_text(encoding="utf-8"))
            tasks = [str(task) for task in content["order"]]
        else:
            lines = (source / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
            tasks = list(dict.fromkeys(str(json.loads(line)["task"]) for line in lines if line.strip()))
    except OSError as error:
        raise UserError(f"cannot read {error.filename}: {(error.strerror or str(error)).lower()}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{source} does not say its tasks in tasks.json or in every row: {error!r}") from None
    if not tasks:
        raise UserError(f"{source} has no tasks")
    return tasks


def spec_of(source: Path, tasks: Sequence[str], given: argparse.Namespace) -> Spec:
    """Return the sweep; joint is trained last, and evaluated in the one space it makes."""
    joint = Variant("joint", {"method": "joint"}, ("reindex",), last_only=True)
    axes = Axes(
        methods=[joint if name == "joint" else Variant(name, {"method": name}) for name in given.methods],
        heads=[Variant("linear", {"form": "linear"})],
        seeds=range(given.seeds),
    )
    evaluation = EvalSettings(POLICIES, MERGES, [given.k], relevance=given.relevance, details=False)
    runs = grid.runs(axes, {"epochs": given.epochs, "keep": "last"}, evaluation)
    return Spec([Step(source, task) for task in tasks], runs, [given.backbone])


def train(spec: Spec, out: Path, given: argparse.Namespace) -> list[dict[str, Any]]:
    """Train and evaluate; return the record of every run."""
    runner.begin_or_resume(spec, out)
    callbacks = runner.Callbacks(note=lambda line: print(line, file=sys.stderr))
    device = resolve(given.device)
    sweep = runner.run(spec, out, jobs=given.jobs, device=device, callbacks=callbacks)
    if sweep.failed:
        raise UserError(f"{len(sweep.failed)} of {len(spec.runs)} runs failed")
    return runner.read_records(out)


def untrained(root: Path, given: argparse.Namespace) -> Iterator[Measurement]:
    """Yield what head 0 finds in every direction, the task known or not, for every seed: it has none.

    Args:
        root: a run, which has learned every task.
    """
    relevance: Relevance = given.relevance
    with open_evaluation(root, EvalSettings(ks=[given.k], relevance=relevance, details=False)) as opened:
        for trial in opened.trials:
            plan: Plan = {task: (Placement(0, 0, 0),) for task in trial.eval_set.tasks}
            (*_, last), *_ = trial.states.values()
            conditions: Sequence[Condition] = [OwnTask(), *map(AllTasks, MERGES)]
            for condition in conditions:
                judged = judge_all(trial, replace(last, plan=plan), condition)
                recall = metrics.mean([metrics.recall(one.right, given.k) for one in judged.values()])
                merge = condition.merge if isinstance(condition, AllTasks) else None
                table = f"{trial.query} to {trial.target}, task {'unknown' if merge else 'known'}"
                for seed in range(given.seeds if recall is not None else 0):
                    yield Measurement(table, _merged(ZERO_SHOT, merge), seed, {FIGURE: recall or 0.0})


def gains(measured: Sequence[Measurement]) -> Iterator[dict[str, object]]:
    """Yield how far training is above zero-shot search, table by table."""
    for table in dict.fromkeys(measurement.table for measurement in measured):
        names = {measurement.method for measurement in measured if measurement.table == table}
        for merge in MERGES if table.endswith("unknown") else (None,):
            base = _merged(ZERO_SHOT, merge)
            for name in (_merged(name, merge) for name in BESIDE):
                if {name, base} <= names:
                    yield difference(measured, FIGURE, (table, name, base))


def _merged(name: str, merge: MergeName | None) -> str:
    return f"{name}, {merge}" if merge else name
