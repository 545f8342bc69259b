"""What a workspace holds, as `mneme status` tells it."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engine.errors import Vanished
from engine.heads import files as heads
from engine.history import Lesson, tasks
from engine.storage.store import Store
from engine.storage.workspace import Workspace
from engine.types import Modality, PolicyName
from indexer.serving.snapshot import reading, renewed
from indexer.serving.wanted import members_of
from indexer.shards import files as shards


@dataclass(frozen=True)
class TaskStatus:
    """What is stored of a task.

    Attributes:
        head: the newest version that embeds any of it; None where it is not indexed.
        items: how many, by modality.
        features: whether they are stored; False where they were removed.
    """

    task: str
    head: int | None
    items: Mapping[Modality, int]
    features: bool


@dataclass(frozen=True)
class HeadStatus:
    """A head version and what it was trained by; of version 0, which is untrained, that is None."""

    head: int
    parent: int | None = None
    task: str | None = None
    method: str | None = None
    loss: str | None = None
    reference: bool = False


@dataclass(frozen=True)
class ShardStatus:
    """A shard that is served, its rows, and its bytes on disk."""

    task: str
    modality: Modality
    head: int
    rows: int
    bytes: int


@dataclass(frozen=True)
class Status:
    """What `mneme status --json` prints.

    Attributes:
        items: how many distinct ones, by modality.
        backbone: what encodes each modality, as a person writes it.
        bytes: of all files of the workspace.
    """

    tasks: Sequence[TaskStatus]
    items: Mapping[Modality, int]
    heads: Sequence[HeadStatus]
    lessons: Sequence[Lesson]
    shards: Sequence[ShardStatus]
    policy: PolicyName
    backbone: Mapping[Modality, str]
    bytes: int


def status(root: Path) -> Status:
    """Return tasks, items, heads, lessons, shards, policy and bytes on disk."""
    with reading(root) as (workspace, store):
        try:
            return _content(workspace, store)
        except Vanished:  # an `index` switched and a later one cleaned up since the manifest was read
            return _content(renewed(root, store), store)


def _content(workspace: Workspace, store: Store) -> Status:
    manifest = workspace.manifest
    return Status(
        tasks=_tasks(workspace, store),
        items=store.counts(),
        heads=_heads(workspace),
        lessons=list(manifest.history.lessons),
        shards=_shards(workspace),
        policy=manifest.served.policy,
        backbone={modality: record.spec for modality, record in manifest.backbones.items()},
        bytes=sum(_bytes_below(workspace.root)),
    )


def to_json(status: Status) -> dict[str, Any]:
    """Return what `mneme status --json` prints; only a head beside the history says that it is one."""
    content = {"format": 1, **asdict(status)}
    for head in content["heads"]:
        if not head["reference"]:
            del head["reference"]
    return content


def _tasks(workspace: Workspace, store: Store) -> list[TaskStatus]:
    """Return the tasks as they were learned, then those that were not."""
    manifest = workspace.manifest
    heads_of = dict[str, int]()
    for shard in manifest.served.shards:
        heads_of[shard.key.task] = max(shard.key.head, heads_of.get(shard.key.task, 0))
    counts: dict[str, dict[str, int]] = {}
    for (task, modality), ids in members_of(store.pairs()).items():
        counts.setdefault(task, {})[modality] = len(ids)
    learned = tasks(manifest.history)
    return [
        TaskStatus(task, heads_of.get(task), counts.get(task, {}), task not in manifest.sealed)
        for task in [*learned, *sorted(set(counts) - set(learned))]
    ]


def _heads(workspace: Workspace) -> list[HeadStatus]:
    manifest = workspace.manifest
    trained = [_head(workspace, lesson.head) for lesson in manifest.history.lessons]
    beside = [_head(workspace, one.head, reference=True) for one in manifest.references]
    return [HeadStatus(0), *trained, *beside]


def _head(workspace: Workspace, version: int, *, reference: bool = False) -> HeadStatus:
    record = heads.read_record(workspace.head(version))
    settings = record.settings
    return HeadStatus(record.version, record.parent, settings.task, settings.method, settings.loss, reference)


def _shards(workspace: Workspace) -> list[ShardStatus]:
    served = workspace.manifest.served.shards
    facts = [shards.read_facts(workspace.shard(shard.path)) for shard in served]
    return [
        ShardStatus(shard.key.task, shard.key.modality, shard.key.head, known.rows, known.bytes)
        for shard, known in zip(served, facts, strict=True)
    ]


def _bytes_below(folder: Path) -> Iterator[int]:
    """Yield the size of each file; an `index` beside may drop some meanwhile."""
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                yield Path(place, name).stat().st_size
