"""What each policy would have answered after every lesson: the matrices, from features and heads alone."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine import metrics
from engine.embed import Embedder
from engine.errors import UserError
from engine.merge import MERGES, Ids, Ranking
from engine.query import Asked, rank
from engine.store import Store
from engine.types import (
    Gallery,
    History,
    ItemId,
    MergeName,
    Modality,
    Pair,
    PolicyName,
    Relevance,
    ShardKey,
    Split,
)
from engine.workspace import Workspace, open_at
from indexer import shard
from indexer.policy import POLICIES, Plan, up_to
from indexer.relevance import Judge, judge
from indexer.shard import Shard


@dataclass(frozen=True)
class Setting:
    """What is asked of an evaluation.

    Attributes:
        ks: the K of recall@K.
        split: whose pairs give the queries.
        gallery: whose pairs give the items to be found.
    """

    policies: Sequence[PolicyName] = ("reindex", "no-reindex", "matched")
    merges: Sequence[MergeName] = ("raw",)
    ks: Sequence[int] = (1, 5, 10)
    split: Split = "test"
    gallery: Gallery = "test"
    relevance: Relevance = "pair"


@dataclass(frozen=True)
class Result:
    """One matrix; row: after lesson i, column: the queries of task j."""

    policy: PolicyName
    merge: MergeName | None
    query: Modality
    target: Modality
    task_known: bool
    k: int
    matrix: list[list[float | None]]
    final: float | None
    forgetting: float | None
    bwt: float | None
    queries: list[int]
    chance: list[float | None]


@dataclass
class Evaluation:
    """A workspace under evaluation; embeddings are kept while one direction is worked on."""

    workspace: Workspace
    store: Store
    setting: Setting
    device: str = "cpu"
    pairs: list[Pair] = field(init=False)
    embedder: Embedder = field(init=False)

    def __post_init__(self) -> None:
        self.pairs = self.store.pairs()
        self.embedder = Embedder(self.workspace, self.device)

    @property
    def history(self) -> History:
        """What is judged: every lesson, and the arrival of those tasks that were never learned."""
        history = self.workspace.manifest.history
        learned = {lesson.task for lesson in history.lessons}
        return History(history.lessons, tuple(a for a in history.arrivals if a.task not in learned))

    @property
    def tasks(self) -> list[str]:
        """The tasks in the order they were learned, then those that were never learned."""
        learned = dict.fromkeys(self.lessons)
        return [*learned, *(arrival.task for arrival in self.history.arrivals)]

    @property
    def lessons(self) -> list[str]:
        """The task of each lesson."""
        return [lesson.task for lesson in self.workspace.manifest.history.lessons]

    def results(self) -> Iterator[Result]:
        """Yield the matrices of every direction, policy and merge, task known and unknown, at every K."""
        if not self.tasks:
            raise UserError("nothing is indexed yet: run `mneme index SOURCE`")
        directions = self._directions()
        if not directions:
            raise UserError(
                f"no {self.setting.split} pair joins two modalities: there is nothing to evaluate"
            )
        for query, target in directions:
            direction = Direction(self, query, target)
            for policy in self.setting.policies:
                yield from direction.results(policy, None)
                for merge in self.setting.merges:
                    yield from direction.results(policy, merge)

    def plans(self, policy: PolicyName) -> list[Plan]:
        """Return the policy's plan after every lesson; without lessons, the one of the untrained head."""
        history = self.history
        after = [lesson.number for lesson in history.lessons] or [0]
        return [POLICIES[policy](up_to(history, number)) for number in after]

    def _directions(self) -> list[tuple[Modality, Modality]]:
        """Return every ordered pair of modalities that some pair of the split joins."""
        joined = {frozenset(pair.items) for pair in self.pairs if pair.split == self.setting.split}
        return sorted({two for held in joined for two in permutations(sorted(held), 2)})


@dataclass
class Direction:
    """One query modality and one target modality, over all tasks and lessons."""

    evaluation: Evaluation
    query: Modality
    target: Modality
    _queries: dict[str, Ids] = field(default_factory=dict)
    _targets: dict[str, Ids] = field(default_factory=dict)
    _judge: Judge = field(init=False)
    _embedded: dict[tuple[str, int], NDArray[np.float32]] = field(default_factory=dict)
    _galleries: dict[tuple[str, int], Shard] = field(default_factory=dict)
    _answers: dict[object, NDArray[np.bool_]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        evaluation = self.evaluation
        self._judge = judge(evaluation.pairs, evaluation.setting.relevance, (self.query, self.target))
        for task in evaluation.tasks:
            self._targets[task] = self._members(task, self.target, evaluation.setting.gallery)
            asked = self._members(task, self.query, evaluation.setting.split)
            self._queries[task] = asked[self._judge.count(asked, self._targets[task]) > 0]

    def results(self, policy: PolicyName, merge: MergeName | None) -> Iterator[Result]:
        """Yield one matrix for each K; without a merge the task is known."""
        tasks, plans = self.evaluation.tasks, self.evaluation.plans(policy)
        right = [[self._right(plan, task, merge) for task in tasks] for plan in plans]
        for k in self.evaluation.setting.ks:
            matrix = [[None if r is None else metrics.recall(r, k) for r in row] for row in right]
            yield Result(
                policy=policy,
                merge=merge,
                query=self.query,
                target=self.target,
                task_known=merge is None,
                k=k,
                matrix=matrix,
                final=metrics.final(matrix),
                forgetting=metrics.forgetting(matrix),
                bwt=metrics.bwt(matrix),
                queries=[len(self._queries[task]) for task in tasks],
                chance=[self._chance(task, tasks if merge else [task], k) for task in tasks],
            )

    def ranking(self, plan: Plan, task: str, merge: MergeName | None) -> tuple[Ids, Ranking]:
        """Return the queries of a task and what is found for them; without a merge the task is known."""
        searched = [task] if merge is None else [t for t in plan if len(self._targets[t])]
        asked = [
            Asked(self._gallery(name, plan[name].items), self._embed(task, plan[name].queries))
            for name in searched
        ]
        return self._queries[task], rank(asked, max(self.evaluation.setting.ks), MERGES[merge or "raw"])

    def _right(self, plan: Plan, task: str, merge: MergeName | None) -> NDArray[np.bool_] | None:
        """Return which of the first K are right (Q, K); None where the task is not there yet."""
        if task not in plan or not len(self._queries[task]):
            return None
        state = (plan[task],) if merge is None else tuple(plan.items())
        if (task, merge, state) not in self._answers:
            queries, found = self.ranking(plan, task, merge)
            self._answers[task, merge, state] = self._judge.right(queries, found.ids) & np.isfinite(
                found.scores
            )
        return self._answers[task, merge, state]

    def _chance(self, task: str, searched: Sequence[str], k: int) -> float | None:
        queries, gallery = (
            self._queries[task],
            np.unique(np.concatenate([self._targets[t] for t in searched])),
        )
        if not len(queries):
            return None
        return metrics.chance(self._judge.count(queries, gallery), len(gallery), k)

    def _members(self, task: str, modality: Modality, split: str) -> Ids:
        """Return the distinct items of one modality in a task's pairs of a split, sorted."""
        held = (p for p in self.evaluation.pairs if p.task == task and split in (p.split, "all"))
        return np.array(sorted({id for pair in held for id in pair.items.get(modality, ())}), "S32")

    def _embed(self, task: str, head: int) -> NDArray[np.float32]:
        if (task, head) not in self._embedded:
            ids = [id.decode() for id in self._queries[task]]
            self._embedded[task, head] = self._vectors(head, self.query, ids)
        return self._embedded[task, head]

    def _gallery(self, task: str, head: int) -> Shard:
        if (task, head) not in self._galleries:
            ids = [id.decode() for id in self._targets[task]]
            built = shard.build(ShardKey(task, self.target, head), ids, self._vectors(head, self.target, ids))
            on_gpu = self.evaluation.device == "cuda" and shard.gpus()
            self._galleries[task, head] = shard.to_gpu(built) if on_gpu else built
        return self._galleries[task, head]

    def _vectors(self, head: int, modality: Modality, ids: list[ItemId]) -> NDArray[np.float32]:
        blocks = self.evaluation.embedder.blocks(self.evaluation.store, head, modality, ids)
        return np.concatenate(list(blocks))


def to_json(evaluation: Evaluation, results: Sequence[Result]) -> Mapping[str, object]:
    """Return what `mneme evaluate --json` prints."""
    return {
        "format": 1,
        "tasks": evaluation.tasks,
        "lessons": evaluation.lessons,
        "results": [vars(result) for result in results],
    }


@contextmanager
def open_evaluation(root: Path, setting: Setting, *, device: str = "cpu") -> Iterator[Evaluation]:
    """Open a workspace for evaluation."""
    workspace = open_at(root)
    with Store(workspace.store) as store:
        yield Evaluation(workspace, store, setting, device)
