"""Features, stored in blocks of many rows: one alone would take a page of LMDB for itself.

A block is how many rows it has and how wide, their keys (n, 24), their checksums (n,) and the rows (n, D); the table
`places` tells where features are by their key. A store of before has them one by one in the table `features`, where
they are found too.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias
from zlib import crc32

import numpy as np

from engine.storage.rows import Corrupt, Features, from_features
from engine.storage.tables import Tables, reach

HEAD = struct.Struct("=II")
"""Of a block: how many rows, and bytes of a row."""

PLACE = struct.Struct(">QI")
"""Where features are: the number of the block, and of the row in it."""

SUM = struct.Struct("=I")
"""The CRC-32 of a key and the row behind it."""

KEY = 24
"""Bytes of the key of features: an item and a backbone."""

MOST = 128 << 10
"""Bytes of a block's rows, of which the last page is not quite filled."""

Summed: TypeAlias = tuple[bytes, bytes]
"""A row, and the checksum that it was written with."""


@dataclass(frozen=True)
class Block:
    """A block as it is stored: the keys of its rows one behind the other, their checksums (n,), the rows (n, D)."""

    keys: bytes
    sums: Sequence[int]
    rows: Features

    def key(self, n: int) -> bytes:
        """Return the key of a row."""
        return self.keys[n * KEY : (n + 1) * KEY]

    def summed(self, n: int) -> Summed:
        """Return a row and its checksum, which is not looked at."""
        return self.rows[n].tobytes(), SUM.pack(self.sums[n])

    def holds(self, n: int, key: bytes) -> bool:
        """Say whether a row is as it was stored under a key."""
        return n < len(self.rows) and self.key(n) == key and crc32(self.rows[n], crc32(key)) == self.sums[n]

    def features(self, n: int, key: bytes) -> Features:
        """Return the features (D,) in a row; Corrupt where they are not those that were stored under a key."""
        if not self.holds(n, key):
            raise Corrupt("a checksum does not hold")
        row: Features = self.rows[n]
        return row


def summed(key: bytes, row: bytes) -> Summed:
    """Return a row and its checksum."""
    return row, SUM.pack(crc32(row, crc32(key)))


def opened(content: bytes | None) -> Block:
    """Return the block in a value; Corrupt where it has another length than it says."""
    if content is None or len(content) < HEAD.size:
        raise Corrupt("a block of features is missing")
    count, width = HEAD.unpack_from(content)
    if len(content) != HEAD.size + count * (KEY + SUM.size + width) or width % 4:
        raise Corrupt("a block of features says wrongly what it holds")
    sums = HEAD.size + count * KEY
    start = sums + count * SUM.size
    rows = np.frombuffer(content, np.float32, offset=start).reshape(count, width // 4)
    return Block(content[HEAD.size : sums], memoryview(content)[sums:start].cast("I"), rows)


def put_features(tables: Tables, features: Mapping[bytes, bytes], txn: Any) -> None:
    """Store features by their keys; they replace what was stored under these."""
    touched = set(_dropped(tables, features, txn))
    widths: dict[int, list[bytes]] = {}
    for key, row in features.items():
        widths.setdefault(len(row), []).append(key)
    for width, keys in widths.items():
        count = max(1, MOST // max(1, width))
        for start in range(0, len(keys), count):
            _append(tables, {key: summed(key, features[key]) for key in keys[start : start + count]}, txn)
    thin(tables, touched, txn)


def drop_features(tables: Tables, items: Iterable[bytes], txn: Any) -> int:
    """Drop the features of items, by any backbone, and return how many bytes these took."""
    dropped, touched, places = 0, set[bytes](), txn.cursor(tables.places)
    former = txn.cursor(tables.features)
    for item in items:
        while reach(places, item):
            number = places.value()[:8]
            dropped += KEY + SUM.size + opened(txn.get(number, db=tables.blocks)).rows[0].nbytes
            touched.add(number)
            places.delete()
        while reach(former, item):
            dropped += len(former.key()) + len(former.value())
            former.delete()
    thin(tables, touched, txn)
    return dropped


def read_features(tables: Tables, keys: Sequence[bytes], txn: Any) -> list[Features]:
    """Return the features (D,) under each key; Corrupt where none are stored, or others than were written."""
    rows = [np.empty(0, np.float32)] * len(keys)
    blocks: dict[bytes, list[tuple[int, int]]] = {}
    for n, key in enumerate(keys):
        place = txn.get(key, db=tables.places) if tables.places else None
        if place is None:
            rows[n] = from_features(txn.get(key, b"", db=tables.features))
        else:
            blocks.setdefault(bytes(place[:8]), []).append((n, int.from_bytes(place[8:], "big")))
    for number in sorted(blocks):
        block = opened(txn.get(number, db=tables.blocks))
        for n, index in blocks[number]:
            rows[n] = block.features(index, keys[n])
    return rows


def damaged(tables: Tables, txn: Any) -> Iterator[bytes]:
    """Yield the keys of features that are not as they were written."""
    for key, value in txn.cursor(tables.features):
        try:
            from_features(value)
        except Corrupt:
            yield key
    places: dict[bytes, list[tuple[bytes, int]]] = {}
    for key, place in txn.cursor(tables.places) if tables.places else ():
        places.setdefault(place[:8], []).append((key, int.from_bytes(place[8:], "big")))
    for number, members in sorted(places.items()):
        try:
            block = opened(txn.get(number, db=tables.blocks))
        except Corrupt:
            yield from (key for key, _ in members)
            continue
        yield from (key for key, index in members if not block.holds(index, key))


def drop_damaged(tables: Tables, keys: Iterable[bytes], txn: Any) -> None:
    """Drop features by their keys, and the blocks that cannot be read, of which all features are damaged."""
    for number in set(_dropped(tables, keys, txn)):
        try:
            opened(txn.get(number, db=tables.blocks))
        except Corrupt:
            txn.delete(number, db=tables.blocks)
        else:
            thin(tables, [number], txn)


def _append(tables: Tables, rows: Mapping[bytes, Summed], txn: Any) -> None:
    """Write a block of rows of one width."""
    cursor = txn.cursor(tables.blocks)
    number = int.from_bytes(cursor.key(), "big") + 1 if cursor.last() else 0
    head = HEAD.pack(len(rows), len(next(iter(rows.values()))[0]))
    content = b"".join([head, *rows, *(sum for _, sum in rows.values()), *(row for row, _ in rows.values())])
    txn.put(number.to_bytes(8, "big"), content, db=tables.blocks, append=True)
    for n, key in enumerate(rows):
        txn.put(key, PLACE.pack(number, n), db=tables.places)


def _dropped(tables: Tables, keys: Iterable[bytes], txn: Any) -> Iterator[bytes]:
    """Forget where features are; yield the numbers of their blocks."""
    for key in keys:
        place = txn.pop(key, db=tables.places)
        if place is not None:
            yield place[:8]
        txn.delete(key, db=tables.features)


def thin(tables: Tables, numbers: Iterable[bytes], txn: Any) -> None:
    """Write blocks anew of which no more than half is in use; rows keep the checksums they were written with."""
    for number in sorted(numbers):
        block = opened(txn.get(number, db=tables.blocks))
        keys = [block.key(n) for n in range(len(block.rows))]
        alive = [
            n for n, key in enumerate(keys) if txn.get(key, db=tables.places) == number + n.to_bytes(4, "big")
        ]
        if 2 * len(alive) > len(keys):
            continue
        txn.delete(number, db=tables.blocks)
        if alive:
            _append(tables, {keys[n]: block.summed(n) for n in alive}, txn)
