"""Gradients of single rows, through what a head's affine layers were given and what comes back to them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from engine.heads.head import Head
from engine.types import Modality
from training.batch import Batch
from training.gradient import Loss, embed


@dataclass(frozen=True)
class LayerCall:
    """One call of an affine layer.

    Attributes:
        x: its input rows (B, D_in).
        out: its output rows (B, D_out), part of the graph.
    """

    layer: str
    x: Tensor
    out: Tensor


@contextmanager
def recorded_calls(head: Head, features: Mapping[Modality, Tensor]) -> Iterator[list[LayerCall]]:
    """Collect every call of the trained layers that these features pass, first to last."""
    calls: list[LayerCall] = []

    def recording(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def record(layer: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> None:
            if out.requires_grad:
                calls.append(LayerCall(name, inputs[0].detach(), out))

        return record

    passed = head.inputs({m: x[:1] for m, x in features.items()})
    names = dict.fromkeys(name for layers in passed.values() for name in layers)
    hooks = [head.get_submodule(name).register_forward_hook(recording(name)) for name in names]
    try:
        yield calls
    finally:
        for hook in hooks:
            hook.remove()


def row_gradients(head: Head, loss: Loss, batch: Batch, rows: Tensor) -> Iterator[dict[str, Tensor]]:
    """Yield the gradient of the loss value of each of these rows alone, by parameter.

    The other rows of the batch are its negatives. One backward pass a row stops at the layers' outputs; the
    products with their inputs are most of the work, and batching the passes only made them slower.
    """
    with recorded_calls(head, batch.features) as calls:
        values = loss(embed(head, batch), batch)
    if not values.requires_grad:
        return
    value_of, outputs = values.unbind(), [call.out for call in calls]
    for row in rows.tolist():
        deltas = torch.autograd.grad(value_of[row], outputs, retain_graph=True, allow_unused=True)
        gradient: dict[str, Tensor] = {}
        for call, delta in zip(calls, deltas, strict=True):
            if delta is not None:
                _add(gradient, f"{call.layer}.weight", delta.T @ call.x)
                if _has_bias(head, call):
                    _add(gradient, f"{call.layer}.bias", delta.sum(0))
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
    with recorded_calls(head, {modality: x}) as calls:
        y = outputs({modality: x})[modality]
    if not calls:
        return {}
    energy = y.square().sum()
    deltas = torch.autograd.grad(energy, [call.out for call in calls])
    # twice the energy for outputs that are linear in the last layer; none where their length is fixed
    if (deltas[-1] * calls[-1].out).sum().abs() < 1e-3 * energy:
        raise ValueError(
            "the outputs are of unit length, so every importance is 0: give them before normalisation"
        )
    by_name: dict[str, Tensor] = {}
    for call, delta in zip(calls, deltas, strict=True):
        _add(by_name, f"{call.layer}.weight", delta.abs().T @ call.x.abs() / len(x))
        if _has_bias(head, call):
            _add(by_name, f"{call.layer}.bias", delta.abs().mean(0))
    return by_name


def spread(eligible: Sequence[Tensor], most: int) -> list[Tensor]:
    """Return which rows of each batch to take: at most so many, evenly over all that are eligible (B,) bool."""
    flat = torch.cat(list(eligible))
    rows = flat.nonzero()[:, 0]
    count = min(most, len(rows))
    taken = torch.zeros_like(flat)
    taken[rows[torch.arange(count, device=flat.device) * len(rows) // count]] = True
    return [part.nonzero()[:, 0] for part in torch.split(taken, [len(part) for part in eligible])]


def _has_bias(head: Head, call: LayerCall) -> bool:
    return head.get_submodule(call.layer).bias is not None


def _add(by_name: dict[str, Tensor], name: str, part: Tensor) -> None:
    """Add what one modality brings to a parameter, which several may share."""
    by_name[name] = by_name[name] + part if name in by_name else part
