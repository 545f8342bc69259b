"""The losses of pairs of modalities, and what every loss asks of a batch: who is a negative of whom."""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from typing import Literal

import torch
from torch import Tensor

from engine.errors import UserError
from engine.types import Modality, TrainSettings
from training.batch import Batch, Embeddings
from training.hyperparameters import check_above, check_at_least

Mining = Literal["all", "topk", "hardest", "semihard"]
Reduction = Literal["mean", "sum"]


def infonce(
    z: Embeddings, batch: Batch, *, temperature: float = TrainSettings.temperature, anchor: str = ""
) -> Tensor:
    """Symmetric InfoNCE (van den Oord et al. 2018; both directions as in Radford et al. 2021).

    For each pair of modalities in a row, half the cross-entropy of a to b plus half that of b to a; the
    row's value is the mean over its pairs.

    Args:
        temperature: what cosines are divided by, above 0.
        anchor: a modality; only pairs with it count. Empty: all pairs.
    """
    check_above("temperature", temperature, 0)

    def both(a: Modality, b: Modality) -> Tensor:
        values = contrast(z[a] @ z[b].T / temperature, negatives(batch, a, b)) / 2
        return values * (batch.present[a] & batch.present[b])

    return mean_over_pairs(z, batch, both, anchor)


def triplet(
    z: Embeddings,
    batch: Batch,
    *,
    margin: float = 0.05,
    weight: float = 1.0,
    text_weight: float = 1.5,
    mine: Mining = "all",
    k: int = 10,
    reduction: Reduction = "mean",
) -> Tensor:
    """Bidirectional ranking loss (Wang, Li and Lazebnik 2016; Wang et al. 2018), Euclidean distance.

    A row's value is the hinge [D(own) + margin - D(negative)]_+ over its mined negatives, both ways. The
    distance is sqrt(|u - v|^2 + 1e-4), finite in its gradient where u = v.

    Args:
        weight: of the terms anchored on another modality than text.
        text_weight: of the terms anchored on text.
        mine: all negatives; the k of largest hinge, as the released code has it (at a step size of 1e-3 heads of
            two branches then give one point for everything); the hardest one; or the hardest of those
            farther than the own item (semihard; Schroff et al. 2015).
        k: how many negatives topk keeps, at least 1.
    """
    check_at_least("triplet.k", k, 1)

    def both(a: Modality, b: Modality) -> Tensor:
        distance = ((2 - 2 * z[a] @ z[b].T).clamp_min(0) + 1e-4).sqrt()  # (B, B)
        is_negative = negatives(batch, a, b)
        own = distance.diagonal()
        values = torch.zeros_like(own)
        for anchor, d, allowed in ((a, distance, is_negative), (b, distance.T, is_negative.T)):
            hinge = (own[:, None] + margin - d).clamp_min(0).masked_fill(~allowed, -1.0)
            if mine == "semihard":
                hinge = hinge.masked_fill(d <= own[:, None], -1.0)
            share = text_weight if anchor == "text" else weight
            values = values + share * _reduced(hinge, {"topk": k, "all": len(batch)}.get(mine, 1), reduction)
        return values * (batch.present[a] & batch.present[b])

    return mean_over_pairs(z, batch, both, "")


def _reduced(hinge: Tensor, most: int, reduction: Reduction) -> Tensor:
    """Reduce the largest hinges of each row (B, B), where -1 marks what is no negative."""
    largest = hinge.topk(min(most, hinge.shape[1]), dim=1).values
    count = (largest >= 0).sum(1)
    total = largest.clamp_min(0).sum(1)
    return total if reduction == "sum" else total / count.clamp_min(1)


def contrast(scores: Tensor, allowed: Tensor, smoothing: float = 0.0) -> Tensor:
    """Return the cross-entropy of each row's own column plus that of its column's own row (B,)."""
    return own_cross_entropy(scores, allowed, smoothing) + own_cross_entropy(scores.T, allowed.T, smoothing)


def own_cross_entropy(scores: Tensor, allowed: Tensor, smoothing: float = 0.0) -> Tensor:
    """Return the cross-entropy of each row's own column (B,); 0 for a row without negatives.

    Args:
        scores: (B, B), divided by the temperature.
        allowed: (B, B) bool, the negatives; a row's own column needs no mention.
        smoothing: the share of the target that is spread over all candidates, the own one included.
    """
    candidates = allowed | torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    log_p = scores.masked_fill(~candidates, -math.inf).log_softmax(1)
    if not smoothing:
        return -log_p.diagonal()
    spread = log_p.masked_fill(~candidates, 0.0).sum(1) / candidates.sum(1)
    return -torch.lerp(log_p.diagonal(), spread, smoothing)


def strangers(batch: Batch, modalities: Sequence[Modality]) -> Tensor:
    """Return (B, B): where two rows are of one group and share no item of these modalities."""
    apart = batch.group[:, None] == batch.group
    for m in modalities:
        apart = apart & ~((batch.item[m][:, None] == batch.item[m]) & batch.present[m])
    return apart


def negatives(batch: Batch, a: Modality, b: Modality) -> Tensor:
    """Return (B, B): where row j's item of modality b is a negative for row i's item of modality a.

    It is none where it is absent, where the group differs, and where the rows share an item of a or of b.
    """
    return strangers(batch, (a, b)) & batch.present[a][:, None] & batch.present[b]


def anchored_on(z: Embeddings, anchor: str) -> Modality:
    """Return the modality to anchor on: the one named, else text, else the first by name."""
    if anchor and anchor not in z:
        raise UserError(f"no modality {anchor!r} to anchor on; the pairs hold: {', '.join(sorted(z))}")
    return anchor or ("text" if "text" in z else min(z))


def mean_over_pairs(
    z: Embeddings, batch: Batch, both: Callable[[Modality, Modality], Tensor], anchor: str
) -> Tensor:
    """Average a loss of two modalities over the pairs present in each row (B,)."""
    total, count = torch.zeros_like(batch.weight), torch.zeros_like(batch.weight)
    for a, b in _pairs(z, anchor):
        paired = batch.present[a] & batch.present[b]
        if paired.any():  # else these branches would get a gradient of zeros, which is not none
            total = total + both(a, b)
            count = count + paired
    return total / count.clamp_min(1)


def _pairs(z: Embeddings, anchor: str) -> Iterator[tuple[Modality, Modality]]:
    required = {anchored_on(z, anchor)} if anchor else set()
    yield from (pair for pair in combinations(sorted(z), 2) if required <= {*pair})
