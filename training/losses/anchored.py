"""The losses that bind every modality to one anchor per row: a fixed modality, or a centroid."""

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from engine.errors import UserError
from engine.heads.head import Head
from engine.types import Modality, TrainSettings
from training.batch import Batch, Embeddings
from training.hyperparameters import check_above, check_at_least
from training.losses.pairwise import anchored_on, contrast, negatives, strangers

Anchor = Literal["mean", "weighted", "median", "random"]
Flow = Literal["stopped", "flows"]
Choice = Literal["no", "yes"]


def fabind(
    z: Embeddings, batch: Batch, *, temperature: float = TrainSettings.temperature, anchor: str = ""
) -> Tensor:
    """Bind to a fixed anchor that is not trained (Jeong et al. 2025, eq. 3), in both directions.

    Eq. 3 has the direction from the anchor alone; here both are summed, as in eq. 8, so that it compares
    with centrobind. The term of a modality is among the rows that hold it and the anchor; a row's value is
    the sum over its modalities.

    Args:
        temperature: what cosines are divided by, above 0.
        anchor: a modality. Empty: text, or the first by name where there is none.
    """
    check_above("temperature", temperature, 0)
    fixed = anchored_on(z, anchor)
    total = torch.zeros_like(batch.weight)
    for m in sorted(z):
        paired = batch.present[m] & batch.present[fixed]
        if m == fixed or not paired.any():
            continue
        allowed = negatives(batch, fixed, m) & paired[:, None] & paired
        total = total + contrast(z[fixed].detach() @ z[m].T / temperature, allowed)
    return total


def centrobind(
    z: Embeddings,
    batch: Batch,
    again: Callable[[Batch, float], Embeddings] | None = None,
    *,
    temperature: float = TrainSettings.temperature,
    anchor: Anchor = "mean",
    weights: str = "",
    intra: Choice = "yes",
    gradient: Flow = "stopped",
    normalise: Choice = "no",
    noise: float = 0.0,
) -> Tensor:
    """Bind to an anchor made of the modalities a row holds (Jeong et al. 2025, alg. 1, eq. 7-9).

    A row's value is the sum over its modalities of the cross-entropies of anchor to embedding and back.
    Rows that share any item are no negatives. Without noise the anchor is made of the very embeddings that
    are bound to it; a row of one modality, which would be bound to itself, is then left out.

    Args:
        again: embeds a batch once more with feature noise of that strength (`noised`).
        temperature: what products are divided by, above 0.
        anchor: the mean, weighted mean or coordinate-wise median of a row's modalities; or one modality,
            drawn per batch among those that half of the rows hold (table 4); other rows have the value 0.
        weights: of the weighted mean, `image=0.2,text=1`; who is not named weighs 1. They are divided by the
            sum over those the row holds, which the paper does not say.
        intra: bind the drawn modality to its own anchor as well; no: its encoder stands still.
        gradient: whether the anchor carries any; algorithm 1, computing it before the step, reads as stopped.
        normalise: the anchor to unit length; the paper's is a plain mean.
        noise: of the views that make the anchor, in standard deviations of the features; at least 0.
    """
    check_above("temperature", temperature, 0)
    views = _views(z, batch, again, noise)
    names, least = sorted(z), 1 if noise else 2
    shares = _shares(batch, names, least, anchor, weights)
    if anchor == "random" and intra == "no":
        z, views = ({**part, **{m: part[m].detach() for m in shares}} for part in (z, views))
    bound = _enough(batch, names, least) & _enough(batch, [m for m in shares if shares[m] > 0], 1)
    used = [m for m in names if (batch.present[m] & bound).any()]
    if not used:
        return torch.zeros_like(batch.weight)
    centre = _median(views, batch, used) if anchor == "median" else _mean(views, batch, used, shares)
    centre = centre.detach() if gradient == "stopped" else centre
    # where opposite vectors cancel, a smaller bound would make the gradient of the direction explode
    centre = normalize(centre, dim=1, eps=1e-3) if normalise == "yes" else centre
    return _bound(z, batch, used, bound, centre / temperature)


def noised(head: Head, batch: Batch, noise: float) -> dict[Modality, Tensor]:
    """Embed a batch with Gaussian noise on its features {m: (B, E)}; an absent item stays zero.

    Args:
        noise: in standard deviations of all the modality's features in the batch.
    """
    draw = torch.Generator().manual_seed(batch.seed)
    features = {}
    for m, x in sorted(batch.features.items()):
        gauss = torch.randn(x.shape, generator=draw).to(x)
        present = batch.present[m]
        spread = x[present].std(correction=0) if present.any() else 0.0
        features[m] = x + noise * spread * gauss * present[:, None]
    z: dict[Modality, Tensor] = head(features, batch.seed)
    return z


def _views(
    z: Embeddings, batch: Batch, again: Callable[[Batch, float], Embeddings] | None, noise: float
) -> Embeddings:
    """Return what makes the anchor: the embeddings, or those of the noisy features."""
    check_at_least("centrobind.noise", noise, 0)
    if not noise:
        return z
    assert again is not None
    return again(batch, noise)


def _shares(
    batch: Batch, names: Sequence[Modality], least: int, anchor: Anchor, weights: str
) -> dict[Modality, float]:
    """Return what each modality weighs in the anchor, before division by their sum."""
    if weights and anchor != "weighted":
        raise UserError(f"centrobind.weights needs centrobind.anchor=weighted, not {anchor}")
    if anchor == "random":
        return {_drawn(batch, names, least): 1.0}
    return _parsed_weights(weights, names)


def _bound(
    z: Embeddings, batch: Batch, modalities: Sequence[Modality], bound: Tensor, centre: Tensor
) -> Tensor:
    """Return the sum over modalities of both cross-entropies between anchors (B, E) and embeddings (B,)."""
    apart, total = strangers(batch, sorted(z)), torch.zeros_like(batch.weight)
    for m in modalities:
        rows = batch.present[m] & bound
        total = total + contrast(centre @ z[m].T, apart & rows[:, None] & rows)
    return total


def _enough(batch: Batch, modalities: Sequence[Modality], least: int) -> Tensor:
    """Return (B,): which rows hold at least so many of these modalities."""
    count = torch.zeros_like(batch.group)
    for m in modalities:
        count = count + batch.present[m]
    return count >= least


def _drawn(batch: Batch, modalities: Sequence[Modality], least: int) -> Modality:
    """Draw one of the modalities that at least half of the rows hold, or of the most held."""
    rows = _enough(batch, modalities, least)
    counts = [int((batch.present[m] & rows).sum()) for m in modalities]
    enough = min(max(counts), int(rows.sum()) / 2)
    common = [m for m, count in zip(modalities, counts, strict=True) if count >= enough]
    draw = torch.Generator().manual_seed(batch.seed)
    return common[int(torch.randint(len(common), (), generator=draw))]


def _mean(
    views: Embeddings, batch: Batch, modalities: Sequence[Modality], shares: Mapping[Modality, float]
) -> Tensor:
    """Return the weighted mean over the modalities each row holds (B, E); zero where their weight is 0."""
    total, mass = torch.zeros_like(views[modalities[0]]), torch.zeros_like(batch.weight)
    for m in (m for m in modalities if shares.get(m, 0.0) > 0):
        share = shares[m] * batch.present[m]
        total, mass = total + share[:, None] * views[m], mass + share
    return total / torch.where(mass > 0, mass, 1.0)[:, None]


def _median(views: Embeddings, batch: Batch, modalities: Sequence[Modality]) -> Tensor:
    """Return the coordinate-wise median of each row's modalities, the mean of the middles if even (B, E)."""
    present = torch.stack([batch.present[m] for m in modalities])  # (M, B)
    # 2 is above every coordinate of a unit row: what is absent is sorted last
    x = torch.stack([views[m] for m in modalities]).masked_fill(~present[..., None], 2.0).sort(dim=0).values
    count = present.sum(0).clamp_min(1)
    middles = torch.stack([(count - 1) // 2, count // 2])  # (2, B)
    return x.gather(0, middles[..., None].expand(-1, -1, x.shape[2])).mean(0)


def _parsed_weights(text: str, modalities: Sequence[Modality]) -> dict[Modality, float]:
    """Read `image=0.2,text=1`; a modality that is not named weighs 1."""
    weights = dict.fromkeys(modalities, 1.0)
    for part in filter(None, next(csv.reader([text], skipinitialspace=True), [])):
        name, equals, value = (word.strip() for word in part.rpartition("="))
        name, value = (name, value) if equals else (value, name)
        if name not in weights:
            raise UserError(
                f"centrobind.weights: no modality {name!r}; the pairs hold: {', '.join(modalities)}"
            )
        try:
            weights[name] = float(value)
        except ValueError:
            weights[name] = math.nan
        if not 0 <= weights[name] < math.inf:
            raise UserError(f"centrobind.weights: {name} takes a number from 0 up, not {value!r}")
    return weights
