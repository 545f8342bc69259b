"""Bring the store up to date with a source: what is new, changed or gone, in transactions."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import TypeAlias

from engine.errors import Setting, Unreadable, UserError
from engine.ids import item_id
from engine.ingest.encoding import Loader, Ready, encode, look
from engine.sources import open_source
from engine.sources.base import Collection, Row, checked_task
from engine.storage.rows import StoredRow, ids_of, row_key
from engine.storage.store import Store
from engine.types import ItemId, Modality, Skipped, Split

Progress: TypeAlias = Callable[[int, int], None]
"""Called with the rows done and the rows expected."""

SPARED = 10
"""So many rows may vanish from a source without a question."""


@dataclass
class IngestReport:
    """What a run did to the store, counted in rows."""

    added: int = 0
    updated: int = 0
    removed: int = 0
    unchanged: int = 0
    skipped: list[Skipped] = field(default_factory=list)
    tasks: set[str] = field(default_factory=set)

    @property
    def read(self) -> int:
        """How many rows were usable."""
        return self.added + self.updated + self.unchanged


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
    run = _begin(loader.store, source, task)
    for rows, loaded in loader.chunks(run.changed(progress)):
        run.land(rows, loaded)
    run.refuse_empty()
    gone = run.gone()
    lost = _lost(loader.store, gone)
    if lost > max(SPARED, len(run.known) // 2) and not allow_mass_delete:
        allow = Setting("allow_mass_delete")
        raise UserError(
            f"{lost} of {len(run.known)} rows of {run.collection.source} are gone; nothing was removed: "
            f"is a disk not mounted? To drop them run again with {allow}",
            [allow],
        )
    with loader.store.writing() as txn:
        for key in gone:
            txn.remove_row(key)
        txn.drop_unused()
    run.report.removed = len(gone)
    return run.report


def _lost(store: Store, gone: Sequence[bytes]) -> int:
    """Count the rows that took an item with them; a renamed file's is named by its new row."""
    names = set(gone)
    rows = [row for row in map(store.row, gone) if row is not None]
    ids = [[id for held in row.items.values() for id in held] for row in rows]
    return sum(any(names.issuperset(store.users(id)) for id in held) for held in ids)


def preview(store: Store, source: Path, *, task: str | None = None) -> IngestReport:
    """Count what `ingest` would do, judged by names, sizes and times; nothing is decoded or stored."""
    run = _begin(store, source, task)
    for row in run.changed(silent):
        key = run.key(row)
        run.seen.add(key)
        is_new = store.row(key) is None
        run.report.added += is_new
        run.report.updated += not is_new
    run.refuse_empty()
    run.report.removed = len(run.gone())
    return run.report


@dataclass
class _Run:
    """One pass over a source, what it could meet again (keys of stored rows), and what it has met so far."""

    store: Store
    collection: Collection
    task: str | None
    known: Sequence[bytes]
    seen: set[bytes] = field(default_factory=set)
    report: IngestReport = field(default_factory=IngestReport)

    def changed(self, progress: Progress) -> Iterator[Row]:
        """Yield the rows that must be read; count the others."""
        for done, row in enumerate(self.collection.rows()):
            progress(done, self.collection.total)
            if isinstance(row, Skipped):
                self.report.skipped.append(row)
            elif self.task is None or row.task in (None, self.task):
                self.report.tasks.add(self.task_of(row))
                key = self.key(row)
                before = self.store.row(key)
                if before is not None and before == self.remembered(row) and self.is_encoded(before):
                    self.seen.add(key)
                    self.report.unchanged += 1
                else:
                    yield row
        progress(self.collection.total, self.collection.total)

    def task_of(self, row: Row) -> str:
        return row.task or self.task or self.collection.default_task

    def key(self, row: Row) -> bytes:
        return row_key(str(self.collection.source), self.task_of(row), row.name)

    def gone(self) -> list[bytes]:
        return [key for key in self.known if key not in self.seen]

    def land(self, rows: Sequence[Row], loaded: Sequence[list[Ready] | Unreadable]) -> None:
        """Encode a chunk and store it in one transaction."""
        good: list[tuple[list[Ready], StoredRow, StoredRow | None]] = []
        for row, ready in zip(rows, loaded, strict=True):
            if isinstance(ready, Unreadable):
                path = ready.path or self.collection.source
                self.report.skipped.append(Skipped(str(path), str(ready), row.line, ready.settings))
            else:
                stored = self.stored(row, [(one.item.modality, one.item.id) for one in ready])
                good.append((ready, stored, self.store.row(stored.key)))
        features = encode([one for ready, _, _ in good for one in ready])
        with self.store.writing() as txn:
            for (id, backbone), array in features.items():
                txn.put_features(id, backbone, array)
            for ready, stored, before in good:
                for one in ready:
                    txn.put_item(one.item)
                    if one.stamp:
                        txn.put_stamp(one.item.paths[0], one.stamp)
                if stored != before:
                    txn.put_row(stored)
                self.seen.add(stored.key)
                self.report.added += before is None
                self.report.updated += before is not None and stored != before
                self.report.unchanged += stored == before

    def remembered(self, row: Row) -> StoredRow | None:
        """Return what would be stored for a row if its files hold what they held; None where they look changed."""
        named = []
        for modality, path in row.media.items():
            stamp = self.store.stamp(str(path))
            if stamp is None or look(path) != (stamp.size, stamp.mtime):
                return None
            named.append((modality, stamp.item))
        named += [(modality, item_id(modality, array.tobytes())) for modality, array in row.features.items()]
        named += [("text", item_id("text", text.encode())) for text in row.texts]
        return self.stored(row, named)

    def is_encoded(self, row: StoredRow) -> bool:
        """Say whether the features of all items of a row are there; some may have been removed."""
        return not self.store.lacking(ids_of(row))

    def stored(self, row: Row, named: Sequence[tuple[Modality, ItemId]]) -> StoredRow:
        """Return what is stored for a row that names these items."""
        items: dict[Modality, tuple[ItemId, ...]] = {}
        for modality, id in named:
            items[modality] = (*items.get(modality, ()), id)
        its_media = [id for modality, id in named if modality in row.media or modality in row.features]
        return StoredRow(
            str(self.collection.source),
            row.name,
            self.task_of(row),
            row.task is not None,
            row.split or _hashed_split(row.id or " ".join(its_media or [id for _, id in named])),
            row.labels,
            items,
            {modality: str(path) for modality, path in row.media.items()},
            row.other,
        )

    def refuse_empty(self) -> None:
        if self.report.read:
            return
        wanted = f" of task {self.task!r}" if self.task else ""
        if self.report.skipped:
            first = self.report.skipped[0]
            where = f"{first.path} line {first.line}" if first.line else first.path
            raise UserError(
                f"nothing{wanted} in {self.collection.source} could be read: {where}: {first.reason} "
                f"({len(self.report.skipped)} skipped)",
                first.settings,
            )
        raise UserError(f"nothing to read{wanted} in {self.collection.source}")


def _begin(store: Store, source: Path, task: str | None) -> _Run:
    """Open a source and look up the stored rows that this run could meet again."""
    if task is not None:
        checked_task(task)
    collection = open_source(source)
    known = [
        row.key
        for row in store.rows()
        if row.source == str(collection.source)
        and (row.task == task if task else row.named or row.task == collection.name)
    ]
    return _Run(store, collection, task, known)


def _hashed_split(key: str) -> Split:
    """Put a row into train, val or test, 80/10/10, by nothing but its id."""
    place = int.from_bytes(blake2b(key.encode(), digest_size=8).digest(), "big") / 2**64
    return "train" if place < 0.8 else "val" if place < 0.9 else "test"
