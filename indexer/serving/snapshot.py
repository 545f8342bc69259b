"""What is served, as the manifest says: how each direction searches its shards, and by which router."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from engine.heads.embedder import Embedder
from engine.history import tasks
from engine.storage.manifest import ServedShard
from engine.storage.store import Store
from engine.storage.workspace import Workspace, open_at
from engine.types import Modality, ShardKey
from indexer.routing import slda
from indexer.routing.slda import Router
from indexer.shards import files as shards
from indexer.shards.shard import Shard


@dataclass(frozen=True)
class ShardLookup:
    """How one direction searches one shard.

    Attributes:
        queries: the head version that embeds the queries.
        tau: what cosines are divided by to be log-likelihoods.
        open: reads the shard or makes it; Vanished where its folder is gone.
    """

    key: ShardKey
    queries: int
    tau: float
    open: Callable[[], Shard]


@dataclass(frozen=True)
class ServedSnapshot:
    """What is served at the moment when the manifest was read."""

    workspace: Workspace
    embedder: Embedder

    @property
    def tasks(self) -> list[str]:
        """The tasks that can be searched, in the order they were learned."""
        indexed = {shard.key.task for shard in self.workspace.manifest.served.shards}
        return [task for task in tasks(self.workspace.manifest.history) if task in indexed]

    @property
    def is_trained(self) -> bool:
        """Whether any lesson had its say in what is served."""
        return self.workspace.manifest.served.lessons > 0

    def lookups(self, query: Modality, target: Modality) -> list[ShardLookup]:
        """Return how a direction is searched, task by task; empty where it is not served."""
        served = self.workspace.manifest.served
        return [
            ShardLookup(shard.key, lookup.queries, lookup.tau, partial(self._shard, shard))
            for direction in served.directions
            if (direction.query, direction.target) == (query, target)
            for lookup in direction.lookups
            for shard in [served.shards[lookup.shard]]
        ]

    def _shard(self, shard: ServedShard) -> Shard:
        backbone = self.workspace.manifest.backbones[shard.key.modality].id
        return shards.read(self.workspace.shard(shard.path), shard.key, backbone)

    def router(self, modality: Modality) -> Router:
        """Return the router of a query modality; one of which nothing was learned finds all tasks as likely."""
        path = self.workspace.manifest.served.routers.get(modality)
        if path is None:
            return slda.untaught(self.workspace.manifest.backbones[modality].width)
        return slda.read(self.workspace.router(path))


@contextmanager
def reading(root: Path) -> Iterator[tuple[Workspace, Store]]:
    """Open a workspace and its store as of one state: what is served in the one is kept in the other."""
    workspace = open_at(root)
    with Store(workspace.store, served=workspace.state) as store:
        yield _as_one(root, workspace, store), store


def renewed(root: Path, store: Store) -> Workspace:
    """Return a workspace as it now stands, and let its store be seen as of the same state."""
    workspace = open_at(root)
    store.refresh(workspace.state)
    return _as_one(root, workspace, store)


def _as_one(root: Path, workspace: Workspace, store: Store) -> Workspace:
    """Return the workspace once no switch came between the reading of its manifest and that of its store."""
    while (now := open_at(root)).manifest != workspace.manifest:
        workspace = now
        store.refresh(now.state)
    return workspace
