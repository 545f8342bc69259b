"""GRAM: the volume that an anchor and a row's other modalities span; and the Gram matrices that pmrl shares."""

from collections.abc import Sequence

import torch
from torch import Tensor

from engine.types import Modality, TrainSettings
from training.batch import Batch, Embeddings
from training.hyperparameters import check_above, check_share
from training.losses.pairwise import anchored_on, contrast, strangers

SOFTENING = 1e-6


def gram(
    z: Embeddings,
    batch: Batch,
    *,
    temperature: float = TrainSettings.temperature,
    anchor: str = "",
    smoothing: float = 0.1,
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
    check_above("temperature", temperature, 0)
    check_share("gram.smoothing", smoothing)
    fixed = anchored_on(z, anchor)
    others = [m for m in sorted(z) if m != fixed and (batch.present[m] & batch.present[fixed]).any()]
    if not others:
        return torch.zeros_like(batch.weight)
    present = presence(batch, others)
    rows = batch.present[fixed] & present.any(1)
    volumes = volume(_bordered(at_least_float32(z[fixed]), side_by_side(z, batch, others, rows), present))
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


def presence(batch: Batch, modalities: Sequence[Modality]) -> Tensor:
    """Return which of these modalities each row holds (B, M)."""
    return torch.stack([batch.present[m] for m in modalities], dim=1)


def side_by_side(z: Embeddings, batch: Batch, modalities: Sequence[Modality], rows: Tensor) -> Tensor:
    """Return the embeddings side by side (B, M, E).

    A modality that none of these rows holds is left out of the graph, so that it gets no gradient.
    """
    touched = [bool((batch.present[m] & rows).any()) for m in modalities]
    parts = [z[m] if use else torch.zeros_like(z[m]) for m, use in zip(modalities, touched, strict=True)]
    return at_least_float32(torch.stack(parts, dim=1))


def gram_matrices(x: Tensor, present: Tensor) -> Tensor:
    """Return the Gram matrix of each row's modalities (B, M, M), zeros where absent."""
    # half of the gradient comes by each term: one product of small matrices backwards where x @ x.mT has two
    g = x @ x.detach().mT
    return (g + g.mT - g.detach()) * (present[:, :, None] & present[:, None])


def at_least_float32(x: Tensor) -> Tensor:
    """Return float32 at least: inner products of lower precision lose the small singular values."""
    return x if x.dtype == torch.float64 else x.float()


def _bordered(t: Tensor, x: Tensor, present: Tensor) -> Tensor:
    """Return the Gram matrices of row i's anchor beside row j's modalities (B, B, M + 1, M + 1).

    Args:
        t: (B, E), the anchors.
        x: (B, M, E), the others; one that is not present gets the identity's row and column.
    """
    size = len(t)
    inner = (gram_matrices(x, present) + torch.diag_embed((~present).to(x))).expand(size, -1, -1, -1)
    cross = torch.einsum("ie,jme->ijm", t, x) * present
    own = t.square().sum(1)[:, None, None, None].expand(-1, size, -1, -1)
    top = torch.cat([own, cross[:, :, None]], dim=3)
    return torch.cat([top, torch.cat([cross[..., None], inner], dim=3)], dim=2)
