"""Features in blocks of many rows: one alone would take a page of LMDB for itself, or half of one for nothing.

A block is the keys of its rows and the rows (n, D); `places` tells where features are by their key. A store of before
has them one by one in the table `features`, where they are found too.
"""

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from engine.storage.rows import Features
from engine.storage.tables import Tables, reach

HEAD = struct.Struct("=II")
"""Of a block: how many rows, and bytes of a row."""

PLACE = struct.Struct(">QI")
"""Where features are: the number of the block, and of the row in it."""

KEY = 24
"""Bytes of the key of features: an item and a backbone."""

MOST = 128 << 10
"""Bytes of a block's rows, of which the last page is not quite filled."""


def put(tables: Tables, features: dict[bytes, bytes], txn: Any) -> None:
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


def drop(tables: Tables, items: Iterable[bytes], txn: Any) -> int:
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


def read(tables: Tables, keys: Sequence[bytes], txn: Any) -> list[Features]:
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
        block = _rows(txn.get(number, db=tables.blocks))
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
        rows = _rows(block)
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


def _rows(block: bytes) -> Features:
    """Return the rows (n, D) of a block."""
    count, width = HEAD.unpack_from(block)
    return np.frombuffer(block, np.float32, offset=HEAD.size + KEY * count).reshape(count, width // 4)
