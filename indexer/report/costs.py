"""What each policy costs after the last lesson: the shards it wants that the lesson before left it without."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from engine.heads.embedder import BLOCK, Embedder
from engine.types import ItemId, ShardKey
from indexer.embeddings.embeddings import EmbeddingCache, embedding_cache
from indexer.evaluation.evaluate import Evaluation
from indexer.evaluation.protocol import exam
from indexer.evaluation.runs import Direction
from indexer.policies.plan import Plan
from indexer.shards import files as shards

REPEATS = 3
"""How often a sample is timed; the fastest counts."""


@dataclass(frozen=True)
class Cost:
    """What bringing all stored items of one direction to a policy costs.

    Attributes:
        items: how many embeddings are made.
        bytes: of their shards on disk.
        seconds: to read features and embed them, at the rate of a sample, and to fit maps.
    """

    policy: str
    items: int
    bytes: int
    seconds: float


def costs(evaluation: Evaluation, direction: Direction) -> Iterator[Cost]:
    """Yield the cost of every policy and reference; what auto and partial measure to choose is not counted."""
    setting = replace(evaluation.setting, gallery="all")
    modalities = (direction.query, direction.target)
    tested = exam(evaluation.pairs, evaluation.tasks, modalities, setting)
    workspace = evaluation.workspace
    # a cache of its own: one that had fitted its maps already would hide what they cost
    cache = embedding_cache(Embedder(workspace, evaluation.device), evaluation.store, evaluation.pairs)
    references = direction.references
    whole = Direction(
        cache, evaluation.history, *modalities, tested, {}, 1, budget=setting.budget, references=references
    )
    seconds: dict[ShardKey, float] = {}
    for policy in (*setting.policies, *references):
        new = missing(whole, policy)
        seconds |= {key: _seconds(cache, key, ids) for key, ids in new.items() if key not in seconds}
        yield Cost(
            policy=policy,
            items=sum(map(len, new.values())),
            bytes=sum(shards.size(len(ids), workspace.manifest.width) for ids in new.values()),
            seconds=sum(seconds[key] for key in new),
        )


def missing(direction: Direction, policy: str) -> dict[ShardKey, list[ItemId]]:
    """Return the shards, and their items, that a policy wants after the last lesson and did not before it."""
    plans = direction.plans(policy)
    before = _wanted(direction, plans[-2]) if len(plans) > 1 else {}
    return {key: ids for key, ids in _wanted(direction, plans[-1]).items() if ids and key not in before}


def _wanted(direction: Direction, plan: Plan) -> dict[ShardKey, list[ItemId]]:
    """Return the shards of a plan and the items of each."""
    items = {task: [id.decode() for id in direction.exam.targets[task]] for task in plan}
    return {
        place.key(task, direction.target): items[task] if place.items is None else list(place.items)
        for task, placements in plan.items()
        for place in placements
    }


def _seconds(cache: EmbeddingCache, key: ShardKey, ids: list[ItemId]) -> float:
    """Return how long a shard takes at the rate of a sample; reading its heads is not counted."""
    sample = ids[:BLOCK]
    cache.embed(key.modality, sample[:1], key.head)
    began = time.perf_counter()
    if key.space != key.head:
        cache.map_between(key.modality, key.head, key.space)
    fitting = time.perf_counter() - began
    embedding = min(cache.seconds(key.modality, sample, key.head, key.space) for _ in range(REPEATS))
    return fitting + embedding * len(ids) / len(sample)
