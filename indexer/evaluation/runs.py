"""One direction of search over all lessons: what each policy would have answered, from features and heads alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from engine.history import Arrival, History, Reference, newest_head, settled, up_to
from engine.ranking.fusion import BEST, Ranking, Scores, ShardQuery, TaskPosterior, rank
from engine.ranking.query import unit_sum
from engine.types import ItemId, MergeName, Modality, ShardKey
from indexer.embeddings.embeddings import EmbeddingCache
from indexer.embeddings.lru import LruCache
from indexer.evaluation.answered import Answered, joined
from indexer.evaluation.composed_queries import part_ids, parts
from indexer.evaluation.protocol import Exam
from indexer.policies.plan import Indexed, Placement, Plan, Policy
from indexer.policies.policies import POLICIES, referenced
from indexer.policies.statistics import DirectionStatistics
from indexer.routing.slda import Router, averaged
from indexer.shards.shard import Shard, build_shard, to_gpu

Right = NDArray[np.bool_]
_NO_QUERIES = np.zeros((0, 0), np.float32)
"""What an answer that is known is asked with."""


@dataclass(frozen=True)
class Judged:
    """Of the first K found for a task's queries (Q, K): which are right, and which come from other tasks' shards.

    Places where there is nothing more are neither.
    """

    right: Right
    other: Right


@dataclass(frozen=True)
class Computed:
    """What directions have computed and may need again: as much as memory is granted to."""

    galleries: LruCache = field(default_factory=lambda: LruCache(1 << 30, lambda held: held.vectors.nbytes))
    answers: LruCache = field(default_factory=lambda: LruCache(1 << 28, lambda held: held.nbytes))
    guesses: LruCache = field(default_factory=lambda: LruCache(1 << 28, lambda held: held.nbytes))


@dataclass
class Direction:
    """One query modality and one target modality, over all tasks and lessons.

    Attributes:
        query: a modality, or two of them joined by +.
        routers: of each of the query's modalities the router after each lesson.
        most: how many items are ranked for a query.
        references: the heads that were trained beside the history, by their method.
        kept: what has been computed, of this direction and of others.
        budget: what `partial` may embed again after each lesson, a share of all items.
    """

    reader: EmbeddingCache
    history: History
    query: Modality
    target: Modality
    exam: Exam
    routers: Mapping[Modality, Sequence[Router]]
    most: int
    budget: float = 0.1
    on_gpu: bool = False
    references: Mapping[str, Sequence[Reference]] = field(default_factory=dict)
    kept: Computed = field(default_factory=Computed)
    _plans: dict[str, list[Plan]] = field(default_factory=dict, init=False)
    _wide: dict[tuple[str, int], Plan] = field(default_factory=dict, init=False)
    _statistics: DirectionStatistics = field(init=False)
    _judged: dict[object, dict[str, Judged]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        # a query of several parts is asked as its first part is, as search does
        first, *_ = parts(self.query)
        self._statistics = DirectionStatistics(self.reader, self.exam.groups, first, self.target, self._items)

    @property
    def after(self) -> list[int]:
        """The numbers of the lessons; 0 alone where there are none."""
        return [lesson.number for lesson in self.history.lessons] or [0]

    def plans(self, policy: str) -> list[Plan]:
        """Return the plan of a policy, or of a method's references, after every lesson.

        Without lessons it is the one of the untrained head.
        """
        if policy not in self._plans:
            found: list[Plan] = []
            for number in self.after:
                now = {} if not found else {task: self._now(task, there) for task, there in found[-1].items()}
                indexed = Indexed(now, self.budget if policy == "partial" else 0.0)
                found.append(self._plan(policy, up_to(self.history, number), indexed))
            self._plans[policy] = found
        return self._plans[policy]

    def trained_for(self, policy: str) -> float | None:
        """Return how many seconds the heads asked after the last lesson were trained for; None of a policy."""
        if policy not in self.references:
            return None
        asked = {place.head for there in self.plans(policy)[-1].values() for place in there}
        return sum(one.seconds for one in self.references[policy] if one.head in asked)

    def wide(self, policy: str, row: int) -> Plan:
        """Return the plan after a lesson if all later tasks had been indexed then, without being learned."""
        if (policy, row) not in self._wide:
            known = up_to(self.history, self.after[row])
            late = [lesson.task for lesson in self.history.lessons if lesson.number > self.after[row]]
            fresh = [task for task in dict.fromkeys(late) if task not in settled(known)]
            arrivals = [Arrival(task, self.after[row], newest_head(known)) for task in fresh]
            plan = self.plans(policy)[row]
            now = {task: self._now(task, there) for task, there in plan.items()}
            history = replace(known, arrivals=(*known.arrivals, *arrivals))
            self._wide[policy, row] = self._plan(policy, history, Indexed(now))
        return self._wide[policy, row]

    def _plan(self, policy: str, history: History, indexed: Indexed) -> Plan:
        """Return a policy's plan, less the tasks that are not tested."""
        rules: Mapping[str, Policy] = {str(name): rule for name, rule in POLICIES.items()}
        beside = self.references.get(policy)
        found = (
            rules[policy](history, self._statistics, indexed)
            if beside is None
            else referenced(history, beside)
        )
        return {task: there for task, there in found.items() if task in self.exam.queries}

    def right(self, plan: Plan, row: int, task: str, merge: MergeName | None) -> Right | None:
        """Return which of the first K are right (Q, K); None where the task is not there yet, or has no queries.

        Args:
            row: of the matrix, from 0: after which lesson.
            merge: None: the task is known.
        """
        if task not in plan or not len(self.exam.queries[task]):
            return None
        return self._judge(plan, row, task, merge).right

    def strangers(self, plan: Plan, row: int, task: str, merge: MergeName, k: int) -> float:
        """Return which share of the first k items found for a task's queries came from other tasks' shards."""
        found = self._judge(plan, row, task, merge)
        return float(found.other[:, :k].mean())

    def ranking(self, plan: Plan, row: int, task: str, merge: MergeName | None) -> Ranking:
        """Return what is found for the queries of a task, by id."""
        found, _ = self._rank(plan, row, [task], merge, self.most)
        return replace(found, ids=self.exam.judge.ids[found.ids.astype(np.int64)])

    def _judge(self, plan: Plan, row: int, task: str, merge: MergeName | None) -> Judged:
        """Return what was right for a task; where it is unknown, all tasks are asked at once."""
        known = (task, plan[task]) if merge is None else tuple(plan.items())
        state = (merge, known, row if merge == "routed" else -1)
        if state not in self._judged:
            tasks = [name for name in plan if len(self.exam.queries[name])] if merge else [task]
            found, names = self._rank(plan, row, tasks, merge, max(self.most, BEST))
            queries = [self.exam.queries[name] for name in tasks]
            there = np.isfinite(found.scores)
            right = self.exam.judge.right(np.concatenate(queries), found.ids) & there
            came, places = np.array(names)[found.part], np.cumsum([len(ids) for ids in queries])[:-1]
            blocks = zip(tasks, *(np.split(held, places) for held in (right, came, there)), strict=True)
            self._judged[state] = {name: Judged(r, (c != name) & t) for name, r, c, t in blocks}
        return self._judged[state][task]

    def _rank(
        self, plan: Plan, row: int, tasks: Sequence[str], merge: MergeName | None, most: int
    ) -> tuple[Ranking, list[str]]:
        """Return what is found for the queries of some tasks, by the judge's numbers, and the task of each part."""
        searched = tasks if merge is None else [name for name in plan if len(self.exam.targets[name])]
        asked = [
            self._asked(tasks, name, placement, self._statistics.temperature(name, plan[name][0]))
            for name in searched
            for placement in plan[name]
        ]
        guess = None
        if merge == "routed":
            guess = TaskPosterior(
                list(plan), np.concatenate([self._guess(row, task, list(plan)) for task in tasks])
            )
        return rank(asked, most, guess), [one.shard.key.task for one in asked]

    def _asked(self, tasks: Sequence[str], name: str, placement: Placement, tau: float) -> ShardQuery:
        """Return one shard as the queries of some tasks ask it."""
        key = placement.key(name, self.target)
        names = {task: (self.query, self.target, task, placement.queries, tau, key) for task in tasks}
        held = {task: self.kept.answers.find(named) for task, named in names.items()}
        left = [task for task, answer in held.items() if answer is None]
        if left:
            for task, answer in zip(left, self._search(left, key, placement, tau), strict=True):
                held[task] = self.kept.answers.put(names[task], answer)
        answers = joined([answer for answer in held.values() if answer is not None])
        return ShardQuery(answers, _NO_QUERIES, tau)

    def _search(
        self, tasks: Sequence[str], key: ShardKey, placement: Placement, tau: float
    ) -> list[Answered]:
        """Search one shard with the queries of some tasks at once."""
        blocks = [self.queries(task, placement.queries) for task in tasks]
        queries, gallery = np.concatenate(blocks), self.gallery(key, placement)
        found = gallery.search(queries, max(self.most, BEST))
        log_z = gallery.log_partition(queries, tau, found.scores[:, :BEST])
        return Answered(key, found, log_z).split([len(block) for block in blocks])

    def _guess(self, row: int, task: str, tasks: Sequence[str]) -> Scores:

        def make() -> Scores:
            each = [
                self.routers[modality][row].log_p(self.reader.features(modality, ids), tasks)
                for modality, ids in self._parts(task)
            ]
            return averaged(each)

        return self.kept.guesses.get((self.query, self.target, row, task, *tasks), make)

    def queries(self, task: str, head: int) -> NDArray[np.float32]:
        """Return the embeddings (Q, E) of a task's queries by a head."""
        each = [self.reader.embed(modality, ids, head) for modality, ids in self._parts(task)]
        return each[0] if len(each) == 1 else unit_sum(each)

    def _parts(self, task: str) -> list[tuple[Modality, list[ItemId]]]:
        """Return the items that a task's queries are made of, modality by modality."""
        ids = [id.decode() for id in self.exam.queries[task]]
        return [(modality, part_ids(ids, place)) for place, modality in enumerate(parts(self.query))]

    def gallery(self, key: ShardKey, placement: Placement) -> Shard:
        """Return the items of one placement of a task, by the judge's numbers, which stand in their order."""

        def make() -> Shard:
            ids = self._items(key.task)
            if placement.items is not None:
                ids = sorted(set(ids) & set(placement.items))
            built = build_shard(key, ids, self.reader.embed(self.target, ids, key.head, key.space))
            built = replace(built, ids=self.exam.judge.rows(built.ids))
            return to_gpu(built) if self.on_gpu else built

        return self.kept.galleries.get((self.query, key), make)

    def _items(self, task: str) -> list[ItemId]:
        return [id.decode() for id in self.exam.targets.get(task, ())]

    def _now(self, task: str, placements: Sequence[Placement]) -> dict[int, Sequence[ItemId]]:
        return {one.head: self._items(task) if one.items is None else one.items for one in placements}
