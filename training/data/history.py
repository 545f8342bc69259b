"""What is left of earlier lessons: their items, pairs and indexed embeddings, read when a strategy asks for it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.heads.embedder import Embedder
from engine.history import Lesson
from engine.storage.store import Store
from engine.storage.workspace import Workspace, readable_pairs
from engine.types import ItemId, Modality, Pair
from training.data.pairs import PairSet, collect, id_prefix, number_of


@dataclass(frozen=True)
class PastTasks:
    """What the store and the kept heads can tell of the tasks learned before, the one at hand left out.

    Attributes:
        features: of a modality, the features {number: (D,)} of those of these items that are still stored.
        pairs: the train pairs; their group is their task.
        indexed: of a modality, the numbers (N,) of the train items and their embeddings (N, E) by the head
            of their own lesson, as a shard that was never rebuilt holds them.
    """

    features: Callable[[Modality, Sequence[int]], Mapping[int, Tensor]]
    pairs: Callable[[], PairSet]
    indexed: Callable[[Modality], tuple[Tensor, Tensor]]


NO_PAST = PastTasks(
    features=lambda modality, numbers: {},
    pairs=lambda: PairSet({}, torch.zeros(0, dtype=torch.int64)),
    indexed=lambda modality: (torch.zeros(0, dtype=torch.int64), torch.zeros(0, 0)),
)
"""What a first lesson finds."""


def past_tasks(workspace: Workspace, store: Store, task: str) -> PastTasks:
    """Return what is left of every task learned so far but this one."""

    def earlier() -> list[tuple[Lesson, list[Pair]]]:
        return earlier_lessons(workspace, readable_pairs(workspace.manifest, store), task)

    def features(modality: Modality, numbers: Sequence[int]) -> dict[int, Tensor]:
        backbone = workspace.manifest.backbones[modality].id
        stored = {number: store.find(id_prefix(number), backbone) for number in numbers}
        return {number: torch.tensor(x) for number, x in stored.items() if x is not None}

    def read(modality: Modality, ids: Sequence[ItemId]) -> NDArray[np.float32]:
        return store.features(ids, workspace.manifest.backbones[modality].id)

    def pairs() -> PairSet:
        trained = [pair for _, of_task in earlier() for pair in of_task]
        return collect(trained, sorted({m for pair in trained for m in pair.items}), read)

    def indexed(modality: Modality) -> tuple[Tensor, Tensor]:
        embedder, numbers, rows = Embedder(workspace), [], [torch.zeros(0, workspace.manifest.width)]
        for lesson, trained in earlier():
            ids = items_of(trained, modality)
            numbers += [number_of(id) for id in ids]
            rows += map(torch.from_numpy, embedder.blocks(store, lesson.head, modality, ids))
        return torch.tensor(numbers, dtype=torch.int64), torch.cat(rows)

    return PastTasks(features, pairs, indexed)


def earlier_lessons(
    workspace: Workspace, pairs: Sequence[Pair], task: str
) -> list[tuple[Lesson, list[Pair]]]:
    """Return the last lesson of every task learned so far but this one, and its train pairs of all these."""
    last = {lesson.task: lesson for lesson in workspace.manifest.history.lessons if lesson.task != task}
    trained: dict[str, list[Pair]] = {name: [] for name in last}
    for pair in pairs:
        if pair.task in trained and pair.split == "train":
            trained[pair.task].append(pair)
    return [(lesson, trained[name]) for name, lesson in last.items()]


def items_of(pairs: Sequence[Pair], modality: Modality) -> list[ItemId]:
    """Return the distinct items of one modality in these pairs, in the order of their ids."""
    return sorted({id for pair in pairs for id in pair.items.get(modality, ())})


def stored_features(past: PastTasks, modality: Modality, numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Return the features of items (N,), which may be absent (-1), and of which items there are any.

    Returns:
        Features (N, D), zeros where there are none, and whether there are some (N,); D is 0 if none has any.
    """
    wanted = sorted(set(numbers[numbers >= 0].tolist()))
    features = past.features(modality, wanted)
    known = torch.tensor([number for number in wanted if number in features], dtype=torch.int64)
    if not len(known):
        return torch.zeros(len(numbers), 0), torch.zeros(len(numbers), dtype=torch.bool)
    table = torch.stack([features[number].cpu() for number in known.tolist()])
    place = torch.searchsorted(known, numbers).clamp_max(len(known) - 1)
    is_stored = known[place] == numbers
    return table[place] * is_stored[:, None], is_stored
