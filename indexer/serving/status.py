"""What a workspace holds, in the form that `mneme status --json` prints."""

from pathlib import Path
from typing import Any

from engine.errors import Vanished
from engine.heads import head as heads
from engine.history import tasks
from engine.storage.store import Store
from engine.storage.workspace import Workspace
from indexer.serving.snapshot import reading, renewed
from indexer.serving.wanted import members_of
from indexer.shards import files as shards


def status(root: Path) -> dict[str, Any]:
    """Return tasks, items, heads, lessons, shards, policy and bytes on disk."""
    with reading(root) as (workspace, store):
        try:
            return _content(workspace, store)
        except Vanished:  # an `index` switched and a later one cleaned up since the manifest was read
            return _content(renewed(root, store), store)


def _content(workspace: Workspace, store: Store) -> dict[str, Any]:
    manifest = workspace.manifest
    members = members_of(store.pairs())
    heads_of = dict[str, int]()
    for shard in manifest.served.shards:
        heads_of[shard.key.task] = max(shard.key.head, heads_of.get(shard.key.task, 0))
    counts: dict[str, dict[str, int]] = {}
    for (task, modality), ids in members.items():
        counts.setdefault(task, {})[modality] = len(ids)
    learned = tasks(manifest.history)
    order = [*learned, *sorted(set(counts) - set(learned))]
    return {
        "format": 1,
        "tasks": [
            {
                "task": task,
                "head": heads_of.get(task),
                "items": counts.get(task, {}),
                "features": task not in manifest.sealed,
            }
            for task in order
        ],
        "items": store.counts(),
        "heads": _heads(workspace),
        "lessons": [vars(lesson) for lesson in manifest.history.lessons],
        "shards": [
            {
                "task": shard.key.task,
                "modality": shard.key.modality,
                "head": shard.key.head,
                **_size(workspace.shard(shard.path)),
            }
            for shard in manifest.served.shards
        ],
        "policy": manifest.served.policy,
        "backbone": {modality: record.spec for modality, record in manifest.backbones.items()},
        "bytes": sum(file.stat().st_size for file in workspace.root.rglob("*") if file.is_file()),
    }


def _heads(workspace: Workspace) -> list[dict[str, Any]]:
    manifest = workspace.manifest
    untrained = {"head": 0, "parent": None, "task": None, "method": None, "loss": None}
    trained = [_head(workspace, lesson.head) for lesson in manifest.history.lessons]
    references = [_head(workspace, reference.head) | {"reference": True} for reference in manifest.references]
    return [untrained, *trained, *references]


def _head(workspace: Workspace, version: int) -> dict[str, Any]:
    record = heads.read_record(workspace.head(version))
    settings = record.settings
    return {
        "head": record.version,
        "parent": record.parent,
        "task": settings.task,
        "method": settings.method,
        "loss": settings.loss,
    }


def _size(folder: Path) -> dict[str, int]:
    facts = shards.read_facts(folder)
    return {"rows": facts["rows"], "bytes": facts["bytes"]}
