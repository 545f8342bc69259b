"""Measures of a ranking (recall, reciprocal rank, gain) and of a history (forgetting, backward transfer).

A matrix is R[i][j]: the score on the queries of task j after lesson i, None where task j was not learned
yet or has no queries.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from engine.errors import InvalidSetting

Matrix: TypeAlias = Sequence[Sequence[float | None]]
Right: TypeAlias = NDArray[np.bool_]
"""Which of the first K items of each of Q queries are right (Q, K), best first."""


def success(right: Right, k: int) -> NDArray[np.bool_]:
    """Say which queries (Q,) have a right item among their first k."""
    return np.asarray(right[:, :k].any(axis=1))


def recall(right: Right, k: int) -> float:
    """Return the share of queries with a right item among their first k, 0 to 1."""
    return float(success(right, k).mean())


def reciprocal_rank(right: Right, k: int) -> float:
    """Return the mean over queries of 1 / rank of the first right item, 0 where none is among the first k."""
    ranks = first_right(right[:, :k])
    return float(np.where(ranks > 0, 1 / np.maximum(ranks, 1), 0).mean())


def first_right(right: Right) -> NDArray[np.int64]:
    """Return the rank, from 1, of the first right item of each query (Q,); 0 where there is none."""
    return np.where(right.any(axis=1), right.argmax(axis=1) + 1, 0)


def ndcg(right: Right, relevant: NDArray[np.int64], k: int) -> float:
    """Return normalised discounted cumulative gain at k of binary relevance (Jarvelin and Kekalainen 2002).

    Args:
        relevant: how many right items there are for each query (Q,), at least one.
    """
    discounts = 1 / np.log2(np.arange(2, k + 2))
    gain = right[:, :k] @ discounts[: right[:, :k].shape[1]]
    ideal = discounts.cumsum()[np.minimum(relevant, k) - 1]
    return float((gain / ideal).mean())


MetricName = Literal["recall", "mrr"]
METRICS: Mapping[MetricName, Callable[[Right, int], float]] = {"recall": recall, "mrr": reciprocal_rank}
"""The measures that ranks alone decide, as a function of what is right and of k."""


def overlap(first: NDArray[Any], second: NDArray[Any], p: float = 0.9) -> tuple[float, float]:
    """Return how alike two rankings (Q, K) are, 0 to 1, averaged over queries.

    The share of items in common, and rank-biased overlap at depth K (Webber, Moffat and Zobel 2010), divided
    by its greatest value there.

    Args:
        p: how far rank-biased overlap looks, 0 to 1.
    """
    shares, overlaps = [], []
    weights = p ** np.arange(first.shape[1])
    for a, b in zip(first, second, strict=True):
        agreement = [len({*a[:depth]} & {*b[:depth]}) / depth for depth in range(1, len(a) + 1)]
        shares.append(agreement[-1])
        overlaps.append(float(np.average(agreement, weights=weights)))
    return float(np.mean(shares)), float(np.mean(overlaps))


def chance(relevant: NDArray[np.int64], gallery: int, k: int) -> float:
    """Return the expected recall@k of a random order: 1 - C(N - r, k) / C(N, k), averaged over queries.

    Args:
        relevant: how many items of the gallery are right for each query (Q,).
        gallery: N, how many items there are.
    """
    draws = np.arange(min(k, gallery))
    misses = (gallery - relevant[:, None] - draws).clip(0) / (gallery - draws)  # (Q, k)
    return float(1 - misses.prod(axis=1).mean())


def final(matrix: Matrix) -> float | None:
    """Return the mean over tasks after the last lesson."""
    return mean([value for value in matrix[-1] if value is not None])


def forgetting(matrix: Matrix) -> float | None:
    """Return how far tasks fell from their best: mean of max_t<T R[t][i] - R[T][i] (Chaudhry et al. 2018).

    Only tasks that were there before the last lesson count; one that has gained since counts below zero.
    """
    falls = []
    for j in _scored_before(matrix):
        now = matrix[-1][j]
        if now is not None:
            falls.append(max(value for row in matrix[:-1] if (value := row[j]) is not None) - now)
    return mean(falls)


def bwt(matrix: Matrix) -> float | None:
    """Return backward transfer: mean of R[T][i] - R[i][i] (Lopez-Paz and Ranzato 2017, over T - 1 tasks)."""
    changes = []
    for j in _scored_before(matrix):
        first, now = _first(matrix, j), matrix[-1][j]
        if now is not None and first is not None:
            changes.append(now - first)
    return mean(changes)


def plasticity(matrix: Matrix) -> float | None:
    """Return how well tasks were learned when they were new: the mean of R[i][i]."""
    firsts = [_first(matrix, j) for j in range(len(matrix[-1]))]
    return mean([first for first in firsts if first is not None])


def forward_transfer(untrained: Sequence[float | None], future: Matrix) -> float | None:
    """Return what earlier lessons give a task before it is learned: mean of R[i-1][i] - b[i].

    Lopez-Paz and Ranzato 2017, over the tasks that are not the first.

    Args:
        untrained: b, each task's score under the untrained head.
        future: the scores of tasks that are still to be learned, None for all others.
    """
    gains = []
    for j, base in enumerate(untrained):
        before = [row[j] for row in future if row[j] is not None]
        if base is not None and before and before[-1] is not None:
            gains.append(before[-1] - base)
    return mean(gains)


def paired(
    first: Sequence[NDArray[np.bool_]], second: Sequence[NDArray[np.bool_]], draws: int = 4000
) -> tuple[float, float, float]:
    """Return how far the first of two results is above the second, and a 95 % interval (bootstrap).

    The mean over groups of the mean difference of their queries. Queries are drawn anew within each group, and
    seeds, where there are several, over all groups.

    Args:
        first, second: which queries of each group found something right: (Q,), or (S, Q) for S seeds.
    """
    generator = np.random.default_rng(0)
    gaps = [np.atleast_2d(a.astype(np.int64) - b) for a, b in zip(first, second, strict=True)]
    seeds = len(gaps[0])
    shares = generator.multinomial(seeds, np.full(seeds, 1 / seeds), draws) / seeds  # (draws, S)
    drawn = np.zeros(draws)
    for gap in gaps:
        patterns, counts = np.unique(gap, axis=1, return_counts=True)  # (S, P): queries of one outcome as one
        weights = generator.multinomial(gap.shape[1], counts / gap.shape[1], draws) / gap.shape[1]
        drawn += (shares * (weights @ patterns.T)).sum(axis=1)
    low, high = np.quantile(drawn / len(gaps), [0.025, 0.975])
    return float(np.mean([gap.mean() for gap in gaps])), float(low), float(high)


def _scored_before(matrix: Matrix) -> list[int]:
    """Return the tasks that have a score before the last row."""
    return [j for j in range(len(matrix[-1])) if any(row[j] is not None for row in matrix[:-1])]


def _first(matrix: Matrix, j: int) -> float | None:
    """Return a task's first score: that of its own lesson."""
    return next((row[j] for row in matrix if row[j] is not None), None)


def mean(values: Sequence[float]) -> float | None:
    """Return the mean of values; None of none."""
    return float(np.mean(values)) if values else None


def parse_ks(ks: str) -> list[int]:
    """Parse `1,5,10` into rising numbers, each once.

    Raises:
        InvalidSetting: something is no number, or below 1.
    """
    try:
        numbers = sorted({int(k) for k in ks.split(",")})
    except ValueError:
        numbers = []
    if not numbers or numbers[0] < 1:
        raise InvalidSetting("k", f"takes numbers from 1, comma-separated, not {ks!r}")
    return numbers
