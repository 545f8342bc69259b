"""The losses of the Gram matrix of a row's modalities: its singular values, its volume."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, normalize

from engine.errors import UserError
from engine.types import Modality
from training.gradient import Batch, Embeddings
from training.losses.pairwise import anchored_on, contrast, pick, refuse_unless_positive, strangers

SOFTENING = 1e-6
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
    _refuse({"tau": tau, "instance_tau": instance_tau}, instance_weight, match_weight)
    names = sorted(z)
    present = _present(batch, names)
    several = present.sum(1) >= 2
    if not several.any():
        return torch.zeros_like(batch.weight)
    rows = present.any(1) if instance_weight else several
    x = _columns(z, batch, names, rows)
    sigma, direction = _spectrum(x, present)
    scores = direction @ direction.T / instance_tau
    apart = strangers(batch, names) & rows[:, None] & rows
    values = _alignment(sigma, present, tau, form) + instance_weight * pick(scores, apart)
    if match is not None and match_weight:
        anchor = names.index(anchored_on(z, ""))
        whole = several & present[:, anchor]
        drawn = _hard(scores, apart & whole[:, None] & whole, batch.seed)
        values = values + match_weight * _matching(x, present, anchor, drawn, match)
    return values * several


def gram(
    z: Embeddings, batch: Batch, *, temperature: float = 0.07, anchor: str = "", smoothing: float = 0.1
) -> Tensor:
    """Contrast the volumes that an anchor spans with other rows' modalities (Cicchetti et al. 2025).

    A row's value is half the cross-entropy over the others' modalities beside its anchor plus half that
    over the others' anchors beside its modalities; a small volume is a match. A modality that a row lacks
    is as a direction orthogonal to all: it leaves the volume of the rest as it is. The volume cannot see sign.

    Args:
        temperature: what volumes are divided by, above 0.
        anchor: a modality. Empty: text, or the first by name where there is none. Rows without it have 0.
        smoothing: of the labels, from 0 to below 1.
    """
    refuse_unless_positive("temperature", temperature)
    if not 0 <= smoothing < 1:
        raise UserError(f"gram.smoothing must be from 0 to below 1, not {smoothing}")
    fixed = anchored_on(z, anchor)
    others = [m for m in sorted(z) if m != fixed and (batch.present[m] & batch.present[fixed]).any()]
    if not others:
        return torch.zeros_like(batch.weight)
    present = _present(batch, others)
    rows = batch.present[fixed] & present.any(1)
    volumes = volume(_bordered(_wide(z[fixed]), _columns(z, batch, others, rows), present))
    allowed = strangers(batch, sorted(z)) & rows[:, None] & rows
    return contrast(-volumes / temperature, allowed, smoothing) / 2


def volume(gram_matrix: Tensor) -> Tensor:
    """Return the volume that vectors with these inner products span (..., k, k) -> (...).

    The diagonal is raised by 1e-6 and the determinant bounded from below by 1e-8, so that the gradient is
    finite where vectors coincide; the volume there is not 0 but 1e-4, or 1.4e-3 of a pair.
    """
    eye = torch.eye(gram_matrix.shape[-1], dtype=gram_matrix.dtype, device=gram_matrix.device)
    squared: Tensor = torch.linalg.det(gram_matrix + SOFTENING * eye)
    return squared.clamp_min(1e-8).sqrt()


def singular_values(z: Embeddings, batch: Batch) -> Tensor:
    """Return each row's singular values, largest first; 0 in the place of each modality it lacks (B, M)."""
    names = sorted(z)
    present = _present(batch, names)
    return _spectrum(_columns(z, batch, names, present.any(1)), present)[0]


def _refuse(positive: Mapping[str, float], instance_weight: float, match_weight: float) -> None:
    for name, value in positive.items():
        refuse_unless_positive(f"pmrl.{name}", value)
    for name, value in (("instance_weight", instance_weight), ("match_weight", match_weight)):
        if not value >= 0:
            raise UserError(f"pmrl.{name} must be at least 0, not {value}")


def _present(batch: Batch, modalities: Sequence[Modality]) -> Tensor:
    return torch.stack([batch.present[m] for m in modalities], dim=1)  # (B, M)


def _columns(z: Embeddings, batch: Batch, modalities: Sequence[Modality], rows: Tensor) -> Tensor:
    """Return the embeddings side by side (B, M, E).

    A modality that none of these rows holds is left out of the graph, so that it gets no gradient.
    """
    touched = [bool((batch.present[m] & rows).any()) for m in modalities]
    parts = [z[m] if use else torch.zeros_like(z[m]) for m, use in zip(modalities, touched, strict=True)]
    return _wide(torch.stack(parts, dim=1))


def _products(x: Tensor, present: Tensor) -> Tensor:
    """Return the Gram matrix of each row's modalities (B, M, M), zeros where absent."""
    # half of the gradient comes by each term: one product of small matrices backwards where x @ x.mT has two
    g = x @ x.detach().mT
    return (g + g.mT - g.detach()) * (present[:, :, None] & present[:, None])


def _wide(x: Tensor) -> Tensor:
    """Return float32 at least: inner products of lower precision lose the small singular values."""
    return x if x.dtype == torch.float64 else x.float()


def _spectrum(x: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
    """Return singular values (B, M), largest first and 0 where absent, and leading directions (B, E).

    The direction is one differentiable power step from the leading eigenvector, whose own gradient is not
    finite where eigenvalues coincide. Its sign is that of the sum of the row's embeddings.
    """
    g = _products(x, present)
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
def _hard(scores: Tensor, allowed: Tensor, seed: int) -> tuple[Tensor, Tensor]:
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
    truth = torch.zeros_like(logits).index_fill(0, rows.new_zeros(1), 1.0)
    values = binary_cross_entropy_with_logits(logits, truth, reduction="none").mean(0)
    return zeros.index_put((rows,), values)


def _bordered(t: Tensor, x: Tensor, present: Tensor) -> Tensor:
    """Return the Gram matrices of row i's anchor beside row j's modalities (B, B, M + 1, M + 1).

    Args:
        t: (B, E), the anchors.
        x: (B, M, E), the others; one that is not present gets the identity's row and column.
    """
    size = len(t)
    inner = (_products(x, present) + torch.diag_embed((~present).to(x))).expand(size, -1, -1, -1)
    cross = torch.einsum("ie,jme->ijm", t, x) * present
    own = t.square().sum(1)[:, None, None, None].expand(-1, size, -1, -1)
    top = torch.cat([own, cross[:, :, None]], dim=3)
    return torch.cat([top, torch.cat([cross[..., None], inner], dim=3)], dim=2)
