"""Answer queries: search shards, each with its own head, and merge what they find into one ranking."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TypeAlias, TypeVar

import numpy as np

from engine.backbones import Backbones
from engine.decoding.jobs import Array, Decode, Job, here
from engine.decoding.limits import LIMITS, DecodingLimits
from engine.decoding.pool import decoders
from engine.errors import Note, Setting, UserError, Vanished
from engine.heads.embedder import Embedder
from engine.ids import clean_name
from engine.ranking.fusion import ShardQuery, TaskPosterior, hits, rank
from engine.ranking.query import Part, Query, compose, encode, target_of
from engine.storage.store import Store
from engine.storage.workspace import Workspace, waiting
from engine.types import AllTasks, Hit, KnownTask, MergeName, Modality, PolicyName, Scope, ShardKey
from indexer.routing.slda import Router, averaged
from indexer.serving.planned_snapshot import PlannedSnapshot, lesson_number, plan_snapshot
from indexer.serving.snapshot import ServedSnapshot, ShardLookup, reading, renewed
from indexer.shards import gpu
from indexer.shards.shard import Shard

T = TypeVar("T")

Snapshot: TypeAlias = ServedSnapshot | PlannedSnapshot
"""A state that can be searched: what is served, or what would be under another policy or was."""


@dataclass(frozen=True)
class LikeliestTask:
    """Search the shards of the one task that the query most likely belongs to."""


@dataclass(frozen=True)
class InferredTask:
    """The task that a query most likely belongs to, and how likely, 0 to 1."""

    task: str
    probability: float


@dataclass(frozen=True)
class SearchResult:
    """The hits for a query, best first; and the task they were looked for in, where it was inferred."""

    hits: list[Hit]
    inferred: InferredTask | None


QueryScope: TypeAlias = Scope | LikeliestTask
"""Where a query looks: in one task, in all, or in the likeliest."""


@dataclass
class Searcher:
    """A snapshot, the shards of it that are open, and the backbones that read queries.

    Attributes:
        take: reads a new snapshot; called where a shard or router of this one has vanished.
        device: cuda searches shards on the GPUs that faiss sees.
        decode: decodes the media of queries.
    """

    snapshot: Snapshot
    take: Callable[[], Snapshot]
    store: Store
    backbones: Backbones
    device: str = "cpu"
    decode: Decode = here
    _lookups: dict[tuple[Modality, Modality], list[ShardLookup]] = field(default_factory=dict)
    _shards: dict[ShardKey, Shard] = field(default_factory=dict)
    _routers: dict[Modality, Router] = field(default_factory=dict)

    def refresh(self) -> None:
        """Read what is served now, and forget what was open."""
        self.snapshot = self.take()
        for opened in (self._lookups, self._shards, self._routers):
            opened.clear()

    def scope(self, task: str, merge: MergeName | None = None) -> QueryScope:
        """Return where to look: in the task of a name, in `all`, or with `auto` in the likeliest."""
        if task == "all":
            return self.all_tasks(merge)
        return LikeliestTask() if task == "auto" else KnownTask(clean_name(task))

    def all_tasks(self, merge: MergeName | None = None) -> AllTasks:
        """Return the scope of all tasks.

        Args:
            merge: how their shards are merged; None: routed once anything was learned, else raw, since one head's
                cosines are comparable.
        """
        return AllTasks(merge or ("routed" if self.snapshot.is_trained else "raw"))

    def search(
        self, query: Query, to: Modality | None, k: int, scope: QueryScope, *, min_score: float = -1.0
    ) -> SearchResult:
        """Return the K best hits for a query; `to` is the modality to find, None: as suits the query."""
        parts, target = encode(query, self.backbones.of, self.decode), target_of(query, to)
        inferred = None
        if isinstance(scope, LikeliestTask):
            inferred = self.infer_task(parts, target)
            scope = KnownTask(inferred.task)
        return SearchResult(self.nearest(parts, target, k, scope, min_score=min_score), inferred)

    def nearest(
        self, parts: Sequence[Part], target: Modality, k: int, scope: Scope, *, min_score: float = -1.0
    ) -> list[Hit]:
        """Return the K items of the target modality nearest to a query of one or more parts, best first.

        Args:
            min_score: leave out hits below this cosine, -1 to 1.
        """
        if k < 1:
            raise UserError(f"k must be at least 1, not {k}")
        return self._up_to_date(lambda: self._nearest(parts, target, k, scope, min_score))

    def infer_task(self, parts: Sequence[Part], target: Modality) -> InferredTask:
        """Return the task that a query most likely belongs to, among those that hold the target modality."""
        posterior = self._up_to_date(
            lambda: self._posterior(parts, _tasks(self._lookups_in(parts, target, AllTasks("routed"))))
        )
        best = int(posterior.log_p[0].argmax())
        return InferredTask(posterior.tasks[best], float(np.exp(posterior.log_p[0, best])))

    def notes(self, query: Query, to: Modality | None) -> list[Note]:
        """Return what keeps a query from being answered as well as it could, and what to do."""
        manifest = self.snapshot.workspace.manifest
        is_across = any(part.modality != target_of(query, to) for part in query)
        if is_across and not manifest.aligned and not manifest.history.lessons:
            return [Note("these modalities share no space before the first `mneme train`; hits are chance")]
        return waiting(manifest)

    def _up_to_date(self, run: Callable[[], T]) -> T:
        """Run; once more where an `index` switched and a later one cleaned up since the manifest was read."""
        try:
            return run()
        except Vanished:
            self.refresh()
            return run()

    def _nearest(
        self, parts: Sequence[Part], target: Modality, k: int, scope: Scope, min_score: float
    ) -> list[Hit]:
        lookups = self._lookups_in(parts, target, scope)
        embedder = self.snapshot.embedder
        versions = {lookup.queries for lookup in lookups}
        queries = {version: compose(embedder, version, parts) for version in versions}
        shard_queries = [
            ShardQuery(self._shard(lookup), queries[lookup.queries], lookup.tau) for lookup in lookups
        ]
        names = _tasks(lookups)
        is_routed = scope == AllTasks("routed") and len(names) > 1
        posterior = self._posterior(parts, names) if is_routed else None
        return list(hits(rank(shard_queries, k, posterior), shard_queries, self.store, min_score=min_score))

    def _lookups_in(self, parts: Sequence[Part], target: Modality, scope: Scope) -> list[ShardLookup]:
        """Return how the shards in a scope are searched; the first part says in which direction."""
        direction = (parts[0].modality, target)
        if direction not in self._lookups:
            self._lookups[direction] = self.snapshot.lookups(*direction)
        lookups = self._lookups[direction]
        if isinstance(scope, KnownTask):
            lookups = [lookup for lookup in lookups if lookup.key.task == scope.task]
        if not lookups:
            raise self._nothing_to_search(target, scope)
        return lookups

    def _nothing_to_search(self, target: Modality, scope: Scope) -> UserError:
        """Return the error that says what there is instead."""
        tasks = self.snapshot.tasks
        if not tasks:
            return UserError("nothing is indexed yet: run `mneme index SOURCE`")
        if isinstance(scope, KnownTask) and scope.task not in tasks:
            return UserError(f"no task {scope.task!r} in the index; tasks are: {', '.join(tasks)}")
        place = f"task {scope.task!r}" if isinstance(scope, KnownTask) else "the index"
        served = self.snapshot.workspace.manifest.served.shards
        indexed, to = sorted({shard.key.modality for shard in served}), Setting("to")
        return UserError(
            f"no {target} in {place}; the index holds: {', '.join(indexed)} (choose one with {to})", [to]
        )

    def _posterior(self, parts: Sequence[Part], tasks: Sequence[str]) -> TaskPosterior:
        """Return what a query's parts say of its task on average; a part that is subtracted has no say."""
        positive = [part for part in parts if part.weight > 0] or parts
        log_p = [self._router(part.modality).log_p(part.features[None], tasks) for part in positive]
        return TaskPosterior(tasks, averaged(log_p))

    def _router(self, modality: Modality) -> Router:
        if modality not in self._routers:
            self._routers[modality] = self.snapshot.router(modality)
        return self._routers[modality]

    def _shard(self, lookup: ShardLookup) -> Shard:
        if lookup.key not in self._shards:
            shard = lookup.open()
            self._shards[lookup.key] = gpu.to_gpu(shard) if self.device == "cuda" and gpu.gpus() else shard
        return self._shards[lookup.key]


@contextmanager
def open_searcher(
    root: Path,
    *,
    device: str = "cpu",
    policy: PolicyName | None = None,
    at: str | None = None,
    limits: DecodingLimits = LIMITS,
) -> Iterator[Searcher]:
    """Open a workspace for any number of queries.

    Args:
        policy: search as this policy would have it; None: as it is served. What no shard holds is embedded from
            features in memory, and nothing is written.
        at: search it as it stood after a lesson: its number, from 1, or its task; None: as it is served.
        limits: what decoding a medium of a query may take.
    """
    with reading(root) as (workspace, store), ExitStack() as opened:
        lessons = None if at is None else lesson_number(workspace, at)
        processes = cache(lambda: opened.enter_context(decoders(limits)))  # once a query is no text

        def snapshot_of(workspace: Workspace) -> Snapshot:
            if policy is None and lessons is None:
                return ServedSnapshot(workspace, Embedder(workspace, device))
            return plan_snapshot(workspace, store, device, policy=policy, lessons=lessons)

        def decode(job: Job, data: bytes) -> Array:
            return processes().decode(job, data)

        backbones = Backbones(workspace.manifest.backbones, device)
        now, renew = snapshot_of(workspace), lambda: snapshot_of(renewed(root, store))
        yield Searcher(now, renew, store, backbones, device, decode)


def _tasks(lookups: Sequence[ShardLookup]) -> list[str]:
    """Return the tasks whose shards are searched, each once, in order."""
    return list(dict.fromkeys(lookup.key.task for lookup in lookups))
