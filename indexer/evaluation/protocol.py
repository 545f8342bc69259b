"""How an evaluation is made: its settings, and the queries, galleries and judgements of one direction."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from engine.evaluation import metrics
from engine.evaluation.qrels import Qrels, qrels_of
from engine.evaluation.splits import Groups, distinct, grouped, items_of, of_task
from engine.ids import Ids
from engine.types import AllTasks, Gallery, MergeName, Modality, Pair, PolicyName, Relevance, Split


@dataclass(frozen=True)
class OwnTask:
    """Each query looks in its own task, which is known."""


Condition: TypeAlias = OwnTask | AllTasks
"""What all queries of a matrix are told: each its own task, or none."""


@dataclass(frozen=True)
class EvalSettings:
    """How an evaluation is made.

    Attributes:
        merges: how the shards of all tasks are merged where the task is unknown.
        ks: the K of recall@K.
        split: whose pairs give the queries.
        gallery: whose pairs give the items to be found.
        relevance: what makes an item right for a query: a pair that both are in, or a label that both have.
        budget: what `partial` embeds again after each lesson, a share of all items, 0 to 1.
        details: also measure what takes longer: zero-shot and future cells, forgetting on the final gallery.
    """

    policies: Sequence[PolicyName] = ("reindex", "no-reindex", "matched")
    merges: Sequence[MergeName] = ("raw",)
    ks: Sequence[int] = (1, 5, 10)
    split: Split = "test"
    gallery: Gallery = "test"
    relevance: Relevance = "pair"
    budget: float = 0.1
    details: bool = True

    @property
    def conditions(self) -> list[Condition]:
        """The task known, then unknown by every merge."""
        return [OwnTask(), *map(AllTasks, self.merges)]


@dataclass(frozen=True)
class EvalSet:
    """What one direction is evaluated on.

    Attributes:
        query, target: a modality each; that of the queries may be two joined by +.
        queries: of each task, the items that ask, sorted; each has a right item in its task's gallery.
        galleries: of each task, the items to be found, sorted.
        seen: how many of a task's queries stand in train pairs too.
        groups: all pairs, by task and split.
    """

    query: Modality
    target: Modality
    queries: dict[str, Ids]
    galleries: dict[str, Ids]
    seen: dict[str, int]
    qrels: Qrels
    groups: Groups
    _relevant: dict[tuple[str, ...], NDArray[np.int64]] = field(default_factory=dict, init=False)
    _unions: dict[tuple[str, ...], Ids] = field(default_factory=dict, init=False)

    @property
    def tasks(self) -> list[str]:
        """The tasks, in the order of the matrix."""
        return list(self.queries)

    def chance(self, task: str, searched: Sequence[str], k: int) -> float | None:
        """Return the recall@k of a task's queries where the galleries of some tasks are put in random order.

        None: the task has no queries.
        """
        if not len(self.queries[task]):
            return None
        return metrics.chance(self.relevant(task, searched), len(self._union(tuple(searched))), k)

    def relevant(self, task: str, searched: Sequence[str]) -> NDArray[np.int64]:
        """Return how many items in the galleries of some tasks are right for each query of a task (Q,)."""
        key = (task, *searched)
        if key not in self._relevant:
            self._relevant[key] = self.qrels.count(self.queries[task], self._union(tuple(searched)))
        return self._relevant[key]

    def _union(self, tasks: tuple[str, ...]) -> Ids:
        """Return the items in the galleries of some tasks, each once."""
        if tasks not in self._unions:
            self._unions[tasks] = np.unique(np.concatenate([self.galleries[task] for task in tasks]))
        return self._unions[tasks]


def eval_set(
    pairs: Sequence[Pair], tasks: Sequence[str], direction: tuple[Modality, Modality], settings: EvalSettings
) -> EvalSet:
    """Return what a direction is evaluated on: the queries that have a right item in their task's gallery."""
    query, target = direction
    qrels, groups = qrels_of(pairs, settings.relevance, direction), grouped(pairs)
    queries, galleries, seen = {}, {}, {}
    in_training = distinct([pair for pair in pairs if pair.split == "train"], query)
    for task in tasks:
        if settings.gallery == "all":
            galleries[task] = distinct(of_task(groups, task), target)
        else:
            galleries[task] = items_of(groups, task, settings.gallery, target)
        items = items_of(groups, task, settings.split, query)
        queries[task] = items[qrels.count(items, galleries[task]) > 0]
        seen[task] = int(np.isin(queries[task], in_training).sum())
    return EvalSet(query, target, queries, galleries, seen, qrels, groups)
