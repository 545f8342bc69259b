"""Bring what is served up to date: the shards a policy wants, less those that exist, from features."""

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias
from urllib.parse import quote

import numpy as np

from engine import disk
from engine.embed import Embedder
from engine.store import Store
from engine.types import Arrival, History, ItemId, Modality, PolicyName, ShardKey
from engine.workspace import Served, ServedShard, Workspace, tasks
from indexer import shard
from indexer.policy import POLICIES, newest_head

Members: TypeAlias = Mapping[tuple[str, Modality], list[ItemId]]


def serve(
    workspace: Workspace, store: Store, *, policy: PolicyName | None, device: str
) -> tuple[Workspace, int]:
    """Build the shards that are missing, switch to them in one step, and return how many were built."""
    _drop_unnamed(workspace)
    members = members_of(store)
    history = _with_arrivals(workspace, members)
    chosen = policy or workspace.manifest.served.policy
    plan = POLICIES[chosen](history)
    embedder = Embedder(workspace, device)
    served, built = [], 0
    for (task, modality), ids in sorted(
        members.items(), key=lambda m: (tasks(history).index(m[0][0]), m[0][1])
    ):
        key = ShardKey(task, modality, plan[task].items)
        digest = _digest(workspace.manifest.backbones[modality].id, ids)
        path = f"{quote(task, safe='')}/{modality}/v{key.head:04d}-{digest[:8]}"
        if not (workspace.shards / path).is_dir():
            vectors = np.concatenate(list(embedder.blocks(store, key.head, modality, ids)))
            one = shard.build(key, ids, vectors)
            backbone = workspace.manifest.backbones[modality].id
            shard.write(one, workspace.shards / path, backbone=backbone, digest=digest)
            built += 1
        served.append(ServedShard(key, path))
    manifest = replace(
        workspace.manifest, history=history, served=Served(chosen, len(history.lessons), tuple(served))
    )
    return (workspace.with_manifest(manifest) if manifest != workspace.manifest else workspace), built


def members_of(store: Store) -> Members:
    """Return the distinct items of each task and modality, sorted by id."""
    found: dict[tuple[str, Modality], set[ItemId]] = {}
    for row in store.rows():
        for modality, ids in row.items.items():
            found.setdefault((row.task, modality), set()).update(ids)
    return {group: sorted(ids) for group, ids in found.items()}


def _with_arrivals(workspace: Workspace, members: Members) -> History:
    """Note the tasks that are indexed for the first time, without a lesson of their own."""
    history = workspace.manifest.history
    known = set(tasks(history))
    fresh = sorted({task for task, _ in members} - known)
    arrivals = [Arrival(task, len(history.lessons), newest_head(history)) for task in fresh]
    return replace(history, arrivals=(*history.arrivals, *arrivals))


def _drop_unnamed(workspace: Workspace) -> None:
    """Delete the shards that were replaced before; a reader had until now to finish with them."""
    named = {workspace.shards / one.path for one in workspace.manifest.served.shards}
    for folder in _folders(workspace.shards):
        if folder not in named:
            shutil.rmtree(folder)


def _folders(shards: Path) -> Iterator[Path]:
    yield from shards.glob("*/*/*") if shards.is_dir() else ()


def _digest(backbone: str, ids: list[ItemId]) -> str:
    return disk.checksum("\0".join([backbone, *ids]).encode())
