"""One direction of search over all lessons: what each policy would have answered, from features and heads alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from engine.merge import Candidates, Ranking, Scores
from engine.query import Asked, Guess, rank
from engine.types import (
    Arrival,
    History,
    ItemId,
    MergeName,
    Modality,
    PolicyName,
    ShardKey,
)
from indexer import shard
from indexer.exam import Exam
from indexer.facts import Measured
from indexer.policy import POLICIES, Placement, Plan, newest_head, settled, up_to
from indexer.router import Router
from indexer.shard import Shard
from indexer.vectors import Reader

Right = NDArray[np.bool_]


@dataclass(frozen=True)
class Answered:
    """A shard whose answer to one block of queries is known."""

    key: ShardKey
    found: Candidates
    partition: Callable[[float], Scores]

    def search(self, queries: NDArray[np.float32], k: int) -> Candidates:
        """Return what was found for the block."""
        return self.found

    def log_partition(self, queries: NDArray[np.float32], tau: float) -> Scores:
        """Return the block's log partition (Q,)."""
        return self.partition(tau)


@dataclass
class Direction:
    """One query modality and one target modality, over all tasks and lessons.

    Attributes:
        routers: the router of the query modality after each lesson.
        most: how many items are ranked for a query.
        budget: what `partial` may embed again after each lesson, a share of all items.
    """

    reader: Reader
    history: History
    query: Modality
    target: Modality
    exam: Exam
    routers: Sequence[Router]
    most: int
    budget: float = 0.1
    on_gpu: bool = False
    _plans: dict[PolicyName, list[Plan]] = field(default_factory=dict)
    _wide: dict[tuple[PolicyName, int], Plan] = field(default_factory=dict)
    _facts: Measured = field(init=False)
    _embedded: dict[tuple[str, int], NDArray[np.float32]] = field(default_factory=dict)
    _galleries: dict[ShardKey, Shard] = field(default_factory=dict)
    _found: dict[tuple[str, int, ShardKey], Candidates] = field(default_factory=dict)
    _partitions: dict[tuple[str, int, ShardKey, float], Scores] = field(default_factory=dict)
    _guesses: dict[tuple[int, str, int], Scores] = field(default_factory=dict)
    _rights: dict[object, Right] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._facts = Measured(self.reader, self.exam.pairs, self.query, self.target, self._items)

    @property
    def after(self) -> list[int]:
        """The numbers of the lessons; 0 alone where there are none."""
        return [lesson.number for lesson in self.history.lessons] or [0]

    def plans(self, policy: PolicyName) -> list[Plan]:
        """Return the policy's plan after every lesson; without lessons, the one of the untrained head."""
        if policy not in self._plans:
            found: list[Plan] = []
            for number in self.after:
                now = {} if not found else {task: self._now(task, there) for task, there in found[-1].items()}
                facts = self._facts.standing(now, self.budget if policy == "partial" else 0.0)
                found.append(POLICIES[policy](up_to(self.history, number), facts))
            self._plans[policy] = found
        return self._plans[policy]

    def wide(self, policy: PolicyName, row: int) -> Plan:
        """Return the plan after a lesson if all later tasks had been indexed then, without being learned."""
        if (policy, row) not in self._wide:
            known = up_to(self.history, self.after[row])
            late = [lesson.task for lesson in self.history.lessons if lesson.number > self.after[row]]
            fresh = [task for task in dict.fromkeys(late) if task not in settled(known)]
            arrivals = [Arrival(task, self.after[row], newest_head(known)) for task in fresh]
            plan = self.plans(policy)[row]
            now = {task: self._now(task, there) for task, there in plan.items()}
            history = replace(known, arrivals=(*known.arrivals, *arrivals))
            self._wide[policy, row] = POLICIES[policy](history, self._facts.standing(now, 0.0))
        return self._wide[policy, row]

    def right(self, plan: Plan, row: int, task: str, merge: MergeName | None) -> Right | None:
        """Return which of the first K are right (Q, K); None where the task is not there yet, or has no queries.

        Args:
            row: of the matrix, from 0: after which lesson.
            merge: None: the task is known.
        """
        if task not in plan or not len(self.exam.queries[task]):
            return None
        state = (plan[task],) if merge is None else (*plan.items(), row if merge == "routed" else -1)
        if (task, merge, state) not in self._rights:
            found = self.ranking(plan, row, task, merge)
            right = self.exam.judge.right(self.exam.queries[task], found.ids) & np.isfinite(found.scores)
            self._rights[task, merge, state] = right
        return self._rights[task, merge, state]

    def ranking(self, plan: Plan, row: int, task: str, merge: MergeName | None) -> Ranking:
        """Return what is found for the queries of a task."""
        return self._rank(plan, row, task, merge)[0]

    def strangers(self, plan: Plan, row: int, task: str, merge: MergeName, k: int) -> float:
        """Return which share of the first k items found for a task's queries came from other tasks' shards."""
        found, tasks = self._rank(plan, row, task, merge)
        there = np.isfinite(found.scores[:, :k])
        other = np.array([name != task for name in tasks])[found.part[:, :k]]
        return float(other[there].mean())

    def _rank(self, plan: Plan, row: int, task: str, merge: MergeName | None) -> tuple[Ranking, list[str]]:
        """Return what is found for the queries of a task, and the task of each part."""
        searched = [task] if merge is None else [name for name in plan if len(self.exam.targets[name])]
        asked = [self._asked(task, name, placement) for name in searched for placement in plan[name]]
        guess = Guess(list(plan), self._guess(row, task, list(plan))) if merge == "routed" else None
        return rank(asked, self.most, guess), [one.shard.key.task for one in asked]

    def _asked(self, task: str, name: str, placement: Placement) -> Asked:
        """Return one shard as the queries of a task ask it."""
        key = placement.key(name, self.target)
        queries = self.queries(task, placement.queries)
        block = (task, placement.queries, key)
        if block not in self._found:
            self._found[block] = self.gallery(key, placement).search(queries, self.most)

        def partition(tau: float) -> Scores:
            wanted = (*block, tau)
            if wanted not in self._partitions:
                self._partitions[wanted] = self.gallery(key, placement).log_partition(queries, tau)
            return self._partitions[wanted]

        tau = self._facts.temperature(name, placement)
        return Asked(Answered(key, self._found[block], partition), queries, tau)

    def _guess(self, row: int, task: str, tasks: Sequence[str]) -> Scores:
        key = (row, task, len(tasks))
        if key not in self._guesses:
            ids = [id.decode() for id in self.exam.queries[task]]
            self._guesses[key] = self.routers[row].log_p(self.reader.features(self.query, ids), tasks)
        return self._guesses[key]

    def queries(self, task: str, head: int) -> NDArray[np.float32]:
        """Return the embeddings (Q, E) of a task's queries by a head."""
        if (task, head) not in self._embedded:
            ids = [id.decode() for id in self.exam.queries[task]]
            self._embedded[task, head] = self.reader.embed(self.query, ids, head)
        return self._embedded[task, head]

    def gallery(self, key: ShardKey, placement: Placement) -> Shard:
        """Return the items of one placement of a task."""
        if key not in self._galleries:
            ids = self._items(key.task)
            if placement.items is not None:
                ids = sorted(set(ids) & set(placement.items))
            built = shard.build(key, ids, self.reader.embed(self.target, ids, key.head, key.space))
            self._galleries[key] = shard.to_gpu(built) if self.on_gpu else built
        return self._galleries[key]

    def _items(self, task: str) -> list[ItemId]:
        return [id.decode() for id in self.exam.targets[task]]

    def _now(self, task: str, placements: Sequence[Placement]) -> dict[int, Sequence[ItemId]]:
        return {one.head: self._items(task) if one.items is None else one.items for one in placements}
