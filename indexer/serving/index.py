"""The `index` command's work: read sources into the store, then bring what is served up to date."""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from engine.decoding.pool import decoders
from engine.errors import Note, StoreError, UserError
from engine.ingest import gone
from engine.ingest.encoding import Loader
from engine.ingest.ingest import Progress, forget, ingest, preview, silent
from engine.ingest.report import IngestReport
from engine.ingest.setup import WorkspaceOptions, open_or_make
from engine.sources import absolute
from engine.sources.base import checked_task
from engine.storage.store import Store
from engine.storage.writer import writing
from engine.types import PolicyName, Skipped
from indexer.serving.build import serve
from indexer.serving.wanted import ServingRequest
from indexer.shards.shard import load_faiss


@dataclass(frozen=True)
class IndexSummary:
    """What `mneme index --json` prints; added to kept count rows, seconds are wall time.

    Attributes:
        moved: rows whose file, or whole source, has another name now.
        kept: rows that could not be looked at, and stay as they were.
        left: of sources that moved, rows that are still stored of where the source stood, by that place.
    """

    tasks: list[str]
    added: int
    updated: int
    moved: int
    removed: int
    unchanged: int
    kept: int
    left: dict[str, int]
    skipped: list[Skipped]
    items: dict[str, int]
    shards_built: int
    seconds: float
    notes: list[Note]


def index(
    root: Path,
    sources: Sequence[Path],
    options: WorkspaceOptions,
    *,
    task: str | None = None,
    policy: PolicyName | None = None,
    device: str = "cpu",
    allow_mass_delete: bool = False,
    progress: Progress = silent,
) -> IndexSummary:
    """Store what the sources hold and serve it under a policy; the second run finds nothing to do."""
    began = time.perf_counter()
    task = None if task is None else checked_task(task)
    load_faiss()
    with writing(root):
        vanished = _vanished(root, sources, task, allow_mass_delete=allow_mass_delete)
        present = [source for source in sources if source not in vanished]
        workspace, backbones = open_or_make(root, present, options, device)
        with Store(workspace.store, readonly=False, served=workspace.state) as store:
            try:
                with decoders(options.sources.decoding) as processes:
                    loader = Loader(store, backbones.of, options.sources, processes)
                    read = partial(ingest, loader, task=task, allow_mass_delete=allow_mass_delete)
                    reports = [read(source, progress=progress) for source in present]
                reports += [forget(store, absolute(source), task=task) for source in vanished]
            except StoreError:
                raise
            except UserError:  # of one source; what has landed of the others is served
                serve(workspace, store, ServingRequest(), device=device)
                raise
            workspace, built = serve(workspace, store, ServingRequest(policy), device=device)
            return _summary(reports, store, built, time.perf_counter() - began)


def dry_run(
    root: Path,
    sources: Sequence[Path],
    options: WorkspaceOptions,
    *,
    task: str | None = None,
    allow_mass_delete: bool = False,
) -> IndexSummary:
    """Say what `index` would do to the store; nothing is written."""
    began = time.perf_counter()
    task = None if task is None else checked_task(task)
    vanished = _vanished(root, sources, task, allow_mass_delete=allow_mass_delete)
    with tempfile.TemporaryDirectory() as nowhere:
        stored = (root / "store").is_dir()
        with Store(root / "store" if stored else Path(nowhere) / "store", readonly=stored) as store:
            reports = [
                preview(
                    store,
                    source,
                    task=task,
                    allow_mass_delete=allow_mass_delete,
                    sources=options.sources,
                )
                for source in sources
                if source not in vanished
            ]
            dropped = [len(gone.rows_of(store, absolute(source), task)) for source in vanished]
            reports += [IngestReport(removed=rows) for rows in dropped]
            return _summary(reports, store, 0, time.perf_counter() - began)


def _vanished(
    root: Path, sources: Sequence[Path], task: str | None, *, allow_mass_delete: bool
) -> list[Path]:
    """Return the sources that are no more, but of which rows are stored.

    Raises:
        UserError: there are some, and these may not go.
    """
    candidates = [source for source in sources if gone.is_vanished(absolute(source))]
    if not candidates or not (root / "store").is_dir():
        return []
    with Store(root / "store") as store:
        for source in map(absolute, candidates):
            known = len(gone.rows_of(store, source, task))
            if not (known and allow_mass_delete):
                raise gone.nothing_left(f"no such file or folder: {source}", source, known)
    return candidates


def _summary(reports: Sequence[IngestReport], store: Store, built: int, seconds: float) -> IndexSummary:
    return IndexSummary(
        tasks=sorted(set[str]().union(*(report.tasks for report in reports))),
        added=sum(report.added for report in reports),
        updated=sum(report.updated for report in reports),
        moved=sum(report.moved for report in reports),
        removed=sum(report.removed for report in reports),
        unchanged=sum(report.unchanged for report in reports),
        kept=sum(report.kept for report in reports),
        left={source: rows for report in reports for source, rows in report.left.items()},
        skipped=[skipped for report in reports for skipped in report.skipped],
        items=store.counts(),
        shards_built=built,
        seconds=seconds,
        notes=[note for report in reports for note in report.told],
    )
