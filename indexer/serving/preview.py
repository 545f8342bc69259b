"""What a reindex would cost and bring, said beforehand."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from engine.evaluation import metrics
from engine.evaluation.splits import distinct, of_task
from engine.heads.embedder import BLOCK
from engine.history import settled
from engine.ids import decode
from engine.storage.manifest import ServedShard
from engine.storage.store import Store
from engine.storage.workspace import Workspace, open_at
from engine.types import AllTasks, KnownTask, Modality, PolicyName, Scope
from indexer.embeddings.embeddings import EmbeddingCache
from indexer.evaluation.embedded import Galleries, Queries
from indexer.evaluation.protocol import EvalSet, EvalSettings, eval_set
from indexer.evaluation.runs import IndexState, judge, retrieve
from indexer.policies.auto import Choice, choose
from indexer.policies.plan import Placement, Plan
from indexer.policies.planner import Planner
from indexer.routing import routers
from indexer.routing.slda import Router
from indexer.serving.reindex import resolved
from indexer.serving.wanted import ServingRequest, WantedShard, current, difference, plan, planner_of
from indexer.shards import files as shards

T = TypeVar("T")
K = 10
SAMPLES = 64
"""Queries that two rankings are compared by where no pairs say which is right."""


@dataclass(frozen=True)
class RecallChange:
    """R@10 of one task's validation queries, as they are served and as they would be.

    Attributes:
        queries: how many.
        now, then: recall, 0 to 1.
    """

    query: Modality
    target: Modality
    task: str
    task_known: bool
    queries: int
    now: float
    then: float


@dataclass(frozen=True)
class RankingOverlap:
    """How alike the top ten of a task's sample queries would stay, 0 to 1: shared items, rank-biased overlap."""

    query: Modality
    target: Modality
    task: str
    queries: int
    overlap: float
    rbo: float


@dataclass(frozen=True)
class ReindexPreview:
    """What a reindex would cost and bring.

    Attributes:
        items: how many embeddings would be made; bytes: on disk; seconds: at the rate of a sample.
        choices: what `auto` would take, and why.
    """

    policy: PolicyName
    policies: dict[str, PolicyName]
    items: int
    bytes: int
    seconds: float
    recall: list[RecallChange]
    overlap: list[RankingOverlap]
    choices: list[Choice]


def preview(root: Path, request: ServingRequest, *, device: str = "cpu") -> ReindexPreview:
    """Say what `reindex` would cost and bring; nothing is written."""
    workspace = open_at(root)
    request = resolved(workspace, request)
    with Store(workspace.store) as store:
        workspace = current(workspace, store)
        planner = planner_of(workspace, store, request, device)
        wanted = plan(planner, request)
        missing = difference(wanted, workspace.shards)
        across = {
            (query, target): route for (query, target), route in wanted.routes.items() if query != target
        }
        changes = [
            DirectionChange(workspace, planner, direction, route.plan) for direction, route in across.items()
        ]
        autos = [direction for direction in across if wanted.policies.of(*direction) == "auto"]
        return ReindexPreview(
            policy=wanted.policies.general,
            policies=dict(wanted.policies.own),
            items=sum(len(shard.ids) for shard in missing),
            bytes=sum(shards.size(len(shard.ids), workspace.manifest.width) for shard in missing),
            seconds=seconds_to_build(missing, planner.embeddings),
            recall=[recall for change in changes for recall in change.recall()],
            overlap=[overlap for change in changes for overlap in change.overlap()],
            choices=[
                choose(planner.history, planner.statistics(*direction), task)
                for direction in autos
                for task in across[direction].plan
            ],
        )


def seconds_to_build(missing: Sequence[WantedShard], embeddings: EmbeddingCache) -> float:
    """Return how long the missing shards would take, at the rate of a sample of each."""
    total = 0.0
    for shard in missing:
        key, sample = shard.key, shard.ids[:BLOCK]
        seconds = embeddings.seconds(key.modality, sample, key.head, key.space)
        total += seconds * len(shard.ids) / len(sample)
    return total


@dataclass
class DirectionChange:
    """One direction as it is served and as it would be, without the tasks whose features were removed.

    Attributes:
        direction: query and target modality.
        then: the plan that would be served.
    """

    workspace: Workspace
    planner: Planner
    direction: tuple[Modality, Modality]
    then: Plan

    def recall(self) -> Iterator[RecallChange]:
        """Yield R@10 of every task that has validation pairs, task known and unknown."""
        now, then = self.state(self.now()), self.state(self._measurable(self.then))
        for task in then.plan:
            scopes: tuple[Scope, ...] = (KnownTask(task), AllTasks("routed"))
            for scope in scopes:
                before, after = (
                    judge(state, self.queries, self.galleries, scope).get(task) for state in (now, then)
                )
                if before is not None and after is not None:
                    known, queries = isinstance(scope, KnownTask), len(after.right)
                    recalls = metrics.recall(before.right, K), metrics.recall(after.right, K)
                    yield RecallChange(*self.direction, task, known, queries, *recalls)

    def overlap(self) -> Iterator[RankingOverlap]:
        """Yield how alike the rankings of sample queries would stay, for every task without validation pairs."""
        now, then = self.state(self.now()), self.state(self._measurable(self.then))
        has_pairs = {task for task in then.plan if len(self.eval_set.queries[task])}
        groups = self.planner.groups
        for task in dict.fromkeys(task for task, _ in groups if task in then.plan and task not in has_pairs):
            ids = distinct(of_task(groups, task), self.direction[0])[:SAMPLES]
            if len(ids) and task in now.plan:
                sample = replace(self.queries, ids={task: ids})
                before, after = (
                    retrieve(state, sample, self.galleries, KnownTask(task)).items for state in (now, then)
                )
                yield RankingOverlap(*self.direction, task, len(ids), *metrics.overlap(before, after))

    @cached_property
    def eval_set(self) -> EvalSet:
        """All that is stored, and the validation pairs' queries."""
        tasks = list(self._measurable(settled(self.planner.history)))
        settings = EvalSettings(ks=(K,), split="val", gallery="all")
        return eval_set(self.planner.pairs, tasks, self.direction, settings)

    @cached_property
    def queries(self) -> Queries:
        """The queries, as any head embeds them."""
        return Queries(self.direction[0], self.eval_set.queries, self.planner.embeddings)

    @cached_property
    def galleries(self) -> Galleries:
        """What is stored, as any head embeds it."""
        tested = self.eval_set
        return Galleries(self.direction, tested.galleries, self.planner.embeddings, tested.qrels, K)

    @cached_property
    def router(self) -> Router:
        """What tells the tasks of queries."""
        tasks, planner = self.eval_set.tasks, self.planner
        (router,) = routers.learn(planner.embeddings, planner.groups, self.direction[0], [tasks])
        return router

    def state(self, plan: Plan) -> IndexState:
        """Return what answers under a plan."""
        temperature = self.planner.statistics(*self.direction).temperature
        return IndexState(
            len(self.planner.history.lessons), plan, temperature, {self.direction[0]: self.router}
        )

    def now(self) -> Plan:
        """Return the plan that is served, of the items that are still stored."""
        served, (_, target) = self.workspace.manifest.served, self.direction
        placements: dict[str, list[Placement]] = {}
        lookups = [
            lookup
            for direction in served.directions
            if (direction.query, direction.target) == self.direction
            for lookup in direction.lookups
        ]
        for lookup in lookups:
            shard = served.shards[lookup.shard]
            items = self._items(shard, (shard.key.task, target)) if shard.key.part else None
            if items != ():
                placement = Placement(shard.key.head, shard.key.space, lookup.queries, items)
                placements.setdefault(shard.key.task, []).append(placement)
        return self._measurable({task: tuple(parts) for task, parts in placements.items()})

    def _items(self, shard: ServedShard, group: tuple[str, Modality]) -> tuple[str, ...]:
        """Return the items of a shard that are still stored."""
        stored = set(self.planner.members.get(group, ()))
        ids = decode(shards.read_ids(self.workspace.shard(shard.path), shard.key))
        return tuple(id for id in ids if id in stored)

    def _measurable(self, by_task: Mapping[str, T]) -> dict[str, T]:
        """Return what belongs to tasks whose features are stored."""
        return {task: value for task, value in by_task.items() if task not in self.planner.sealed}
