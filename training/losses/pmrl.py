"""PMRL: a row's modalities aligned by their singular values; its scorer of matches is kept with the head."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, normalize

from engine.heads.head import Head, branch_key
from engine.types import Modality
from training.batch import Batch, Embeddings
from training.gradient import Loss
from training.hyperparameters import check_above, check_at_least
from training.losses.gram import gram_matrices, presence, side_by_side
from training.losses.pairwise import anchored_on, own_cross_entropy, strangers

Form = Literal["softmax", "pair"]
Match = Callable[[Tensor], Tensor]


def pmrl(
    z: Embeddings,
    batch: Batch,
    match: Match | None = None,
    *,
    tau: float = 0.05,
    instance_tau: float = 0.1,
    instance_weight: float = 1.0,
    match_weight: float = 0.1,
    form: Form = "softmax",
) -> Tensor:
    """Make the largest singular value of a row's modalities stand out (Liu et al. 2025, eq. 4-7).

    A row's value is the cross-entropy of its singular values towards the first, plus that of its leading
    direction among its negatives', plus the binary one of matching. Eq. 6 lacks its minus, and the sum of
    eq. 5 runs over rows. A row of one modality is a negative only. The first term cannot see sign.

    Args:
        match: maps rows (n, M E), the modalities in order of their names and zeros where one is absent, to
            logits (n, 1). None: no matching term.
        tau: what singular values are divided by, above 0.
        instance_tau: what the cosines of leading directions are divided by, above 0.
        instance_weight: of the term of leading directions, at least 0.
        match_weight: of the matching term, at least 0.
        form: softmax is eq. 4; pair is the variant of table 9 that maximises (s1 + s2) / sum(s), here as
            minus its logarithm, since the paper gives the ratio but not its loss.
    """
    check_above("pmrl.tau", tau, 0)
    check_above("pmrl.instance_tau", instance_tau, 0)
    check_at_least("pmrl.instance_weight", instance_weight, 0)
    check_at_least("pmrl.match_weight", match_weight, 0)
    names = sorted(z)
    present = presence(batch, names)
    several = present.sum(1) >= 2
    if not several.any():
        return torch.zeros_like(batch.weight)
    rows = present.any(1) if instance_weight else several
    x = side_by_side(z, batch, names, rows)
    sigma, direction = _spectrum(x, present)
    scores = direction @ direction.T / instance_tau
    apart = strangers(batch, names) & rows[:, None] & rows
    values = _alignment(sigma, present, tau, form) + instance_weight * own_cross_entropy(scores, apart)
    if match is not None and match_weight:
        anchor = names.index(anchored_on(z, ""))
        anchored = several & present[:, anchor]
        drawn = _hard_negatives(scores, apart & anchored[:, None] & anchored, batch.seed)
        values = values + match_weight * _matching(x, present, anchor, drawn, match)
    return values * several


def with_scorer(head: Head, loss: Callable[..., Tensor]) -> Loss:
    """Return a loss that takes `match`, given a scorer of all modalities that the head now has."""
    modalities = sorted(head.layers)
    scorer = head.add_scorer(f"pmrl {' '.join(map(branch_key, modalities))}", len(modalities) * head.width)

    def scored(z: Embeddings, batch: Batch) -> Tensor:
        return loss(*with_absent(z, batch, modalities), match=scorer)

    return scored


def with_absent(z: Embeddings, batch: Batch, modalities: list[Modality]) -> tuple[Embeddings, Batch]:
    """Return embeddings and batch with every one of these modalities, absent from all rows where it was not there."""
    like = next(iter(z.values()))
    nowhere = dict.fromkeys(modalities, torch.zeros(len(batch), dtype=torch.bool, device=like.device))
    no_item = dict.fromkeys(modalities, batch.group.new_full((len(batch),), -1))
    rows = {**dict.fromkeys(modalities, torch.zeros_like(like)), **z}
    return rows, replace(batch, present={**nowhere, **batch.present}, item={**no_item, **batch.item})


def singular_values(z: Embeddings, batch: Batch) -> Tensor:
    """Return each row's singular values, largest first; 0 in the place of each modality it lacks (B, M)."""
    names = sorted(z)
    present = presence(batch, names)
    return _spectrum(side_by_side(z, batch, names, present.any(1)), present)[0]


def _spectrum(x: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
    """Return singular values (B, M), largest first and 0 where absent, and leading directions (B, E).

    The direction is one differentiable power step from the leading eigenvector, whose own gradient is not
    finite where eigenvalues coincide. Its sign is that of the sum of the row's embeddings.
    """
    g = gram_matrices(x, present)
    # eigh raises where a loss that is not finite should reach the caller: through the directions it does
    values, vectors = torch.linalg.eigh(g.nan_to_num(0.0, 0.0, 0.0))
    lead = vectors[..., -1:].detach()
    lead = torch.where(lead.sum(1, keepdim=True) < 0, -lead, lead)
    exists = torch.arange(present.shape[1], device=g.device) < present.sum(1, keepdim=True)
    sigma = torch.where(exists, values.flip(1).clamp_min(1e-8).sqrt(), 0.0)
    return sigma, normalize((x * (g @ lead)).sum(1), dim=1)


def _alignment(sigma: Tensor, present: Tensor, tau: float, form: Form) -> Tensor:
    """Return the term of the singular values (B,); 0 for a row of one modality."""
    if form == "pair":
        return sigma.sum(1).clamp_min(1e-4).log() - sigma[:, :2].sum(1).clamp_min(1e-4).log()
    beyond = torch.arange(sigma.shape[1], device=sigma.device) >= present.sum(1, keepdim=True).clamp_min(1)
    return -(sigma / tau).masked_fill(beyond, -math.inf).log_softmax(1)[:, 0]


@torch.no_grad()
def _hard_negatives(scores: Tensor, allowed: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Return the rows that have negatives (n,), and two of these for each (n, 2), the harder the likelier.

    Args:
        allowed: (B, B), the negatives.
    """
    rows = allowed.any(1).nonzero()[:, 0]
    if not len(rows):
        return rows, rows.new_zeros(0, 2)
    chances = (scores.softmax(1) + 1e-4).masked_fill(~allowed, 0.0)[rows]
    draw = torch.Generator().manual_seed(seed)
    return rows, torch.multinomial(chances.cpu(), 2, replacement=True, generator=draw).to(rows.device)


def _matching(x: Tensor, present: Tensor, anchor: int, drawn: tuple[Tensor, Tensor], match: Match) -> Tensor:
    """Return the mean binary cross-entropy of a row and two wrong ones made of it (B,), 0 where not drawn.

    The wrong ones are its anchor with another row's other modalities, and another row's anchor with its own.
    """
    rows, wrong = drawn
    zeros = x.new_zeros(len(x))
    if not len(rows):
        return zeros
    is_anchor = (torch.arange(x.shape[1], device=x.device) == anchor)[:, None]
    x = x * present[..., None]
    own = x[rows]
    combined = [
        own,
        torch.where(is_anchor, own, x[wrong[:, 0]]),
        torch.where(is_anchor, x[wrong[:, 1]], own),
    ]
    logits = match(torch.cat(combined).flatten(1))[:, 0].view(3, -1)
    labels = torch.zeros_like(logits).index_fill(0, rows.new_zeros(1), 1.0)
    values = binary_cross_entropy_with_logits(logits, labels, reduction="none").mean(0)
    return zeros.index_put((rows,), values)
