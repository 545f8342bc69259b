"""Maps from an old head's space to a new one's, so that old vectors move without the features they came from."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import linalg

from engine import memory
from engine.heads.head import Head
from engine.types import Modality

Map = NDArray[np.float64]
RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Of the mean eigenvalue, what is added to all of them."""

WORST = 1e4
"""Condition number beyond which an old linear branch is not inverted."""


def fit(old: NDArray[np.float32], new: NDArray[np.float32]) -> Map:
    """Return the map M (E, E) of unit rows of one head (N, E) to those of another: least |old M - new|^2.

    Orthogonal (Schoenemann 1966) or ridge, whichever brings the held-out fourth of the rows nearer, by cosine.
    """
    x, y = old.astype(np.float64), new.astype(np.float64)
    is_held_out = np.arange(len(x)) % 4 == 3
    gram, cross = x.T @ x, x.T @ y
    if not is_held_out.any():
        return orthogonal(cross)
    x_out, y_out = x[is_held_out], y[is_held_out]
    rest = gram - x_out.T @ x_out, cross - x_out.T @ y_out
    maps = [orthogonal(rest[1]), *ridges(*rest, RIDGES)]
    best = int(np.argmax([(moved(x_out, by) * y_out).sum() for by in maps]))
    return orthogonal(cross) if best == 0 else ridges(gram, cross, RIDGES[best - 1 : best])[0]


def orthogonal(cross: Map) -> Map:
    """Return the rotation that brings x (N, E) nearest to y (N, E), from x^T y."""
    u, _, v = np.linalg.svd(cross)
    rotation: Map = u @ v
    return rotation


def ridges(gram: Map, cross: Map, shares: Sequence[float]) -> list[Map]:
    """Return linear maps that bring x (N, E) nearest to y (N, E), held small, from x^T x and x^T y.

    Args:
        shares: of the mean eigenvalue of x^T x, what is added to its diagonal; one map for each.
    """
    memory.require(memory.OF_LAPACK)
    values, vectors = linalg.eigh(gram)
    inner = vectors.T @ cross
    spread = max(values.mean(), 1e-12)
    return [vectors @ (inner / (values + share * spread)[:, None]) for share in shares]


def exact(old: Head, new: Head, modality: Modality) -> Map | None:
    """Return the map between linear branches, W_old^-1 W_new, which is exact; None where there is none."""
    if "mlp" in (old.form, new.form):
        return None
    width = _inputs(old, modality)
    if width > old.width or width != _inputs(new, modality):
        return None
    eye = torch.eye(width)
    with torch.inference_mode():
        before, after = (
            head.cpu().project({modality: eye})[modality].double().numpy() for head in (old, new)
        )
    return np.linalg.pinv(before) @ after if np.linalg.cond(before) < WORST else None


def moved(x: NDArray[np.floating], by: Map) -> NDArray[np.float64]:
    """Return rows (N, E) mapped and of unit length again."""
    y = x.astype(np.float64) @ by
    rows: NDArray[np.float64] = y / np.maximum(np.linalg.norm(y, axis=1, keepdims=True), 1e-12)
    return rows


def _inputs(head: Head, modality: Modality) -> int:
    """Return how many features a linear branch takes."""
    return next(parameter.shape[1] for parameter in head.layers[modality].parameters())
