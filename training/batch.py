"""A batch of instances as every loss and strategy sees it, and the ways to select from and join batches."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import TypeAlias

import torch
from torch import Tensor

from engine.types import Modality

Embeddings: TypeAlias = Mapping[Modality, Tensor]
"""Unit rows (B, E) by modality."""


@dataclass(frozen=True)
class Batch:
    """B instances.

    Attributes:
        features: {m: (B, D_m)}; a row that lacks the modality holds zeros.
        present: {m: (B,) bool}.
        item: {m: (B,) int64}, -1 where absent; equal numbers are one item, never negatives of each other.
        group: (B,) int64; rows of another group are no negatives.
        weight: (B,); a row of weight 0 is a negative only.
        seed: of whatever is drawn for this batch, dropout masks first of all, so that every call of a
            gradient function on it draws the same.
        epoch: which pass over the pairs this is, from 0.
        fixed: {m: (B, E)} unit rows that stand in for the head's own; a row of zeros leaves the head's.
        step: which training step of the lesson this is, from 0; a strategy that is asked again about one
            step counts it once.
        is_memory: all rows are remembered ones of earlier lessons, whose gradient a strategy asks for.
    """

    features: Mapping[Modality, Tensor]
    present: Mapping[Modality, Tensor]
    item: Mapping[Modality, Tensor]
    group: Tensor
    weight: Tensor
    seed: int = 0
    epoch: int = 0
    fixed: Mapping[Modality, Tensor] = field(default_factory=dict)
    step: int = 0
    is_memory: bool = False

    def __len__(self) -> int:
        return len(self.weight)

    def to(self, device: torch.device | str) -> "Batch":
        """Return the batch on a device."""
        return _with_each_tensor(self, lambda t: t.to(device))


def select_rows(batch: Batch, rows: Tensor) -> Batch:
    """Return these rows of a batch, by their numbers (K,) or as a mask (B,) bool."""
    rows = rows.to(batch.weight.device)
    return _with_each_tensor(batch, lambda t: t[rows])


def trained_rows(batch: Batch) -> Batch:
    """Return the rows that are learned from; those of weight 0 are negatives of others only."""
    return select_rows(batch, batch.weight > 0)


def select_modalities(batch: Batch, modalities: Iterable[Modality]) -> Batch:
    """Return the batch with these modalities only, in this order; one that it lacks is passed over."""
    kept = list(modalities)

    def of(by_modality: Mapping[Modality, Tensor]) -> dict[Modality, Tensor]:
        return {m: by_modality[m] for m in kept if m in by_modality}

    return replace(
        batch,
        features=of(batch.features),
        present=of(batch.present),
        item=of(batch.item),
        fixed=of(batch.fixed),
    )


def join(batch: Batch, more: Batch) -> Batch:
    """Return the rows of both; a modality that one of them lacks is absent there. The rest is the first's."""
    first, second = len(batch), len(more)
    if not second:
        return batch

    def side_by_side(
        a: Mapping[Modality, Tensor], b: Mapping[Modality, Tensor], absent: float
    ) -> dict[Modality, Tensor]:
        return {
            m: torch.cat(
                [
                    a[m] if m in a else b[m].new_full((first, *b[m].shape[1:]), absent),
                    b[m] if m in b else a[m].new_full((second, *a[m].shape[1:]), absent),
                ]
            )
            for m in sorted({*a, *b})
        }

    return replace(
        batch,
        features=side_by_side(batch.features, more.features, 0),
        present=side_by_side(batch.present, more.present, False),
        item=side_by_side(batch.item, more.item, -1),
        group=torch.cat([batch.group, more.group]),
        weight=torch.cat([batch.weight, more.weight]),
        fixed=side_by_side(batch.fixed, more.fixed, 0),
    )


def seeded(text: str) -> torch.Generator:
    """Return a generator seeded by a text: a batch's seed and what is drawn, so that no two draws are alike."""
    digest = blake2b(text.encode(), digest_size=7).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big"))


def _with_each_tensor(batch: Batch, change: Callable[[Tensor], Tensor]) -> Batch:
    def of(by_modality: Mapping[Modality, Tensor]) -> dict[Modality, Tensor]:
        return {m: change(t) for m, t in by_modality.items()}

    return replace(
        batch,
        features=of(batch.features),
        present=of(batch.present),
        item=of(batch.item),
        group=change(batch.group),
        weight=change(batch.weight),
        fixed=of(batch.fixed),
    )
