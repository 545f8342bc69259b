"""Rows of sources as they are stored, and the checksum behind each value."""

import gc
import json
import os
import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from operator import itemgetter
from typing import Any, TypeAlias
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from engine.types import Item, ItemId, Modality, Pair, Split

Features: TypeAlias = NDArray[np.float32]

CRC = struct.Struct("<IB")
"""What stands behind each value: its CRC-32, and the mark; five bytes tell sealed features by their length."""

MARK = 1

SELDOM = ("inherited", "caption")
"""Of a row what is not written where it says nothing."""


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


@lru_cache(1024)
def row_key(source: str, task: str, name: str) -> bytes:
    """Return the key of a row."""
    return digest(json.dumps([source, task, name]))


def ids_of(row: StoredRow) -> list[ItemId]:
    """Return the items that a row names."""
    return [id for ids in row.items.values() for id in ids]


def places(row: StoredRow) -> list[str]:
    """Return the paths that a row stands for: its files, or where it has none its name in its source."""
    return list(row.files.values()) or [f"{row.source}/{row.name}"]


def told(
    id: ItemId, content: Mapping[str, Any], rows: list[dict[str, Any]], task: str | None
) -> tuple[Item, tuple[str, ...]]:
    """Return an item as people are told of it, and its tasks.

    Args:
        content: as the store keeps the item.
        rows: those that name it; those of `task` and whose files exist are told first.
    """
    modality: Modality = content["modality"]
    files = {row["files"].get(modality, "") for row in rows}
    gone = {file: not os.path.exists(file) for file in files}  # noqa: PTH110 - false on any error
    rows.sort(key=lambda row: (row["files"].get(modality, ""), row["name"]))
    rows.sort(key=lambda row: (row["task"] != task, gone[row["files"].get(modality, "")]))
    paths = dict.fromkeys(row["files"][modality] for row in rows if modality in row["files"])
    alive = tuple(sorted(paths, key=lambda path: gone[path]))
    said = [{"id": row.get("id"), "source": row["source"], **row["other"]} for row in rows]
    own_rows = tuple({"task": row["task"], **own} for row, own in zip(rows, said, strict=True))
    item = Item(id, modality, alive, content["text"], said[0] if said else {}, own_rows)
    return item, tuple(sorted({row["task"] for row in rows}))


class Corrupt(Exception):
    """A value of the store that is not as it was written."""


def sealed(value: bytes) -> bytes:
    """Return a value as the store keeps it: with a checksum and a mark behind it."""
    return value + CRC.pack(crc32(value), MARK)


def unsealed(value: bytes) -> bytes:
    """Return what was sealed, or raise Corrupt."""
    content = value[: -CRC.size]
    if len(value) < CRC.size or CRC.unpack(value[-CRC.size :]) != (crc32(content), MARK):
        raise Corrupt("a checksum does not hold")
    return content


def from_json(value: bytes) -> Any:
    """Return what is in a value of JSON; those of before, which end as JSON does, have no checksum."""
    if value[-1:] not in (b"}", b"]"):
        value = unsealed(value)
    try:
        return json.loads(str(value, "utf-8"))
    except ValueError:
        raise Corrupt("a value is no JSON") from None


def from_features(value: bytes) -> Features:
    """Return the features (D,) in a value; those of before, of whole numbers alone, have no checksum."""
    if len(value) % 4:
        value = unsealed(value)
    if not value or len(value) % 4:
        raise Corrupt("features are missing" if not value else "features are cut short")
    return np.frombuffer(value, np.float32)


def to_json(row: StoredRow) -> bytes:
    """Return a row as the store keeps it."""
    fields = vars(row)
    said = {name: fields[name] for name in fields if fields[name] or name not in SELDOM}
    return sealed(json.dumps(said).encode())


def parse(value: bytes) -> StoredRow:
    """Return a row from its value, as the store keeps it."""
    try:
        fields = from_json(value)
        fields["labels"] = tuple(fields["labels"])
        fields["items"] = {modality: tuple(ids) for modality, ids in fields["items"].items()}
        return StoredRow(**fields)
    except (KeyError, TypeError, AttributeError):
        raise Corrupt("a row lacks something") from None


def to_pairs(rows: Iterable[tuple[bytes, bytes]]) -> list[Pair]:
    """Return the pairs that rows are, from their keys and values; sorted by task, name and source."""
    keyed = []
    with _without_collection():
        for key, value in rows:
            row = from_json(value)
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
