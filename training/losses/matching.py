"""PMRL's matching term, whose scorer is trained and kept with the head."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from engine.heads.head import Head
from engine.types import Modality
from training.gradient import Batch, Embeddings, Loss


def with_scorer(head: Head, loss: Callable[..., Tensor]) -> Loss:
    """Return a loss that takes `match`, given a scorer of all modalities that the head now has."""
    modalities = sorted(head.layers)
    scorer = head.add_scorer(f"pmrl {' '.join(modalities)}", len(modalities) * head.width)

    def whole(z: Embeddings, batch: Batch) -> Tensor:
        return loss(*completed(z, batch, modalities), match=scorer)

    return whole


def completed(z: Embeddings, batch: Batch, modalities: list[Modality]) -> tuple[Embeddings, Batch]:
    """Return embeddings and batch with every one of these modalities, absent from all rows where it was not there."""
    some = next(iter(z.values()))
    here = dict.fromkeys(modalities, torch.zeros(len(batch), dtype=torch.bool, device=some.device))
    nothing = dict.fromkeys(modalities, batch.group.new_full((len(batch),), -1))
    rows = {**dict.fromkeys(modalities, torch.zeros_like(some)), **z}
    return rows, replace(batch, present={**here, **batch.present}, item={**nothing, **batch.item})
