"""Pure functions that turn the candidates of several shards into one ranking."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.types import MergeName

Scores = NDArray[np.float64]
Ids = NDArray[np.bytes_]
NO_SCORE = -np.inf
DECIMALS = 9
"""Scores that agree to so many decimals are ties, which are ordered by item id."""


@dataclass(frozen=True)
class Candidates:
    """What one shard offers for Q queries, best first.

    Attributes:
        scores: cosine (Q, n), -1 to 1, -inf where there is no candidate.
        ids: item ids (Q, n), 32 hex digits as bytes, empty where there is no candidate.
    """

    scores: Scores
    ids: Ids


@dataclass(frozen=True)
class Ranking:
    """One answer for each of Q queries: scores and ids (Q, K), and which part (Q, K) each came from."""

    scores: Scores
    ids: Ids
    part: NDArray[np.intp]


def raw(parts: Sequence[Candidates], k: int) -> Ranking:
    """Rank by cosine across all parts; an item that several parts offer counts once, with its best."""
    scores = np.concatenate([part.scores for part in parts], axis=1)  # (Q, n)
    ids = np.concatenate([part.ids for part in parts], axis=1)
    part = np.concatenate([np.full(p.scores.shape, n) for n, p in enumerate(parts)], axis=1)
    numbers = np.unique(ids, return_inverse=True)[1].reshape(ids.shape)
    order = np.lexsort((part, numbers, -scores.round(DECIMALS)), axis=1)
    repeated = _repeated(np.take_along_axis(numbers, order, 1))
    order = np.take_along_axis(order, np.argsort(repeated, axis=1, kind="stable"), 1)[:, :k]
    keep = np.arange(order.shape[1]) < (~repeated).sum(axis=1, keepdims=True)
    found = np.where(keep, np.take_along_axis(scores, order, 1), NO_SCORE)
    return Ranking(found, np.take_along_axis(ids, order, 1), np.take_along_axis(part, order, 1))


def _repeated(numbers: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Mark (Q, n) every number that stands further left in its row already."""
    order = np.argsort(numbers, axis=1, kind="stable")
    ascending = np.take_along_axis(numbers, order, 1)
    same = np.zeros(numbers.shape, bool)
    same[:, 1:] = ascending[:, 1:] == ascending[:, :-1]
    marked = np.empty_like(same)
    np.put_along_axis(marked, order, same, 1)
    return marked


Merge = Callable[[Sequence[Candidates], int], Ranking]
MERGES: dict[MergeName, Merge] = {"raw": raw}
