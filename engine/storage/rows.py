"""Rows of sources as they are stored; features, in blocks of many: one alone would take a page of LMDB for itself.

A block is the keys of its features and these as rows (n, D); the table `places` tells where features are by their
key. A store of before has them one by one in the table `features`, where they are found too.
"""

import gc
import json
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from operator import itemgetter
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from engine.storage.tables import Tables, reach
from engine.types import ItemId, Modality, Pair, Split

Features: TypeAlias = NDArray[np.float32]

HEAD = struct.Struct("=II")
"""Of a block: how many rows, and bytes of a row."""

PLACE = struct.Struct(">QI")
"""Where features are: the number of the block, and of the row in it."""

SELDOM = ("inherited", "caption")
"""Of a row what is not written where it says nothing."""

KEY = 24
"""Bytes of the key of features: an item and a backbone."""

MOST = 128 << 10
"""Bytes of a block's rows, of which the last page is not quite filled."""


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
        caption: the digest of the texts that its features of text are of; empty where it brought none.
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
    caption: str = ""

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
    return json.dumps({name: fields[name] for name in fields if fields[name] or name not in SELDOM}).encode()


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


def put_features(tables: Tables, features: dict[bytes, bytes], txn: Any) -> None:
    """Store features by their keys; they replace what was stored under these."""
    touched = set(_dropped(tables, features, txn))
    widths: dict[int, list[bytes]] = {}
    for key, row in features.items():
        widths.setdefault(len(row), []).append(key)
    for width, keys in widths.items():
        count = max(1, MOST // max(1, width))
        for start in range(0, len(keys), count):
            _append(tables, keys[start : start + count], features, txn)
    _thin(tables, touched, txn)


def drop_features(tables: Tables, items: Iterable[bytes], txn: Any) -> int:
    """Drop the features of items, by any backbone, and return how many bytes these took."""
    dropped, touched, places = 0, set[bytes](), txn.cursor(tables.places)
    former = txn.cursor(tables.features)
    for item in items:
        while reach(places, item):
            number = places.value()[:8]
            _, width = HEAD.unpack_from(txn.get(number, db=tables.blocks))
            dropped += KEY + width
            touched.add(number)
            places.delete()
        while reach(former, item):
            dropped += len(former.key()) + len(former.value())
            former.delete()
    _thin(tables, touched, txn)
    return dropped


def read_features(tables: Tables, keys: Sequence[bytes], txn: Any) -> list[Features]:
    """Return the features (D,) under each key, one without numbers where none are stored."""
    rows = [np.empty(0, np.float32)] * len(keys)
    blocks: dict[bytes, list[tuple[int, int]]] = {}
    for n, key in enumerate(keys):
        place = txn.get(key, db=tables.places) if tables.places else None
        if place is None:
            rows[n] = np.frombuffer(txn.get(key, b"", db=tables.features), np.float32)
        else:
            blocks.setdefault(bytes(place[:8]), []).append((n, PLACE.unpack(place)[1]))
    for number in sorted(blocks):
        block = _of_block(txn.get(number, db=tables.blocks))
        for n, index in blocks[number]:
            rows[n] = block[index].copy()  # which does not hold the rest of the block
    return rows


def _append(tables: Tables, keys: Sequence[bytes], features: dict[bytes, bytes], txn: Any) -> None:
    """Write a block of rows of one width."""
    cursor = txn.cursor(tables.blocks)
    number = int.from_bytes(cursor.key(), "big") + 1 if cursor.last() else 0
    head = HEAD.pack(len(keys), len(features[keys[0]]))
    content = b"".join([head, *keys, *(features[key] for key in keys)])
    txn.put(number.to_bytes(8, "big"), content, db=tables.blocks, append=True)
    for n, key in enumerate(keys):
        txn.put(key, PLACE.pack(number, n), db=tables.places)


def _dropped(tables: Tables, keys: Iterable[bytes], txn: Any) -> Iterator[bytes]:
    """Forget where features are; yield the numbers of their blocks."""
    for key in keys:
        place = txn.pop(key, db=tables.places)
        if place is not None:
            yield place[:8]
        txn.delete(key, db=tables.features)


def _thin(tables: Tables, numbers: Iterable[bytes], txn: Any) -> None:
    """Write blocks anew of which no more than half is in use."""
    for number in sorted(numbers):
        block = txn.get(number, db=tables.blocks)
        rows = _of_block(block)
        keys = [block[start : start + KEY] for start in range(HEAD.size, HEAD.size + KEY * len(rows), KEY)]
        alive = [
            n for n, key in enumerate(keys) if txn.get(key, db=tables.places) == number + n.to_bytes(4, "big")
        ]
        if 2 * len(alive) > len(keys):
            continue
        txn.delete(number, db=tables.blocks)
        if alive:
            kept = {keys[n]: rows[n].tobytes() for n in alive}
            _append(tables, list(kept), kept, txn)


def _of_block(block: bytes) -> Features:
    """Return the rows (n, D) of a block."""
    count, width = HEAD.unpack_from(block)
    return np.frombuffer(block, np.float32, offset=HEAD.size + KEY * count).reshape(count, width // 4)
