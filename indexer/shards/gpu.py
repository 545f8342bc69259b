"""Shards whose candidates the first GPU proposes, by FAISS."""

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from indexer.shards.shard import Flat, Rows, Shard, Vectors, load_faiss

GPU_MOST = 2048
"""FAISS on the GPU returns no more per query."""


@dataclass(frozen=True)
class GpuFlat:
    """Inner products of queries with a copy of all vectors (N, E) on the first GPU.

    Attributes:
        index: a flat inner-product index of FAISS.
        cpu: proposes what a GPU cannot return at once.
    """

    index: Any
    cpu: Flat

    def propose(self, queries: Vectors, n: int) -> tuple[Vectors, Rows]:
        """Return the scores (Q, n) and rows (Q, n) of the n nearest vectors to each query (Q, E), best first."""
        if n > GPU_MOST:
            return self.cpu.propose(queries, n)
        scores, rows = self.index.search(queries, n)
        return scores, rows


def on_gpu(vectors: Vectors) -> GpuFlat:
    """Copy vectors (N, E) to the first GPU."""
    faiss = load_faiss()
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    return GpuFlat(faiss.index_cpu_to_gpu(_gpu_resources(), 0, index), Flat(vectors))


@cache
def _gpu_resources() -> Any:
    """Return the scratch memory that all shards share; FAISS would take 1.5 GiB of it for each."""
    resources = load_faiss().StandardGpuResources()
    resources.setTempMemory(256 << 20)
    return resources


def to_gpu(shard: Shard) -> Shard:
    """Return a shard whose candidates are proposed by the first GPU; the CPU's vectors still decide."""
    return replace(shard, proposer=on_gpu(shard.vectors))


def gpus() -> int:
    """Return how many GPUs this FAISS can use."""
    return int(load_faiss().get_num_gpus())
