"""The one abstraction of training: a strategy wraps a gradient function.

`compose([outermost, ..., innermost], head, loss_gradient(head, loss))` gives one step. A strategy may ask
`inner` for the gradient of any batch, at any point, any number of times, and leaves the head as it found it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Protocol, TypeAlias

import torch
from torch import Tensor

from engine.heads.head import Head
from engine.types import Modality
from training.batch import Batch, Embeddings

LOSS_PARAMETERS = "losses."
"""How the names of those parameters begin that a loss trains for itself, beside the head's branches."""


@dataclass(frozen=True)
class Gradient:
    """A loss and its gradient by parameter; one that the batch did not touch is absent, not zero."""

    loss: Tensor
    by_name: Mapping[str, Tensor]


Loss: TypeAlias = Callable[[Embeddings, Batch], Tensor]
"""A pure function of embeddings that returns one value per row (B,)."""

GradientFn: TypeAlias = Callable[[Batch], Gradient]


class Strategy(Protocol):
    """One link of a training method.

    Attributes:
        skips_memory: a batch that holds nothing but remembered rows goes past this strategy, to the next.
        state: what is remembered from step to step and from lesson to lesson; flat, stored with the head.
    """

    skips_memory: ClassVar[bool]
    state: dict[str, Tensor]

    def gradient(self, head: Head, batch: Batch, inner: GradientFn) -> Gradient:
        """Return what to do with this batch, having asked `inner` as often as needed."""
        ...

    def end_task(self, head: Head, batches: Iterable[Batch], loss: Loss) -> None:
        """Consolidate after a lesson: the head in evaluation mode, the task's batches, the plain loss."""
        ...


def compose(strategies: Sequence[Strategy], head: Head, innermost: GradientFn) -> GradientFn:
    """Wrap a gradient function in strategies, given outermost first."""
    step = innermost
    for strategy in reversed(strategies):
        step = partial(_wrapped, strategy, head, step)
    return step


def _wrapped(strategy: Strategy, head: Head, inner: GradientFn, batch: Batch) -> Gradient:
    if batch.is_memory and strategy.skips_memory:
        return inner(batch)
    return strategy.gradient(head, batch, inner)


def loss_gradient(head: Head, loss: Loss) -> GradientFn:
    """Return the innermost function: the gradient of the weighted mean of the loss over a batch's rows."""

    def gradient(batch: Batch) -> Gradient:
        trained = {name: p for name, p in head.named_parameters() if p.requires_grad}
        value = weighted_mean(loss(embed(head, batch), batch), batch)
        return Gradient(value.detach(), _gradients(value, trained))

    return gradient


def add_term(gradient: Gradient, head: Head, term: Tensor) -> Gradient:
    """Return a gradient plus that of another term of the loss; what the term does not touch stays as it is."""
    trained = {
        n: p for n, p in head.named_parameters() if p.requires_grad and not n.startswith(LOSS_PARAMETERS)
    }
    by_name = dict(gradient.by_name)
    for name, g in _gradients(term, trained).items():
        by_name[name] = by_name[name] + g if name in by_name else g
    return Gradient(gradient.loss + term.detach(), by_name)


def _gradients(value: Tensor, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the gradient of a value by those parameters that it depends on."""
    if not value.requires_grad:
        return {}
    gradients = torch.autograd.grad(value, list(parameters.values()), allow_unused=True)
    return {name: g for name, g in zip(parameters, gradients, strict=True) if g is not None}


def embed(head: Head, batch: Batch) -> dict[Modality, Tensor]:
    """Return the embeddings of a batch {m: (B, E)}: the head's, or those that are fixed."""
    z: dict[Modality, Tensor] = head(batch.features, batch.seed)
    for m, rows in batch.fixed.items():
        z[m] = torch.where(rows.any(1, keepdim=True), rows, z[m])
    return z


def weighted_mean(values: Tensor, batch: Batch) -> Tensor:
    """Return the mean over rows (B,) by the batch's weights."""
    return (values * batch.weight).sum() / batch.weight.sum().clamp_min(1e-12)


@contextmanager
def evaluating(head: Head) -> Iterator[None]:
    """Put the head into evaluation mode for a while: without dropout, and with gradients."""
    was_training = head.training
    head.eval()
    try:
        yield
    finally:
        head.train(was_training)
