"""Shards: the embeddings of one task and modality by one head, in FAISS and on disk.

FAISS proposes in float32, a product in float64 decides: so one query or many, BLAS or not, CPU or GPU
give the same ids in the same order.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from engine.errors import UserError, Vanished
from engine.ids import Ids
from engine.ranking.fusion import DECIMALS, Candidates, Numbers, Scores, log_partition
from engine.storage import files
from engine.types import ItemId, ShardKey
from indexer.shards import flat
from indexer.shards.exact import cosines

FORMAT = 2
MARGIN = 8
"""Candidates beyond k that FAISS is asked for."""

SLACK = 4e-6
"""How far a float32 score may stray from the exact one; measured below 1e-6 at E = 512."""

SAMPLE = 512
"""Items that stand for all others in a shard's partition; a shard of no more than these is exact."""

BLOCK = 8192
"""Queries whose cosines with the sample are held at a time."""

GPU_MOST = 2048
"""FAISS on the GPU returns no more per query."""

MEND = "delete that folder and run `mneme index` on the source again"

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Shard:
    """Unit rows (N, E) and the items they stand for, in the order of item ids.

    Attributes:
        ids: item ids (N,), 32 hex digits as bytes; or numbers that stand in their order.
        index: the FAISS index on the CPU, in whose memory the vectors lie.
        gpu: a copy of it on the GPU, which then proposes.
    """

    key: ShardKey
    ids: Ids | Numbers
    vectors: Vectors
    index: Any
    gpu: Any = None

    def search(self, queries: Vectors, k: int) -> Candidates:
        """Return the k best items for each query (Q, E), ties ordered by item id."""
        n = len(self.ids)
        width = min(n, k + MARGIN)
        order = np.empty((len(queries), min(k, n)), np.int64)
        scores = np.empty(order.shape, np.float64)
        left = np.arange(len(queries))
        while len(left):
            near, rows = self._propose(queries[left], width)
            settled = near[:, -1] < near[:, min(k, n) - 1] - SLACK if width < n else np.ones(len(left), bool)
            done = left[settled]
            scores[done], order[done] = self._decide(queries[done], rows[settled], min(k, n))
            left, width = left[~settled], min(n, 4 * width)
        return Candidates(scores, self.ids[order])

    def log_partition(self, queries: Vectors, tau: float, best: Scores) -> Scores:
        """Return log of the sum over all items of exp(cosine / tau), for each query (Q, E): (Q,).

        Args:
            best: the cosines of the nearest items (Q, n), as the search found them.
        """
        # an id is a digest, so the first ones are a fair sample
        sample, found = self.vectors[:SAMPLE].astype(np.float64), np.empty(len(queries))
        for start in range(0, len(queries), BLOCK):
            block = slice(start, start + BLOCK)
            cosines = queries[block].astype(np.float64) @ sample.T
            found[block] = log_partition(len(self.ids), best[block], cosines, tau)
        return found

    def _propose(self, queries: Vectors, width: int) -> tuple[Vectors, NDArray[np.int64]]:
        index = self.index if self.gpu is None or width > GPU_MOST else self.gpu
        found: tuple[Vectors, NDArray[np.int64]] = index.search(queries, width)
        return found

    def _decide(
        self, queries: Vectors, rows: NDArray[np.int64], k: int
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Score the proposed rows (Q, n) exactly and keep the k best."""
        exact = cosines(self.vectors, queries, rows)
        # rows stand in the order of item ids, so a smaller row is a smaller id
        best = np.lexsort((rows, -exact.round(DECIMALS)), axis=1)[:, :k]
        return np.take_along_axis(exact, best, 1), np.take_along_axis(rows, best, 1)


def build(key: ShardKey, ids: Sequence[ItemId], vectors: Vectors) -> Shard:
    """Make a shard of embeddings (N, E), given in the order of their ids."""
    if not np.isfinite(vectors).all():
        raise UserError(f"head v{key.head:04d} gives no finite embeddings for {key.task} {key.modality}")
    index = flat.index_of(vectors)
    return Shard(key, np.array(ids, "S32"), flat.rows_of(index), index)


def to_gpu(shard: Shard) -> Shard:
    """Return a shard whose proposals come from a copy on the first GPU; the CPU's rows still decide."""
    return replace(shard, gpu=flat.on_gpu(shard.index))


def write(shard: Shard, folder: Path, *, backbone: str, digest: str) -> int:
    """Write a shard in one step and return its bytes on disk."""
    vectors = flat.load_faiss().serialize_index(shard.index).data
    items = shard.ids.view(np.uint8).reshape(-1, 32)
    stats = safetensors.numpy.save({"items": items})
    facts = {
        "format": FORMAT,
        **vars(shard.key),
        "backbone": backbone,
        "digest": digest,
        "rows": len(shard.ids),
        "bytes": len(vectors) + len(stats),
        "checksums": {"vectors.faiss": files.checksum(vectors), "stats.safetensors": files.checksum(stats)},
    }
    with files.new_folder(folder) as draft:
        (draft / "vectors.faiss").write_bytes(vectors)
        (draft / "stats.safetensors").write_bytes(stats)
        (draft / "shard.json").write_bytes(files.to_json(facts))
    return len(vectors) + len(stats)


def size(rows: int, width: int) -> int:
    """Return about how many bytes a shard of so many rows takes on disk: vectors and ids."""
    return rows * (4 * width + 32)


def read(folder: Path, key: ShardKey, backbone: str) -> Shard:
    """Open a shard, its vectors mapped from the file; one that is not what the manifest says is an error."""
    faiss = flat.load_faiss()
    facts = read_facts(folder)
    expected = {**vars(key), "backbone": backbone}
    if {name: facts[name] for name in expected} != expected or not folder.name.endswith(facts["digest"][:8]):
        raise UserError(f"{folder} holds another shard than the manifest says; {MEND}")
    stats = safetensors.numpy.load(_checked_stats(folder, facts))
    try:
        index = faiss.read_index(str(folder / "vectors.faiss"), faiss.IO_FLAG_MMAP_IFC)
    except RuntimeError:
        raise _unreadable(folder, "vectors.faiss") from None
    ids = _ids(stats)
    if index.ntotal != len(ids):
        raise UserError(f"{folder} is damaged: {index.ntotal} vectors for {len(ids)} items; {MEND}")
    return Shard(key, ids, flat.rows_of(index), index)


def read_ids(folder: Path) -> Ids:
    """Return which items a shard holds (N,)."""
    return _ids(safetensors.numpy.load(_checked_stats(folder, read_facts(folder))))


def _ids(stats: Mapping[str, NDArray[Any]]) -> Ids:
    ids: Ids = np.ascontiguousarray(stats["items"]).view("S32").reshape(-1)
    return ids


def _checked_stats(folder: Path, facts: Mapping[str, Any]) -> bytes:
    """Return the statistics' bytes; a truncated file, whose map would kill the process, is an error."""
    try:
        stats = (folder / "stats.safetensors").read_bytes()
        size = len(stats) + (folder / "vectors.faiss").stat().st_size
    except OSError as error:
        raise _unreadable(folder, error.filename) from None
    if size != facts["bytes"] or files.checksum(stats) != facts["checksums"]["stats.safetensors"]:
        raise UserError(f"{folder} is damaged: its files are not what was written; {MEND}")
    return stats


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
