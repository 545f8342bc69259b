"""Rows of sources as they are stored, and what one write changes of them and of the items they name."""

import gc
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from operator import itemgetter
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from engine.types import ItemId, Modality, Pair, Split

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
