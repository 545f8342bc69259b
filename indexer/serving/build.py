"""Bring what is served up to date: the shards that the policies want, less those that exist, from features."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from urllib.parse import quote

from engine.errors import UserError
from engine.heads.embedder import Embedder
from engine.history import Arrival, History, newest_head, settled, tasks
from engine.storage import files
from engine.storage.manifest import Lookup, Sealed, Served, ServedDirection, ServedShard
from engine.storage.removed import left
from engine.storage.removed import tasks as tasks_of
from engine.storage.store import Store
from engine.storage.workspace import Workspace
from engine.types import ItemId, Modality, Pair, PolicyName, ShardKey
from indexer.embeddings.embeddings import reader
from indexer.policies.planner import Members, Now, Planner, Route, named
from indexer.policies.policies import REMAKING, Placement
from indexer.routing import routers
from indexer.shards import files as shards
from indexer.shards.shard import build_shard


@dataclass(frozen=True)
class Wanted:
    """Under which policies what is served is to be.

    Attributes:
        policy: None: the one it has.
        policies: by direction, `text-image`; these stay until the same direction or all are named again.
        budget: the share of all items that `partial` may embed again, 0 to 1.
        sealing: a task that from now on is to do without features.
    """

    policy: PolicyName | None = None
    policies: Mapping[str, PolicyName] = field(default_factory=dict)
    budget: float = 0.0
    sealing: str | None = None


def serve(
    workspace: Workspace, store: Store, wanted: Wanted, *, device: str, previous: Served | None = None
) -> tuple[Workspace, int]:
    """Build the shards that are missing, switch to them in one step, and return how many were built.

    Args:
        previous: what `rollback` is to bring back from now on; None: what it would bring back before.
    """
    drop_unnamed(workspace)
    before, workspace = workspace.manifest, current(workspace, store)
    history, planner = planner_of(workspace, store, wanted, device)
    ways, work = ways_of(workspace, planner, history, wanted), Work(workspace, planner)
    lookups = {way: work.lookups(way[1], how) for way, how in ways.items()}
    workspace = replace(
        workspace, manifest=replace(workspace.manifest, sealed=sealed_by(work, history, wanted.sealing))
    )
    policy, policies = policies_of(before.served, wanted)
    served = Served(
        policy=policy,
        lessons=len(history.lessons),
        directions=tuple(
            ServedDirection(*way, policies.get(named(*way), policy), asked) for way, asked in lookups.items()
        ),
        shards=tuple(work.shards),
        policies=policies,
        routers=routers.bring(workspace, planner.reader, planner.groups, list(settled(history))),
    )
    manifest = replace(
        workspace.manifest,
        history=history,
        served=served,
        previous=previous or before.previous,
    )
    if manifest != before:
        workspace = workspace.with_manifest(manifest)
    return workspace, len(work.missing)


def planner_of(workspace: Workspace, store: Store, wanted: Wanted, device: str) -> tuple[History, Planner]:
    """Return the history with what is indexed now for the first time, and what plans for all that is stored."""
    every = store.pairs()
    members, pairs = members_of(every), left(workspace.manifest, store, every)
    policy, policies = policies_of(workspace.manifest.served, wanted)
    refuse(workspace, [policy, *policies.values()])
    now = placed(workspace) if "partial" in (policy, *policies.values()) else {}
    read = reader(Embedder(workspace, device), store, pairs)
    planner = Planner(read, pairs, members, now, workspace.manifest.sealed)
    return _with_arrivals(workspace, members), planner


def ways_of(
    workspace: Workspace, planner: Planner, history: History, wanted: Wanted
) -> dict[tuple[Modality, Modality], Route]:
    """Return how every direction is to be asked: from each modality that can be encoded to each that is held."""
    policy, policies = policies_of(workspace.manifest.served, wanted)
    return {
        way: planner.way(*way, history, policies.get(named(*way), policy), wanted.budget)
        for way in product(
            sorted(workspace.manifest.backbones), sorted({modality for _, modality in planner.members})
        )
    }


@dataclass
class Work:
    """The shards of one run: those that were wanted so far, and how many of them had to be built.

    Attributes:
        dry: count what is missing, and build nothing.
    """

    workspace: Workspace
    planner: Planner
    dry: bool = False
    shards: list[ServedShard] = field(default_factory=list)
    missing: list[tuple[ShardKey, list[ItemId]]] = field(default_factory=list)
    _places: dict[ShardKey, int] = field(default_factory=dict)

    def lookups(self, target: Modality, way: Route) -> tuple[Lookup, ...]:
        """Return how a direction asks its shards, each built where it is missing."""
        return tuple(
            Lookup(self._place(task, target, one), one.queries, way.tau[task])
            for task, placements in way.plan.items()
            for one in placements
        )

    def own(self, task: str, head: int) -> tuple[ServedShard, ...]:
        """Return the shards that hold what a task's own head makes of it, each built where it is missing."""
        held = sorted(modality for name, modality in self.planner.members if name == task)
        keys = [ShardKey(task, modality, head, head) for modality in held]
        members = self.planner.members
        return tuple(ServedShard(key, self._folder(key, list(members[task, key.modality]))) for key in keys)

    def _place(self, task: str, modality: Modality, placement: Placement) -> int:
        key = placement.key(task, modality)
        if key not in self._places:
            ids = list(placement.items or self.planner.members[task, modality])
            self._places[key] = len(self.shards)
            self.shards.append(ServedShard(key, self._folder(key, ids)))
        return self._places[key]

    def _folder(self, key: ShardKey, ids: list[ItemId]) -> str:
        backbone = self.workspace.manifest.backbones[key.modality].id
        digest = files.checksum("\0".join([backbone, str(key.space), *ids]).encode())
        path = f"{quote(key.task, safe='')}/{key.modality}/v{key.head:04d}-{digest[:8]}"
        if (self.workspace.shards / path).is_dir():
            return path
        self.missing.append((key, ids))
        if not self.dry:
            vectors = self.planner.reader.embed(key.modality, ids, key.head, key.space)
            made = build_shard(key, ids, vectors)
            shards.write(made, self.workspace.shards / path, backbone=backbone, digest=digest)
        return path


def sealed_by(work: Work, history: History, sealing: str | None) -> dict[str, Sealed]:
    """Return what stands in for the features of every sealed task, one more of them where it is named."""
    known, planner = dict(work.workspace.manifest.sealed), work.planner
    if sealing is not None:
        before = known.get(sealing, Sealed())
        temperatures = before.temperatures or planner.temperatures(sealing, history)
        sums = routers.keep(work.workspace, planner.reader, planner.groups, sealing)
        known[sealing] = replace(before, sums=sums, temperatures=temperatures)
    heads = settled(history)
    return {task: replace(held, shards=work.own(task, heads[task])) for task, held in known.items()}


def current(workspace: Workspace, store: Store) -> Workspace:
    """Return a workspace as it stands in memory once tasks whose features all came back are sealed no more."""
    sealed = {task: workspace.manifest.sealed[task] for task in tasks_of(workspace.manifest, store)}
    return replace(workspace, manifest=replace(workspace.manifest, sealed=sealed))


def refuse(workspace: Workspace, policies: Iterable[PolicyName]) -> None:
    """Refuse policies that need features where those of a task were removed."""
    sealed = list(workspace.manifest.sealed)
    for policy in policies:
        if sealed and policy in REMAKING:
            raise UserError(
                f"policy {policy} needs the features of task {sealed[0]!r}, which were removed: take matched, "
                "no-reindex or aligned, or run `mneme index` on the task's source again"
            )


def members_of(pairs: Sequence[Pair]) -> Members:
    """Return the distinct items of each task and modality, sorted by id."""
    found: dict[tuple[str, Modality], set[ItemId]] = defaultdict(set)
    for pair in pairs:
        for modality, ids in pair.items.items():
            found[pair.task, modality].update(ids)
    return {group: sorted(ids) for group, ids in found.items() if ids}


def placed(workspace: Workspace) -> Now:
    """Return which items of each task and modality each version embeds, as the first direction asks them."""
    served = workspace.manifest.served
    found: dict[tuple[str, Modality], dict[int, Sequence[ItemId]]] = {}
    for way in {way.target: way for way in reversed(served.directions)}.values():
        for one in (served.shards[lookup.shard] for lookup in way.lookups):
            held = shards.read_ids(workspace.shards / one.path)
            found.setdefault((one.key.task, way.target), {})[one.key.head] = [id.decode() for id in held]
    return found


def drop_unnamed(workspace: Workspace) -> None:
    """Delete the shards and routers that nothing names; a reader had until now to finish with them."""
    states = [s for s in (workspace.manifest.served, workspace.manifest.previous) if s is not None]
    sealed = workspace.manifest.sealed.values()
    kept = {workspace.shards / one.path for state in states for one in state.shards}
    kept |= {workspace.shards / one.path for held in sealed for one in held.shards}
    kept |= {workspace.routers / path for state in states for path in state.routers.values()}
    kept |= {workspace.routers / path for held in sealed for path in held.sums.values()}
    for folder in (*workspace.shards.glob("*/*/*"), *workspace.routers.glob("*")):
        if folder not in kept:
            files.drop_folder(folder)


def policies_of(served: Served, wanted: Wanted) -> tuple[PolicyName, dict[str, PolicyName]]:
    """Return the policy of all directions, and of those that have their own: one for all forgets these."""
    kept = served.policies if wanted.policy is None else {}
    return wanted.policy or served.policy, {**kept, **wanted.policies}


def _with_arrivals(workspace: Workspace, members: Members) -> History:
    """Note the tasks that are indexed for the first time, without a lesson of their own."""
    history = workspace.manifest.history
    known = set(tasks(history))
    fresh = sorted({task for task, _ in members} - known)
    arrivals = [Arrival(task, len(history.lessons), newest_head(history)) for task in fresh]
    return replace(history, arrivals=(*history.arrivals, *arrivals))
