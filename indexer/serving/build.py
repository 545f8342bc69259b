"""Bring what is served up to date: build the shards that are wanted and missing, then switch to them in one step."""

from collections.abc import Sequence
from dataclasses import replace

from engine.history import settled
from engine.storage import files
from engine.storage.manifest import Sealed, Served
from engine.storage.store import Store
from engine.storage.workspace import Workspace
from indexer.embeddings.embeddings import EmbeddingCache
from indexer.policies.planner import Planner
from indexer.routing import routers
from indexer.serving.wanted import (
    ServingRequest,
    Wanted,
    WantedShard,
    current,
    difference,
    plan,
    planner_of,
    served_shards,
)
from indexer.shards import files as shards
from indexer.shards.shard import build_shard


def serve(
    workspace: Workspace,
    store: Store,
    request: ServingRequest,
    *,
    device: str,
    previous: Served | None = None,
) -> tuple[Workspace, int]:
    """Build the shards that are missing, switch to them in one step, and return how many were built.

    Args:
        previous: what `rollback` is to bring back from now on; None: what it would bring back before.
    """
    drop_unnamed(workspace)
    planner = planner_of(current(workspace, store), store, request, device)
    wanted = plan(planner, request)
    missing = difference(wanted, workspace.shards)
    build(missing, planner.embeddings)
    sealed = seal(planner, wanted, request.sealing)
    return commit(workspace, planner, wanted, sealed, previous), len(missing)


def build(missing: Sequence[WantedShard], embeddings: EmbeddingCache) -> None:
    """Embed the items of each shard from features, and write it."""
    workspace = embeddings.embedder.workspace
    for wanted in missing:
        key, backbone = wanted.key, workspace.manifest.backbones[wanted.key.modality].id
        vectors = embeddings.embed(key.modality, wanted.ids, key.head, key.space)
        shard = build_shard(key, list(wanted.ids), vectors)
        shards.write(shard, workspace.shards / wanted.path, backbone=backbone, digest=wanted.digest)


def seal(planner: Planner, wanted: Wanted, sealing: str | None) -> dict[str, Sealed]:
    """Return what stands in for the features of every sealed task; for one that is being sealed, write its sums."""
    workspace = planner.embeddings.embedder.workspace
    sealed = {}
    for task, own_shards in wanted.sealed.items():
        before = workspace.manifest.sealed.get(task, Sealed())
        if task == sealing:
            sums = routers.seal(workspace, planner.embeddings, planner.groups, task)
            temperatures = before.temperatures or planner.temperatures(task)
            before = replace(before, sums=sums, temperatures=temperatures)
        sealed[task] = replace(before, shards=served_shards(own_shards))
    return sealed


def commit(
    workspace: Workspace,
    planner: Planner,
    wanted: Wanted,
    sealed: dict[str, Sealed],
    previous: Served | None,
) -> Workspace:
    """Bring the routers up to date and replace the manifest, which is what readers switch by.

    Args:
        workspace: as it is on disk.
        previous: what `rollback` is to bring back; None: what the manifest says already.
    """
    before, history = workspace.manifest, planner.history
    manifest = replace(before, history=history, sealed=sealed, previous=previous or before.previous)
    routed = routers.update(
        replace(workspace, manifest=manifest), planner.embeddings, planner.groups, list(settled(history))
    )
    served = Served(
        policy=wanted.policies.general,
        lessons=len(history.lessons),
        shards=served_shards(wanted.shards),
        directions=wanted.directions(),
        policies=wanted.policies.own,
        routers=routed,
        chosen=wanted.chosen,
    )
    manifest = replace(manifest, served=served)
    return workspace if manifest == before else workspace.with_manifest(manifest)


def drop_unnamed(workspace: Workspace) -> None:
    """Delete the shards and routers that nothing names; a reader had until now to finish with them."""
    states = [s for s in (workspace.manifest.served, workspace.manifest.previous) if s is not None]
    sealed = workspace.manifest.sealed.values()
    named = {workspace.shards / shard.path for state in states for shard in state.shards}
    named |= {workspace.shards / shard.path for task in sealed for shard in task.shards}
    named |= {workspace.routers / path for state in states for path in state.routers.values()}
    named |= {workspace.routers / path for task in sealed for path in task.sums.values()}
    for folder in (*workspace.shards.glob("*/*/*"), *workspace.routers.glob("*")):
        if folder not in named:
            files.drop_folder(folder)
