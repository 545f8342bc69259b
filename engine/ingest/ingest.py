"""Bring the store up to date with a source: what is new, changed or gone, in transactions."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from engine.errors import Unreadable
from engine.ingest import gone, moved, stale
from engine.ingest.encoders import refuse_another
from engine.ingest.encoding import Loaded, LoadedItem, Loader, encode
from engine.ingest.matching import Matcher, match
from engine.ingest.report import IngestReport
from engine.sources import open_source
from engine.sources.base import Row, checked_task
from engine.sources.tables.values import AS_USUAL, SourceOptions
from engine.storage.changes import Writer
from engine.storage.rows import StoredRow
from engine.storage.store import Store
from engine.types import Skipped

Progress: TypeAlias = Callable[[int, int], None]
"""Called with the rows done and the rows expected."""

MOST_LOST = 30.0
"""Seconds of reading and encoding that a kill may lose."""

MOST_WAITING = 128 << 20
"""Bytes of features that wait in memory to be stored."""


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
    reading = _begin(loader.store, source, task, loader.sources)
    with closing(loader.chunks(reading.changed(progress))) as chunks:
        is_more = True
        while is_more:
            with loader.store.writing() as txn:
                is_more = reading.land_some(chunks, txn)
    lost = reading.gone()
    if not (allow_mass_delete and lost):
        reading.refuse_empty(lost)
    if not allow_mass_delete:
        gone.refuse_many(loader.store, lost, len(reading.matcher.known), reading.matcher.collection.source)
    reading.count_gone(lost, reading.added)
    with loader.store.writing() as txn:
        for row in lost:
            txn.remove_row(row.key)
        txn.drop_unused()
    notes = [*reading.matcher.collection.notes, *reading.report.copies.notes()]
    reading.report.note(notes, loader.printed())
    return reading.report


def preview(
    store: Store,
    source: Path,
    *,
    task: str | None = None,
    allow_mass_delete: bool = False,
    sources: SourceOptions = AS_USUAL,
) -> IngestReport:
    """Count what `ingest` would do, judged by names, sizes and times; nothing is decoded or stored."""
    reading = _begin(store, source, task, sources)
    new = [row for row in reading.changed(silent) if reading.foresee(row)]
    lost = reading.gone()
    if not (allow_mass_delete and lost):
        reading.refuse_empty(lost)
    stamp = moved.stamp_by_look(store, lost)
    guesses = [reading.matcher.remembered(row, stamp) for row in new]
    reading.count_gone(lost, Counter(moved.mark(row) for row in guesses if row is not None))
    reading.report.note(reading.matcher.collection.notes, ())
    return reading.report


def forget(store: Store, source: Path, *, task: str | None = None) -> IngestReport:
    """Drop the rows of a source that is no more.

    Args:
        task: of this one only.
    """
    rows = gone.rows_of(store, source, task)
    with store.writing() as txn:
        for row in rows:
            txn.remove_row(row.key)
        txn.drop_unused()
    return IngestReport(removed=len(rows))


def _begin(store: Store, source: Path, task: str | None, sources: SourceOptions) -> "_Reading":
    """Open a source and look up the stored rows that could be met again."""
    task = None if task is None else checked_task(task)
    matcher = match(store, open_source(source, sources), task)
    if not sources.reread:
        refuse_another(matcher)
    return _Reading(matcher, sources.reread, stale.others(matcher))


@dataclass
class _Reading:
    """One pass over a source.

    Attributes:
        reread: read rows again that look unchanged.
        others: what is learned of the rows that the source has under other tasks.
        met: keys of the rows met so far that are stored or would be, and under which these stood before.
        unread: keys of the rows that are there and cannot be used.
        left_out: what the source itself could not use.
        brought: rows of the source, usable or not, of any task.
        added: what rows hold that were not stored before, where one of them could be a stored one renamed.
    """

    matcher: Matcher
    reread: bool
    others: Sequence[stale.OtherTask]
    met: set[bytes] = field(default_factory=set)
    unread: set[bytes] = field(default_factory=set)
    left_out: list[Skipped] = field(default_factory=list)
    brought: int = 0
    added: Counter[moved.Mark] = field(default_factory=Counter)
    report: IngestReport = field(default_factory=IngestReport)

    def changed(self, progress: Progress) -> Iterator[Row]:
        """Yield the rows that must be read; count the others."""
        matcher, total = self.matcher, self.matcher.collection.count()
        for self.brought, row in enumerate(matcher.collection.rows(), start=1):
            progress(self.brought - 1, total)
            if isinstance(row, Skipped):
                self.report.skipped.append(row)
                self.left_out.append(row)
            elif matcher.task is None or row.task in (None, matcher.task):
                self.report.tasks.add(matcher.task_of(row))
                for other in self.others:
                    other.compare(row, matcher.key(row))
                stored = None if self.reread else matcher.unchanged(row)
                if stored is None:
                    yield row
                    continue
                self.met.add(stored.key)
                self.report.unchanged += 1
                for modality, path in row.media.items():
                    self.report.copies.meet(str(path), stored.items[modality][0])
        progress(total, total)

    def land_some(self, chunks: Iterator[list[tuple[Row, Loaded]]], txn: Writer) -> bool:
        """Encode and store chunks of rows in one transaction, and say whether there may be more.

        Rows lie all over the store's tables, so each transaction writes as much of these as it has rows, if not all
        of them: it is to hold many, as far as their features fit in memory and a kill does not lose long work.
        """
        began, waiting = time.monotonic(), 0
        for chunk in chunks:
            waiting += self.land(chunk, txn)
            if waiting > MOST_WAITING or time.monotonic() - began > MOST_LOST:
                return True
        return False

    def land(self, chunk: Sequence[tuple[Row, Loaded]], txn: Writer) -> int:
        """Encode a chunk of rows and store it; return the bytes of its features."""
        usable: list[tuple[StoredRow, list[LoadedItem]]] = []
        for row, loaded in chunk:
            if isinstance(loaded, Unreadable):
                path = loaded.path or self.matcher.collection.source
                if not gone.is_vanished(path):
                    self.unread.add(self.matcher.key(row))
                self.report.skipped.append(Skipped(str(path), str(loaded), row.line, loaded.settings))
            else:
                named = [(ready.item.modality, ready.item.id) for ready in loaded]
                usable.append((self.matcher.to_store(row, named), loaded))
        features = encode(item for _, items in usable for item in items)
        before = [self.matcher.stored(row.task, row.name) for row, _ in usable]
        for (id, backbone), array in features.items():
            txn.put_features(id, backbone, array)
        for (now, items), stored in zip(usable, before, strict=True):
            for ready in items:
                self.report.take(ready)
                txn.put_item(ready.item)
                if ready.stamp:
                    txn.put_stamp(ready.item.paths[0], ready.stamp)
            if now != stored:
                txn.put_row(now, instead_of=stored)
            self._count(stored, now)
        return sum(array.nbytes for array in features.values())

    def _count(self, stored: StoredRow | None, now: StoredRow) -> None:
        """Count a row that has landed."""
        self.met.add(now.key)
        self.report.count(stored, now)
        if stored is None and self.matcher.known:
            self.added[moved.mark(now)] += 1

    def foresee(self, row: Row) -> bool:
        """Count a row that would have to be read; say whether it is new here."""
        key, stored = self.matcher.key(row), self.matcher.stored(self.matcher.task_of(row), row.name)
        self.met |= {key} if stored is None else {key, stored.key}
        now = self.matcher.foreseen(row) if stored is not None and stored.key != key else None
        has_moved = stored is not None and now is not None and moved.is_alike(stored, now)
        self.report.moved += has_moved
        self.report.added += stored is None
        self.report.updated += stored is not None and not has_moved
        return stored is None

    def gone(self) -> list[StoredRow]:
        """Return the rows that the source no longer has; count those of which nobody can tell."""
        store, matcher = self.matcher.store, self.matcher
        if self.report.read or self.report.skipped:
            rows = [row for key in matcher.known if key not in self.met and (row := store.row(key))]
        else:
            rows = gone.rows_of(store, matcher.collection.source, matcher.task)
        missing = gone.sort_out((row for row in rows if row.key not in self.unread), self.left_out)
        self.report.kept = len(rows) - len(missing.gone)
        self.report.skipped += missing.reasons
        return missing.gone

    def count_gone(self, lost: Sequence[StoredRow], added: Counter[moved.Mark]) -> None:
        """Count rows that are gone, or moved where another was added for them; and those that stay as they were."""
        renamed = moved.pairs_of(lost, added) if lost else 0
        self.report.added -= renamed
        self.report.moved += renamed
        self.report.removed = len(lost) - renamed
        self.report.stale = stale.left_behind(self.matcher, self.met)
        for other in self.others:
            self.report.stale += other.stale(self.met, {row.key for row in lost}, self.left_out)

    def refuse_empty(self, lost: Sequence[StoredRow]) -> None:
        """Raise where no row was usable: a source that cannot be read must not empty the store."""
        if not self.report.read:
            task = self.matcher.task if self.brought else None
            raise gone.nothing_read(self.matcher.collection, task, self.report.skipped, len(lost))
