"""Shards on disk: vectors and item ids in a file each, beside what they are; written once, never changed."""

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from engine import ids as item_ids
from engine.errors import UserError, Vanished
from engine.ids import Ids
from engine.storage import files
from engine.types import ShardKey
from indexer.shards.shard import Flat, Shard, Vectors, load_faiss

FORMAT = 3

MEND = "delete that folder and run `mneme index` on the source again"


@dataclass(frozen=True)
class Layout:
    """The two files of a shard, and how they are read.

    Attributes:
        open_vectors: returns the rows (N, E) of a file, or raises what `UNREADABLE` names.
        parse_ids: returns the ids (N,) in the bytes of a file.
    """

    vectors: str
    ids: str
    open_vectors: Callable[[Path], Vectors]
    parse_ids: Callable[[bytes], Ids]


UNREADABLE = (OSError, ValueError, RuntimeError)


def _map_vectors(path: Path) -> Vectors:
    vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    kind, end = (vectors.dtype, vectors.ndim), vectors.offset + vectors.nbytes
    if kind != (np.float32, 2) or end != path.stat().st_size:
        raise ValueError(f"{path} says wrongly what it holds")
    return np.asarray(vectors)


def _read_index(path: Path) -> Vectors:
    """Return the vectors (N, E) of a flat index that FAISS wrote; RuntimeError where it is none."""
    faiss = load_faiss()
    index = faiss.read_index(str(path))
    vectors: Vectors = faiss.rev_swig_ptr(index.get_xb(), index.ntotal * index.d)
    return vectors.reshape(index.ntotal, index.d).copy()


def _parse_ids(content: bytes) -> Ids:
    ids: Ids = np.load(io.BytesIO(content), allow_pickle=False)
    return ids


def _parse_digits(content: bytes) -> Ids:
    return item_ids.from_digits(safetensors.numpy.load(content)["items"])


NPY = Layout("vectors.npy", "ids.npy", _map_vectors, _parse_ids)
FAISS = Layout("vectors.faiss", "stats.safetensors", _read_index, _parse_digits)
LAYOUTS: Mapping[int, Layout] = {1: FAISS, 2: FAISS, 3: NPY}
"""By format. Shards of the first also keep a mean and a covariance, which nothing reads any more."""


def write(shard: Shard, folder: Path, *, backbone: str, digest: str) -> int:
    """Write a shard in one step and return its bytes on disk."""
    with files.new_folder(folder) as draft:
        written = {
            name: _saved(draft / name, array)
            for name, array in ((NPY.vectors, shard.vectors), (NPY.ids, shard.ids))
        }
        size = sum(sink.size for sink in written.values())
        facts = {
            "format": FORMAT,
            **vars(shard.key),
            "backbone": backbone,
            "digest": digest,
            "rows": len(shard.ids),
            "bytes": size,
            "checksums": {name: sink.checksum for name, sink in written.items()},
        }
        (draft / "shard.json").write_bytes(files.to_json(facts))
    return size


def _saved(path: Path, array: NDArray[Any]) -> files.Sink:
    """Write an array; return what was written. NumPy's own writing to a file tells no reason where it fails."""
    with path.open("wb") as file:
        sink = files.Sink(file)
        np.save(sink, array)
    return sink


def size(rows: int, width: int) -> int:
    """Return about how many bytes a shard of so many rows takes on disk: vectors and ids."""
    return rows * (4 * width + item_ids.DIGITS)


def read(folder: Path, key: ShardKey, backbone: str) -> Shard:
    """Open a shard, its vectors mapped from the file; one that is not what the manifest says is an error."""
    facts = read_facts(folder)
    expected = {**vars(key), "backbone": backbone}
    if {name: facts[name] for name in expected} != expected or not folder.name.endswith(facts["digest"][:8]):
        raise UserError(f"{folder} holds another shard than the manifest says; {MEND}")
    layout, ids = LAYOUTS[facts["format"]], _checked_ids(folder, facts)
    try:
        vectors = layout.open_vectors(folder / layout.vectors)
    except UNREADABLE:
        raise _unreadable(folder, layout.vectors) from None
    if len(vectors) != len(ids):
        raise UserError(f"{folder} is damaged: {len(vectors)} vectors for {len(ids)} items; {MEND}")
    return Shard(key, ids, vectors, Flat(vectors))


def read_ids(folder: Path) -> Ids:
    """Return which items a shard holds (N,)."""
    return _checked_ids(folder, read_facts(folder))


def _checked_ids(folder: Path, facts: Mapping[str, Any]) -> Ids:
    """Return the ids of a shard whose files are as large as they were; a map of a shorter one kills the process."""
    layout = LAYOUTS[facts["format"]]
    try:
        content = (folder / layout.ids).read_bytes()
        size = len(content) + (folder / layout.vectors).stat().st_size
    except OSError as error:
        raise _unreadable(folder, error.filename) from None
    if size != facts["bytes"] or files.checksum(content) != facts["checksums"][layout.ids]:
        raise UserError(f"{folder} is damaged: its files are not what was written; {MEND}")
    return layout.parse_ids(content)


def _unreadable(folder: Path, name: str) -> UserError:
    if folder.exists():
        return UserError(f"{folder} is damaged: {name} cannot be read; {MEND}")
    return _vanished(folder)


def _vanished(folder: Path) -> Vanished:
    return Vanished(f"{folder} is gone: run `mneme index` on the source again")


def read_facts(folder: Path, name: str = "shard.json", newest: int = FORMAT) -> dict[str, Any]:
    """Read what stands beside the numbers of a shard, or of a router; its format may be up to the newest."""
    try:
        facts: dict[str, Any] = json.loads((folder / name).read_bytes())
    except FileNotFoundError:
        raise _vanished(folder) from None
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {folder / name}: {error}; {MEND}") from None
    if facts["format"] > newest:
        raise UserError(f"{folder} has a newer format; this mneme reads up to {newest}: upgrade mneme")
    return facts
