"""Several shards searched with a query, and what they offer merged into one ranking, by cosine or by probability.

A mixture: p(item | q) = sum over tasks of p(task | q) exp(s / tau - log Z(q)), Z over the items of the task.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from engine.ids import Ids
from engine.storage.store import Store
from engine.types import Hit, ShardKey

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


class Searchable(Protocol):
    """A shard that can be searched for the nearest of its embeddings."""

    @property
    def key(self) -> ShardKey: ...

    def search(self, queries: NDArray[np.float32], k: int) -> Candidates:
        """Return the k best items for each query (Q, E), ties ordered by item id."""
        ...

    def log_partition(self, queries: NDArray[np.float32], tau: float, best: Scores) -> Scores:
        """Return log of the sum over all items of exp(cosine / tau), for each query (Q, E): (Q,).

        Args:
            best: the cosines of the nearest items (Q, n), n at most BEST, as the search found them.
        """
        ...


@dataclass(frozen=True)
class ShardQuery:
    """A shard, and the queries (Q, E) to search it with, embedded by the head version that suits it.

    Attributes:
        tau: what cosines are divided by where they become probabilities; one for all shards of a task.
    """

    shard: Searchable
    queries: NDArray[np.float32]
    tau: float = 0.07


@dataclass(frozen=True)
class TaskPosterior:
    """How probable each of T tasks is for Q queries, given their features: log p(task | q) (Q, T)."""

    tasks: Sequence[str]
    log_p: Scores


@dataclass(frozen=True)
class Partition:
    """A shard's share in what normalises the probabilities of its task's items.

    Attributes:
        tau: the temperature, above 0; one for all shards of a task.
        log_z: (Q,) log of the sum over its items of exp(cosine / tau).
    """

    task: str
    tau: float
    log_z: Scores


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


def rank(shard_queries: Sequence[ShardQuery], k: int, posterior: TaskPosterior | None = None) -> Ranking:
    """Return the K best items of all shards for each query.

    Args:
        posterior: rank by log p(item | q), which needs it; None: by cosine.
    """
    depth = k if posterior is None else max(k, BEST)
    candidates = [query.shard.search(query.queries, depth) for query in shard_queries]
    if posterior is None:
        return merge(candidates, k)
    partitions = [
        Partition(
            task=query.shard.key.task,
            tau=query.tau,
            log_z=query.shard.log_partition(query.queries, query.tau, offered.scores[:, :BEST]),
        )
        for query, offered in zip(shard_queries, candidates, strict=True)
    ]
    return merge(candidates, k, odds_of(partitions, posterior))


def hits(
    ranking: Ranking, shard_queries: Sequence[ShardQuery], store: Store, *, min_score: float = -1.0
) -> Iterator[Hit]:
    """Yield the hits of the first query of a ranking, best first."""
    log_p = [None] * ranking.scores.shape[1] if ranking.log_p is None else ranking.log_p[0].tolist()
    hit_rank = 0
    for score, id, part, log in zip(ranking.scores[0], ranking.ids[0], ranking.part[0], log_p, strict=True):
        key = shard_queries[part].shard.key
        if score == NO_SCORE or score < min_score or not (known := store.item(id.decode(), key.task)):
            continue
        (item, tasks), hit_rank = known, hit_rank + 1
        yield Hit(
            rank=hit_rank,
            score=float(score),
            id=item.id,
            modality=item.modality,
            task=key.task,
            tasks=tasks,
            path=item.paths[0] if item.paths else None,
            text=item.text,
            head=key.head,
            log_p=log,
            paths=item.paths,
            row=item.row,
            rows=item.rows,
        )


def odds_of(partitions: Sequence[Partition], posterior: TaskPosterior) -> list[Odds]:
    """Return the odds of each shard: log p(task | q) - log Z(q), where Z sums over all shards of its task."""
    log_z: dict[str, list[Scores]] = {}  # of the shards of each task
    for partition in partitions:
        log_z.setdefault(partition.task, []).append(partition.log_z)
    column = {task: n for n, task in enumerate(posterior.tasks)}
    shift = {
        task: posterior.log_p[:, column[task]] - np.logaddexp.reduce(parts) for task, parts in log_z.items()
    }
    return [Odds(partition.tau, shift[partition.task]) for partition in partitions]


def merge(parts: Sequence[Candidates], k: int, odds: Sequence[Odds] | None = None) -> Ranking:
    """Rank across all parts by cosine, or by log p where each part's odds are given.

    An item that several parts offer counts once, with its best.
    """
    scores = np.concatenate([candidates.scores for candidates in parts], axis=1)  # (Q, n)
    ids = np.concatenate([candidates.ids for candidates in parts], axis=1)
    part = np.concatenate(
        [np.full_like(offered.scores, n, np.intp) for n, offered in enumerate(parts)], axis=1
    )
    log_p = None
    if odds is not None:
        pairs = zip(parts, odds, strict=True)
        log_p = np.concatenate([part.scores / odd.tau + odd.shift[:, None] for part, odd in pairs], axis=1)
    numbers = np.unique(ids, return_inverse=True)[1].reshape(ids.shape)
    order = np.lexsort((part, numbers, -(scores if log_p is None else log_p).round(DECIMALS)), axis=1)
    repeated = _repeated(np.take_along_axis(numbers, order, 1))
    order = np.take_along_axis(order, np.argsort(repeated, kind="stable"), 1)[:, :k]
    keep = np.arange(order.shape[1]) < (~repeated).sum(axis=1, keepdims=True)
    return Ranking(
        scores=_ranked(scores, order, keep),
        ids=np.take_along_axis(ids, order, 1),
        part=np.take_along_axis(part, order, 1),
        log_p=None if log_p is None else _ranked(log_p, order, keep),
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
        mean = (shares * below).sum(axis=1) / np.maximum(below.sum(axis=1), 1)
        mean = np.where(below.any(axis=1), mean, np.exp((worst - top) / tau)[:, 0])
        total = np.exp((best - top) / tau).sum(axis=1) + (rows - best.shape[1]) * mean
    log_z: Scores = top[:, 0] / tau + np.log(total)
    return log_z


def _ranked(values: Scores, order: NDArray[np.intp], keep: NDArray[np.bool_]) -> Scores:
    """Return values (Q, n) in an order (Q, K), and no score where nothing is kept."""
    return np.where(keep, np.take_along_axis(values, order, 1), NO_SCORE)


def _repeated(numbers: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Mark (Q, n) every number that stands further left in its row already."""
    order = np.argsort(numbers, kind="stable")
    ascending = np.take_along_axis(numbers, order, 1)
    same = np.zeros(numbers.shape, bool)
    same[:, 1:] = ascending[:, 1:] == ascending[:, :-1]
    marked = np.empty_like(same)
    np.put_along_axis(marked, order, same, 1)
    return marked
