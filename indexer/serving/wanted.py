"""What is to be served: which shards, and how each direction searches them. Nothing is embedded or written here."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias

from engine.errors import UserError
from engine.heads.embedder import Embedder
from engine.history import Arrival, History, newest_head, settled, tasks
from engine.storage import files, names
from engine.storage.manifest import BackboneRecord, Lookup, Manifest, Served, ServedDirection, ServedShard
from engine.storage.store import Store
from engine.storage.workspace import Workspace, pairs_left, sealed_tasks
from engine.types import ItemId, Modality, Pair, PolicyName, ShardKey
from indexer.embeddings.embeddings import embedding_cache
from indexer.policies.plan import ItemsByHead
from indexer.policies.planner import DirectionPolicies, Members, Planner, Route
from indexer.policies.policies import NEED_FEATURES
from indexer.shards import files as shards

ENOUGH_PAIRS = 20
"""With so many validation pairs of a task, `auto` can choose its head better than by habit."""

Paths: TypeAlias = Mapping[tuple[ShardKey, str], str]
"""Paths of shards, by key and the name of the folder itself."""


@dataclass(frozen=True)
class ServingRequest:
    """What a command wants to change about what is served; by default nothing.

    Attributes:
        policy: for all directions; None: the one that is served.
        policies: by direction, `text-image`; these stay until the same direction or all are named again.
        budget: the share of all items that `partial` may embed again, 0 to 1.
        sealing: a task that from now on is to do without features; None: no other than before.
    """

    policy: PolicyName | None = None
    policies: Mapping[str, PolicyName] = field(default_factory=dict)
    budget: float = 0.0
    sealing: str | None = None


@dataclass(frozen=True)
class WantedShard:
    """A shard that is to be served: its items, sorted, and its folder, relative to the workspace's `shards`.

    Attributes:
        digest: of what its vectors are made from: backbone, space and items; the path ends with its beginning.
    """

    key: ShardKey
    ids: Sequence[ItemId]
    path: str
    digest: str


@dataclass(frozen=True)
class Wanted:
    """The state that is to be served.

    Attributes:
        chosen: whether a person chose the general policy, now or before.
        routes: how each direction searches, by query and target modality.
        shards: those that the directions search.
        sealed: by task, those that stand in for features which were removed or are about to be.
    """

    policies: DirectionPolicies
    chosen: bool
    routes: Mapping[tuple[Modality, Modality], Route]
    shards: Sequence[WantedShard]
    sealed: Mapping[str, Sequence[WantedShard]]

    def directions(self) -> tuple[ServedDirection, ...]:
        """Return the directions as the manifest holds them."""
        place = {shard.key: n for n, shard in enumerate(self.shards)}
        return tuple(
            ServedDirection(
                query,
                target,
                self.policies.of(query, target),
                tuple(
                    Lookup(place[placement.key(task, target)], placement.queries, route.tau[task])
                    for task, placements in route.plan.items()
                    for placement in placements
                ),
            )
            for (query, target), route in self.routes.items()
        )


def plan(planner: Planner, request: ServingRequest) -> Wanted:
    """Return what is to be served, in directions from each modality that can be encoded to each that is held."""
    manifest, heads = planner.embeddings.embedder.workspace.manifest, settled(planner.history)
    policies = policies_of(manifest.served, request, default_policy(planner, request))
    routes = {
        (query, target): planner.route(query, target, policies.of(query, target), request.budget)
        for query, target in product(
            sorted(manifest.backbones), sorted({modality for _, modality in planner.members})
        )
    }
    paths, shards = _paths(manifest), dict[ShardKey, WantedShard]()
    for (_, target), route in routes.items():
        for task, placements in route.plan.items():
            for placement in placements:
                key, ids = placement.key(task, target), placement.items or planner.members[task, target]
                shards.setdefault(key, wanted_shard(key, ids, manifest.backbones[target], paths))
    sealed = {
        task: [
            wanted_shard(key, ids, manifest.backbones[modality], paths)
            for (name, modality), ids in sorted(planner.members.items())
            for key in [ShardKey(task, modality, heads[task], heads[task])]
            if name == task
        ]
        for task in dict.fromkeys([*manifest.sealed, *([request.sealing] if request.sealing else [])])
    }
    chosen = manifest.served.chosen or request.policy is not None
    return Wanted(policies, chosen, routes, list(shards.values()), sealed)


def wanted_shard(
    key: ShardKey, ids: Sequence[ItemId], backbone: BackboneRecord, paths: Paths = MappingProxyType({})
) -> WantedShard:
    """Return a shard to be served; equal items under the same backbone, head and space have the same folder."""
    digest = files.checksum("\0".join([backbone.id, str(key.space), *ids]).encode())
    name = f"v{key.head:04d}-{digest[:8]}"
    path = f"{names.file_name(key.task)}/{names.file_name(key.modality)}/{name}"
    return WantedShard(key, ids, paths.get((key, name), path), digest)


def _paths(manifest: Manifest) -> Paths:
    """Return where shards are already; folders were called otherwise once."""
    named = [*manifest.served.shards, *(manifest.previous.shards if manifest.previous else ())]
    named += [shard for kept in manifest.sealed.values() for shard in kept.shards]
    return {(shard.key, Path(shard.path).name): shard.path for shard in named}


def difference(wanted: Wanted, existing: Path) -> list[WantedShard]:
    """Return the shards that are wanted and not yet in the folder of those that exist."""
    every = [*wanted.shards, *(shard for kept in wanted.sealed.values() for shard in kept)]
    by_path = {shard.path: shard for shard in every}
    return [shard for path, shard in by_path.items() if not (existing / path).is_dir()]


def planner_of(workspace: Workspace, store: Store, request: ServingRequest, device: str) -> Planner:
    """Return what plans for all that is stored, tasks that are indexed now for the first time among them."""
    policies = policies_of(workspace.manifest.served, request, "matched").named
    refuse(workspace, policies)
    every = store.pairs()
    members, readable = members_of(every), pairs_left(workspace.manifest, store, every)
    return Planner(
        embedding_cache(Embedder(workspace, device), store, readable),
        with_arrivals(workspace.manifest.history, {task for task, _ in members}),
        readable,
        members,
        served_items(workspace) if "partial" in policies else {},
        workspace.manifest.sealed,
    )


def policies_of(served: Served, request: ServingRequest, default: PolicyName) -> DirectionPolicies:
    """Return the policies to be served under: a request for all directions forgets those of single ones.

    Args:
        default: the general one, where nobody has chosen any.
    """
    kept = served.policies if request.policy is None else {}
    general = request.policy or (served.policy if served.chosen else default)
    return DirectionPolicies(general, {**kept, **request.policies})


def default_policy(planner: Planner, request: ServingRequest) -> PolicyName:
    """Return `auto` where some lesson's task has validation pairs enough to choose heads by, else `matched`."""
    learned = {lesson.task for lesson in planner.history.lessons}
    counts = Counter(
        pair.task
        for pair in planner.pairs
        if pair.split == "val" and len(pair.items) > 1 and pair.task in learned
    )
    is_sealed = planner.sealed or request.sealing  # whose features auto would need
    return "auto" if max(counts.values(), default=0) >= ENOUGH_PAIRS and not is_sealed else "matched"


def current(workspace: Workspace, store: Store) -> Workspace:
    """Return a workspace as it stands in memory once tasks whose features all came back are sealed no more."""
    sealed = {task: workspace.manifest.sealed[task] for task in sealed_tasks(workspace.manifest, store)}
    return replace(workspace, manifest=replace(workspace.manifest, sealed=sealed))


def refuse(workspace: Workspace, policies: Iterable[PolicyName]) -> None:
    """Refuse policies that need features where those of a task were removed."""
    sealed = list(workspace.manifest.sealed)
    for policy in policies:
        if sealed and policy in NEED_FEATURES:
            raise UserError(
                f"policy {policy} needs the features of task {sealed[0]!r}, which were removed: take matched, "
                "no-reindex or aligned, or run `mneme index` on the task's source again"
            )


def members_of(pairs: Sequence[Pair]) -> Members:
    """Return the distinct items of each task and modality, sorted by id."""
    members: dict[tuple[str, Modality], set[ItemId]] = defaultdict(set)
    for pair in pairs:
        for modality, ids in pair.items.items():
            members[pair.task, modality].update(ids)
    return {group: sorted(ids) for group, ids in members.items() if ids}


def served_items(workspace: Workspace) -> dict[tuple[str, Modality], ItemsByHead]:
    """Return which items of each task and modality each head version embeds, as the first direction searches them."""
    served = workspace.manifest.served
    by_head: dict[tuple[str, Modality], dict[int, Sequence[ItemId]]] = {}
    for direction in {direction.target: direction for direction in reversed(served.directions)}.values():
        for shard in (served.shards[lookup.shard] for lookup in direction.lookups):
            ids = [id.decode() for id in shards.read_ids(workspace.shard(shard.path), shard.key)]
            by_head.setdefault((shard.key.task, direction.target), {})[shard.key.head] = ids
    return dict(by_head)


def served_shards(wanted: Iterable[WantedShard]) -> tuple[ServedShard, ...]:
    """Return shards as the manifest holds them."""
    return tuple(ServedShard(shard.key, shard.path) for shard in wanted)


def with_arrivals(history: History, indexed: Iterable[str]) -> History:
    """Return a history that notes the tasks which are indexed for the first time, without a lesson of their own.

    A task that had no lesson and holds nothing any more is forgotten.
    """
    held = set(indexed)
    known = {*held, *(lesson.task for lesson in history.lessons)}
    kept = [arrival for arrival in history.arrivals if arrival.task in known]
    new = sorted(held - set(tasks(history)))
    arrivals = [Arrival(task, len(history.lessons), newest_head(history)) for task in new]
    return replace(history, arrivals=(*kept, *arrivals))
