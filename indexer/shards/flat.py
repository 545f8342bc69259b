"""Proposers that compare a query with every vector, by FAISS on the CPU or on a GPU."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import UserError

Vectors = NDArray[np.float32]
Rows = NDArray[np.int64]

FEW = 2
"""So few queries for each thread are faster a vector at a time than by blocks in BLAS (benchmarks.queries)."""

FEW_THREADS = 2
"""More threads were not measured: there BLAS multiplies all blocks."""

GPU_MOST = 2048
"""FAISS on the GPU returns no more per query."""


def load_faiss() -> Any:
    """Import FAISS, set to multiply blocks by BLAS whenever it may choose."""
    try:
        import faiss
    except ImportError:
        raise UserError("no FAISS installed: pip install 'mneme[cpu]' or 'mneme[gpu]'") from None
    # left to itself, it compares 8 to 249 queries a vector at a time, which is 16 times slower
    faiss.cvar.distance_compute_blas_threshold = 1
    return faiss


@dataclass(frozen=True)
class Flat:
    """Inner products of queries with all vectors (N, E), in the memory or the file that these lie in."""

    vectors: Vectors

    def propose(self, queries: Vectors, n: int) -> tuple[Vectors, Rows]:
        """Return the scores (Q, n) and rows (Q, n) of the n nearest vectors to each query (Q, E), best first."""
        faiss, queries = load_faiss(), np.ascontiguousarray(queries)
        assert queries.shape[1] == self.vectors.shape[1]  # FAISS would read past the end
        scores, rows = np.empty((len(queries), n), np.float32), np.empty((len(queries), n), np.int64)
        threads = faiss.omp_get_max_threads()
        few = len(queries) <= FEW * threads <= FEW * FEW_THREADS
        faiss.knn_inner_product(
            faiss.swig_ptr(queries),
            faiss.swig_ptr(self.vectors),
            self.vectors.shape[1],
            len(queries),
            len(self.vectors),
            n,
            faiss.swig_ptr(scores),
            faiss.swig_ptr(rows),
            # with a selector FAISS goes vector by vector in this call; its threshold would set that for all threads
            faiss.IDSelectorAll() if few else None,
        )
        return scores, rows


@dataclass(frozen=True)
class GpuFlat:
    """The same from a copy of the vectors on the first GPU.

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


def gpus() -> int:
    """Return how many GPUs this FAISS can use."""
    return int(load_faiss().get_num_gpus())


def read_index(path: Path) -> Vectors:
    """Return the vectors (N, E) of a flat index that FAISS wrote; RuntimeError where it is none."""
    faiss = load_faiss()
    index = faiss.read_index(str(path))
    vectors: Vectors = faiss.rev_swig_ptr(index.get_xb(), index.ntotal * index.d)
    return vectors.reshape(index.ntotal, index.d).copy()
