"""What an evaluation asks: the queries of each task, the galleries, and what is right."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from engine.evaluation import metrics
from engine.evaluation.qrels import Qrels, judge
from engine.evaluation.splits import Groups, distinct, grouped, items_of, of_task
from engine.ids import Ids
from engine.types import Gallery, MergeName, Modality, Pair, PolicyName, Relevance, Split


@dataclass(frozen=True)
class EvalSettings:
    """What is asked of an evaluation.

    Attributes:
        ks: the K of recall@K.
        split: whose pairs give the queries.
        gallery: whose pairs give the items to be found.
        budget: what `partial` embeds again after each lesson, a share of all items.
        details: what takes longer than the matrices: zero-shot and future cells, forgetting on the final gallery.
    """

    policies: Sequence[PolicyName] = ("reindex", "no-reindex", "matched")
    merges: Sequence[MergeName] = ("raw",)
    ks: Sequence[int] = (1, 5, 10)
    split: Split = "test"
    gallery: Gallery = "test"
    relevance: Relevance = "pair"
    budget: float = 0.1
    details: bool = True


@dataclass(frozen=True)
class Exam:
    """What a direction is tested on.

    Attributes:
        queries, targets: of each task: who asks, and the gallery.
        seen: how many of a task's queries stand in train pairs too.
    """

    groups: Groups
    queries: dict[str, Ids]
    targets: dict[str, Ids]
    seen: dict[str, int]
    judge: Qrels
    _relevant: dict[tuple[str, ...], NDArray[np.int64]] = field(default_factory=dict, init=False)
    _galleries: dict[tuple[str, ...], Ids] = field(default_factory=dict, init=False)

    def chance(self, task: str, searched: Sequence[str], k: int) -> float | None:
        """Return what a random order of the gallery of some tasks would give a task's queries."""
        if not len(self.queries[task]):
            return None
        return metrics.chance(self.relevant(task, searched), len(self._gallery(tuple(searched))), k)

    def relevant(self, task: str, searched: Sequence[str]) -> NDArray[np.int64]:
        """Return how many items of the galleries of some tasks are right for each query of a task (Q,)."""
        key = (task, *searched)
        if key not in self._relevant:
            self._relevant[key] = self.judge.count(self.queries[task], self._gallery(tuple(searched)))
        return self._relevant[key]

    def _gallery(self, searched: tuple[str, ...]) -> Ids:
        """Return the items of some tasks, each once."""
        if searched not in self._galleries:
            self._galleries[searched] = np.unique(np.concatenate([self.targets[name] for name in searched]))
        return self._galleries[searched]


def exam(
    pairs: Sequence[Pair], tasks: Sequence[str], way: tuple[Modality, Modality], setting: EvalSettings
) -> Exam:
    """Return what a direction is tested on: the queries that have a right item in their task's gallery."""
    query, target = way
    judged = judge(pairs, setting.relevance, way)
    groups = grouped(pairs)
    queries, targets, seen = {}, {}, {}
    learned = distinct([pair for pair in pairs if pair.split == "train"], query)
    for task in tasks:
        held = of_task(groups, task) if setting.gallery == "all" else groups.get((task, setting.gallery), ())
        targets[task] = distinct(held, target)
        asked = items_of(groups, task, setting.split, query)
        queries[task] = asked[judged.count(asked, targets[task]) > 0]
        seen[task] = int(np.isin(queries[task], learned).sum())
    return Exam(groups, queries, targets, seen, judged)
