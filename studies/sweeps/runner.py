"""Make every run of a sweep, several at once, so that a sweep may die at any moment and be resumed."""

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from engine.decoding.pool import decoders
from engine.errors import Setting, UserError, inaccessible
from engine.evaluation import metrics
from engine.ingest.encoding import Loader
from engine.ingest.ingest import Progress, ingest, silent
from engine.ingest.setup import WorkspaceOptions, open_or_make
from engine.storage import files
from engine.storage.store import Store
from engine.storage.writer import writing
from engine.types import Skipped
from indexer.evaluation.evaluate import open_evaluation
from indexer.evaluation.results import Result
from studies.sweeps import summary, workers
from studies.sweeps.spec import Spec, Step, SweepRun
from studies.sweeps.summary import SummaryRow
from training import lesson as lessons

FORMAT = 1
SPEC, STORED, INGESTED, RESULTS = "sweep.json", "stored", "ingested.json", "results"
OUT, RESUME = Setting("out"), Setting("resume")


@dataclass(frozen=True)
class Callbacks:
    """What a sweep calls while it goes on.

    Attributes:
        rows, runs: with how many are done, of how many: rows read of a source, runs made.
        skipped: with the rows of a source that could not be used.
        note: with a line that a person should read.
    """

    rows: Progress = silent
    runs: Progress = silent
    skipped: Callable[[list[Skipped]], None] = lambda skipped: None
    note: Callable[[str], None] = lambda line: None


@dataclass(frozen=True)
class Job:
    """One run and all that a process needs to make it."""

    out: Path
    steps: Sequence[Step]
    run: SweepRun
    device: str

    @property
    def record(self) -> Path:
        """The file of what the run came to; it is there once the run is made."""
        return self.out / RESULTS / f"{self.run.slug}.json"


@dataclass(frozen=True)
class SweepSummary:
    """What a sweep came to.

    Attributes:
        runs: how many are made, by this call and by earlier ones.
        failed: the names of those that could not be made.
        seconds: of wall time that this call took.
        rows: of the tables.
    """

    out: Path
    runs: int
    failed: Sequence[str]
    seconds: float
    rows: Sequence[SummaryRow]


def begin(spec: Spec, out: Path) -> None:
    """Make the folder of a new sweep."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists: go on there with {RESUME}, or give another {OUT}", [RESUME, OUT])
    try:
        out.mkdir(parents=True, exist_ok=True)
        files.replace(out / SPEC, files.to_json(_described(spec)))
    except OSError as error:
        raise inaccessible(error, out, to="write to") from None


def resume(spec: Spec, out: Path) -> None:
    """Take up the sweep of a folder, which must be this one."""
    try:
        begun = json.loads((out / SPEC).read_bytes())
    except (OSError, ValueError):
        raise UserError(f"no sweep in {out} to resume: leave {RESUME} out to begin one", [RESUME]) from None
    if begun != _described(spec):
        raise UserError(
            f"{out} holds a sweep of another spec: give another {OUT}, or undo what was changed", [OUT]
        )


def begin_or_resume(spec: Spec, out: Path) -> None:
    """Make the folder of a sweep, or take it up where it is there."""
    (resume if (out / SPEC).is_file() else begin)(spec, out)


def run(
    spec: Spec, out: Path, *, jobs: int = 1, device: str = "cpu", callbacks: Callbacks | None = None
) -> SweepSummary:
    """Make the runs that are not made yet, and write the tables of all.

    Args:
        out: the folder of the sweep, begun or resumed.
        jobs: runs at a time, each in a process of its own where there are several.
    """
    began, callbacks = time.perf_counter(), callbacks or Callbacks()
    all_jobs = [Job(out, spec.steps, run, device) for run in spec.runs]
    try:
        with writing(out / STORED):
            _store(spec, out, device, callbacks)
            failed = _make_missing(all_jobs, jobs, callbacks)
    except UserError:
        if not (out / STORED).exists():  # nothing came of it: the name is free for another try
            (out / SPEC).unlink(missing_ok=True)
        raise
    records = [json.loads(job.record.read_bytes()) for job in all_jobs if job.record.is_file()]
    rows = summary.rows(records)
    summary.write(out, rows, len(records))
    return SweepSummary(out, len(records), failed, time.perf_counter() - began, rows)


def read_records(out: Path) -> list[dict[str, Any]]:
    """Return what every run of a sweep came to, in the order of their slugs."""
    return [json.loads(path.read_bytes()) for path in sorted((out / RESULTS).iterdir())]


def _described(spec: Spec) -> Any:
    """Return a sweep as its file has it; format 1 calls what is measured of a run its setting."""
    runs = [{**asdict(run), "setting": asdict(run.evaluation)} for run in spec.runs]
    for described in runs:
        del described["evaluation"]
    return json.loads(json.dumps({"format": FORMAT, **asdict(spec), "runs": runs}, default=str))


def _store(spec: Spec, out: Path, device: str, callbacks: Callbacks) -> None:
    """Store what the steps need, once; whatever was stored of it stays."""
    root = out / STORED
    if (root / INGESTED).is_file():
        return
    needed = list(dict.fromkeys((step.source, step.task) for step in spec.steps))
    sources = list(dict.fromkeys(source for source, _ in needed))
    options = WorkspaceOptions(
        spec.backbones,
        spec.width,
        lambda chosen: callbacks.note(f"backbone: {chosen} (name another as backbone under [stream])"),
    )
    workspace, backbones = open_or_make(root, sources, options, device)
    with Store(workspace.store, readonly=False) as store, decoders() as processes:
        loader = Loader(store, backbones.of, options.sources, processes)
        for source, task in needed:
            callbacks.skipped(ingest(loader, source, task=task, progress=callbacks.rows).skipped)
    files.replace(root / INGESTED, files.to_json({"format": FORMAT, "tasks": [task for _, task in needed]}))


def _make_missing(all_jobs: Sequence[Job], processes: int, callbacks: Callbacks) -> list[str]:
    """Make the runs that have no record; return the names of those that could not be made."""
    folder = all_jobs[0].out / RESULTS
    folder.mkdir(exist_ok=True)
    files.drop_drafts(folder)
    missing = [job for job in all_jobs if not job.record.is_file()]
    made, failed = len(all_jobs) - len(missing), []
    callbacks.runs(made, len(all_jobs))
    with closing(workers.map_unordered(attempt, missing, processes)) as attempts:
        for job, problem in attempts:
            if problem is not None:
                failed.append(job.run.name)
                callbacks.note(f"{job.run.name}: {problem}")
            made += 1
            callbacks.runs(made, len(all_jobs))
    return failed


def attempt(job: Job) -> str | None:
    """Learn the stream and measure it; return why that could not be done, None where it was."""
    try:
        _make(job)
    except UserError as error:
        return str(error)
    return None


def _make(job: Job) -> None:
    began, run = time.perf_counter(), job.run
    root = _fresh_workspace(job.out, run.slug)
    lesson_seconds = [_learn(root, job, number) for number in range(len(job.steps))]
    with open_evaluation(root, run.evaluation, device=job.device) as evaluation:
        results = [result_record(result, last_only=run.last_only) for result in evaluation.results()]
    content = {
        "format": FORMAT,
        **{"method": run.method, "loss": run.loss, "head": run.head, "seed": run.settings.seed},
        **{"folder": str(root.relative_to(job.out)), "device": job.device},
        **{"settings": asdict(run.settings), "seconds": time.perf_counter() - began},
        **{"lesson_seconds": lesson_seconds},
        **{"lessons": [step.task for step in job.steps], "results": results},
    }
    files.replace(job.record, files.to_json(content))


def _learn(root: Path, job: Job, number: int) -> float:
    """Learn one step of the stream, by its number from 0; return how many seconds that took.

    Where only the last lesson counts, those before it take one epoch.
    """
    step = job.steps[number]
    settings = replace(job.run.settings, task=step.task, modalities=step.modalities)
    if job.run.last_only and number + 1 < len(job.steps):
        settings = replace(settings, epochs=1)
    outcome, _ = lessons.learn(root, [], WorkspaceOptions(), settings, device=job.device)
    if outcome.epochs[-1].interrupted:  # which is a lesson all the same, but not the one asked for
        raise KeyboardInterrupt
    return outcome.seconds


def _fresh_workspace(out: Path, slug: str) -> Path:
    """Return a workspace that holds what is stored and has learned nothing; its store is shared."""
    root = out / "runs" / slug
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    files.share(out / STORED / "store", root / "store")
    shutil.copy(out / STORED / "workspace.json", root / "workspace.json")
    return root


def result_record(result: Result, *, last_only: bool) -> Mapping[str, object]:
    """Return what a run's file keeps of a matrix; before a lone last lesson there is nothing to judge."""
    matrix: metrics.Matrix = result.matrix
    if last_only:
        matrix = [*([None] * len(row) for row in matrix[:-1]), matrix[-1]]
    return {
        **vars(result),
        "matrix": matrix,
        "forgetting": metrics.forgetting(matrix),
        "bwt": metrics.bwt(matrix),
        "plasticity": None if last_only else metrics.plasticity(matrix),
        "mean_chance": metrics.final([result.chance]),
    }
