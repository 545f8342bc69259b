"""The one abstraction of training: a strategy wraps a gradient function.

`compose([outermost, ..., innermost], head, loss_gradient(head, loss))` gives one step. A strategy may ask
`inner` for the gradient of any batch, at any point, any number of times, and leaves the head as it found it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from engine.heads.head import Head
from engine.types import Modality

Embeddings: TypeAlias = Mapping[Modality, Tensor]
"""Unit rows (B, E) by modality."""


@dataclass(frozen=True)
class Batch:
    """B instances.

    Attributes:
        features: {m: (B, D_m)}; a row that lacks the modality holds zeros.
        present: {m: (B,) bool}.
        item: {m: (B,) int64}, -1 where absent; equal numbers are one item, never negatives of each other.
        group: (B,) int64; rows of another group are no negatives.
        weight: (B,); a row of weight 0 is a negative only.
        seed: of the dropout masks, so that every call on one batch sees the same ones.
        epoch: which pass over the pairs this is, from 0; -1: rows that a strategy remembers.
        fixed: {m: (B, E)} unit rows that stand in for the head's own; a row of zeros leaves the head's.
    """

    features: Mapping[Modality, Tensor]
    present: Mapping[Modality, Tensor]
    item: Mapping[Modality, Tensor]
    group: Tensor
    weight: Tensor
    seed: int = 0
    epoch: int = 0
    fixed: Mapping[Modality, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.weight)

    def to(self, device: str) -> "Batch":
        """Return the batch on a device."""
        return replace(
            self,
            features={m: t.to(device) for m, t in self.features.items()},
            present={m: t.to(device) for m, t in self.present.items()},
            item={m: t.to(device) for m, t in self.item.items()},
            group=self.group.to(device),
            weight=self.weight.to(device),
            fixed={m: t.to(device) for m, t in self.fixed.items()},
        )


@dataclass(frozen=True)
class Gradient:
    """A loss and its gradient; a parameter that the batch did not touch is absent, not zero."""

    loss: Tensor
    by_name: Mapping[str, Tensor]


Loss: TypeAlias = Callable[[Embeddings, Batch], Tensor]
"""A pure function of embeddings that returns one value per row (B,)."""

GradientFn: TypeAlias = Callable[[Batch], Gradient]


class Strategy(Protocol):
    """One link of a training method.

    Attributes:
        state: what is remembered from step to step and from lesson to lesson; flat, stored with the head.
    """

    state: dict[str, Tensor]

    def gradient(self, head: Head, batch: Batch, inner: GradientFn) -> Gradient:
        """Return what to do with this batch, having asked `inner` as often as needed."""
        ...

    def end_task(self, head: Head, batches: Iterable[Batch], loss: Loss) -> None:
        """Consolidate after a lesson: the head in evaluation mode, the task's batches, the plain loss."""
        ...


def loss_gradient(head: Head, loss: Loss) -> GradientFn:
    """Return the innermost function: the gradient of the weighted mean of the loss over a batch's rows."""

    def gradient(batch: Batch) -> Gradient:
        named = [(name, p) for name, p in head.named_parameters() if p.requires_grad]
        value = weighted_mean(loss(embed(head, batch), batch), batch)
        if not value.requires_grad:
            return Gradient(value.detach(), {})
        found = torch.autograd.grad(value, [p for _, p in named], allow_unused=True)
        by_name = {name: g for (name, _), g in zip(named, found, strict=True) if g is not None}
        return Gradient(value.detach(), by_name)

    return gradient


def added(found: Gradient, head: Head, term: Tensor) -> Gradient:
    """Return a gradient with that of another term added; what the term does not touch stays as it is."""
    named = {n: p for n, p in head.named_parameters() if p.requires_grad and not n.startswith("losses.")}
    by_name = dict(found.by_name)
    if term.requires_grad:
        for name, g in zip(
            named, torch.autograd.grad(term, list(named.values()), allow_unused=True), strict=True
        ):
            if g is not None:
                by_name[name] = by_name[name] + g if name in by_name else g
    return Gradient(found.loss + term.detach(), by_name)


def embed(head: Head, batch: Batch) -> dict[Modality, Tensor]:
    """Return the embeddings of a batch {m: (B, E)}: the head's, or those that are fixed."""
    z: dict[Modality, Tensor] = head(batch.features, batch.seed)
    for m, rows in batch.fixed.items():
        z[m] = torch.where(rows.any(1, keepdim=True), rows, z[m])
    return z


def join(batch: Batch, more: Batch) -> Batch:
    """Return the rows of both; a modality that one of them lacks is absent there."""
    first, second = len(batch), len(more)

    def side_by_side(
        a: Mapping[Modality, Tensor], b: Mapping[Modality, Tensor], absent: float
    ) -> dict[Modality, Tensor]:
        return {
            m: torch.cat(
                [
                    a[m] if m in a else b[m].new_full((first, *b[m].shape[1:]), absent),
                    b[m] if m in b else a[m].new_full((second, *a[m].shape[1:]), absent),
                ]
            )
            for m in sorted({*a, *b})
        }

    return replace(
        batch,
        features=side_by_side(batch.features, more.features, 0),
        present=side_by_side(batch.present, more.present, False),
        item=side_by_side(batch.item, more.item, -1),
        group=torch.cat([batch.group, more.group]),
        weight=torch.cat([batch.weight, more.weight]),
        fixed=side_by_side(batch.fixed, more.fixed, 0),
    )


def weighted_mean(values: Tensor, batch: Batch) -> Tensor:
    """Return the mean over rows (B,) by the batch's weights."""
    return (values * batch.weight).sum() / batch.weight.sum().clamp_min(1e-12)


def compose(strategies: Sequence[Strategy], head: Head, innermost: GradientFn) -> GradientFn:
    """Wrap a gradient function in strategies, given outermost first."""
    step = innermost
    for strategy in reversed(strategies):
        step = partial(_call, strategy, head, step)
    return step


def _call(strategy: Strategy, head: Head, inner: GradientFn, batch: Batch) -> Gradient:
    return strategy.gradient(head, batch, inner)
