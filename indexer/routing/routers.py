"""Routers learned from what is stored: from the training items of every task, one task after the other."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from engine import ids as item_ids
from engine.evaluation.splits import Groups, items_of
from engine.heads.embedder import BLOCK
from engine.ids import Ids
from engine.storage import files, names
from engine.storage.workspace import Workspace
from engine.types import Modality
from indexer.embeddings.embeddings import EmbeddingCache, Vectors
from indexer.routing import slda
from indexer.routing.fitting import USUAL, Flatness, discriminant, fit
from indexer.routing.slda import Router
from indexer.routing.sums import Sums

NONE = item_ids.encode([])
MOST_VALIDATION = 512
"""Most validation items of a task that choose how flat a router is."""


def learn(
    embeddings: EmbeddingCache, groups: Groups, modality: Modality, stages: Sequence[Sequence[str]]
) -> Iterator[Router]:
    """Yield the router of a modality at every stage; nothing is written.

    Args:
        stages: the tasks that are known at each stage, each time all of them.
    """
    workspace, sums = embeddings.embedder.workspace, Sums(embeddings.width(modality))
    added = set[str]()
    for tasks in stages:
        for task in tasks:
            if task not in added:
                kept, kept_items = kept_sums(workspace, task, modality)
                sums.join(kept)
                fresh = np.setdiff1d(items_of(groups, task, "train", modality), kept_items)
                add(sums, embeddings, task, modality, fresh)
                added.add(task)
        items = {task: items_of(groups, task, "val", modality)[:MOST_VALIDATION] for task in tasks}
        yield fit(sums, _features(embeddings, modality, items))


def update(
    workspace: Workspace, embeddings: EmbeddingCache, groups: Groups, tasks: Sequence[str]
) -> dict[Modality, str]:
    """Bring the router on disk of every modality up to date; return their folders, relative to the routers' own.

    A modality without training items has none.
    """
    taught = {
        modality
        for (_, split), pairs in groups.items()
        for pair in pairs
        if split == "train"
        for modality in pair.items
    }
    taught |= {modality for sealed in workspace.manifest.sealed.values() for modality in sealed.sums}
    return {
        modality: _update(workspace, embeddings, groups, tasks, modality)
        for modality in sorted(taught & set(workspace.manifest.backbones))
    }


@dataclass(frozen=True)
class _Material:
    """What the router of a modality is to be made of.

    Attributes:
        training: the items of each task, those whose features were removed among them.
        validation: the items of each task whose features are stored.
        kept: the sums over items whose features were removed, by task, and these items.
    """

    training: Mapping[str, Ids]
    validation: Mapping[str, Ids]
    kept: Mapping[str, tuple[Sums, Ids]]


def _update(
    workspace: Workspace, embeddings: EmbeddingCache, groups: Groups, tasks: Sequence[str], modality: Modality
) -> str:
    """Return the folder of the router of a modality, written where it is not there yet.

    Items whose features were removed count for ever: their sums are kept. Validation items may go with them, so
    these have no say in the router's name.
    """
    sealed = workspace.manifest.sealed
    kept = {task: kept_sums(workspace, task, modality) for task in sealed}
    training = {task: items_of(groups, task, "train", modality) for task in tasks}
    training |= {task: np.union1d(training[task], items) for task, (_, items) in kept.items()}
    validation = {task: items_of(groups, task, "val", modality)[:MOST_VALIDATION] for task in tasks}
    lasting = {task: ids for task, ids in validation.items() if task not in sealed}
    backbone = workspace.manifest.backbones[modality].id
    text = [f"{task}\0{b''.join(ids).decode()}" for part in (training, lasting) for task, ids in part.items()]
    made_of = chr(0).join([f"{slda.FORMAT}", backbone, *text])  # an older format is written anew
    name = f"{names.file_name(modality)}-{files.checksum(made_of.encode())[:8]}"
    if not workspace.router(name).is_dir():
        router, sums = _grow(workspace, embeddings, modality, _Material(training, validation, kept))
        slda.write(workspace.router(name), router, sums, training)
    return name


def _grow(
    workspace: Workspace, embeddings: EmbeddingCache, modality: Modality, material: _Material
) -> tuple[Router, Sums]:
    """Return a router and its sums: the served ones and what is new; where items are gone, all learned anew."""
    before = workspace.manifest.served.routers.get(modality)
    sums, known = Sums(embeddings.width(modality)), dict[str, Ids]()
    flatness = USUAL
    if before:
        sums, known = slda.read_sums(workspace.router(before))
        # the validation items that chose it may be gone
        router = slda.read(workspace.router(before))
        flatness = Flatness(router.shrinkage, router.temperature)
    is_gone = any(set(ids) - set(material.training.get(task, NONE)) for task, ids in known.items())
    if is_gone or any(set(ids) - set(known.get(task, NONE)) for task, (_, ids) in material.kept.items()):
        sums, known = (
            Sums(embeddings.width(modality)),
            {task: ids for task, (_, ids) in material.kept.items()},
        )
        for kept, _ in material.kept.values():
            sums.join(kept)
    for task, ids in material.training.items():
        add(sums, embeddings, task, modality, np.setdiff1d(ids, known.get(task, NONE)))
    return fit(sums, _features(embeddings, modality, material.validation), flatness), sums


def seal(workspace: Workspace, embeddings: EmbeddingCache, groups: Groups, task: str) -> dict[Modality, str]:
    """Write the sums over the training items of one task, whose features are about to go; return their folders.

    Those over items that are gone already are taken over.
    """
    folders = {}
    for modality in workspace.manifest.backbones:
        sums, kept_items = kept_sums(workspace, task, modality)
        fresh = np.setdiff1d(items_of(groups, task, "train", modality), kept_items)
        items = np.union1d(kept_items, fresh)
        if len(items):
            text = "\0".join([task, modality, *item_ids.decode(items)])
            folders[modality] = f"sealed-{files.checksum(text.encode())[:16]}"
            add(sums, embeddings, task, modality, fresh)
            slda.write(workspace.router(folders[modality]), discriminant(sums, 1.0), sums, {task: items})
    return folders


def kept_sums(workspace: Workspace, task: str, modality: Modality) -> tuple[Sums, Ids]:
    """Return the sums over those training items of a task whose features were removed, and these items."""
    sealed = workspace.manifest.sealed.get(task)
    if sealed is None or modality not in sealed.sums:
        return Sums(workspace.manifest.backbones[modality].width), NONE
    sums, items = slda.read_sums(workspace.router(sealed.sums[modality]))
    return sums, items[task]


def add(sums: Sums, embeddings: EmbeddingCache, task: str, modality: Modality, ids: Ids) -> None:
    """Take the features of items of a task into sums, a block at a time."""
    for start in range(0, len(ids), BLOCK):
        sums.add(task, embeddings.features(modality, item_ids.decode(ids[start : start + BLOCK])))


def _features(embeddings: EmbeddingCache, modality: Modality, items: Mapping[str, Ids]) -> dict[str, Vectors]:
    """Return the features (N, D) of the items of each task that has any."""
    return {
        task: embeddings.features(modality, item_ids.decode(ids)) for task, ids in items.items() if len(ids)
    }
