"""What earlier lessons left behind, read when a strategy asks for it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.heads.embedder import Embedder
from engine.history import Lesson
from engine.storage.removed import readable
from engine.storage.store import Store
from engine.storage.workspace import Workspace
from engine.types import ItemId, Modality, Pair
from training.data.pairs import PairSet, collect, number_of


@dataclass(frozen=True)
class Past:
    """What the store and the kept heads can tell of the tasks learned before, the one at hand left out.

    Attributes:
        recall: of a modality, the features {number: (D,)} of those of these items that are still stored.
        pairs: the train pairs; their group is their task.
        indexed: of a modality, the numbers (N,) of the train items and their embeddings (N, E) by the head
            of their own lesson, as a shard that was never rebuilt holds them.
    """

    recall: Callable[[Modality, Sequence[int]], Mapping[int, Tensor]]
    pairs: Callable[[], PairSet]
    indexed: Callable[[Modality], tuple[Tensor, Tensor]]


NOTHING = Past(
    recall=lambda modality, numbers: {},
    pairs=lambda: PairSet({}, torch.zeros(0, dtype=torch.int64)),
    indexed=lambda modality: (torch.zeros(0, dtype=torch.int64), torch.zeros(0, 0)),
)
"""What a first lesson finds."""


def remembered(workspace: Workspace, store: Store, task: str) -> Past:
    """Return what is left of every task learned so far but this one."""

    def every() -> list[Pair]:
        return readable(workspace.manifest, store)

    def recall(modality: Modality, numbers: Sequence[int]) -> dict[int, Tensor]:
        backbone = workspace.manifest.backbones[modality].id
        found = {number: store.find(f"{number:015x}", backbone) for number in numbers}
        return {number: torch.tensor(x) for number, x in found.items() if x is not None}

    def read(modality: Modality, ids: Sequence[ItemId]) -> NDArray[np.float32]:
        return store.features(ids, workspace.manifest.backbones[modality].id)

    def pairs() -> PairSet:
        held = [pair for _, found in learned(workspace, every(), task) for pair in found]
        return collect(held, sorted({m for pair in held for m in pair.items}), read)

    def indexed(modality: Modality) -> tuple[Tensor, Tensor]:
        embedder, numbers, rows = Embedder(workspace), [], [torch.zeros(0, workspace.manifest.width)]
        for lesson, held in learned(workspace, every(), task):
            ids = items(held, modality)
            numbers += [number_of(id) for id in ids]
            rows += map(torch.from_numpy, embedder.blocks(store, lesson.head, modality, ids))
        return torch.tensor(numbers, dtype=torch.int64), torch.cat(rows)

    return Past(recall, pairs, indexed)


def learned(workspace: Workspace, pairs: Sequence[Pair], task: str) -> list[tuple[Lesson, list[Pair]]]:
    """Return the last lesson of every task learned so far but this one, and its train pairs of all these."""
    last = {lesson.task: lesson for lesson in workspace.manifest.history.lessons if lesson.task != task}
    held: dict[str, list[Pair]] = {name: [] for name in last}
    for pair in pairs:
        if pair.task in held and pair.split == "train":
            held[pair.task].append(pair)
    return [(lesson, held[name]) for name, lesson in last.items()]


def items(pairs: Sequence[Pair], modality: Modality) -> list[ItemId]:
    """Return the distinct items of one modality in these pairs, in the order of their ids."""
    return sorted({id for pair in pairs for id in pair.items.get(modality, ())})
