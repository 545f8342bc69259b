"""Penalties: a quadratic pull to where the last lesson ended, by how much each parameter mattered there."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor

from engine.errors import UserError
from engine.heads.head import Head
from engine.types import Modality
from training.batch import Batch, Embeddings
from training.gradient import Gradient, GradientFn, Loss
from training.hyperparameters import check_at_least, check_strength
from training.strategies.row_gradients import row_gradients, sensitivity, spread

Accumulate = Literal["sum", "replace", "max"]
ACCUMULATE: Mapping[Accumulate, Callable[[Tensor, Tensor], Tensor]] = {
    "sum": torch.add,
    "replace": lambda old, new: new,
    "max": torch.maximum,
}


@dataclass
class Ewc:
    """Elastic weight consolidation (Kirkpatrick et al. 2017) of a retrieval loss: Wang et al. 2021, eq. 4, 5.

    Adds weight x sum F (p - anchor)^2, without a half. F is the mean square of the gradient of one row's own
    loss value, the rest of its batch being its negatives: not the square of a mean, which would shrink with
    the batch. Eq. 5 keeps the last task's F alone; this version sums, as eq. 6 does, unless told otherwise.

    Args:
        protect: the modality whose branch alone is guarded; a shared top then counts through it alone.
        weight: lambda_3, for infonce; a loss of smaller slopes wants more (triplet: 1e5).
        rows: how many rows of a task the mean is over, at most.
        accumulate: how the importance of a later task joins the earlier ones'.
    """

    protect: Modality = ""
    _: KW_ONLY
    weight: float = 3e2
    rows: int = 1000
    accumulate: Accumulate = "sum"
    state: dict[str, Tensor] = field(default_factory=dict, init=False)
    skips_memory: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_strength("ewc.weight", self.weight)
        check_at_least("ewc.rows", self.rows, 1)

    def gradient(self, head: Head, batch: Batch, inner: GradientFn) -> Gradient:
        """Add the pull to the parameters that the batch touches."""
        return with_penalty(head, inner(batch), self.state, self.weight, self.protect)

    def end_task(self, head: Head, batches: Iterable[Batch], loss: Loss) -> None:
        """Add the task's importance and move the anchor."""
        guarded = _through(self.protect, loss) if self.protect else loss
        consolidate(self.state, head, fisher(head, guarded, list(batches), self.rows), self.accumulate)


@dataclass
class Mas:
    """Memory aware synapses (Aljundi et al. 2018), one branch at a time: Wang et al. 2021, eq. 4, 6.

    Adds weight x sum omega (p - anchor)^2, where omega sums over tasks the mean over rows of
    |d |y|^2 / d p|. Read literally eq. 6 is 0: it has no absolute value, and the outputs of that paper are of
    unit length. This version takes the absolute gradient of each row, of outputs before normalisation.

    Args:
        protect: the modality whose branch alone is guarded; a shared top then counts through it alone.
        weight: lambda_3.
        rows: how many rows of a modality the mean is over, at most.
    """

    protect: Modality = ""
    _: KW_ONLY
    weight: float = 0.1
    rows: int = 1000
    state: dict[str, Tensor] = field(default_factory=dict, init=False)
    skips_memory: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_strength("mas.weight", self.weight)
        check_at_least("mas.rows", self.rows, 1)

    def gradient(self, head: Head, batch: Batch, inner: GradientFn) -> Gradient:
        """Add the pull to the parameters that the batch touches."""
        return with_penalty(head, inner(batch), self.state, self.weight, self.protect)

    def end_task(self, head: Head, batches: Iterable[Batch], loss: Loss) -> None:
        """Add the task's importance and move the anchor."""
        batches, importance = list(batches), dict[str, Tensor]()
        for m in sorted({m for batch in batches for m in batch.features}):
            if self.protect in ("", m):
                for name, part in _omega(head, batches, m, self.rows).items():
                    importance[name] = importance[name] + part if name in importance else part
        consolidate(self.state, head, importance, "sum")


def fisher(head: Head, loss: Loss, batches: Sequence[Batch], rows: int) -> dict[str, Tensor]:
    """Return the mean over at most so many rows of the squared gradient of a row's loss, by parameter."""
    taken = spread([batch.weight > 0 for batch in batches], rows)
    squares: dict[str, Tensor] = {}
    for batch, chosen in zip(batches, taken, strict=True):
        for gradient in row_gradients(head, loss, batch, chosen) if len(chosen) else ():
            for name, g in gradient.items():
                squares.setdefault(name, torch.zeros_like(g)).addcmul_(g, g)
    count = sum(len(chosen) for chosen in taken)
    return {name: total / count for name, total in squares.items()}


def _omega(head: Head, batches: Sequence[Batch], modality: Modality, rows: int) -> dict[str, Tensor]:
    """Return the importance of a modality's parameters for its rows."""
    of_modality = [batch for batch in batches if modality in batch.features]
    taken = spread([batch.present[modality] for batch in of_modality], rows)
    x = torch.cat([b.features[modality][chosen] for b, chosen in zip(of_modality, taken, strict=True)])
    return sensitivity(head, head.project, modality, x) if len(x) else {}


def _through(modality: Modality, loss: Loss) -> Loss:
    """Return the loss as a function of one modality's embeddings alone."""

    def guarded(z: Embeddings, batch: Batch) -> Tensor:
        return loss({m: rows if m == modality else rows.detach() for m, rows in z.items()}, batch)

    return guarded


def consolidate(
    state: dict[str, Tensor], head: Head, importance: Mapping[str, Tensor], accumulate: Accumulate
) -> None:
    """Join the importance of a task; parameters that it did not use keep theirs, and their anchor."""
    parameters = dict(head.named_parameters())
    for name, new in importance.items():
        old = state.get(f"importance.{name}")
        state[f"importance.{name}"] = new if old is None else ACCUMULATE[accumulate](old.to(new), new)
        state[f"anchor.{name}"] = parameters[name].detach().clone()


def with_penalty(
    head: Head, gradient: Gradient, state: dict[str, Tensor], weight: float, protect: Modality
) -> Gradient:
    """Add weight x sum importance (p - anchor)^2 and its gradient, on what the batch touches: the rest stays put.

    Args:
        state: `importance.<parameter>` and `anchor.<parameter>`, moved to where the parameters are.
        protect: the modality whose branch alone is guarded, with what is shared; empty: all.
    """
    if protect and protect not in head.layers:
        raise UserError(f"no modality {protect!r} to protect; the head has: {', '.join(head.layers)}")
    parameters = dict(head.named_parameters())
    value, by_name = gradient.loss, dict(gradient.by_name)
    for name, g in gradient.by_name.items():
        is_unguarded = protect and head.branch_of(name) not in (None, protect)
        if f"anchor.{name}" not in state or is_unguarded:
            continue
        p = parameters[name].detach()
        for key in (f"anchor.{name}", f"importance.{name}"):
            state[key] = state[key].to(p)
        away = p - state[f"anchor.{name}"]
        pull = state[f"importance.{name}"] * away
        value = value + weight * torch.dot(pull.flatten(), away.flatten())
        by_name[name] = torch.add(g, pull, alpha=2 * weight, out=pull)
    return Gradient(value, by_name)
