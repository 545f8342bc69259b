"""Runs: what an index, as it stood after some lesson, retrieves for the queries of one direction."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import numpy as np

from engine.evaluation.metrics import Right
from engine.evaluation.qrels import Run
from engine.history import History
from engine.ranking.fusion import BEST, Candidates, Scores, TaskPosterior, merge, shifted
from engine.types import AllTasks, KnownTask, Modality, Scope
from indexer.embeddings.lru import LruCache
from indexer.evaluation.embedded import Galleries, Queries, Vectors
from indexer.evaluation.protocol import Condition, EvalSet
from indexer.policies.plan import Placement, Plan
from indexer.routing.slda import Router

T = TypeVar("T")


@dataclass(frozen=True)
class IndexState:
    """What answers the queries of one direction after a lesson.

    Attributes:
        lesson: its number; 0: before any.
        temperature: what the cosines of a task's shards are divided by where they become probabilities.
        routers: of each modality that the queries are made of.
    """

    lesson: int
    plan: Plan
    temperature: Callable[[str, Placement], float]
    routers: Mapping[Modality, Router]


@dataclass(frozen=True)
class Trial:
    """One direction under evaluation.

    Attributes:
        trained: whether some lesson trained all its modalities together.
        states: of each system, by name, what answers after every lesson.
        full: the same, if all later tasks had been indexed by then, too; nothing unless details are wanted.
    """

    eval_set: EvalSet
    history: History
    trained: bool
    queries: Queries
    galleries: Galleries
    states: Mapping[str, Sequence[IndexState]]
    full: Mapping[str, Sequence[IndexState]]

    @property
    def query(self) -> Modality:
        """The modality of the queries."""
        return self.eval_set.query

    @property
    def target(self) -> Modality:
        """The modality of what is to be found."""
        return self.eval_set.target


@dataclass(frozen=True)
class Judged:
    """A run's K items for each of Q queries of one task (Q, K): which are right, which another task's shard offered.

    Where nothing was retrieved it is neither.
    """

    right: Right
    strangers: Right

    @property
    def nbytes(self) -> int:
        """How much memory it takes."""
        return self.right.nbytes + self.strangers.nbytes


def judge_all(trial: Trial, state: IndexState, condition: Condition) -> Mapping[str, Judged]:
    """Return what is right for all tasks that are indexed and have queries, each asked as a condition says."""
    scopes: list[Scope] = [condition] if isinstance(condition, AllTasks) else list(map(KnownTask, state.plan))
    judged = [judge(state, trial.queries, trial.galleries, scope) for scope in scopes]
    return {task: by_task[task] for by_task in judged for task in by_task}


def retrieve_all(trial: Trial, state: IndexState, condition: Condition) -> dict[str, Run]:
    """Return the runs of all tasks that are indexed and have queries, each asked as a condition says."""
    asking = _asking(state, trial.queries, condition)
    if isinstance(condition, AllTasks) and asking:
        run = retrieve(state, trial.queries, trial.galleries, condition)
        return {task: run.of_task(task) for task in asking}
    return {task: retrieve(state, trial.queries, trial.galleries, KnownTask(task)) for task in asking}


def judge(state: IndexState, queries: Queries, galleries: Galleries, scope: Scope) -> Mapping[str, Judged]:
    """Return which of the retrieved items are right, for each task that is indexed and has queries."""
    asking = _asking(state, queries, scope)
    key: Hashable = (galleries.direction, scope, tuple(state.plan.items()))
    if isinstance(scope, KnownTask):
        key = (galleries.direction, scope, state.plan.get(scope.task))
    elif scope.merge == "routed":
        key = (key, state.lesson)

    def compute() -> dict[str, Judged]:
        run = retrieve(state, queries, galleries, scope)
        right, strangers = galleries.qrels.judge(run), run.from_other_tasks
        rows = {task: run.task == run.tasks.index(task) for task in asking}
        return {task: Judged(right[own], strangers[own]) for task, own in rows.items()}

    return galleries.caches.judgements.get(key, compute) if asking else {}


def retrieve(state: IndexState, queries: Queries, galleries: Galleries, scope: Scope) -> Run:
    """Rank the items of one task for its queries, or those of all tasks for the queries of all.

    Tasks that are not indexed or have no queries do not ask; there must be one that does.
    """
    asking = _asking(state, queries, scope)
    searched = (
        asking if isinstance(scope, KnownTask) else [task for task in state.plan if len(galleries.ids[task])]
    )
    shards = [(task, placement) for task in searched for placement in state.plan[task]]
    offers = [_offers(queries, galleries, shard, asking) for shard in shards]
    odds = None
    if isinstance(scope, AllTasks) and scope.merge == "routed":
        tasks = [task for task, _ in shards]
        tau = [state.temperature(task, state.plan[task][0]) for task in tasks]
        weighed = zip(shards, tau, offers, strict=True)
        log_z = [_log_partition(queries, galleries, *one) for one in weighed]
        odds = shifted(tasks, tau, log_z, _posterior(state, queries, galleries, asking))
    ranking = merge([_joined(offer.values()) for offer in offers], galleries.depth, odds)
    number = {task: n for n, task in enumerate(state.plan)}
    return Run(
        queries=np.concatenate([queries.ids[task] for task in asking]),
        tasks=list(state.plan),
        task=np.repeat([number[task] for task in asking], [len(queries.ids[task]) for task in asking]),
        source=np.array([number[task] for task, _ in shards])[ranking.part],
        items=ranking.ids,
        scores=ranking.scores,
        log_p=ranking.log_p,
    )


def _asking(state: IndexState, queries: Queries, scope: Condition | Scope) -> list[str]:
    """Return the tasks whose queries are asked: those that are indexed and have some."""
    tasks = [scope.task] if isinstance(scope, KnownTask) else state.plan
    return [task for task in tasks if task in state.plan and len(queries.ids[task])]


def _offers(
    queries: Queries, galleries: Galleries, shard: tuple[str, Placement], asking: Sequence[str]
) -> Mapping[str, Candidates]:
    """Return what one shard offers for the queries of each task."""

    def search(tasks: Sequence[str]) -> Iterator[Candidates]:
        blocks = [queries.embed(task, shard[1].queries) for task in tasks]
        offer = galleries.shard(*shard).search(np.concatenate(blocks), galleries.depth)
        for rows in _slices(blocks):
            yield Candidates(offer.scores[rows], offer.ids[rows])

    keys = {task: _key(queries, galleries, shard, task) for task in asking}
    return _by_task(galleries.caches.candidates, keys, search)


def _log_partition(
    queries: Queries,
    galleries: Galleries,
    shard: tuple[str, Placement],
    tau: float,
    offers: Mapping[str, Candidates],
) -> Scores:
    """Return a shard's log partition for the queries of all tasks that it offers something (Q,)."""

    def sum_up(tasks: Sequence[str]) -> Iterator[Scores]:
        blocks = [queries.embed(task, shard[1].queries) for task in tasks]
        best = _joined([offers[task] for task in tasks]).scores[:, :BEST]
        log_z = galleries.shard(*shard).log_partition(np.concatenate(blocks), tau, best)
        for rows in _slices(blocks):
            yield log_z[rows]

    keys = {task: ("log Z", tau, *_key(queries, galleries, shard, task)) for task in offers}
    return np.concatenate(list(_by_task(galleries.caches.scores, keys, sum_up).values()))


def _posterior(
    state: IndexState, queries: Queries, galleries: Galleries, asking: Sequence[str]
) -> TaskPosterior:
    """Return how likely the queries of some tasks belong to each task that is indexed."""
    indexed = tuple(state.plan)

    def classify(tasks: Sequence[str]) -> Iterator[Scores]:
        for task in tasks:
            yield queries.posterior(task, state.routers, indexed)

    keys = {task: (queries.modality, queries.digests[task], state.lesson, indexed) for task in asking}
    scores = _by_task(galleries.caches.scores, keys, classify)
    return TaskPosterior(indexed, np.concatenate(list(scores.values())))


def _joined(offers: Iterable[Candidates]) -> Candidates:
    """Return what one shard offers for several blocks of queries as one."""
    scores, ids = zip(*((offer.scores, offer.ids) for offer in offers), strict=True)
    return Candidates(np.concatenate(scores), np.concatenate(ids))


def _slices(blocks: Sequence[Vectors]) -> list[slice]:
    """Return where each block of rows stands among all."""
    ends = np.cumsum([len(block) for block in blocks]).tolist()
    return [slice(start, end) for start, end in pairwise([0, *ends])]


def _key(
    queries: Queries, galleries: Galleries, shard: tuple[str, Placement], task: str
) -> tuple[Hashable, ...]:
    """Return what tells the queries of a task, asking one shard, from all others."""
    name, placement = shard
    key = placement.key(name, galleries.modality)
    return galleries.direction, queries.digests[task], placement.queries, key


def _by_task(
    cache: LruCache, keys: Mapping[str, Hashable], compute: Callable[[Sequence[str]], Iterable[T]]
) -> dict[str, T]:
    """Return what is cached for each task; what is not yet is computed for all such tasks at once."""
    values: dict[str, T | None] = {task: cache.find(key) for task, key in keys.items()}
    missing = [task for task, value in values.items() if value is None]
    for task, value in zip(missing, compute(missing) if missing else (), strict=True):
        values[task] = cache.put(keys[task], value)
    return {task: value for task, value in values.items() if value is not None}
