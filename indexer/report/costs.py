"""What each policy costs after the last lesson: the shards it wants that the lesson before left it without."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from engine.heads.embedder import BLOCK, Embedder
from engine.types import ItemId, ShardKey
from indexer.embeddings.embeddings import EmbeddingCache, reader
from indexer.evaluation import plans
from indexer.evaluation.embedded import Galleries
from indexer.evaluation.evaluate import Evaluation
from indexer.evaluation.protocol import eval_set
from indexer.evaluation.runs import Trial
from indexer.policies.policies import Plan
from indexer.policies.statistics import Measured
from indexer.shards import files as shards

REPEATS = 3
"""How often a sample is timed; the fastest counts."""


@dataclass(frozen=True)
class Cost:
    """What bringing all stored items of one direction to a policy costs.

    Attributes:
        items: how many embeddings are made; bytes: of their shards on disk.
        seconds: to read features and embed them, at the rate of a sample, and to fit maps.
    """

    policy: str
    items: int
    bytes: int
    seconds: float


def costs(evaluation: Evaluation, trial: Trial) -> Iterator[Cost]:
    """Yield the cost of every policy and reference; what auto and partial measure to choose is not counted."""
    settings = replace(evaluation.settings, gallery="all")
    way = (trial.query, trial.target)
    whole = eval_set(evaluation.pairs, evaluation.tasks, way, settings)
    workspace = evaluation.workspace
    # a reader of its own: one that had fitted its maps already would hide what they cost
    fresh = reader(Embedder(workspace, evaluation.device), evaluation.store, evaluation.pairs)
    galleries = Galleries(way, whole.galleries, fresh, whole.qrels)
    statistics = Measured(fresh, whole.groups, *way, galleries.items)
    took: dict[ShardKey, float] = {}
    for system in evaluation.systems:
        last = plans.plans(system, evaluation.history, statistics, whole.tasks)[-2:]
        made = missing(galleries, last)
        took |= {key: _seconds(fresh, key, ids) for key, ids in made.items() if key not in took}
        yield Cost(
            policy=system.name,
            items=sum(map(len, made.values())),
            bytes=sum(shards.size(len(ids), workspace.manifest.width) for ids in made.values()),
            seconds=sum(took[key] for key in made),
        )


def missing(galleries: Galleries, last: Sequence[Plan]) -> dict[ShardKey, list[ItemId]]:
    """Return the shards, and their items, that the last plan wants and the one before, if there is one, did not."""
    wanted = [
        {
            place.key(task, galleries.modality): list(place.items or galleries.items(task))
            for task, there in plan.items()
            for place in there
        }
        for plan in last
    ]
    before = wanted[0] if len(wanted) == 2 else {}
    return {key: ids for key, ids in wanted[-1].items() if ids and key not in before}


def _seconds(read: EmbeddingCache, key: ShardKey, ids: list[ItemId]) -> float:
    """Return how long a shard takes at the rate of a sample; its heads have been read."""
    sample = ids[:BLOCK]
    read.embed(key.modality, sample[:1], key.head)
    began = time.perf_counter()
    if key.space != key.head:
        read.map(key.modality, key.head, key.space)
    fitted = time.perf_counter() - began
    took = min(read.seconds(key.modality, sample, key.head, key.space) for _ in range(REPEATS))
    return fitted + took * len(ids) / len(sample)
