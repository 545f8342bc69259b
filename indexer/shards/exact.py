"""Cosines in float64, which decide what FAISS proposes in float32."""

import numpy as np
from numpy.typing import NDArray

BLOCK_NUMBERS = 1 << 23
"""Numbers that the exact products may hold at a time (64 MiB)."""

Floats = NDArray[np.float64]


def cosines(vectors: NDArray[np.float32], queries: NDArray[np.float32], rows: NDArray[np.int64]) -> Floats:
    """Return the cosines (Q, n) of queries (Q, E) with those of the vectors (N, E) that rows (Q, n) name."""
    exact = np.empty(rows.shape, np.float64)
    at_once = max(1, BLOCK_NUMBERS // vectors.shape[1])
    step = max(1, at_once // max(1, rows.shape[1]))
    for start in range(0, len(rows), step):
        block = slice(start, start + step)
        asked = queries[block].astype(np.float64)
        for left in range(0, rows.shape[1], at_once):
            part = slice(left, left + at_once)
            # not by BLAS, whose last digits depend on how many are asked at once
            exact[block, part] = np.einsum("qe,qne->qn", asked, vectors[rows[block, part]].astype(np.float64))
    return exact.clip(-1, 1)  # rows are of length 1 to seven digits only
