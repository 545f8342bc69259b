"""Answer a query from what is served: the shards a plan names, each asked with the head the plan names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from engine.embed import Embedder
from engine.errors import UserError
from engine.merge import MERGES
from engine.query import Asked, Part, compose, hits, rank
from engine.store import Store
from engine.types import Hit, MergeName, Modality, PolicyName, ShardKey
from engine.workspace import ServedShard, Workspace, tasks
from indexer import shard
from indexer.policy import POLICIES, Plan, up_to
from indexer.shard import Shard


@dataclass
class Index:
    """What is served, opened once for any number of queries.

    Attributes:
        policy: ask the index as this policy would have it, None: the served one. What no shard holds is
            embedded from features in memory, and nothing is written.
    """

    workspace: Workspace
    store: Store
    device: str = "cpu"
    policy: PolicyName | None = None
    embedder: Embedder = field(init=False)
    _open: dict[ShardKey, Shard] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.embedder = Embedder(self.workspace, self.device)

    @property
    def tasks(self) -> list[str]:
        """The tasks that can be searched, in the order they were learned."""
        indexed = {one.key.task for one in self.workspace.manifest.served.shards}
        return [task for task in tasks(self.workspace.manifest.history) if task in indexed]

    def search(
        self, parts: Sequence[Part], target: Modality, k: int, *, task: str = "all", merge: MergeName = "raw"
    ) -> list[Hit]:
        """Return the K items of the target modality nearest to a query of one or more parts."""
        plan = self._plan()
        wanted = [one for one in self._tasks(task) if self._members(one, target)]
        if not wanted:
            raise UserError(self._nothing(target, task))
        queries: dict[int, NDArray[np.float32]] = {}
        asked = []
        for name in wanted:
            placement = plan[name]
            if placement.queries not in queries:
                queries[placement.queries] = compose(self.embedder, placement.queries, parts)
            found = self._shard(ShardKey(name, target, placement.items))
            asked.append(Asked(found, queries[placement.queries]))
        return hits(rank(asked, k, MERGES[merge]), asked, self.store)

    def _plan(self) -> Plan:
        manifest = self.workspace.manifest
        return POLICIES[self.policy or manifest.served.policy](
            up_to(manifest.history, manifest.served.lessons)
        )

    def _tasks(self, task: str) -> list[str]:
        if not self.tasks:
            raise UserError("nothing is indexed yet: run `mneme index SOURCE`")
        if task != "all" and task not in self.tasks:
            raise UserError(f"no task {task!r} in the index; tasks are: {', '.join(self.tasks)}")
        return self.tasks if task == "all" else [task]

    def _members(self, task: str, modality: Modality) -> list[ServedShard]:
        served = self.workspace.manifest.served.shards
        return [one for one in served if (one.key.task, one.key.modality) == (task, modality)]

    def _nothing(self, target: Modality, task: str) -> str:
        held = sorted({one.key.modality for one in self.workspace.manifest.served.shards})
        place = "the index" if task == "all" else f"task {task!r}"
        return f"no {target} in {place}; the index holds: {', '.join(held)} (choose one with --to)"

    def _shard(self, key: ShardKey) -> Shard:
        if key not in self._open:
            found = self._read(key)
            self._open[key] = shard.to_gpu(found) if self.device == "cuda" and shard.gpus() else found
        return self._open[key]

    def _read(self, key: ShardKey) -> Shard:
        members: Mapping[int, ServedShard] = {
            one.key.head: one for one in self._members(key.task, key.modality)
        }
        if key.head in members:
            return shard.read(self.workspace.shards / members[key.head].path, key)
        (other,) = members.values()
        ids = [id.decode() for id in shard.read(self.workspace.shards / other.path, other.key).ids]
        vectors = np.concatenate(list(self.embedder.blocks(self.store, key.head, key.modality, ids)))
        return shard.build(key, ids, vectors)
