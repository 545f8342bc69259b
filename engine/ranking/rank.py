"""Search several shards with a query, merge what they offer, and say of each item found what it is."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from engine.ranking.fusion import (
    BEST,
    NO_SCORE,
    Candidates,
    Odds,
    Partition,
    Ranking,
    Scores,
    TaskPosterior,
    merge,
    odds_of,
)
from engine.storage.store import Store
from engine.types import Hit, ShardKey


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


def rank(shard_queries: Sequence[ShardQuery], k: int, posterior: TaskPosterior | None = None) -> Ranking:
    """Return the K best items of all shards for each query.

    Args:
        posterior: rank by log p(item | q), which needs it; None: by cosine.
    """
    depth = k if posterior is None else max(k, BEST)
    candidates = [query.shard.search(query.queries, depth) for query in shard_queries]
    if posterior is None:
        return merge(candidates, k)
    return merge(candidates, k, _odds(shard_queries, candidates, posterior))


def _odds(
    shard_queries: Sequence[ShardQuery], candidates: Sequence[Candidates], posterior: TaskPosterior
) -> list[Odds]:
    """Return what makes the cosines of each shard comparable."""
    partitions = [
        Partition(
            task=query.shard.key.task,
            tau=query.tau,
            log_z=query.shard.log_partition(query.queries, query.tau, offered.scores[:, :BEST]),
        )
        for query, offered in zip(shard_queries, candidates, strict=True)
    ]
    return odds_of(partitions, posterior)


def hits(
    ranking: Ranking, shard_queries: Sequence[ShardQuery], store: Store, *, min_score: float = -1.0
) -> Iterator[Hit]:
    """Yield the hits of the first query of a ranking, best first; items that the store has let go are left out."""
    count = ranking.scores.shape[1]
    log_p = [None] * count if ranking.log_p is None else ranking.log_p[0].tolist()
    hit_rank = 0
    for score, id, part, log in zip(ranking.scores[0], ranking.ids[0], ranking.part[0], log_p, strict=True):
        known = None if score == NO_SCORE or score < min_score else store.item(id.decode())
        if known is None:
            continue
        item, tasks = known
        key = shard_queries[part].shard.key
        hit_rank += 1
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
        )
