"""Figures of merit: recall, chance, forgetting, backward transfer.

A matrix is R[i][j]: the score on the queries of task j after lesson i, None where task j was not learned
yet or has no queries.
"""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from engine.errors import UserError

Matrix: TypeAlias = Sequence[Sequence[float | None]]


def recall(right: NDArray[np.bool_], k: int) -> float:
    """Return the share of queries with a right item among their first k; right is (Q, K), best first."""
    return float(right[:, :k].any(axis=1).mean())


def chance(relevant: NDArray[np.int64], gallery: int, k: int) -> float:
    """Return the expected recall@k of a random order: 1 - C(N - r, k) / C(N, k), averaged over queries.

    Args:
        relevant: how many items of the gallery are right for each query (Q,).
        gallery: N, how many items there are.
    """
    draws = np.arange(min(k, gallery))
    missed = (gallery - relevant[:, None] - draws).clip(0) / (gallery - draws)  # (Q, k)
    return float(1 - missed.prod(axis=1).mean())


def final(matrix: Matrix) -> float | None:
    """Return the mean over tasks after the last lesson."""
    return _mean([value for value in matrix[-1] if value is not None])


def forgetting(matrix: Matrix) -> float | None:
    """Return how far tasks fell from their best: mean of max_t<T R[t][i] - R[T][i] (Chaudhry et al. 2018).

    Only tasks that were there before the last lesson count; one that has gained since counts below zero.
    """
    falls = []
    for j in _settled(matrix):
        now = matrix[-1][j]
        if now is not None:
            falls.append(max(value for row in matrix[:-1] if (value := row[j]) is not None) - now)
    return _mean(falls)


def bwt(matrix: Matrix) -> float | None:
    """Return backward transfer: mean of R[T][i] - R[i][i] (Lopez-Paz and Ranzato 2017, over T - 1 tasks)."""
    moves = []
    for j in _settled(matrix):
        first = next(row[j] for row in matrix if row[j] is not None)
        now = matrix[-1][j]
        if now is not None and first is not None:
            moves.append(now - first)
    return _mean(moves)


def plasticity(matrix: Matrix) -> float | None:
    """Return how well tasks were learned when they were new: the mean of R[i][i]."""
    firsts = [next((row[j] for row in matrix if row[j] is not None), None) for j in range(len(matrix[-1]))]
    return _mean([first for first in firsts if first is not None])


def _settled(matrix: Matrix) -> list[int]:
    """Return the tasks that have a score before the last row."""
    return [j for j in range(len(matrix[-1])) if any(row[j] is not None for row in matrix[:-1])]


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def parse_ks(ks: str) -> list[int]:
    """Parse `1,5,10`."""
    try:
        found = sorted({int(k) for k in ks.split(",")})
    except ValueError:
        found = []
    if not found or found[0] < 1:
        raise UserError(f"--k takes numbers from 1, comma-separated, not {ks!r}")
    return found
