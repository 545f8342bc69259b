"""What is asked: as it is served, as another policy would have it, or as it stood after an earlier lesson."""

from collections import defaultdict
from dataclasses import dataclass, field

from engine.errors import UserError
from engine.heads.embedder import Embedder
from engine.history import History, settled, up_to, versions
from engine.storage.removed import readable
from engine.storage.store import Store
from engine.storage.workspace import Workspace
from engine.types import ItemId, Modality, PolicyName, ShardKey
from indexer.embeddings.embeddings import reader
from indexer.policies.planner import Planner, named
from indexer.policies.policies import POLICIES, REMAKING
from indexer.routing import routers
from indexer.routing.routers import learned
from indexer.routing.slda import Router
from indexer.serving.build import current, placed, refuse
from indexer.shards import files as shards


@dataclass(frozen=True)
class Ask:
    """How one shard is asked in one direction: its key, the items of one that is not on disk, queries, tau."""

    key: ShardKey
    queries: int
    tau: float
    path: str = ""
    items: tuple[ItemId, ...] = ()


@dataclass
class Snapshot:
    """How every direction is asked, and by which router.

    Attributes:
        policy: as this policy would have it; None: as it is served.
        at: as it stood after so many lessons; None: as it is served.
    """

    workspace: Workspace
    store: Store
    embedder: Embedder
    policy: PolicyName | None = None
    at: int | None = None
    _asks: dict[tuple[Modality, Modality], list[Ask]] = field(default_factory=dict)
    _routers: dict[Modality, Router] = field(default_factory=dict)
    _planner: Planner | None = None

    def __post_init__(self) -> None:
        if self.policy is not None and self.policy not in POLICIES:
            raise UserError(f"no policy {self.policy!r}; policies are: {', '.join(POLICIES)}")
        served = self.workspace.manifest.served.lessons
        if self.at is not None and not 1 <= self.at <= served:
            known = f"1 to {served}" if served else "none"
            raise UserError(f"no lesson {self.at} in what is served; lessons are: {known}")
        if self.policy in REMAKING and self.workspace.manifest.sealed:
            refuse(current(self.workspace, self.store), [self.policy])

    def asks(self, query: Modality, target: Modality) -> list[Ask]:
        """Return how a direction is asked, task by task."""
        way = (query, target)
        if way not in self._asks:
            kept = self.policy is None and self.at is None
            self._asks[way] = self._served(*way) if kept else self._planned(*way)
        return self._asks[way]

    def _served(self, query: Modality, target: Modality) -> list[Ask]:
        served = self.workspace.manifest.served
        return [
            Ask(served.shards[one.shard].key, one.queries, one.tau, served.shards[one.shard].path)
            for way in served.directions
            if (way.query, way.target) == (query, target)
            for one in way.lookups
        ]

    def _planned(self, query: Modality, target: Modality) -> list[Ask]:
        """Return how a direction would be asked under another policy, or was after an earlier lesson."""
        served = self.workspace.manifest.served
        policy = self.policy or served.policies.get(named(query, target), served.policy)
        paths = {one.key: one.path for one in served.shards}
        way = self.plans().way(query, target, self.history, policy)
        asks = []
        for task, placements in way.plan.items():
            for one in placements:
                key = one.key(task, target)
                items = tuple(one.items or self.plans().members[task, target])
                asks.append(Ask(key, one.queries, way.tau[task], paths.get(key, ""), items))
        return asks

    def plans(self) -> Planner:
        """Return what plans for the items that are served and whose features are stored."""
        if self._planner is None:
            pairs, manifest = readable(self.workspace.manifest, self.store), self.workspace.manifest
            members: dict[tuple[str, Modality], set[ItemId]] = defaultdict(set)
            for one in manifest.served.shards:
                backbone = manifest.backbones[one.key.modality].id
                ids = [id.decode() for id in shards.read_ids(self.workspace.shards / one.path)]
                sealed = one.key.task in manifest.sealed
                members[one.key.task, one.key.modality] |= {
                    id
                    for id in ids
                    if self.store.has_features(id, backbone) or (sealed and self.store.users(id))
                }
            held = {group: sorted(ids) for group, ids in members.items() if ids}
            read = reader(self.embedder, self.store, pairs)
            known = set(versions(self.history))  # a later version was not there yet
            now = {
                group: {version: ids for version, ids in there.items() if version in known}
                for group, there in placed(self.workspace).items()
            }
            self._planner = Planner(read, pairs, held, now, manifest.sealed)
        return self._planner

    @property
    def history(self) -> History:
        manifest = self.workspace.manifest
        return up_to(manifest.history, manifest.served.lessons if self.at is None else self.at)

    def router(self, modality: Modality) -> Router:
        if modality not in self._routers:
            path = self.workspace.manifest.served.routers.get(modality)
            if self.at is not None or path is None:
                plans = self.plans()
                known = [list(settled(self.history))]
                (self._routers[modality],) = learned(plans.reader, plans.groups, modality, known)
            else:
                self._routers[modality] = routers.read(self.workspace.routers / path)
        return self._routers[modality]
