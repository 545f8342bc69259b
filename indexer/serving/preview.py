"""What a reindex would cost and bring, said beforehand."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from engine.evaluation import metrics
from engine.evaluation.splits import distinct, of_task
from engine.heads.embedder import BLOCK
from engine.history import History, settled
from engine.ids import decode
from engine.storage.store import Store
from engine.storage.workspace import Workspace, open_at
from engine.types import AllTasks, KnownTask, Modality, PolicyName, Scope
from indexer.evaluation.embedded import Galleries, Queries
from indexer.evaluation.protocol import EvalSet, EvalSettings, eval_set
from indexer.evaluation.runs import IndexState, judge, retrieve
from indexer.policies.planner import Planner, named
from indexer.policies.policies import Choice, Placement, Plan, choice
from indexer.routing.routers import learned
from indexer.routing.slda import Router
from indexer.serving import build
from indexer.serving.build import Wanted, Work
from indexer.serving.reindex import check
from indexer.shards import files as shards

T = TypeVar("T")
K = 10
SAMPLES = 64
"""Queries that two rankings are compared by where no pairs say which is right."""


@dataclass(frozen=True)
class Expected:
    """R@10 of one task's validation queries, as they are served and as they would be; None: no pairs to tell."""

    query: Modality
    target: Modality
    task: str
    task_known: bool
    queries: int
    now: float
    then: float


@dataclass(frozen=True)
class Moved:
    """How alike the top ten of a task's sample queries would stay, 0 to 1: shared items, rank-biased overlap."""

    query: Modality
    target: Modality
    task: str
    queries: int
    overlap: float
    rbo: float


@dataclass(frozen=True)
class Forecast:
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
    recall: list[Expected]
    overlap: list[Moved]
    choices: list[Choice]


def dry_run(root: Path, wanted: Wanted, *, device: str = "cpu") -> Forecast:
    """Say what `reindex` would cost and bring; nothing is written."""
    workspace = open_at(root)
    check(workspace, wanted)
    with Store(workspace.store) as store:
        workspace = build.current(workspace, store)
        history, planner = build.planner_of(workspace, store, wanted, device)
        ways = build.ways_of(workspace, planner, history, wanted)
        work = Work(workspace, planner, dry=True)
        for (_, target), how in ways.items():
            work.lookups(target, how)
        across = {way: how for way, how in ways.items() if way[0] != way[1]}
        changes = [Change(workspace, planner, history, way, how.plan) for way, how in across.items()]
        policy, policies = build.policies_of(workspace.manifest.served, wanted)
        autos = [way for way in across if policies.get(named(*way), policy) == "auto"]
        return Forecast(
            policy=policy,
            policies=policies,
            items=sum(len(ids) for _, ids in work.missing),
            bytes=sum(shards.size(len(ids), workspace.manifest.width) for _, ids in work.missing),
            seconds=_seconds(work),
            recall=[one for change in changes for one in change.recall()],
            overlap=[one for change in changes for one in change.overlap()],
            choices=[choice(history, planner.facts(*way), task) for way in autos for task in ways[way].plan],
        )


def _seconds(work: Work) -> float:
    """Return how long the missing shards would take, at the rate of a sample of each kind."""
    total = 0.0
    for key, ids in work.missing:
        sample = ids[:BLOCK]
        took = work.planner.reader.seconds(key.modality, sample, key.head, key.space)
        total += took * len(ids) / len(sample)
    return total


@dataclass
class Change:
    """One direction as it is served and as it would be, without the tasks whose features were removed."""

    workspace: Workspace
    planner: Planner
    history: History
    way: tuple[Modality, Modality]
    then: Plan

    def recall(self) -> Iterator[Expected]:
        """Yield R@10 of every task that has validation pairs, task known and unknown."""
        now, then = self.state(self.now()), self.state(self._tested(self.then))
        for task in then.plan:
            scopes: tuple[Scope, ...] = (KnownTask(task), AllTasks("routed"))
            for scope in scopes:
                before = judge(now, self.queries, self.galleries, scope).get(task)
                after = judge(then, self.queries, self.galleries, scope).get(task)
                if before is not None and after is not None:
                    known, queries = isinstance(scope, KnownTask), len(after.right)
                    found = metrics.recall(before.right, K), metrics.recall(after.right, K)
                    yield Expected(*self.way, task, known, queries, *found)

    def overlap(self) -> Iterator[Moved]:
        """Yield how alike the rankings of sample queries would stay, for every task without validation pairs."""
        now, then = self.state(self.now()), self.state(self._tested(self.then))
        told = {task for task in then.plan if len(self.eval_set.queries[task])}
        groups = self.planner.groups
        for task in dict.fromkeys(task for task, _ in groups if task in then.plan and task not in told):
            asked = distinct(of_task(groups, task), self.way[0])[:SAMPLES]
            if len(asked) and task in now.plan:
                sample = Queries(self.way[0], {task: asked}, self.planner.reader)
                before, after = (
                    retrieve(state, sample, self.galleries, KnownTask(task)).items for state in (now, then)
                )
                yield Moved(*self.way, task, len(asked), *metrics.overlap(before, after))

    @cached_property
    def eval_set(self) -> EvalSet:
        """The validation pairs' queries, in all that is stored."""
        settings = EvalSettings(ks=(K,), split="val", gallery="all")
        return eval_set(self.planner.pairs, list(self._tested(settled(self.history))), self.way, settings)

    @cached_property
    def queries(self) -> Queries:
        """The queries as any head embeds them."""
        return Queries(self.way[0], self.eval_set.queries, self.planner.reader)

    @cached_property
    def galleries(self) -> Galleries:
        """What is stored, as any head embeds it."""
        return Galleries(self.way, self.eval_set.galleries, self.planner.reader, self.eval_set.qrels, K)

    @cached_property
    def router(self) -> Router:
        """What tells the tasks of queries."""
        (router,) = learned(self.planner.reader, self.planner.groups, self.way[0], [self.eval_set.tasks])
        return router

    def state(self, plan: Plan) -> IndexState:
        """Return what answers under a plan."""
        temperature = self.planner.facts(*self.way).temperature
        return IndexState(len(self.history.lessons), plan, temperature, {self.way[0]: self.router})

    def now(self) -> Plan:
        """Return the plan that is served, of the items that are still stored."""
        served, members = self.workspace.manifest.served, self.planner.members
        found: dict[str, list[Placement]] = {}
        for way in served.directions:
            if (way.query, way.target) == self.way:
                for lookup in way.lookups:
                    one = served.shards[lookup.shard]
                    ids = shards.read_ids(self.workspace.shards / one.path) if one.key.part else None
                    here = set(members.get((one.key.task, self.way[1]), ()))
                    items = None if ids is None else tuple(id for id in decode(ids) if id in here)
                    if items != ():
                        placement = Placement(one.key.head, one.key.space, lookup.queries, items)
                        found.setdefault(one.key.task, []).append(placement)
        return self._tested({task: tuple(there) for task, there in found.items()})

    def _tested(self, held: Mapping[str, T]) -> dict[str, T]:
        return {task: one for task, one in held.items() if task not in self.planner.sealed}
