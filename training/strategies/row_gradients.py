"""Gradients of single rows, through what a head's affine layers were given and what comes back to them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from engine.heads.head import Head
from engine.types import Modality
from training.gradient import Batch, Loss, embed


@dataclass(frozen=True)
class Use:
    """One use of an affine layer.

    Attributes:
        x: its input rows (B, D_in).
        out: its output rows (B, D_out), part of the graph.
    """

    layer: str
    x: Tensor
    out: Tensor


@contextmanager
def uses(head: Head, features: Mapping[Modality, Tensor]) -> Iterator[list[Use]]:
    """Collect every trained use of the layers that these features pass, first to last."""
    found: list[Use] = []

    def noting(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def note(layer: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
            if out.requires_grad:
                found.append(Use(name, given[0].detach(), out))

        return note

    passed = head.inputs({m: x[:1] for m, x in features.items()})
    names = dict.fromkeys(name for layers in passed.values() for name in layers)
    hooks = [head.get_submodule(name).register_forward_hook(noting(name)) for name in names]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def row_gradients(head: Head, loss: Loss, batch: Batch, rows: Tensor) -> Iterator[dict[str, Tensor]]:
    """Yield the gradient of the loss value of each of these rows alone, by parameter.

    The other rows of the batch are its negatives. One backward pass a row stops at the layers' outputs; the
    products with their inputs are most of the work, and batching the passes only made them slower.
    """
    with uses(head, batch.features) as found:
        values = loss(embed(head, batch), batch)
    if not values.requires_grad:
        return
    biased = _biased(head, found)
    each = values.unbind()
    for row in rows.tolist():
        back = torch.autograd.grad(
            each[row], [use.out for use in found], retain_graph=True, allow_unused=True
        )
        gradient: dict[str, Tensor] = {}
        for use, delta in zip(found, back, strict=True):
            if delta is not None:
                _add(gradient, f"{use.layer}.weight", delta.T @ use.x)
                if use.layer in biased:
                    _add(gradient, f"{use.layer}.bias", delta.sum(0))
        yield gradient


def sensitivity(
    head: Head,
    outputs: Callable[[Mapping[Modality, Tensor]], Mapping[Modality, Tensor]],
    modality: Modality,
    x: Tensor,
) -> dict[str, Tensor]:
    """Return the mean over rows of |d |y|^2 / d parameter|, for outputs y before normalisation.

    Exact without a gradient per row: a row's gradient is one outer product, and |d x^T| = |d| |x|^T.

    Args:
        x: features (B, D_m) of the modality.
    """
    with uses(head, {modality: x}) as found:
        y = outputs({modality: x})[modality]
    if not found:
        return {}
    energy = y.square().sum()
    back = torch.autograd.grad(energy, [use.out for use in found])
    # twice the energy for outputs that are linear in the last layer; none where their length is fixed
    if (back[-1] * found[-1].out).sum().abs() < 1e-3 * energy:
        raise ValueError(
            "the outputs are of unit length, so every importance is 0: give them before normalisation"
        )
    biased = _biased(head, found)
    by_name: dict[str, Tensor] = {}
    for use, delta in zip(found, back, strict=True):
        _add(by_name, f"{use.layer}.weight", delta.abs().T @ use.x.abs() / len(x))
        if use.layer in biased:
            _add(by_name, f"{use.layer}.bias", delta.abs().mean(0))
    return by_name


def spread(eligible: Sequence[Tensor], most: int) -> list[Tensor]:
    """Return which rows of each batch to take: at most so many, evenly over all that are eligible (B,) bool."""
    flat = torch.cat(list(eligible))
    there = flat.nonzero()[:, 0]
    count = min(most, len(there))
    taken = torch.zeros_like(flat)
    taken[there[torch.arange(count, device=flat.device) * len(there) // count]] = True
    return [part.nonzero()[:, 0] for part in torch.split(taken, [len(part) for part in eligible])]


def _biased(head: Head, found: Sequence[Use]) -> set[str]:
    named = dict(head.named_parameters())
    return {use.layer for use in found if f"{use.layer}.bias" in named}


def _add(by_name: dict[str, Tensor], name: str, part: Tensor) -> None:
    """Add what one modality brings to a parameter, which several may share."""
    by_name[name] = by_name[name] + part if name in by_name else part
