"""Pairs as tensors: the features a lesson trains on, and the batches drawn from them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.types import ItemId, Modality, Pair
from training.batch import Batch

ReadFeatures = Callable[[Modality, Sequence[ItemId]], NDArray[np.float32]]

ID_DIGITS = 15
"""Hex digits of an item's id that its number holds: as many as an int64 has room for."""


@dataclass(frozen=True)
class Column:
    """The items of one modality: features (N, D), and where the items of each of P pairs stand.

    Pair p holds the rows `flat[start[p] : start[p] + count[p]]` of the features.

    Attributes:
        numbers: which item each row of the features is (N,), as `number_of` says.
    """

    features: Tensor
    numbers: Tensor
    flat: Tensor
    start: Tensor
    count: Tensor


@dataclass(frozen=True)
class PairSet:
    """P pairs, their items by modality, and their group (P,)."""

    columns: Mapping[Modality, Column]
    group: Tensor

    def __len__(self) -> int:
        return len(self.group)

    def batch(self, rows: Tensor, draw: Tensor) -> Batch:
        """Return the batch of these pairs (B,).

        Args:
            draw: which item of each list is taken, as a share of the list from 0 up to 1 (B,).
        """
        features, present, item = {}, {}, {}
        for modality, column in self.columns.items():
            count = column.count[rows]
            present[modality] = count > 0
            chosen = column.start[rows] + (draw * count).long()
            taken = column.flat[chosen.clamp_max(len(column.flat) - 1)]
            features[modality] = column.features[taken] * present[modality][:, None]
            item[modality] = torch.where(present[modality], column.numbers[taken], -1)
        return Batch(features, present, item, self.group[rows], torch.ones(len(rows)))

    def epoch(self, batch_size: int, generator: torch.Generator, number: int = 0) -> Iterator[Batch]:
        """Draw the batches of an epoch: all pairs in a new order, one item of each list drawn.

        Args:
            number: of the epoch, from 0; as every epoch has as many batches, it also tells their steps.
        """
        order = torch.randperm(len(self), generator=generator)
        draws = torch.rand(len(self), generator=generator)
        seeds = torch.randint(2**62, (len(self),), generator=generator)
        parts = order.tensor_split(max(1, -(-len(self) // batch_size)))
        return (
            replace(
                self.batch(rows, draws[rows]), seed=int(seeds[n]), epoch=number, step=number * len(parts) + n
            )
            for n, rows in enumerate(parts)
        )

    def in_order(self, batch_size: int) -> list[Batch]:
        """Return the same batches every time: the first item of each list, in order."""
        rows = torch.arange(len(self))
        return [self.batch(part, torch.zeros(len(part))) for part in torch.split(rows, batch_size)]


def number_of(id: ItemId) -> int:
    """Return the first 60 bits of an item's id: the same number in every batch and in every lesson."""
    return int(id[:ID_DIGITS], 16)


def id_prefix(number: int) -> str:
    """Return how the id of the item of this number begins."""
    return f"{number:0{ID_DIGITS}x}"


def collect(pairs: Sequence[Pair], modalities: Sequence[Modality], read: ReadFeatures) -> PairSet:
    """Read the features of these pairs; a pair's group is its task."""
    tasks = sorted({pair.task for pair in pairs})
    columns = {}
    for modality in modalities:
        lists = [pair.items.get(modality, ()) for pair in pairs]
        ids = sorted({id for items in lists for id in items})
        if not ids:
            continue
        row = {id: n for n, id in enumerate(ids)}
        count = torch.tensor([len(items) for items in lists])
        columns[modality] = Column(
            features=torch.from_numpy(read(modality, ids)),
            numbers=torch.tensor([number_of(id) for id in ids]),
            flat=torch.tensor([row[id] for items in lists for id in items]),
            start=count.cumsum(0) - count,
            count=count,
        )
    return PairSet(columns, torch.tensor([tasks.index(pair.task) for pair in pairs]))
