"""FAISS: flat inner-product indexes on the CPU, their rows, and copies on the GPU."""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import UserError

Vectors = NDArray[np.float32]


def load_faiss() -> Any:
    """Import FAISS, set so that many queries at once take the fast path."""
    try:
        import faiss
    except ImportError:
        raise UserError("no FAISS installed: pip install 'mneme[cpu]' or 'mneme[gpu]'") from None
    # 8 to 249 queries would take a path that is 16 times slower
    faiss.cvar.distance_compute_blas_threshold = 1
    return faiss


def index_of(vectors: Vectors) -> Any:
    """Return a flat inner-product index of these rows (N, E)."""
    index = load_faiss().IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    return index


def rows_of(index: Any) -> Vectors:
    """Return the rows (N, E) of a flat index, in its own memory, which lives as long as they are held; read only."""
    return np.asarray(_Lent(index))


class _Lent:
    """An index as numpy sees memory: an array made of it holds it."""

    def __init__(self, index: Any) -> None:
        rows = load_faiss().rev_swig_ptr(index.get_xb(), index.ntotal * index.d)
        rows.flags.writeable = False
        self.index = index
        self.__array_interface__ = rows.reshape(index.ntotal, index.d).__array_interface__


def on_gpu(index: Any) -> Any:
    """Return a copy of an index on the first GPU."""
    return load_faiss().index_cpu_to_gpu(_gpu_resources(), 0, index)


@cache
def _gpu_resources() -> Any:
    """Return the scratch memory that all shards share; FAISS would take 1.5 GiB of it for each."""
    faiss = load_faiss()
    resources = faiss.StandardGpuResources()
    resources.setTempMemory(256 << 20)
    return resources


def gpus() -> int:
    """Return how many GPUs this FAISS can use."""
    faiss = load_faiss()
    return int(faiss.get_num_gpus())
