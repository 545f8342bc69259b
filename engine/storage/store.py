"""LMDB: which rows were read, the items they name, and the items' features.

Rows are the truth; an item's uses, paths and tasks are looked up from them. Five tables:
rows (row key -> JSON), uses (item -> row keys), items (item -> JSON), files (path -> what it held when it
was last read), features (item and backbone -> float32).
"""

import gc
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeAlias

import lmdb
import numpy as np
from numpy.typing import NDArray

from engine.errors import UserError
from engine.ids import first_key, from_key, to_key
from engine.storage.rows import FileStamp, StoredRow, digest, ids_of, parse, to_json
from engine.types import Item, ItemId, Modality, Pair

Features: TypeAlias = NDArray[np.float32]
MAP_BYTES = 1 << 40
"""Address space, not disk: the file grows as it is filled."""


@dataclass(frozen=True)
class _Tables:
    """Handles of the five tables, as LMDB gives them."""

    rows: Any
    uses: Any
    items: Any
    files: Any
    features: Any


class Store:
    """An open LMDB environment; many readers, one writer."""

    def __init__(self, folder: Path, *, readonly: bool = True) -> None:
        if not readonly:
            folder.mkdir(parents=True, exist_ok=True)
        try:
            self._env = lmdb.open(
                str(folder), map_size=MAP_BYTES, max_dbs=8, readonly=readonly, max_readers=512
            )
        except lmdb.Error as error:
            raise UserError(f"cannot open {folder}: {error}") from None
        self._tables = _Tables(
            rows=self._env.open_db(b"rows", create=not readonly),
            uses=self._env.open_db(b"uses", create=not readonly, dupsort=True),
            items=self._env.open_db(b"items", create=not readonly),
            files=self._env.open_db(b"files", create=not readonly),
            features=self._env.open_db(b"features", create=not readonly),
        )

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *raised: object) -> None:
        self._env.close()

    def counts(self) -> dict[Modality, int]:
        """Return how many items there are of each modality."""
        with self._env.begin(self._tables.items) as txn:
            return dict(Counter(json.loads(value)["modality"] for _, value in txn.cursor()))

    def rows(self) -> Iterator[StoredRow]:
        """Yield every row, in the order of their keys."""
        with self._env.begin(self._tables.rows) as txn:
            for _, value in txn.cursor():
                yield parse(value)

    def row(self, key: bytes) -> StoredRow | None:
        """Return one row."""
        with self._env.begin(self._tables.rows) as txn:
            value = txn.get(key)
        return None if value is None else parse(value)

    def pairs(self) -> list[Pair]:
        """Return every pair, sorted by task and name: the order of arrival and the place leave no trace."""
        keyed = []
        with self._env.begin(self._tables.rows) as txn, _without_collection():
            for key, value in txn.cursor():
                row = json.loads(str(value, "utf-8"))
                items = {modality: tuple(ids) for modality, ids in row["items"].items()}
                pair = Pair(key.hex(), items, row["task"], row["split"], tuple(row["labels"]))
                keyed.append(((row["task"], row["name"], row["source"]), pair))
            keyed.sort(key=itemgetter(0))
            return [pair for _, pair in keyed]

    def item(self, id: ItemId, task: str | None = None) -> tuple[Item, tuple[str, ...]] | None:
        """Return an item, rows of a task and whose files exist first, and its tasks; None where no row names it."""
        key = to_key(id)
        with self._env.begin() as txn:
            value = txn.get(key, db=self._tables.items)
            if value is None:
                return None
            content = json.loads(value)
            uses = txn.cursor(self._tables.uses)
            keys = list(uses.iternext_dup()) if uses.set_key(key) else []
            rows = [json.loads(txn.get(row, b"", db=self._tables.rows)) for row in keys]
        modality: Modality = content["modality"]
        files = {row["files"].get(modality, "") for row in rows}
        gone = {file: not os.path.exists(file) for file in files}  # noqa: PTH110 - false on any error
        rows.sort(key=lambda row: (row["files"].get(modality, ""), row["name"]))
        rows.sort(key=lambda row: (row["task"] != task, gone[row["files"].get(modality, "")]))
        paths = dict.fromkeys(row["files"][modality] for row in rows if modality in row["files"])
        alive = tuple(sorted(paths, key=lambda path: gone[path]))
        said = [{"id": row.get("id"), "source": row["source"], **row["other"]} for row in rows]
        told = tuple({"task": row["task"], **own} for row, own in zip(rows, said, strict=True))
        item = Item(id, modality, alive, content["text"], said[0] if said else {}, told)
        return item, tuple(sorted({row["task"] for row in rows}))

    def users(self, id: ItemId) -> list[bytes]:
        """Return the keys of the rows that name an item."""
        with self._env.begin(self._tables.uses) as txn:
            uses = txn.cursor()
            return list(uses.iternext_dup()) if uses.set_key(to_key(id)) else []

    def stamp(self, path: str) -> FileStamp | None:
        """Return what a file looked like when it was last read."""
        with self._env.begin(self._tables.files) as txn:
            value = txn.get(digest(path))
        return None if value is None else FileStamp(*json.loads(value))

    def has_features(self, id: ItemId, backbone: str) -> bool:
        """Say whether an item's features by this backbone are stored."""
        with self._env.begin(self._tables.features) as txn:
            return txn.get(_feature_key(id, backbone)) is not None

    def lacking(self, ids: Iterable[ItemId]) -> set[ItemId]:
        """Return those of these items of which no features are stored, by any backbone."""
        with self._env.begin(self._tables.features) as txn:
            cursor = txn.cursor()
            return {id for id in ids if not _reach(cursor, to_key(id))}

    def features(self, ids: Sequence[ItemId], backbone: str) -> Features:
        """Return the features (N, D) of these items by one backbone."""
        with self._env.begin(self._tables.features, buffers=True) as txn:
            values = [txn.get(_feature_key(id, backbone), b"") for id in ids]
            return np.stack([np.frombuffer(value, np.float32) for value in values])

    def find(self, beginning: str, backbone: str) -> Features | None:
        """Return the features (D,) of the item whose id begins with these hex digits; None: not stored."""
        suffix = _feature_key("", backbone)
        with self._env.begin(self._tables.features) as txn:
            cursor = txn.cursor()
            more = cursor.set_range(first_key(beginning))
            while more and from_key(cursor.key()).startswith(beginning):
                if cursor.key().endswith(suffix):
                    return np.frombuffer(cursor.value(), np.float32)
                more = cursor.next()
        return None

    @contextmanager
    def writing(self) -> Iterator["Writer"]:
        """Yield a writer whose changes all land when the block ends, or none."""
        with self._env.begin(write=True) as txn:
            yield Writer(txn, self._tables)


@dataclass(frozen=True)
class Writer:
    """One write transaction."""

    _txn: Any
    _tables: _Tables

    def put_item(self, item: Item) -> None:
        """Store what an item is."""
        value = json.dumps({"modality": item.modality, "text": item.text})
        self._txn.put(to_key(item.id), value.encode(), db=self._tables.items)

    def put_features(self, id: ItemId, backbone: str, features: Features) -> None:
        """Store one item's features (D,)."""
        self._txn.put(
            _feature_key(id, backbone), features.astype(np.float32).tobytes(), db=self._tables.features
        )

    def put_stamp(self, path: str, stamp: FileStamp) -> None:
        """Remember what a file held."""
        self._txn.put(
            digest(path), json.dumps([stamp.size, stamp.mtime, stamp.item]).encode(), db=self._tables.files
        )

    def put_row(self, row: StoredRow, *, instead_of: StoredRow | None = None) -> None:
        """Store a row in place of the one of its key, or of one that is now called otherwise."""
        self.remove_row((instead_of or row).key)
        self._txn.put(row.key, to_json(row), db=self._tables.rows)
        for id in ids_of(row):
            self._txn.put(to_key(id), row.key, db=self._tables.uses)

    def remove_row(self, key: bytes) -> None:
        """Drop a row, and its uses of its items."""
        value = self._txn.get(key, db=self._tables.rows)
        for id in [] if value is None else ids_of(parse(value)):
            self._txn.delete(to_key(id), key, db=self._tables.uses)
        self._txn.delete(key, db=self._tables.rows)

    def drop_unused(self) -> None:
        """Drop every item that no row names any more, with its features.

        For the end of a run: an item that one row has let go may be about to be named by another.
        """
        items, uses = self._txn.cursor(self._tables.items), self._txn.cursor(self._tables.uses)
        used = set(uses.iternext_nodup(values=False))
        unused = [key for key in items.iternext(values=False) if key not in used]
        for key in unused:
            self._txn.delete(key, db=self._tables.items)
        self.drop_features(map(from_key, unused))

    def drop_features(self, ids: Iterable[ItemId]) -> int:
        """Drop the features of items, by any backbone, and return how many bytes these took."""
        cursor, dropped = self._txn.cursor(self._tables.features), 0
        for key in map(to_key, ids):
            while _reach(cursor, key):
                dropped += len(cursor.key()) + len(cursor.value())
                cursor.delete()
        return dropped


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


def _reach(cursor: Any, key: bytes) -> bool:
    """Go to the first entry whose key begins so; say whether there is one."""
    return bool(cursor.set_range(key)) and cursor.key().startswith(key)


def _feature_key(id: ItemId, backbone: str) -> bytes:
    return to_key(id) + blake2b(backbone.encode(), digest_size=8).digest()
