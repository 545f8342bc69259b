"""Cosines in float64, which decide what FAISS proposes in float32."""

import numpy as np
from numpy.typing import NDArray

BLOCK_NUMBERS = 1 << 23
"""Numbers that the exact products may hold at a time (64 MiB)."""

CROWDED = 16
"""Where there are at most so many rows for each one proposed, a product with all is quicker than fetching."""

Floats = NDArray[np.float64]


def cosines(vectors: NDArray[np.float32], queries: NDArray[np.float32], rows: NDArray[np.int64]) -> Floats:
    """Return the cosines (Q, n) of queries (Q, E) with those of the vectors (N, E) that rows (Q, n) name."""
    exact = np.empty(rows.shape, np.float64)
    at_once = max(1, BLOCK_NUMBERS // vectors.shape[1])
    crowded = len(vectors) <= min(at_once, CROWDED * rows.shape[1])
    every = vectors.T.astype(np.float64) if crowded else None
    step = max(1, at_once // max(1, rows.shape[1]))
    for start in range(0, len(rows), step):
        block = slice(start, start + step)
        asked = queries[block].astype(np.float64)
        if every is None:
            exact[block] = _fetched(vectors, asked, rows[block], at_once)
        else:
            exact[block] = np.take_along_axis(asked @ every, rows[block], 1)
    return exact.clip(-1, 1)  # rows are of length 1 to seven digits only


def _fetched(vectors: NDArray[np.float32], asked: Floats, rows: NDArray[np.int64], at_once: int) -> Floats:
    """Return the cosines of one block of queries, so many rows of each at a time."""
    exact = np.empty(rows.shape, np.float64)
    for left in range(0, rows.shape[1], at_once):
        part = slice(left, left + at_once)
        exact[:, part] = np.einsum("qe,qne->qn", asked, vectors[rows[:, part]].astype(np.float64))
    return exact
