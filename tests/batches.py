"""Embeddings and batches that the tests of the losses share."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from engine.types import Modality
from training.batch import Batch, Embeddings

THREE = ("audio", "image", "text")


def batch_of(z: Embeddings, **absent: list[int]) -> Batch:
    """Return a batch of one group in which every item is another one; `absent` lists rows by modality."""
    size = len(next(iter(z.values())))
    present = {m: torch.tensor([n not in absent.get(m, []) for n in range(size)]) for m in z}
    item = {m: torch.where(present[m], torch.arange(size) + 100 * n, -1) for n, m in enumerate(sorted(z))}
    return Batch(dict(z), present, item, torch.zeros(size, dtype=torch.int64), torch.ones(size))


def unit(
    size: int = 6, width: int = 5, seed: int = 0, modalities: Sequence[Modality] = ("image", "text")
) -> dict[Modality, Tensor]:
    """Return random unit rows."""
    draw = torch.Generator().manual_seed(seed)
    rows = torch.randn(len(modalities), size, width, generator=draw)
    return dict(zip(modalities, torch.nn.functional.normalize(rows, dim=2), strict=True))


def alike(size: int, width: int, noise: float, seed: int = 0) -> dict[Modality, Tensor]:
    """Return unit rows of three modalities that nearly coincide within a row, in float64."""
    draw = torch.Generator().manual_seed(seed)
    shared = torch.nn.functional.normalize(torch.randn(size, width, generator=draw).double(), dim=1)
    rows = [shared + noise * torch.randn(size, width, generator=draw) for _ in THREE]
    return dict(zip(THREE, torch.nn.functional.normalize(torch.stack(rows), dim=2), strict=True))


def eye() -> dict[Modality, Tensor]:
    """Return two matching orthogonal rows."""
    return {"image": torch.eye(2), "text": torch.eye(2)}


def swapped() -> dict[Modality, Tensor]:
    """Return two orthogonal rows, each with the other one's text."""
    return {"image": torch.eye(2), "text": torch.eye(2).flip(0)}


def rows_of(z: Embeddings, rows: Sequence[int]) -> dict[Modality, Tensor]:
    """Return some rows."""
    return {m: x[list(rows)] for m, x in z.items()}


def learned(z: Embeddings) -> dict[Modality, Tensor]:
    """Return the same embeddings as leaves that collect a gradient."""
    return {m: x.clone().requires_grad_() for m, x in z.items()}


def is_negative(batch: Batch, a: Modality, b: Modality, i: int, j: int) -> bool:
    """Say, from the words of the contract, whether row j's b is a negative of row i's a."""
    if not (batch.present[a][i] and batch.present[b][j]) or batch.group[i] != batch.group[j]:
        return False
    return bool(batch.item[a][i] != batch.item[a][j] and batch.item[b][i] != batch.item[b][j])


def are_strangers(batch: Batch, i: int, j: int) -> bool:
    """Say, from the words of the contract, whether two rows share a group and no item."""
    shares = any(bool(x[i] == x[j]) and bool(batch.present[m][i]) for m, x in batch.item.items())
    return bool(batch.group[i] == batch.group[j]) and not shares


def messy(modalities: Sequence[Modality] = ("image", "text")) -> tuple[dict[Modality, Tensor], Batch]:
    """Return a batch with duplicates, two groups and absent items."""
    z = unit(8, 4, 3, modalities)
    batch = batch_of(z, image=[6], text=[2], audio=[0, 2])
    batch.item["image"][3] = batch.item["image"][1]
    batch.item["text"][5] = batch.item["text"][0]
    return z, replace(batch, group=torch.tensor([0, 0, 0, 0, 1, 0, 1, 1]))


def equal() -> dict[Modality, Tensor]:
    """Return one row of three modalities that coincide, in float64."""
    row = torch.nn.functional.normalize(torch.arange(1.0, 9.0).double().view(1, 8), dim=1)
    return dict.fromkeys(THREE, row)


def orthonormal() -> dict[Modality, Tensor]:
    """Return one row of three modalities at right angles, in float64."""
    return {m: torch.eye(8).double()[n : n + 1] for n, m in enumerate(THREE)}


def at_cosine(c: float) -> dict[Modality, Tensor]:
    """Return one row of two modalities at an angle, in float64."""
    rows = torch.tensor([[[1.0, 0.0]], [[c, math.sqrt(1 - c * c)]]]).double()
    return {"image": rows[0], "text": rows[1]}


def double(z: Embeddings) -> dict[Modality, Tensor]:
    """Return embeddings in float64."""
    return {m: x.double() for m, x in z.items()}


def gradient_by(z: Embeddings, loss: Callable[[Embeddings], Tensor]) -> Tensor:
    """Return the gradient of the sum of a loss by each modality's embeddings, one above the other (M, B, E)."""
    leaves = learned(z)
    return torch.stack(torch.autograd.grad(loss(leaves).sum(), list(leaves.values())))
