"""The rows of a source beside those that the store keeps: under which key, as what, and whether they changed."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from engine.ids import clean_name, item_id
from engine.ingest.encoding import look
from engine.ingest.gone import is_vanished
from engine.ingest.moved import Former, find
from engine.sources.base import Collection, Row
from engine.storage.rows import FileStamp, StoredRow, ids_of, row_key
from engine.storage.store import Store
from engine.types import ItemId, Modality, Split


@dataclass(frozen=True)
class KnownRow:
    """What tells whether a pass over a source could meet a stored row again."""

    key: bytes
    task: str
    named: bool


@dataclass(frozen=True)
class Survey:
    """What is stored of a source, and of all others.

    Attributes:
        home: the default task of the place where the source stood before it moved; None: it never did.
        elsewhere: of each other source the tasks of rows that named none, the default one first.
    """

    rows: Sequence[KnownRow]
    home: str | None
    elsewhere: Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Matcher:
    """What the store keeps of the rows of a source.

    Attributes:
        known: keys of the stored rows that a pass over the source could meet again.
        others: keys of its other rows that named no task, by the one that they were stored under.
        task: for rows that name none; where it is given, rows that name another are none of this matter.
        home: the default task of the place where the source stood before it moved, which its rows keep.
        former: where it stood, if rows are stored from there.
    """

    store: Store
    collection: Collection
    task: str | None
    known: Sequence[bytes]
    others: Mapping[str, Sequence[bytes]]
    home: str | None
    former: Former | None

    def task_of(self, row: Row) -> str:
        """Return the task that a row belongs to."""
        return row.task or self.task or self.home or self.collection.default_task

    def key(self, row: Row) -> bytes:
        """Return the key under which a row is kept."""
        return row_key(str(self.collection.source), self.task_of(row), row.name)

    def asks_for(self, row: KnownRow | StoredRow) -> bool:
        """Say whether a pass over the source, wherever it stood, could meet a stored row of it again."""
        return _is_asked(row, self.task, self.home or self.collection.name)

    def current(self, row: Row) -> StoredRow | None:
        """Return a row that is stored as it is now, as far as its files show."""
        stored = self.store.row(self.key(row))
        is_same = stored is not None and stored == self.remembered(
            row, lambda path: self.store.stamp(str(path))
        )
        return stored if is_same else None

    def unchanged(self, row: Row) -> StoredRow | None:
        """Return a row that is stored as it is now, with features of all its items."""
        stored = self.current(row)
        return stored if stored and not self.store.lacking(ids_of(stored)) else None

    def to_store(self, row: Row, items: Sequence[tuple[Modality, ItemId]]) -> StoredRow:
        """Return what is stored for a row whose items are these."""
        by_modality: dict[Modality, tuple[ItemId, ...]] = {}
        for modality, id in items:
            by_modality[modality] = (*by_modality.get(modality, ()), id)
        media = [id for modality, id in items if modality in row.media or modality in row.features]
        return StoredRow(
            str(self.collection.source),
            row.name,
            self.task_of(row),
            row.task is not None,
            row.split or hashed_split(row.id or " ".join(media or [id for _, id in items])),
            row.labels,
            by_modality,
            {modality: str(path) for modality, path in {**row.media, **row.origins}.items()},
            row.other,
            row.id,
            row.task is None and self.task_of(row) == self.home,
            item_id("text", row.title("text").encode()) if row.texts and "text" in row.features else "",
        )

    def remembered(self, row: Row, stamp: Callable[[Path], FileStamp | None]) -> StoredRow | None:
        """Return what would be stored for a row if its files hold what they held; None where they look changed.

        Args:
            stamp: returns what a file looked like when it was last read.
        """
        items = []
        for modality, path in row.media.items():
            before = stamp(path)
            if before is None or look(path) != (before.size, before.mtime):
                return None
            items.append((modality, before.item))
        items += [(modality, item_id(modality, array.tobytes())) for modality, array in row.features.items()]
        items += [("text", item_id("text", text.encode())) for text in row.texts_to_encode]
        return self.to_store(row, items)

    def stored(self, task: str, name: str) -> StoredRow | None:
        """Return what is stored of a row, from this source or from where it stood before."""
        own = self.store.row(row_key(str(self.collection.source), task, name))
        if own is not None or self.former is None:
            return own
        before = self.former.name(name, self.collection)
        return self.store.row(row_key(self.former.source, task, before))

    def foreseen(self, row: Row) -> StoredRow | None:
        """Return what would be stored for a row that moved with its source if its files hold what they held there."""
        former = self.former
        if former is None:
            return None
        return self.remembered(row, lambda path: self.store.stamp(former.name(str(path), self.collection)))


def survey(store: Store, collection: Collection) -> Survey:
    """Look at every stored row once."""
    own, home = list[KnownRow](), None
    elsewhere: dict[str, dict[str, bool]] = defaultdict(dict)
    for row in store.rows():
        if row.source == str(collection.source):
            own.append(KnownRow(row.key, row.task, row.named))
            home = row.task if row.inherited else home
        elif row.named:
            elsewhere[row.source].setdefault("", False)
        else:
            names = map(clean_name, (Path(row.source).name, Path(row.source).stem))
            is_default = row.inherited or row.task in names
            elsewhere[row.source][row.task] = is_default
    return Survey(own, home, {source: _default_first(tasks) for source, tasks in elsewhere.items()})


def _default_first(tasks: Mapping[str, bool]) -> list[str]:
    return sorted(filter(None, tasks), key=lambda task: (not tasks[task], task))


def match(store: Store, collection: Collection, task: str | None) -> Matcher:
    """Look up what the store keeps of a source; where it stood before is looked for only among places that are gone.

    Args:
        task: for rows that name none; None: the default task.
    """
    stored = survey(store, collection)
    home = stored.home
    if home is None and any(not row.named and row.task == collection.name for row in stored.rows):
        home = collection.name
    vanished = {source: tasks for source, tasks in stored.elsewhere.items() if is_vanished(Path(source))}
    former = find(store, collection, task, vanished) if vanished else None
    if former and home and former.task not in (None, home):
        former = None  # the source has a default task of its own already
    home = home or (former and former.task) or collection.name
    known, others = list[bytes](), defaultdict[str, list[bytes]](list)
    for row in stored.rows:
        if _is_asked(row, task, home):
            known.append(row.key)
        elif not row.named:
            others[row.task].append(row.key)
    return Matcher(store, collection, task, known, others, home if home != collection.name else None, former)


def _is_asked(row: KnownRow | StoredRow, task: str | None, home: str) -> bool:
    return row.task == task if task else row.named or row.task == home


def hashed_split(key: str) -> Split:
    """Put a row into train, val or test, 80/10/10, by nothing but its key."""
    place = int.from_bytes(blake2b(key.encode(), digest_size=8).digest(), "big") / 2**64
    return "train" if place < 0.8 else "val" if place < 0.9 else "test"
