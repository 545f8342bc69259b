"""LMDB: which rows were read, the items they name, and the items' features.

Rows are the truth; an item's uses, paths and tasks are looked up from them. The tables: rows (row key -> JSON),
uses (item -> row keys), items (item -> JSON), files (path -> what it held when it was last read), places and blocks
(item and backbone -> float32; features in stores of before), former (row key -> JSON as the served state has it).
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import lmdb
import numpy as np

from engine.ids import first_key, from_key, to_key
from engine.storage import faults, pages, tables
from engine.storage.blocks import read_features
from engine.storage.changes import Writer
from engine.storage.inspection import Corruption, corruption
from engine.storage.rows import (
    Corrupt,
    Features,
    FileStamp,
    StoredRow,
    digest,
    from_json,
    parse,
    to_pairs,
    told,
)
from engine.types import Item, ItemId, Modality, Pair


class Store:
    """An open LMDB environment; many readers, one writer. A reader sees one state, until it asks for the newest.

    Where one may read but not write, no writer knows of the reader; an error tells where writes may have put
    something else in the place of what it saw.
    """

    def __init__(self, folder: Path, *, readonly: bool = True, served: bytes | None = None) -> None:
        """Open the store in a folder.

        Args:
            served: the state that answers are given from. A reader is told of items as that state has them; a writer
                keeps what it has until `Writer.settle`. None: what rows say now.
        """
        self.served, self.readonly = served, readonly
        self._snapshot: Any = None
        self._tables: tables.Tables
        self._file = folder / tables.DATA
        self._turn = threading.RLock()  # of those who read, or map the file anew
        pages.refuse_links(self._file, folder / tables.LOCK)
        if not (readonly or folder.exists()):
            tables.make(folder)
        if not readonly:
            pages.make_own(self._file)
        self._open()
        if readonly:
            self.refresh(served)

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *raised: object) -> None:
        self._env.close()

    def refresh(self, served: bytes | None) -> None:
        """See what is stored now, as a reader, and items as a served state has them."""
        with self._turn, self._told():
            if self._snapshot is not None:
                self._snapshot.abort()
            self._snapshot, self.served = None, served
            if not all(vars(self._tables).values()):  # a writer may have made the others meanwhile
                self._tables = self._fitted(lambda: tables.open_tables(self._env, create=False))
            self._snapshot = self._fitted(self._env.begin)
            while self._identity != tables.identity(self._file):  # another stands there since, by `compact`
                self._snapshot.abort()
                self._env.close()
                self._open()
                self._snapshot = self._fitted(self._env.begin)

    def counts(self) -> dict[Modality, int]:
        """Return how many items there are of each modality."""
        with self._reading(self._tables.items) as txn:
            return dict(Counter(from_json(value)["modality"] for _, value in txn.cursor()))

    def rows(self) -> Iterator[StoredRow]:
        """Yield every row, in the order of their keys."""
        with self._reading(self._tables.rows) as txn:
            values = list(txn.cursor().iternext(keys=False))
        with self._told():
            yield from map(parse, values)

    def going(self) -> list[StoredRow]:
        """Return the rows that were removed, until `Writer.settle` forgets them and drops their items."""
        former = self._tables.former
        with self._reading() as txn:
            if not former:
                return []
            entries = [(key, value) for key, value in txn.cursor(former) if value and key != tables.STATE]
            return [parse(value) for key, value in entries if txn.get(key, db=self._tables.rows) is None]

    def row(self, key: bytes) -> StoredRow | None:
        """Return one row."""
        with self._reading(self._tables.rows) as txn:
            value = txn.get(key)
        with self._told():
            return None if value is None else parse(value)

    def pairs(self) -> list[Pair]:
        """Return every pair, sorted by task and name: the order of arrival and the place leave no trace."""
        with self._reading(self._tables.rows) as txn:
            return to_pairs(txn.cursor())

    def item(self, id: ItemId, task: str | None = None) -> tuple[Item, tuple[str, ...]] | None:
        """Return an item, rows of a task and whose files exist first, and its tasks; None where none is stored."""
        with self._reading() as txn:
            value = txn.get(to_key(id), db=self._tables.items)
            rows = list(map(from_json, tables.rows_naming(self._tables, id, self.served, txn).values()))
            if value is None and not (rows or self.served):
                return None
            if value is None:
                raise Corrupt("an item is missing that rows or shards name")
            if not (rows or tables.rows_naming(self._tables, id, None, txn)):
                raise Corrupt("no row names an item that is stored")
            content = from_json(value)
        return told(id, content, rows, task)

    def users(self, id: ItemId) -> list[bytes]:
        """Return the keys of the rows that name an item."""
        with self._reading() as txn:
            return list(tables.rows_naming(self._tables, id, None, txn))

    def stamp(self, path: str) -> FileStamp | None:
        """Return what a file looked like when it was last read."""
        with self._reading(self._tables.files) as txn:
            value = txn.get(digest(path))
            return None if value is None else FileStamp(*from_json(value))

    def has_features(self, id: ItemId, backbone: str) -> bool:
        """Say whether an item's features by this backbone are stored."""
        key = tables.feature_key(id, backbone)
        with self._reading() as txn:
            return any(txn.get(key, db=table) is not None for table in self._feature_tables)

    def lacking(self, ids: Iterable[ItemId]) -> set[ItemId]:
        """Return those of these items of which no features are stored, by any backbone."""
        with self._reading() as txn:
            cursors = [txn.cursor(table) for table in self._feature_tables]
            return {id for id in ids if not any(tables.reach(cursor, to_key(id)) for cursor in cursors)}

    def features(self, ids: Sequence[ItemId], backbone: str) -> Features:
        """Return the features (N, D) of these items by one backbone."""
        keys = [tables.feature_key(id, backbone) for id in ids]
        with self._reading() as txn:
            return np.stack(read_features(self._tables, keys, txn))

    def corruption(self, *, deep: bool) -> Corruption:
        """Return what is not as it was written, of rows and items, and if `deep` of all else."""
        with self._reading() as txn:
            return corruption(self._tables, txn, deep=deep)

    def find(self, beginning: str, backbone: str) -> Features | None:
        """Return the features (D,) of the item whose id begins with these hex digits; None: not stored."""
        suffix = tables.feature_key("", backbone)
        with self._reading() as txn:
            for table in self._feature_tables:
                for key in tables.keys_from(txn.cursor(table), first_key(beginning)):
                    if not from_key(key).startswith(beginning):
                        break
                    if key.endswith(suffix):
                        return read_features(self._tables, [key], txn)[0]
        return None

    @property
    def _feature_tables(self) -> list[Any]:
        """The tables that say of which items features are stored."""
        return [table for table in (self._tables.places, self._tables.features) if table]

    @contextmanager
    def writing(self) -> Iterator[Writer]:
        """Yield what notes changes; when the block ends all of them land, or none."""
        planned = Writer(self._tables, self.served)
        yield planned
        with self._told():
            self._write(planned.apply)

    def _open(self) -> None:
        self._is_known = tables.can_lock(self._file.with_name(tables.LOCK), readonly=self.readonly)
        self._identity = tables.identity(self._file)
        self._env = tables.opened(self._file, readonly=self.readonly, lock=self._is_known)
        with self._told():
            self._tables = self._fitted(lambda: tables.open_tables(self._env, create=not self.readonly))

    def _write(self, change: Callable[[Any], None]) -> None:
        while True:
            try:
                with self._fitted(lambda: self._env.begin(write=True)) as txn:
                    return change(txn)
            except lmdb.MapFullError:
                self._map(self._env.info()["map_size"])

    @contextmanager
    def _reading(self, table: Any = None) -> Iterator[Any]:
        """Yield a transaction; what it returns is not to be used after the block.

        LMDB uses a page anew by the second write after the one that let it go, where no reader of it is known.
        """
        with self._turn, self._told():
            if self._snapshot is None:
                with self._fitted(partial(self._env.begin, table)) as txn:
                    yield txn
                return
            try:
                yield tables.Table(self._snapshot, table)
            finally:
                if not self._is_known and self._env.info()["last_txnid"] > self._snapshot.id() + 1:
                    raise faults.overtaken(self._file)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Say in words what LMDB meets."""
        try:
            yield
        except lmdb.Error as error:
            raise faults.explained(error, self._file) from None
        except Corrupt as error:
            raise faults.corrupt(self._file, error) from None

    def _fitted(self, begin: Callable[[], Any]) -> Any:
        """Begin a transaction; another process may have let the file outgrow our map, which is then made anew."""
        while True:
            try:
                return begin()
            except lmdb.MapResizedError:
                self._map(self._file.stat().st_size)

    def _map(self, size: int) -> None:
        """Map the file anew, with room beyond a size in bytes, while nobody here reads."""
        with self._turn:
            try:
                self._env.set_mapsize(tables.with_room(size))
            except lmdb.Error:
                self._env.close()  # which has no map any more
                raise
