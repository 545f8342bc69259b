"""Bring what is served up to date: build the shards that are wanted and missing, then switch to them in one step."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from engine import ids as item_ids
from engine.errors import UserError
from engine.history import settled
from engine.storage import files
from engine.storage.manifest import Sealed, Served, ServedShard
from engine.storage.store import Store
from engine.storage.workspace import Workspace
from engine.types import Modality
from indexer.embeddings.embeddings import EmbeddingCache
from indexer.policies.planner import Members, Planner
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
    wanted_shard,
)
from indexer.shards import files as shards
from indexer.shards.shard import build_shard

OURS = re.compile(r"v\d{4,}-[0-9a-f]{8}|.+-[0-9a-f]{8}|sealed-[0-9a-f]{16}")
"""The names of folders of shards and of routers."""


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
    workspace = commit(workspace, planner, wanted, sealed, previous)
    if not store.readonly:
        with store.writing() as txn:
            txn.settle()
    return workspace, len(missing)


def build(missing: Sequence[WantedShard], embeddings: EmbeddingCache) -> None:
    """Embed the items of each shard from features, and write it."""
    workspace = embeddings.embedder.workspace
    for wanted in missing:
        key, backbone = wanted.key, workspace.manifest.backbones[wanted.key.modality].id
        vectors = embeddings.embed(key.modality, wanted.ids, key.head, key.space)
        shard = build_shard(key, list(wanted.ids), vectors)
        shards.write(shard, workspace.shard(wanted.path), backbone=backbone, digest=wanted.digest)


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
    manifest = replace(before, history=history, sealed=sealed)
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
    previous = (previous if served != before.served else None) or before.previous
    manifest = replace(
        manifest,
        served=served,
        previous=previous and without_gone(workspace, previous, planner.members, routed),
    )
    return workspace if manifest == before else workspace.with_manifest(manifest)


def without_gone(
    workspace: Workspace, state: Served, members: Members, routed: Mapping[Modality, str]
) -> Served | None:
    """Return a state that was served, less the items that no row names any more; None where nothing is left of it.

    Args:
        routed: the routers that know nothing of these items.
    """
    left = [_trimmed(workspace, shard, members) for shard in state.shards]
    if left == list(state.shards):
        return state
    stay = [number for number, shard in enumerate(left) if shard]
    place = {number: now for now, number in enumerate(stay)}
    directions = tuple(
        replace(
            direction,
            lookups=tuple(
                replace(lookup, shard=place[lookup.shard])
                for lookup in direction.lookups
                if lookup.shard in place
            ),
        )
        for direction in state.directions
    )
    trimmed = replace(state, shards=tuple(filter(None, left)), directions=directions, routers=dict(routed))
    return trimmed if stay else None


def _trimmed(workspace: Workspace, served: ServedShard, members: Members) -> ServedShard | None:
    """Return a shard without what is gone, written anew from its own vectors; as it is where it is damaged."""
    key, folder = served.key, workspace.shard(served.path)
    held = set(members.get((key.task, key.modality), ()))
    backbone = workspace.manifest.backbones[key.modality]
    try:
        ids = item_ids.decode(shards.read_ids(folder, key))
        rows = [row for row, id in enumerate(ids) if id in held]
        if len(rows) in (0, len(ids)):
            return served if rows else None
        vectors = shards.read(folder, key, backbone.id).vectors[rows]
    except UserError:
        return served
    wanted = wanted_shard(key, [ids[row] for row in rows], backbone)
    if not workspace.shard(wanted.path).is_dir():
        shard = build_shard(key, list(wanted.ids), vectors)
        shards.write(shard, workspace.shard(wanted.path), backbone=backbone.id, digest=wanted.digest)
    return ServedShard(key, wanted.path)


def drop_unnamed(workspace: Workspace) -> None:
    """Delete the shards and routers that nothing names; a reader had until now to finish with them."""
    keep = named(workspace)
    for folder in (*workspace.shards.glob("*/*/*"), *workspace.routers.glob("*")):
        if folder not in keep and OURS.fullmatch(folder.name) and folder.is_dir():
            files.drop_folder(folder)


def named(workspace: Workspace) -> set[Path]:
    """Return the folders of shards and routers that the manifest names."""
    states = [s for s in (workspace.manifest.served, workspace.manifest.previous) if s is not None]
    sealed = workspace.manifest.sealed.values()
    folders = {workspace.shard(shard.path) for state in states for shard in state.shards}
    folders |= {workspace.shard(shard.path) for task in sealed for shard in task.shards}
    folders |= {workspace.router(path) for state in states for path in state.routers.values()}
    return folders | {workspace.router(path) for task in sealed for path in task.sums.values()}
