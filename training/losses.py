"""Losses: pure functions of unit embeddings and the batch's bookkeeping, one value per row."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Literal

import torch
from torch import Tensor

from engine.errors import UserError
from engine.types import LossName, Modality
from training.gradient import Batch, Embeddings

Mining = Literal["all", "topk", "hardest", "semihard"]
Reduction = Literal["mean", "sum"]


def infonce(z: Embeddings, batch: Batch, *, temperature: float = 0.07, anchor: str = "") -> Tensor:
    """Symmetric InfoNCE (van den Oord et al. 2018; both directions as in Radford et al. 2021).

    For each pair of modalities in a row, half the cross-entropy of a to b plus half that of b to a; the
    row's value is the mean over its pairs.

    Args:
        temperature: what cosines are divided by, above 0.
        anchor: a modality; only pairs with it count. Empty: all pairs.
    """
    if temperature <= 0:
        raise UserError(f"temperature must be above 0, not {temperature}")

    def both(a: Modality, b: Modality) -> Tensor:
        scores = z[a] @ z[b].T / temperature  # (B, B)
        allowed = _negatives(batch, a, b) | torch.eye(len(batch), dtype=torch.bool, device=scores.device)
        masked = scores.masked_fill(~allowed, -math.inf)
        there = batch.present[a] & batch.present[b]
        forth = masked[there].log_softmax(1), masked.T[there].log_softmax(1)
        own = torch.arange(len(batch), device=scores.device)[there]
        values = -torch.stack([half.gather(1, own[:, None])[:, 0] for half in forth]).mean(0)
        return scores.new_zeros(len(batch)).index_put((own,), values)

    return _mean_over_pairs(z, batch, both, anchor)


def triplet(
    z: Embeddings,
    batch: Batch,
    *,
    margin: float = 0.05,
    weight: float = 1.0,
    text_weight: float = 1.5,
    mine: Mining = "topk",
    k: int = 10,
    reduction: Reduction = "mean",
) -> Tensor:
    """Bidirectional ranking loss (Wang, Li and Lazebnik 2016; Wang et al. 2018), Euclidean distance.

    A row's value is the hinge [D(own) + margin - D(negative)]_+ over its mined negatives, both ways. The
    distance is sqrt(|u - v|^2 + 1e-4), finite in its gradient where u = v.

    Args:
        weight: of the terms anchored on another modality than text.
        text_weight: of the terms anchored on text.
        mine: all negatives, the k of largest hinge, the hardest one, or the hardest of those farther than
            the own item (semihard; Schroff et al. 2015).
        k: how many negatives topk keeps, at least 1.
    """
    if k < 1:
        raise UserError(f"triplet.k must be at least 1, not {k}")

    def both(a: Modality, b: Modality) -> Tensor:
        distance = ((2 - 2 * z[a] @ z[b].T).clamp_min(0) + 1e-4).sqrt()  # (B, B)
        negatives = _negatives(batch, a, b)
        own = distance.diagonal()
        values = torch.zeros_like(own)
        for anchor, d, allowed in ((a, distance, negatives), (b, distance.T, negatives.T)):
            hinge = (own[:, None] + margin - d).clamp_min(0).masked_fill(~allowed, -1.0)
            if mine == "semihard":
                hinge = hinge.masked_fill(d <= own[:, None], -1.0)
            share = text_weight if anchor == "text" else weight
            values = values + share * _reduced(hinge, {"topk": k, "all": len(batch)}.get(mine, 1), reduction)
        return values * (batch.present[a] & batch.present[b])

    return _mean_over_pairs(z, batch, both, "")


def _reduced(hinge: Tensor, most: int, reduction: Reduction) -> Tensor:
    """Reduce the largest hinges of each row (B, B), where -1 marks what is no negative."""
    largest = hinge.topk(min(most, hinge.shape[1]), dim=1).values
    count = (largest >= 0).sum(1)
    total = largest.clamp_min(0).sum(1)
    return total if reduction == "sum" else total / count.clamp_min(1)


def _negatives(batch: Batch, a: Modality, b: Modality) -> Tensor:
    """Return (B, B): where row j's item of modality b is a negative for row i's item of modality a.

    It is none where it is absent, where the group differs, and where the rows share an item of a or of b.
    """
    present = batch.present[a][:, None] & batch.present[b]
    same_group = batch.group[:, None] == batch.group
    same = (batch.item[a][:, None] == batch.item[a]) | (batch.item[b][:, None] == batch.item[b])
    return present & same_group & ~same


def _mean_over_pairs(
    z: Embeddings, batch: Batch, both: Callable[[Modality, Modality], Tensor], anchor: str
) -> Tensor:
    """Average a loss of two modalities over the pairs present in each row (B,)."""
    total, count = torch.zeros_like(batch.weight), torch.zeros_like(batch.weight)
    for a, b in _pairs(sorted(z), anchor):
        there = batch.present[a] & batch.present[b]
        if there.any():  # else these branches would get a gradient of zeros, which is not none
            total = total + both(a, b)
            count = count + there
    return total / count.clamp_min(1)


def _pairs(modalities: Sequence[Modality], anchor: str) -> Iterator[tuple[Modality, Modality]]:
    if anchor and anchor not in modalities:
        raise UserError(f"no modality {anchor!r} to anchor on; the pairs hold: {', '.join(modalities)}")
    yield from (pair for pair in combinations(modalities, 2) if not anchor or anchor in pair)


LOSSES: Mapping[LossName, Callable[..., Tensor]] = {"infonce": infonce, "triplet": triplet}
