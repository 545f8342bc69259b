"""What would be served under another policy, or was after an earlier lesson: planned and made in memory."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial

from engine.errors import UserError
from engine.heads.embedder import Embedder
from engine.history import History, settled, tasks, up_to, versions
from engine.ids import clean_name
from engine.storage.store import Store
from engine.storage.workspace import Workspace, readable_pairs
from engine.types import ItemId, Modality, PolicyName
from indexer.embeddings.embeddings import embedding_cache
from indexer.policies.plan import Placement
from indexer.policies.planner import DirectionPolicies, Members, Planner
from indexer.policies.policies import NEED_FEATURES, parse_policy
from indexer.routing import routers, slda
from indexer.routing.slda import Router
from indexer.serving.snapshot import ShardLookup
from indexer.serving.wanted import current, refuse, served_items
from indexer.shards import files as shards
from indexer.shards.shard import Shard, build_shard


@dataclass(frozen=True)
class PlannedSnapshot:
    """A plan for the items that are served; shards that are on disk are read, the others made from features.

    Attributes:
        history: what was learned by then.
        routers: the folder of each query modality's router, as far as it can be read; others are learned.
    """

    workspace: Workspace
    store: Store
    embedder: Embedder
    history: History
    policies: DirectionPolicies
    routers: Mapping[Modality, str]

    @property
    def tasks(self) -> list[str]:
        """The tasks that can be searched, in the order they were learned."""
        indexed = {shard.key.task for shard in self.workspace.manifest.served.shards}
        return [task for task in tasks(self.history) if task in indexed]

    @property
    def is_trained(self) -> bool:
        """Whether any lesson has its say in the plan."""
        return bool(self.history.lessons)

    def lookups(self, query: Modality, target: Modality) -> list[ShardLookup]:
        """Return how a direction is searched, task by task."""
        route = self.planner.route(query, target, self.policies.of(query, target))
        return [
            ShardLookup(
                placement.key(task, target),
                placement.queries,
                route.tau[task],
                partial(self._shard, task, target, placement),
            )
            for task, placements in route.plan.items()
            for placement in placements
        ]

    def _shard(self, task: str, target: Modality, placement: Placement) -> Shard:
        key, manifest = placement.key(task, target), self.workspace.manifest
        paths = {shard.key: shard.path for shard in manifest.served.shards}
        if key in paths:
            return shards.read(self.workspace.shard(paths[key]), key, manifest.backbones[target].id)
        ids = placement.items or self.planner.members[task, target]
        return build_shard(key, ids, self.planner.embeddings.embed(target, ids, key.head, key.space))

    def router(self, modality: Modality) -> Router:
        """Return the router of a query modality."""
        if modality in self.routers:
            return slda.read(self.workspace.router(self.routers[modality]))
        stages = [list(settled(self.history))]
        (router,) = routers.learn(self.planner.embeddings, self.planner.groups, modality, stages)
        return router

    @cached_property
    def planner(self) -> Planner:
        """What plans for the items that are served and can be embedded: from features or kept vectors."""
        known = set(versions(self.history))  # a later version was not there yet
        by_head = {
            group: {version: ids for version, ids in items.items() if version in known}
            for group, items in served_items(self.workspace).items()
        }
        pairs, sealed = readable_pairs(self.workspace.manifest, self.store), self.workspace.manifest.sealed
        embeddings = embedding_cache(self.embedder, self.store, pairs)
        return Planner(embeddings, self.history, pairs, self._members(), by_head, sealed)

    def _members(self) -> Members:
        """Return the items of each task and modality that are served and still there."""
        manifest = self.workspace.manifest
        members: dict[tuple[str, Modality], set[ItemId]] = defaultdict(set)
        for shard in manifest.served.shards:
            task, modality = shard.key.task, shard.key.modality
            backbone, is_sealed = manifest.backbones[modality].id, task in manifest.sealed
            members[task, modality] |= {
                id
                for id in (id.decode() for id in shards.read_ids(self.workspace.shard(shard.path), shard.key))
                if self.store.has_features(id, backbone) or (is_sealed and self.store.users(id))
            }
        return {group: sorted(ids) for group, ids in members.items() if ids}


def plan_snapshot(
    workspace: Workspace,
    store: Store,
    device: str,
    *,
    policy: PolicyName | None = None,
    lessons: int | None = None,
) -> PlannedSnapshot:
    """Return what would be served under another policy, or was after an earlier lesson, or both.

    Args:
        policy: of all directions; None: each has the one that it is served under.
        lessons: after how many; None: as many as are served.
    """
    served = workspace.manifest.served
    policies = DirectionPolicies(served.policy, served.policies)
    if policy is not None:
        policies = DirectionPolicies(parse_policy(policy), {})
    if lessons is not None and not 1 <= lessons <= served.lessons:
        known = f"1 to {served.lessons}" if served.lessons else "none"
        raise UserError(f"no lesson {lessons} in what is served; lessons are: {known}")
    if policy in NEED_FEATURES and workspace.manifest.sealed:
        refuse(current(workspace, store), [policies.general])
    return PlannedSnapshot(
        workspace,
        store,
        Embedder(workspace, device),
        up_to(workspace.manifest.history, served.lessons if lessons is None else lessons),
        policies,
        served.routers if lessons is None else {},
    )


def lesson_number(workspace: Workspace, name: str) -> int:
    """Return the number of a lesson that is named by its number or by its task, whose last one it then is."""
    lessons, task = workspace.manifest.history.lessons, clean_name(name)
    numbers = [lesson.number for lesson in lessons if lesson.task == task] or [
        lesson.number for lesson in lessons if str(lesson.number) == name
    ]
    if not numbers:
        known = ", ".join(f"{lesson.number} ({lesson.task})" for lesson in lessons) or "none"
        raise UserError(f"no lesson {name!r}; lessons are: {known}")
    return numbers[-1]
