"""Bring the store up to date with a source: what is new, changed or gone, in transactions."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from engine.errors import Setting, Unreadable, UserError
from engine.ingest.encoding import Loaded, LoadedItem, Loader, encode
from engine.ingest.matching import Matcher
from engine.sources import open_source
from engine.sources.base import Row, checked_task
from engine.storage.rows import StoredRow, ids_of
from engine.storage.store import Store
from engine.types import Skipped

Progress: TypeAlias = Callable[[int, int], None]
"""Called with the rows done and the rows expected."""

SPARED = 10
"""So many rows may vanish from a source without a question."""


@dataclass
class IngestReport:
    """What a run did to the store, counted in rows; and what a person should know of how the source was read."""

    added: int = 0
    updated: int = 0
    removed: int = 0
    unchanged: int = 0
    skipped: list[Skipped] = field(default_factory=list)
    tasks: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)

    @property
    def read(self) -> int:
        """How many rows were usable."""
        return self.added + self.updated + self.unchanged

    def count(self, stored: StoredRow | None, now: StoredRow) -> None:
        """Count a row by what was stored of it before, if anything."""
        self.added += stored is None
        self.updated += stored is not None and stored != now
        self.unchanged += stored == now


def silent(done: int, total: int) -> None:
    """Show no progress."""


def ingest(
    loader: Loader,
    source: Path,
    *,
    task: str | None = None,
    allow_mass_delete: bool = False,
    progress: Progress = silent,
) -> IngestReport:
    """Store what is new or changed in a source and drop what is gone.

    Args:
        loader: the store to bring up to date, and what reads its media.
        task: for rows that name no task; where rows name theirs, only the rows of this one are taken.
        allow_mass_delete: drop rows even where more than half of them are gone.
    """
    reading = _begin(loader.store, source, task)
    for chunk in loader.chunks(reading.changed(progress)):
        reading.land(chunk)
    reading.refuse_empty()
    gone, known = reading.gone(), len(reading.known)
    lost = _with_lost_items(loader.store, gone)
    if lost > max(SPARED, known // 2) and not allow_mass_delete:
        allow = Setting("allow_mass_delete")
        raise UserError(
            f"{lost} of {known} rows of {reading.matcher.collection.source} are gone; nothing was removed: "
            f"is a disk not mounted? To drop them run again with {allow}",
            [allow],
        )
    with loader.store.writing() as txn:
        for key in gone:
            txn.remove_row(key)
        txn.drop_unused()
    reading.report.removed = len(gone)
    return reading.noted()


def preview(store: Store, source: Path, *, task: str | None = None) -> IngestReport:
    """Count what `ingest` would do, judged by names, sizes and times; nothing is decoded or stored."""
    reading = _begin(store, source, task)
    for row in reading.changed(silent):
        key = reading.matcher.key(row)
        reading.met.add(key)
        is_new = store.row(key) is None
        reading.report.added += is_new
        reading.report.updated += not is_new
    reading.refuse_empty()
    reading.report.removed = len(reading.gone())
    return reading.noted()


def _begin(store: Store, source: Path, task: str | None) -> "_Reading":
    """Open a source and look up the stored rows that could be met again."""
    if task is not None:
        checked_task(task)
    matcher = Matcher(store, open_source(source), task)
    return _Reading(matcher, matcher.known_keys())


def _with_lost_items(store: Store, keys: Sequence[bytes]) -> int:
    """Count the rows that would take an item with them; a renamed file's is named by its new row."""
    going = set(keys)
    rows = [row for row in map(store.row, keys) if row is not None]
    return sum(any(going.issuperset(store.users(id)) for id in ids_of(row)) for row in rows)


@dataclass
class _Reading:
    """One pass over a source.

    Attributes:
        known: keys of the stored rows that could be met again.
        met: keys of the rows met so far that are stored, or would be.
    """

    matcher: Matcher
    known: Sequence[bytes]
    met: set[bytes] = field(default_factory=set)
    report: IngestReport = field(default_factory=IngestReport)

    def changed(self, progress: Progress) -> Iterator[Row]:
        """Yield the rows that must be read; count the others."""
        matcher, total = self.matcher, self.matcher.collection.total
        for done, row in enumerate(matcher.collection.rows()):
            progress(done, total)
            if isinstance(row, Skipped):
                self.report.skipped.append(row)
            elif matcher.task is None or row.task in (None, matcher.task):
                self.report.tasks.add(matcher.task_of(row))
                if matcher.is_unchanged(row):
                    self.met.add(matcher.key(row))
                    self.report.unchanged += 1
                else:
                    yield row
        progress(total, total)

    def land(self, chunk: Sequence[tuple[Row, Loaded]]) -> None:
        """Encode a chunk of rows and store it in one transaction."""
        usable: list[tuple[StoredRow, list[LoadedItem]]] = []
        for row, loaded in chunk:
            if isinstance(loaded, Unreadable):
                path = loaded.path or self.matcher.collection.source
                self.report.skipped.append(Skipped(str(path), str(loaded), row.line, loaded.settings))
            else:
                named = [(ready.item.modality, ready.item.id) for ready in loaded]
                usable.append((self.matcher.to_store(row, named), loaded))
        features = encode(item for _, items in usable for item in items)
        before = [self.matcher.store.row(row.key) for row, _ in usable]
        with self.matcher.store.writing() as txn:
            for (id, backbone), array in features.items():
                txn.put_features(id, backbone, array)
            for (now, items), stored in zip(usable, before, strict=True):
                for ready in items:
                    txn.put_item(ready.item)
                    if ready.stamp:
                        txn.put_stamp(ready.item.paths[0], ready.stamp)
                if now != stored:
                    txn.put_row(now)
                self.met.add(now.key)
                self.report.count(stored, now)

    def gone(self) -> list[bytes]:
        """Return the keys of the rows that the source no longer has."""
        return [key for key in self.known if key not in self.met]

    def noted(self) -> IngestReport:
        """Return the report with what is to be said of the source, once it is read."""
        self.report.notes += self.matcher.collection.notes
        return self.report

    def refuse_empty(self) -> None:
        """Raise where no row was usable: a source that cannot be read must not empty the store."""
        if self.report.read:
            return
        of_task = f" of task {self.matcher.task!r}" if self.matcher.task else ""
        source = self.matcher.collection.source
        if self.report.skipped:
            first = self.report.skipped[0]
            where = f"{first.path} line {first.line}" if first.line else first.path
            raise UserError(
                f"nothing{of_task} in {source} could be read: {where}: {first.reason} "
                f"({len(self.report.skipped)} skipped)",
                first.settings,
            )
        raise UserError(f"nothing to read{of_task} in {source}")
