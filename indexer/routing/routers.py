"""Routers learned from what is stored: from the training items of every task, one task after the other."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from engine import ids as item_ids
from engine.errors import UserError
from engine.evaluation.splits import Groups, items_of
from engine.heads.embedder import BLOCK
from engine.ids import Ids
from engine.storage import files
from engine.storage.workspace import Workspace
from engine.types import Modality
from indexer.embeddings.embeddings import EmbeddingCache
from indexer.routing.slda import Router, Sums, discriminant, fit
from indexer.shards import files as shards

FORMAT = 1
NONE = item_ids.encode([])
MOST = 512
"""Most validation items of a task that choose the shrinkage."""


def learned(
    reader: EmbeddingCache, groups: Groups, modality: Modality, known: Sequence[Sequence[str]]
) -> Iterator[Router]:
    """Yield the router of a modality each time that more tasks are known, which are named in full."""
    workspace, sums = reader.embedder.workspace, Sums(reader.width(modality))
    added = set[str]()
    for tasks in known:
        for task in tasks:
            if task not in added:
                kept, over = kept_sums(workspace, task, modality)
                sums.join(kept)
                fresh = np.setdiff1d(items_of(groups, task, "train", modality), over)
                add(sums, reader, task, modality, fresh)
                added.add(task)
        held = {task: items_of(groups, task, "val", modality)[:MOST] for task in tasks}
        yield fit(
            sums, {t: reader.features(modality, item_ids.decode(ids)) for t, ids in held.items() if len(ids)}
        )


def bring(
    workspace: Workspace, reader: EmbeddingCache, groups: Groups, tasks: Sequence[str]
) -> dict[Modality, str]:
    """Bring the router of every modality up to date; return their folders, relative to the routers' own.

    A modality without training items has none.
    """
    there = {
        modality
        for (_, split), pairs in groups.items()
        for pair in pairs
        if split == "train"
        for modality in pair.items
    }
    there |= {modality for sealed in workspace.manifest.sealed.values() for modality in sealed.sums}
    return {
        modality: _bring(workspace, reader, groups, tasks, modality)
        for modality in sorted(there & set(workspace.manifest.backbones))
    }


def _bring(
    workspace: Workspace, reader: EmbeddingCache, groups: Groups, tasks: Sequence[str], modality: Modality
) -> str:
    """Learn what is new since the last router; where items are gone, learn it anew.

    Items whose features were removed count for ever: their sums are kept. Validation items may go with them, so
    these have no say in the router's name.
    """
    sealed = workspace.manifest.sealed
    kept = {task: kept_sums(workspace, task, modality) for task in sealed}
    wanted = {task: items_of(groups, task, "train", modality) for task in tasks}
    wanted |= {task: np.union1d(wanted[task], over) for task, (_, over) in kept.items()}
    shown = {task: items_of(groups, task, "val", modality)[:MOST] for task in tasks}
    named = [wanted, {task: ids for task, ids in shown.items() if task not in sealed}]
    told = [f"{task}\0{b''.join(ids).decode()}" for held in named for task, ids in held.items()]
    backbone = workspace.manifest.backbones[modality].id
    name = f"{quote(modality, safe='')}-{files.checksum(chr(0).join([backbone, *told]).encode())[:8]}"
    if not (workspace.routers / name).is_dir():
        before = workspace.manifest.served.routers.get(modality)
        sums, known = read_sums(workspace.routers / before) if before else (Sums(reader.width(modality)), {})
        gone = any(set(ids) - set(wanted.get(task, ())) for task, ids in known.items())
        if gone or any(set(over) - set(known.get(task, ())) for task, (_, over) in kept.items()):
            sums, known = Sums(reader.width(modality)), {task: over for task, (_, over) in kept.items()}
            for part, _ in kept.values():
                sums.join(part)
        for task, ids in wanted.items():
            add(sums, reader, task, modality, np.setdiff1d(ids, known.get(task, NONE)))
        validation = {
            t: reader.features(modality, item_ids.decode(ids)) for t, ids in shown.items() if len(ids)
        }
        # the validation items that chose it may be gone
        usual = read(workspace.routers / before).shrinkage if before else 1.0
        router = fit(sums, validation, usual)
        write(workspace.routers / name, router, sums, wanted)
    return name


def keep(workspace: Workspace, reader: EmbeddingCache, groups: Groups, task: str) -> dict[Modality, str]:
    """Write the sums over the training items of one task, whose features are about to go; return their folders.

    Those over items that are gone already are taken over.
    """
    folders = {}
    for modality in workspace.manifest.backbones:
        sums, over = kept_sums(workspace, task, modality)
        fresh = np.setdiff1d(items_of(groups, task, "train", modality), over)
        items = np.union1d(over, fresh)
        if len(items):
            told = "\0".join([task, modality, *item_ids.decode(items)])
            folders[modality] = f"sealed-{files.checksum(told.encode())[:16]}"
            add(sums, reader, task, modality, fresh)
            write(workspace.routers / folders[modality], discriminant(sums, 1.0), sums, {task: items})
    return folders


def kept_sums(workspace: Workspace, task: str, modality: Modality) -> tuple[Sums, Ids]:
    """Return the sums over those training items of a task whose features were removed, and these items."""
    sealed = workspace.manifest.sealed.get(task)
    if sealed is None or modality not in sealed.sums:
        return Sums(workspace.manifest.backbones[modality].width), NONE
    sums, items = read_sums(workspace.routers / sealed.sums[modality])
    return sums, items[task]


def write(folder: Path, router: Router, sums: Sums, items: Mapping[str, Ids]) -> None:
    """Write a router, the sums it was made of, and the items these are over."""
    tasks = list(items)
    zero = np.zeros(sums.width)
    tensors: dict[str, NDArray[Any]] = {
        "weights": router.weights,
        "bias": router.bias,
        "squares": sums.squares,
        "totals": np.stack([sums.totals.get(task, zero) for task in tasks]),
        "items": np.concatenate(list(items.values())).view(np.uint8).reshape(-1, 32),
        "counts": np.array([len(ids) for ids in items.values()]),
    }
    data = safetensors.numpy.save({name: np.ascontiguousarray(array) for name, array in tensors.items()})
    facts = {
        "format": FORMAT,
        "tasks": tasks,
        "known": list(router.tasks),
        "shrinkage": router.shrinkage,
        "checksums": {"router.safetensors": files.checksum(data)},
    }
    with files.new_folder(folder) as draft:
        (draft / "router.safetensors").write_bytes(data)
        (draft / "router.json").write_bytes(files.to_json(facts))


def read(folder: Path) -> Router:
    """Read a router."""
    facts, tensors = _read(folder)
    return Router(facts["known"], tensors["weights"], tensors["bias"], facts.get("shrinkage", 1.0))


def read_sums(folder: Path) -> tuple[Sums, dict[str, Ids]]:
    """Read the sums that a router was made of, and the items of each task that they are over."""
    facts, tensors = _read(folder)
    items = item_ids.from_digits(tensors["items"])
    counts: list[int] = tensors["counts"].tolist()
    parts = np.split(items, np.cumsum(counts)[:-1])
    sums = Sums(tensors["squares"].shape[0])
    sums.squares = tensors["squares"].copy()
    for task, count, total in zip(facts["tasks"], counts, tensors["totals"], strict=True):
        sums.counts[task], sums.totals[task] = count, total.copy()
    return sums, dict(zip(facts["tasks"], parts, strict=True))


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    facts = shards.read_facts(folder, "router.json", FORMAT)
    try:
        data = (folder / "router.safetensors").read_bytes()
    except OSError as error:
        raise UserError(f"{folder} is damaged: {error.filename} cannot be read; {shards.MEND}") from None
    if files.checksum(data) != facts["checksums"]["router.safetensors"]:
        raise UserError(f"{folder} is damaged: its checksum does not hold; {shards.MEND}")
    return facts, safetensors.numpy.load(data)


def add(sums: Sums, reader: EmbeddingCache, task: str, modality: Modality, ids: Ids) -> None:
    """Take the features of items of a task into sums, a block at a time."""
    for start in range(0, len(ids), BLOCK):
        sums.add(task, reader.features(modality, item_ids.decode(ids[start : start + BLOCK])))
