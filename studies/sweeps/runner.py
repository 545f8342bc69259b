"""Make every run of a sweep, several at once, so that a sweep may die at any moment and be resumed."""

import json
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from engine.errors import Setting, UserError
from engine.evaluation import metrics
from engine.ingest.encoding import Loader
from engine.ingest.ingest import Progress, ingest, silent
from engine.ingest.setup import WorkspaceOptions, enter
from engine.storage import files
from engine.storage.store import Store
from engine.storage.workspace import writing
from engine.types import Skipped
from indexer.evaluation.evaluate import open_evaluation
from indexer.evaluation.results import Result
from studies.sweeps import summary, workers
from studies.sweeps.grid import Run
from studies.sweeps.spec import Spec, Step
from studies.sweeps.summary import Row
from training import lesson as lessons

FORMAT = 1
SPEC, STORED, INGESTED = "sweep.json", "stored", "ingested.json"
OUT, RESUME = Setting("out"), Setting("resume")


@dataclass(frozen=True)
class Watch:
    """Whom to tell how far a sweep is: rows read, runs made, and what else a person should know."""

    rows: Progress = silent
    runs: Progress = silent
    skipped: Callable[[list[Skipped]], None] = lambda skipped: None
    note: Callable[[str], None] = lambda line: None


@dataclass(frozen=True)
class Work:
    """One run and all that a process needs to make it."""

    out: Path
    steps: Sequence[Step]
    run: Run
    device: str

    @property
    def result(self) -> Path:
        """The file that says the run is made."""
        return self.out / "results" / f"{self.run.slug}.json"


@dataclass(frozen=True)
class Done:
    """What a sweep came to; wall seconds of this call."""

    out: Path
    runs: int
    failed: Sequence[str]
    seconds: float
    rows: Sequence[Row]


def begin(spec: Spec, out: Path) -> None:
    """Make the folder of a new sweep."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists: go on there with {RESUME}, or give another {OUT}", [RESUME, OUT])
    try:
        out.mkdir(parents=True, exist_ok=True)
        files.replace(out / SPEC, files.to_json(_described(spec)))
    except OSError as error:
        raise UserError(f"cannot write to {out}: {(error.strerror or str(error)).lower()}") from None


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


def run(spec: Spec, out: Path, *, jobs: int = 1, device: str = "cpu", watch: Watch | None = None) -> Done:
    """Make the runs that are not made yet, and write the tables of all."""
    began, watch = time.perf_counter(), watch or Watch()
    works = [Work(out, spec.steps, one, device) for one in spec.runs]
    try:
        with writing(out / STORED):
            _store(spec, out, device, watch)
            failed = _make_all(works, jobs, watch)
    except UserError:
        if not (out / STORED).exists():  # nothing came of it: the name is free for another try
            (out / SPEC).unlink(missing_ok=True)
        raise
    results = [json.loads(work.result.read_bytes()) for work in works if work.result.is_file()]
    rows = summary.rows(results)
    _write_tables(out, rows, len(results))
    return Done(out, len(results), failed, time.perf_counter() - began, rows)


def _described(spec: Spec) -> Any:
    return json.loads(json.dumps({"format": FORMAT, **asdict(spec)}, default=str))


def _store(spec: Spec, out: Path, device: str, watch: Watch) -> None:
    """Store what the steps need, once; whatever was stored of it stays."""
    root = out / STORED
    if (root / INGESTED).is_file():
        return
    wanted = list(dict.fromkeys((step.source, step.task) for step in spec.steps))
    sources = list(dict.fromkeys(source for source, _ in wanted))
    options = WorkspaceOptions(spec.backbones, spec.width, partial(_note_backbone, watch))
    workspace, encoders = enter(root, sources, options, device)
    with Store(workspace.store, readonly=False) as store:
        loader = Loader(store, encoders.backbone)
        for source, task in wanted:
            watch.skipped(ingest(loader, source, task=task, progress=watch.rows).skipped)
    files.replace(root / INGESTED, files.to_json({"format": FORMAT, "tasks": [task for _, task in wanted]}))


def _note_backbone(watch: Watch, spec: str) -> None:
    watch.note(f"backbone: {spec} (name another as backbone under [stream])")


def _make_all(works: Sequence[Work], jobs: int, watch: Watch) -> list[str]:
    """Make what is left to make; return the names of the runs that could not be made."""
    (works[0].out / "results").mkdir(exist_ok=True)
    files.drop_drafts(works[0].out / "results")
    left = [work for work in works if not work.result.is_file()]
    done, failed = len(works) - len(left), []
    watch.runs(done, len(works))
    with closing(workers.each(attempt, left, jobs)) as made:
        for work, problem in made:
            if problem is not None:
                failed.append(work.run.name)
                watch.note(f"{work.run.name}: {problem}")
            done += 1
            watch.runs(done, len(works))
    return failed


def _write_tables(out: Path, rows: Sequence[Row], runs: int) -> None:
    content = {"format": FORMAT, "runs": runs, "rows": [asdict(row) for row in rows]}
    files.replace(out / "results.json", files.to_json(content))
    files.replace(out / "table.csv", summary.to_csv(rows).encode())
    files.replace(out / "table.md", summary.to_markdown(rows).encode())
    files.replace(out / "table.tex", summary.to_latex(rows).encode())


def attempt(work: Work) -> str | None:
    """Learn the stream and measure it; return why that could not be done, None where it was."""
    try:
        _make(work)
    except UserError as error:
        return str(error)
    return None


def _make(work: Work) -> None:
    began, run = time.perf_counter(), work.run
    root = _fresh(work.out, run.slug)
    trained: list[float] = []
    for number, step in enumerate(work.steps, 1):
        settings = replace(run.settings, task=step.task, modalities=step.modalities)
        if run.last_only and number < len(work.steps):
            settings = replace(settings, epochs=1)
        outcome, _ = lessons.learn(root, [], WorkspaceOptions(), settings, device=work.device)
        trained.append(outcome.seconds)
        if outcome.epochs[-1].interrupted:  # which is a lesson all the same, but not the one asked for
            raise KeyboardInterrupt
    with open_evaluation(root, run.setting, device=work.device) as evaluation:
        results = [figures_of(result, last_only=run.last_only) for result in evaluation.results()]
    content = {
        "format": FORMAT,
        **{"method": run.method, "loss": run.loss, "head": run.head, "seed": run.settings.seed},
        **{"folder": str(root.relative_to(work.out)), "device": work.device},
        **{"settings": asdict(run.settings), "seconds": time.perf_counter() - began},
        **{"lesson_seconds": trained},
        **{"lessons": [step.task for step in work.steps], "results": results},
    }
    files.replace(work.result, files.to_json(content))


def _fresh(out: Path, slug: str) -> Path:
    """Return a workspace that holds what is stored and has learned nothing; its store is shared."""
    root = out / "runs" / slug
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    (root / "store").symlink_to(Path("../..") / STORED / "store", target_is_directory=True)
    shutil.copy(out / STORED / "workspace.json", root / "workspace.json")
    return root


def figures_of(result: Result, *, last_only: bool) -> dict[str, object]:
    """Return what a file keeps of a matrix; before a lone last lesson there is nothing to judge."""
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
