"""Pure functions that turn the candidates of several shards into one ranking, by cosine or by probability.

Cosines of shards that different heads built are not comparable. A mixture over tasks is:
p(item | q) = sum over tasks of p(task | q) p(item | task, q), and p(item | task, q) = exp(s / tau - log Z(q)).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.ids import Ids

Scores = NDArray[np.float64]
Numbers = NDArray[np.int64]
NO_SCORE = -np.inf
DECIMALS = 9
"""Scores that agree to so many decimals are ties, which are ordered by item id."""

BEST = 10
"""How many of a shard's items count exactly in its partition; however few or many are asked for."""


@dataclass(frozen=True)
class Candidates:
    """What one shard offers for Q queries, best first.

    Attributes:
        scores: cosine (Q, n), -1 to 1, -inf where there is no candidate.
        ids: item ids (Q, n), 32 hex digits as bytes; or numbers that stand in the order of the ids, which are
            quicker to merge. They mean nothing where there is no candidate.
    """

    scores: Scores
    ids: Ids | Numbers


@dataclass(frozen=True)
class Odds:
    """What turns the cosines of one shard into log p(item | q) = s / tau + shift.

    Attributes:
        tau: the temperature, above 0.
        shift: (Q,) log p(task | q) - log Z(q).
    """

    tau: float
    shift: Scores


@dataclass(frozen=True)
class Ranking:
    """One answer for each of Q queries.

    Attributes:
        scores: cosines (Q, K), best first, -inf where there is nothing more.
        ids: item ids (Q, K), or numbers as the candidates had them.
        part: which part (Q, K) each came from.
        log_p: log p(item | q) (Q, K), by which the ranking is ordered; None where it is by cosine.
    """

    scores: Scores
    ids: Ids | Numbers
    part: NDArray[np.intp]
    log_p: Scores | None = None


def merge(parts: Sequence[Candidates], k: int, odds: Sequence[Odds] | None = None) -> Ranking:
    """Rank across all parts by cosine, or by log p where each part's odds are given.

    An item that several parts offer counts once, with its best.
    """
    scores = np.concatenate([part.scores for part in parts], axis=1)  # (Q, n)
    ids = np.concatenate([part.ids for part in parts], axis=1)
    part = np.concatenate([np.full(p.scores.shape, n) for n, p in enumerate(parts)], axis=1)
    by = (
        scores if odds is None else np.concatenate([_log_p(*two) for two in zip(parts, odds, strict=True)], 1)
    )
    numbers = np.unique(ids, return_inverse=True)[1].reshape(ids.shape)
    order = np.lexsort((part, numbers, -by.round(DECIMALS)), axis=1)
    repeated = _repeated(np.take_along_axis(numbers, order, 1))
    order = np.take_along_axis(order, np.argsort(repeated, axis=1, kind="stable"), 1)[:, :k]
    keep = np.arange(order.shape[1]) < (~repeated).sum(axis=1, keepdims=True)
    scores, ids, part, by = (np.take_along_axis(array, order, 1) for array in (scores, ids, part, by))
    return Ranking(
        np.where(keep, scores, NO_SCORE), ids, part, None if odds is None else np.where(keep, by, NO_SCORE)
    )


def log_partition(rows: int, best: Scores, sample: Scores, tau: float) -> Scores:
    """Return log Z(q) = log of the sum over the items of a shard of exp(cosine / tau), for Q queries: (Q,).

    The best count as they are, the others as those of the sample do on average; a sample of all is exact.

    Args:
        rows: N, how many items there are.
        best: the cosines of the n nearest (Q, n), falling.
        sample: the cosines of a fair sample of all items (Q, S).
    """
    top, worst = best[:, :1], best[:, -1:]
    shares = np.exp((sample - top) / tau)
    if sample.shape[1] == rows:
        total = shares.sum(axis=1)
    else:
        below = sample < worst - 10.0**-DECIMALS
        each = (shares * below).sum(axis=1) / np.maximum(below.sum(axis=1), 1)
        each = np.where(below.any(axis=1), each, np.exp((worst - top) / tau)[:, 0])
        total = np.exp((best - top) / tau).sum(axis=1) + (rows - best.shape[1]) * each
    found: Scores = top[:, 0] / tau + np.log(total)
    return found


def _log_p(part: Candidates, odds: Odds) -> Scores:
    return part.scores / odds.tau + odds.shift[:, None]


def _repeated(numbers: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Mark (Q, n) every number that stands further left in its row already."""
    order = np.argsort(numbers, axis=1, kind="stable")
    ascending = np.take_along_axis(numbers, order, 1)
    same = np.zeros(numbers.shape, bool)
    same[:, 1:] = ascending[:, 1:] == ascending[:, :-1]
    marked = np.empty_like(same)
    np.put_along_axis(marked, order, same, 1)
    return marked
