"""The only training loop."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from engine.errors import UserError
from engine.head import Head
from engine.types import Keep
from training.gradient import (
    Batch,
    Gradient,
    GradientFn,
    Loss,
    Strategy,
    compose,
    loss_gradient,
    weighted_mean,
)
from training.pairs import PairSet

ENOUGH_TO_JUDGE = 20
"""With fewer validation pairs the last epoch is kept."""


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to; None where there is nothing to measure. The head ends as the one that is kept."""

    loss: float
    val_loss: float | None = None
    val_recall: float | None = None
    kept: bool = False


@dataclass(frozen=True)
class Material:
    """The pairs of a lesson."""

    train: PairSet
    validation: PairSet


@dataclass(frozen=True)
class Objective:
    """The loss, and the strategies that wrap its gradient, outermost first."""

    loss: Loss
    strategies: Sequence[Strategy]


@dataclass(frozen=True)
class Course:
    """How long and how fast to train.

    Attributes:
        patience: epochs without a better validation loss before training stops; 0: never.
        keep: end with the epoch of lowest validation loss where enough pairs can tell, or with the last.
    """

    epochs: int = 40
    lr: float = 1e-3
    batch_size: int = 128
    patience: int = 0
    keep: Keep = "best"
    seed: int = 0


def train_task(
    head: Head,
    pairs: Material,
    objective: Objective,
    course: Course,
    on_epoch: Callable[[int, Epoch], None] = lambda number, epoch: None,
) -> list[Epoch]:
    """Train the head in place on one task; it ends with the parameters of the epoch that is kept."""
    loss, strategies, validation = objective.loss, objective.strategies, pairs.validation
    device = next(head.parameters()).device.type
    plain = loss_gradient(head, loss)
    step = compose(strategies, head, plain)
    generator = torch.Generator().manual_seed(course.seed)
    epochs: list[Epoch] = []
    best, since, kept = math.inf, 0, 0
    parameters: dict[str, Tensor] = {}
    for number in range(course.epochs):
        batches = pairs.train.epoch(course.batch_size, generator)
        trained = _steps(head, (batch.to(device) for batch in batches), step, course.lr, number + 1)
        epochs.append(Epoch(trained, *measure(head.eval(), validation, loss, course.batch_size)))
        on_epoch(number, epochs[-1])
        judged = epochs[-1].val_loss if len(validation) >= ENOUGH_TO_JUDGE else None
        since = 0 if judged is None or judged < best else since + 1
        best = best if judged is None else min(best, judged)
        if since == 0 or course.keep == "last":
            kept = number
            parameters = {name: p.detach().clone() for name, p in head.named_parameters()}
        if course.patience and since >= course.patience:
            break
    epochs[kept] = replace(epochs[kept], kept=True)
    head.load_state_dict(parameters)
    _refuse_overgrown(head)
    for strategy in strategies:
        strategy.end_task(head, [b.to(device) for b in pairs.train.in_order(course.batch_size)], plain)
    return epochs


def measure(head: Head, pairs: PairSet, loss: Loss, batch_size: int) -> tuple[float | None, float | None]:
    """Return the loss and recall@10 of validation pairs; None where there are too few to rank."""
    if len(pairs) < 2:
        return None, None
    device = next(head.parameters()).device.type
    with torch.inference_mode():
        batches = [batch.to(device) for batch in pairs.in_order(batch_size)]
        values = [(weighted_mean(loss(head(b.features), b), b), len(b)) for b in batches if len(b) > 1]
        total = sum(float(value) * rows for value, rows in values) / sum(rows for _, rows in values)
        _refuse_not_finite(total, "the validation")
        return total, _recall(head, pairs, device)


def _recall(head: Head, pairs: PairSet, device: str, k: int = 10) -> float:
    """Return recall@k averaged over the ordered pairs of modalities, every distinct item ranked once."""
    z = {m: head({m: column.features.to(device)})[m].cpu() for m, column in pairs.columns.items()}
    found = []
    for a in z:
        for b in z:
            right = _joined(pairs, a, b)
            asked = right.any(1)
            if a != b and asked.any():
                near = (z[a][asked] @ z[b].T).topk(min(k, len(z[b])), dim=1).indices
                found.append(float(right[asked].gather(1, near).any(1).float().mean()))
    return sum(found) / len(found)


def _joined(pairs: PairSet, a: str, b: str) -> Tensor:
    """Return (N_a, N_b): which items stand in one pair."""
    stands = [torch.zeros(len(pairs), len(pairs.columns[m].features)) for m in (a, b)]
    for m, stand in zip((a, b), stands, strict=True):
        owner = torch.arange(len(pairs)).repeat_interleave(pairs.columns[m].count)
        stand[owner, pairs.columns[m].flat] = 1
    return stands[0].T @ stands[1] > 0


def _steps(head: Head, batches: Iterable[Batch], step: GradientFn, lr: float, epoch: int) -> float:
    """Take one step on each batch and return their mean loss."""
    head.train()
    values = []
    for place, batch in enumerate(batches):
        move = step(batch)
        _refuse_not_finite(float(move.loss), f"epoch {epoch}, batch {place + 1}")
        _apply(head, move, lr)
        values.append(float(move.loss))
    return sum(values) / len(values)


def _refuse_not_finite(loss: float, place: str) -> None:
    if not math.isfinite(loss):
        raise UserError(f"the loss is {loss} in {place}: nothing was kept; try a smaller --lr")


def _refuse_overgrown(head: Head) -> None:
    """Refuse parameters whose squares overflow: they embed every item as a row of zeros."""
    if not all(p.detach().square().sum().isfinite() for p in head.parameters()):
        raise UserError("the head's parameters grew beyond all bounds: nothing was kept; try a smaller --lr")


def _apply(head: Head, move: Gradient, lr: float) -> None:
    with torch.no_grad():
        for name, direction in move.by_name.items():
            head.get_parameter(name).sub_(lr * direction)
