"""The queries and galleries of one direction, as any head embeds them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from engine.evaluation.qrels import Qrels
from engine.ids import Ids, decode
from engine.ranking.fusion import BEST, Scores
from engine.ranking.query import unit_sum
from engine.types import ItemId, Modality
from indexer.embeddings.embeddings import EmbeddingCache
from indexer.embeddings.lru import LruCache
from indexer.evaluation.composed_queries import part_ids, parts
from indexer.policies.plan import Placement
from indexer.routing.slda import Router, averaged
from indexer.shards.gpu import to_gpu
from indexer.shards.shard import Shard, build_shard

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Caches:
    """What was computed of any direction and may be needed again, each kind within a bound of bytes.

    Attributes:
        shards: by direction and shard key.
        candidates: what a shard offers for the queries of a task.
        scores: log partitions (Q,) of a shard and log posteriors (Q, T) of tasks, for the queries of a task.
        judgements: of runs, by task.
    """

    shards: LruCache = field(default_factory=lambda: LruCache(1 << 30, lambda shard: shard.vectors.nbytes))
    candidates: LruCache = field(
        default_factory=lambda: LruCache(1 << 28, lambda offer: offer.scores.nbytes + offer.ids.nbytes)
    )
    scores: LruCache = field(default_factory=lambda: LruCache(1 << 28, lambda scores: scores.nbytes))
    judgements: LruCache = field(
        default_factory=lambda: LruCache(
            1 << 28, lambda tasks: sum(judged.nbytes for judged in tasks.values())
        )
    )


@dataclass(frozen=True)
class Queries:
    """The queries of each task.

    Attributes:
        modality: theirs; of composed queries several, joined by +.
        ids: of each task, sorted.
    """

    modality: Modality
    ids: Mapping[str, Ids]
    embeddings: EmbeddingCache

    @cached_property
    def digests(self) -> dict[str, bytes]:
        """What tells the queries of a task from any others."""
        return {task: blake2b(ids.tobytes(), digest_size=16).digest() for task, ids in self.ids.items()}

    def embed(self, task: str, head: int) -> Vectors:
        """Return the embeddings (Q, E) of a task's queries by a head."""
        embedded = [self.embeddings.embed(modality, ids, head) for modality, ids in self._parts(task)]
        return embedded[0] if len(embedded) == 1 else unit_sum(embedded)

    def posterior(self, task: str, routers: Mapping[Modality, Router], tasks: Sequence[str]) -> Scores:
        """Return log p(task | q) (Q, T) of a task's queries, for T tasks, by the routers of their parts."""
        return averaged(
            [
                routers[modality].log_p(self.embeddings.features(modality, ids), tasks)
                for modality, ids in self._parts(task)
            ]
        )

    def _parts(self, task: str) -> list[tuple[Modality, list[ItemId]]]:
        """Return the items that a task's queries are made of, modality by modality."""
        ids = decode(self.ids[task])
        return [(modality, part_ids(ids, place)) for place, modality in enumerate(parts(self.modality))]


@dataclass(frozen=True)
class Galleries:
    """The items of each task that are to be found.

    Attributes:
        direction: from the modality of the queries to their own.
        ids: of each task, sorted.
        qrels: gives items their numbers, which are quicker to merge than ids.
        depth: how many items each shard offers for a query, and a run holds.
    """

    direction: tuple[Modality, Modality]
    ids: Mapping[str, Ids]
    embeddings: EmbeddingCache
    qrels: Qrels
    depth: int = BEST
    on_gpu: bool = False
    caches: Caches = field(default_factory=Caches)

    @property
    def modality(self) -> Modality:
        """What is to be found."""
        return self.direction[1]

    def items(self, task: str) -> list[ItemId]:
        """Return the items of a task, sorted."""
        return decode(self.ids[task]) if task in self.ids else []

    def embed(self, task: str, head: int) -> Vectors:
        """Return the embeddings (N, E) of a task's items by a head, in the order of their ids."""
        return self.embeddings.embed(self.modality, self.items(task), head)

    def shard(self, task: str, placement: Placement) -> Shard:
        """Return the shard of a task's items that a placement holds; it offers numbers instead of ids."""
        key = placement.key(task, self.modality)

        def build() -> Shard:
            ids = self.items(task)
            if placement.items is not None:
                ids = sorted(set(ids) & set(placement.items))
            shard = build_shard(key, ids, self.embeddings.embed(self.modality, ids, key.head, key.space))
            numbered = replace(shard, ids=self.qrels.numbers(shard.ids))
            return to_gpu(numbered) if self.on_gpu else numbered

        return self.caches.shards.get((self.direction, key), build)

    def vectors(self, task: str, placements: Sequence[Placement]) -> Vectors:
        """Return the embeddings (N, E) of a task's items as placements hold them, in the order of their ids."""
        parts = [self.shard(task, placement) for placement in placements]
        order = np.argsort(np.concatenate([shard.ids for shard in parts]))
        rows: Vectors = np.concatenate([shard.vectors for shard in parts])[order]
        return rows
