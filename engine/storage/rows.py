"""Rows of sources as they are stored, and what one write changes of them and of the items they name."""

import gc
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from operator import itemgetter
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from engine.ids import to_key
from engine.types import Item, ItemId, Modality, Pair, Split

Features: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True)
class StoredRow:
    """A row of a source as it was read.

    Attributes:
        source: absolute path of the source.
        name: what tells the row from the others of its source and task.
        named: whether the row itself named its task.
        files: absolute path of each modality's file.
        other: the fields of the row that mean nothing to mneme.
        id: the one that the row itself gave.
        inherited: whether its task is the default one of the place where its source stood before it moved.
    """

    source: str
    name: str
    task: str
    named: bool
    split: Split
    labels: tuple[str, ...]
    items: Mapping[Modality, tuple[ItemId, ...]]
    files: Mapping[Modality, str]
    other: Mapping[str, object] = field(default_factory=dict)
    id: str | None = None
    inherited: bool = False

    @property
    def key(self) -> bytes:
        """The digest under which the row is kept."""
        return row_key(self.source, self.task, self.name)


@dataclass(frozen=True)
class FileStamp:
    """What a file looked like when its item was digested; size in bytes, mtime in nanoseconds."""

    size: int
    mtime: int
    item: ItemId


def row_key(source: str, task: str, name: str) -> bytes:
    """Return the key of a row."""
    return digest(json.dumps([source, task, name]))


def ids_of(row: StoredRow) -> list[ItemId]:
    """Return the items that a row names."""
    return [id for ids in row.items.values() for id in ids]


def places(row: StoredRow) -> list[str]:
    """Return the paths that a row stands for: its files, or where it has none its name in its source."""
    return list(row.files.values()) or [f"{row.source}/{row.name}"]


def to_json(row: StoredRow) -> bytes:
    """Return a row as the store keeps it."""
    fields = vars(row)
    return json.dumps(
        {name: fields[name] for name in fields if name != "inherited" or row.inherited}
    ).encode()


def parse(value: bytes) -> StoredRow:
    """Return a row from its JSON, as the store keeps it."""
    fields = json.loads(str(value, "utf-8"))
    fields["labels"] = tuple(fields["labels"])
    fields["items"] = {modality: tuple(ids) for modality, ids in fields["items"].items()}
    return StoredRow(**fields)


def to_pairs(rows: Iterable[tuple[bytes, bytes]]) -> list[Pair]:
    """Return the pairs that rows are, from their keys and JSON; sorted by task, name and source."""
    keyed = []
    with _without_collection():
        for key, value in rows:
            row = json.loads(str(value, "utf-8"))
            items = {modality: tuple(ids) for modality, ids in row["items"].items()}
            pair = Pair(key.hex(), items, row["task"], row["split"], tuple(row["labels"]))
            keyed.append(((row["task"], row["name"], row["source"]), pair))
        keyed.sort(key=itemgetter(0))
        return [pair for _, pair in keyed]


@contextmanager
def _without_collection() -> Iterator[None]:
    """Keep the garbage collector from looking at many objects that are made to stay."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def digest(text: str) -> bytes:
    """Return 16 bytes that stand for a text or a path."""
    return blake2b(text.encode(errors="surrogateescape"), digest_size=16).digest()


@dataclass(frozen=True)
class Tables:
    """Handles of the six tables, as LMDB gives them; None where a store of before has no such table."""

    rows: Any
    uses: Any
    items: Any
    files: Any
    features: Any
    former: Any


STATE = b"\0state"
"""The key in `former` of the served state whose rows stand there."""


@dataclass
class Writer:
    """What one write is to change; it is done when all of it is known, and once more where the store has to grow.

    Attributes:
        served: the state that answers are given from; its rows and items are kept until `settle`. None: nothing is
            served.
        dropped: bytes of the features that it dropped, once it is done.
    """

    _tables: Tables
    served: bytes | None = None
    dropped: int = 0
    _steps: list[Callable[[Any], object]] = field(default_factory=list)

    def apply(self, txn: Any) -> None:
        """Make the changes in a transaction, in the order in which they were asked for."""
        self.dropped = 0
        for step in self._steps:
            step(txn)

    def put_item(self, item: Item) -> None:
        """Store what an item is."""
        value = json.dumps({"modality": item.modality, "text": item.text}).encode()
        self._put(self._tables.items, to_key(item.id), value)

    def put_features(self, id: ItemId, backbone: str, features: Features) -> None:
        """Store one item's features (D,)."""
        key = feature_key(id, backbone)
        self._put(self._tables.features, key, features.astype(np.float32).tobytes())

    def put_stamp(self, path: str, stamp: FileStamp) -> None:
        """Remember what a file held."""
        value = json.dumps([stamp.size, stamp.mtime, stamp.item]).encode()
        self._put(self._tables.files, digest(path), value)

    def put_row(self, row: StoredRow, *, instead_of: StoredRow | None = None) -> None:
        """Store a row in place of the one of its key, or of one that is now called otherwise."""
        if instead_of and instead_of.key != row.key:
            self.remove_row(instead_of.key)
        self._steps.append(partial(_put_row, self._tables, self.served, row))

    def remove_row(self, key: bytes) -> None:
        """Drop a row, and its uses of its items."""
        self._steps.append(partial(_remove_row, self._tables, self.served, key))

    def drop_unused(self) -> None:
        """Drop every item that no row names any more, with its features; those that are served stay until `settle`.

        For the end of a run: an item that one row has let go may be about to be named by another.
        """
        if self.served is None:
            self.settle()

    def settle(self) -> None:
        """Forget what was kept of a state that is served no more, and drop every item that no row names."""
        self._steps.append(partial(_settle, self._tables))

    def drop_features(self, ids: Iterable[ItemId]) -> None:
        """Drop the features of items, by any backbone."""
        keys = list(map(to_key, ids))
        self._steps.append(lambda txn: self._count(_drop_features(self._tables, keys, txn)))

    def _count(self, dropped: int) -> None:
        self.dropped += dropped

    def _put(self, table: Any, key: bytes, value: bytes) -> None:
        self._steps.append(lambda txn: txn.put(key, value, db=table))


def _put_row(tables: Tables, served: bytes | None, row: StoredRow, txn: Any) -> None:
    _remove_row(tables, served, row.key, txn)
    ids = [to_key(id) for id in ids_of(row)]
    if served is not None and any(txn.get(id, db=tables.uses) for id in ids):
        _keep(tables, served, row.key, b"", txn)  # it says nothing yet of items that are served
    txn.put(row.key, to_json(row), db=tables.rows)
    for id in ids:
        txn.put(id, row.key, db=tables.uses)


def _remove_row(tables: Tables, served: bytes | None, key: bytes, txn: Any) -> None:
    value = txn.get(key, db=tables.rows)
    if value is None:
        return
    if served is None:
        for id in ids_of(parse(value)):
            txn.delete(to_key(id), key, db=tables.uses)
    else:
        _keep(tables, served, key, value, txn)
    txn.delete(key, db=tables.rows)


def _keep(tables: Tables, served: bytes, key: bytes, value: bytes, txn: Any) -> None:
    """Keep a row as the served state has it; empty where it does not have it."""
    if txn.get(STATE, db=tables.former) != served:
        _forget_former(tables, txn)
        txn.put(STATE, served, db=tables.former)
    txn.put(key, value, db=tables.former, overwrite=False)


def _settle(tables: Tables, txn: Any) -> None:
    _forget_former(tables, txn)
    items, uses = txn.cursor(tables.items), txn.cursor(tables.uses)
    used = set(uses.iternext_nodup(values=False))
    unused = [key for key in items.iternext(values=False) if key not in used]
    for key in unused:
        txn.delete(key, db=tables.items)
    _drop_features(tables, unused, txn)


def _forget_former(tables: Tables, txn: Any) -> None:
    """Drop the rows that were kept, and their uses of items that they name no more."""
    for key, before in txn.cursor(tables.former):
        if key == STATE:
            continue
        now = txn.get(key, db=tables.rows)
        named = set(ids_of(parse(now))) if now else set()
        for id in ids_of(parse(before)) if before else []:
            if id not in named:
                txn.delete(to_key(id), key, db=tables.uses)
    txn.drop(tables.former, delete=False)


def rows_naming(tables: Tables, id: ItemId, served: bytes | None, txn: Any) -> dict[bytes, bytes]:
    """Return the rows that name an item, by their keys: as they are, or as they are in a state that is served."""
    uses = txn.cursor(tables.uses)
    keys = list(uses.iternext_dup()) if uses.set_key(to_key(id)) else []
    is_former = bool(served and tables.former and txn.get(STATE, db=tables.former) == served)
    rows = {}
    for key in keys:
        former = txn.get(key, db=tables.former) if is_former else None
        value = txn.get(key, b"", db=tables.rows) if former is None else former
        if id.encode() in value:
            rows[key] = value
    return rows


def _drop_features(tables: Tables, keys: Iterable[bytes], txn: Any) -> int:
    """Drop the features of items and return how many bytes these took."""
    cursor, dropped = txn.cursor(tables.features), 0
    for key in keys:
        while reach(cursor, key):
            dropped += len(cursor.key()) + len(cursor.value())
            cursor.delete()
    return dropped


def reach(cursor: Any, key: bytes) -> bool:
    """Go to the first entry whose key begins so; say whether there is one."""
    return bool(cursor.set_range(key)) and cursor.key().startswith(key)


def feature_key(id: ItemId, backbone: str) -> bytes:
    """Return the key of an item's features by a backbone; without an item, how such keys end."""
    return to_key(id) + blake2b(backbone.encode(), digest_size=8).digest()
