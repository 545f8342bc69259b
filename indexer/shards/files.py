"""Shards on disk: vectors and item ids in a file each, beside what they are; written once, never changed."""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from engine import ids as item_ids
from engine.errors import Damaged, UserError, Vanished
from engine.ids import Ids
from engine.storage import files
from engine.types import Modality, ShardKey
from indexer.shards.shard import Flat, Shard, Vectors, load_faiss

FORMAT = 3

FACTS = "shard.json"


@dataclass(frozen=True)
class Facts:
    """What `shard.json` says.

    Attributes:
        head, space, part: as of a ShardKey; `tau` and `items` stood here once.
        bytes: of the two files.
        checksums: of files, by their names.
        total: of the vectors, as 64-bit words, modulo 2^64, which is as fast as a search. None: of a shard of before.
    """

    format: int
    task: str
    modality: Modality
    head: int
    space: int
    part: str
    backbone: str
    digest: str
    rows: int
    bytes: int
    checksums: Mapping[str, str]
    total: int | None = None


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


@dataclass
class Sink:
    """A file that is being written, of which the checksum is known at the end; size in bytes."""

    _file: BinaryIO
    size: int = 0
    _digest: Any = field(default_factory=partial(blake2b, digest_size=16))

    def write(self, data: bytes) -> int:
        self.size += len(data)
        self._digest.update(data)
        return self._file.write(data)

    @property
    def checksum(self) -> str:
        """As `files.checksum` gives it of all that was written."""
        digits: str = self._digest.hexdigest()
        return digits


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
            "total": total(shard.vectors),
        }
        (draft / FACTS).write_bytes(files.to_sealed_json(facts))
    return size


def _saved(path: Path, array: NDArray[Any]) -> Sink:
    """Write an array; return what was written. NumPy's own writing to a file tells no reason where it fails."""
    with path.open("wb") as file:
        sink = Sink(file)
        np.save(sink, array)
    return sink


def size(rows: int, width: int) -> int:
    """Return about how many bytes a shard of so many rows takes on disk: vectors and ids."""
    return rows * (4 * width + item_ids.DIGITS)


def read(folder: Path, key: ShardKey, backbone: str) -> Shard:
    """Open a shard, its vectors mapped from the file; one that is not what the manifest says is an error."""
    facts = read_facts(folder)
    _match(folder, facts, {**vars(key), "backbone": backbone})
    layout, ids = LAYOUTS[facts.format], _checked_ids(folder, facts)
    try:
        vectors = layout.open_vectors(folder / layout.vectors)
    except UNREADABLE:
        raise _unreadable(folder, layout.vectors) from None
    if len(vectors) != len(ids):
        raise Damaged(folder, f"{len(vectors)} vectors for {len(ids)} items")
    if facts.total is not None and facts.total != total(vectors):
        raise Damaged(folder / layout.vectors, "its checksum does not hold")
    return Shard(key, ids, vectors, Flat(vectors))


def total(vectors: Vectors) -> int:
    """Return the sum of the bytes of vectors (N, E) as 64-bit words, modulo 2^64; that one changed tells it."""
    words = np.ascontiguousarray(vectors).reshape(-1).view(np.uint32)
    even = len(words) & ~1
    sum = int(words[:even].view(np.uint64).sum(dtype=np.uint64)) + int(words[even:].sum(dtype=np.uint64))
    return sum % (1 << 64)


def check(folder: Path) -> None:
    """Read every byte of a shard; Damaged where one is not as it was written."""
    facts = read_facts(folder)
    for name, sum in facts.checksums.items():
        files.checked(folder / name, sum)
    _checked_ids(folder, facts)


def read_ids(folder: Path, key: ShardKey) -> Ids:
    """Return which items a shard holds (N,); one that is not what the manifest says is an error."""
    facts = read_facts(folder)
    _match(folder, facts, vars(key))
    return _checked_ids(folder, facts)


def _match(folder: Path, facts: Facts, expected: Mapping[str, object]) -> None:
    """Raise where another shard stands in a folder."""
    own = {name: vars(facts)[name] for name in expected}
    if own != expected or not folder.name.endswith(facts.digest[:8]):
        raise Damaged(folder, "it holds another shard than the manifest says")


def _checked_ids(folder: Path, facts: Facts) -> Ids:
    """Return the ids of a shard whose files are as large as they were; a map of a shorter one kills the process."""
    layout = LAYOUTS[facts.format]
    try:
        content = (folder / layout.ids).read_bytes()
        size = len(content) + (folder / layout.vectors).stat().st_size
    except OSError as error:
        raise _unreadable(folder, error.filename) from None
    if size != facts.bytes or files.checksum(content) != facts.checksums.get(layout.ids):
        raise Damaged(folder, "its files are not what was written")
    return layout.parse_ids(content)


def _unreadable(folder: Path, name: str) -> UserError:
    if folder.exists():
        return Damaged(folder, f"{Path(name).name} cannot be read")
    return Vanished(folder)


def read_facts(folder: Path) -> Facts:
    """Read what a shard is."""
    content = read_json(folder, FACTS, FORMAT)
    for name in ("items", "tau"):
        content.pop(name, None)
    return files.typed(folder / FACTS, Facts, content)


def read_json(folder: Path, name: str, newest: int) -> dict[str, Any]:
    """Read what stands beside the numbers of a shard, or of a router; its format may be up to the newest."""
    try:
        facts = files.read_json(folder / name)
    except FileNotFoundError:
        raise _unreadable(folder, name) from None
    format = facts.get("format")
    if not isinstance(format, int) or format < 1:
        raise Damaged(folder / name, "it names no format")
    if format > newest:
        raise UserError(f"{folder} has a newer format; this mneme reads up to {newest}: upgrade mneme")
    return facts
