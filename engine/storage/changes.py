"""What one write changes, and what it keeps of the state that is served."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from engine.ids import to_key
from engine.storage.blocks import drop_damaged, drop_features, put_features
from engine.storage.inspection import corruption
from engine.storage.rows import Features, FileStamp, StoredRow, digest, ids_of, parse, sealed, to_json
from engine.storage.tables import STATE, Tables, feature_key
from engine.types import Item, ItemId


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
    _features: dict[bytes, bytes] = field(default_factory=dict)

    def apply(self, txn: Any) -> None:
        """Make the changes in a transaction, in the order in which they were asked for; features come first."""
        self.dropped = 0
        put_features(self._tables, self._features, txn)
        for step in self._steps:
            step(txn)

    def put_item(self, item: Item) -> None:
        """Store what an item is."""
        value = json.dumps({"modality": item.modality, "text": item.text}).encode()
        self._put(self._tables.items, to_key(item.id), sealed(value))

    def put_features(self, id: ItemId, backbone: str, features: Features) -> None:
        """Store one item's features (D,)."""
        self._features[feature_key(id, backbone)] = features.astype(np.float32).tobytes()

    def put_stamp(self, path: str, stamp: FileStamp) -> None:
        """Remember what a file held."""
        value = json.dumps([stamp.size, stamp.mtime, stamp.item]).encode()
        self._put(self._tables.files, digest(path), sealed(value))

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
        self._steps.append(lambda txn: self._count(drop_features(self._tables, keys, txn)))

    def drop_corrupt(self) -> None:
        """Drop what is not as it was written, and the rows of such items: who indexes again has them."""
        self._steps.append(partial(_drop_corrupt, self._tables))

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


def _drop_corrupt(tables: Tables, txn: Any) -> None:
    corrupt = corruption(tables, txn, deep=True)
    uses, rows = txn.cursor(tables.uses), set[bytes]()
    for item in corrupt.items:
        rows |= set(uses.iternext_dup()) if uses.set_key(item) else set()
    rows |= {key for item, key in corrupt.missing if item in corrupt.items}
    for key in {*corrupt.rows, *rows}:
        txn.delete(key, db=tables.rows)
    for table, keys in (
        (tables.items, corrupt.items),
        (tables.files, corrupt.files),
        (tables.former, corrupt.former),
    ):
        for key in keys:
            txn.delete(key, db=table)
    drop_damaged(tables, corrupt.features, txn)
    for item, key in corrupt.missing:
        if key in rows:
            continue
        txn.put(item, key, db=tables.uses)


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
    drop_features(tables, unused, txn)


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
