"""What each policy costs after the last lesson: the shards it wants that the lesson before left it without."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from engine.heads.embedder import BLOCK, Embedder
from engine.types import ItemId, ShardKey
from indexer.embeddings.embeddings import EmbeddingCache, embedding_cache
from indexer.evaluation import plans
from indexer.evaluation.composed_queries import parts
from indexer.evaluation.embedded import Galleries
from indexer.evaluation.evaluate import Evaluation
from indexer.evaluation.protocol import eval_set
from indexer.evaluation.runs import Trial
from indexer.policies.plan import Plan
from indexer.policies.statistics import DirectionStatistics
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


def costs(evaluation: Evaluation, trial: Trial) -> Iterator[Cost]:
    """Yield the cost of every policy and reference; what auto and partial measure to choose is not counted."""
    settings = replace(evaluation.settings, gallery="all")
    direction, workspace = (parts(trial.query)[0], trial.target), evaluation.workspace
    whole = eval_set(evaluation.pairs, evaluation.tasks, direction, settings)
    # a cache of its own: one that had fitted its maps already would hide what they cost
    cache = embedding_cache(Embedder(workspace, evaluation.device), evaluation.store, evaluation.pairs)
    galleries = Galleries(direction, whole.galleries, cache, whole.qrels)
    statistics = DirectionStatistics(cache, whole.groups, *direction, galleries.items)
    seconds: dict[ShardKey, float] = {}
    for system in evaluation.systems:
        new = missing(galleries, plans.plans(system, evaluation.history, statistics, whole.tasks))
        seconds |= {key: _seconds(cache, key, ids) for key, ids in new.items() if key not in seconds}
        yield Cost(
            policy=system.name,
            items=sum(map(len, new.values())),
            bytes=sum(shards.size(len(ids), workspace.manifest.width) for ids in new.values()),
            seconds=sum(seconds[key] for key in new),
        )


def missing(galleries: Galleries, by_lesson: Sequence[Plan]) -> dict[ShardKey, list[ItemId]]:
    """Return the shards, and their items, that the plan after the last lesson wants and the one before did not."""
    before = _wanted(galleries, by_lesson[-2]) if len(by_lesson) > 1 else {}
    return {key: ids for key, ids in _wanted(galleries, by_lesson[-1]).items() if ids and key not in before}


def _wanted(galleries: Galleries, plan: Plan) -> dict[ShardKey, list[ItemId]]:
    """Return the shards of a plan and the items of each."""
    items = {task: galleries.items(task) for task in plan}
    return {
        place.key(task, galleries.modality): items[task] if place.items is None else list(place.items)
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
