"""The only training loop."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from engine.errors import Setting, UserError
from engine.heads.head import Head
from engine.types import Keep
from training.data.pairs import PairSet
from training.drift import Drift
from training.gradient import (
    Batch,
    Gradient,
    GradientFn,
    Loss,
    Strategy,
    compose,
    embed,
    loss_gradient,
    weighted_mean,
)

LR = Setting("lr")
ENOUGH_TO_JUDGE = 20
"""With fewer validation pairs the last epoch is kept."""


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to; None where there is nothing to measure.

    Attributes:
        drift: of every old task.
        kept: the head ended as it was after this epoch.
        interrupted: training was ended by hand after this epoch.
    """

    loss: float
    val_loss: float | None = None
    val_recall: float | None = None
    drift: Drift = field(default_factory=dict)
    kept: bool = False
    interrupted: bool = False


@dataclass(frozen=True)
class Material:
    """The pairs of a lesson, and what tells how far old tasks have drifted."""

    train: PairSet
    validation: PairSet
    gauge: Callable[[Head], Drift] = lambda head: {}


@dataclass(frozen=True)
class Objective:
    """The loss, and the strategies that wrap its gradient, outermost first."""

    loss: Loss
    strategies: Sequence[Strategy]


@dataclass(frozen=True)
class Course:
    """How long and how fast to train.

    Attributes:
        warmup: the share of all steps, 0 to 1, over which the step size grows to lr in a straight line.
        patience: epochs without a better validation loss before training stops; 0: never.
        keep: end with the epoch of lowest validation loss where enough pairs can tell, or with the last.
    """

    epochs: int = 40
    lr: float = 1e-3
    batch_size: int = 128
    warmup: float = 0.0
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
    """Train the head in place on one task; it ends with the parameters of the epoch that is kept.

    Interrupted after a finished epoch (Ctrl-C), training ends there; before, the interrupt goes on.
    """
    loss, strategies = objective.loss, objective.strategies
    device = next(head.parameters()).device.type
    epochs: list[Epoch] = []
    best, since, kept = math.inf, 0, 0
    parameters: dict[str, Tensor] = {}
    running = _epochs(head, pairs, objective, course)
    try:
        for number in range(course.epochs):
            epochs.append(next(running))
            judged = epochs[-1].val_loss if len(pairs.validation) >= ENOUGH_TO_JUDGE else None
            since = 0 if judged is None or judged < best else since + 1
            best = best if judged is None else min(best, judged)
            if since == 0 or course.keep == "last":
                kept = number
                parameters = {name: p.detach().clone() for name, p in head.named_parameters()}
            on_epoch(number, epochs[-1])
            if course.patience and since >= course.patience:
                break
    except KeyboardInterrupt:
        if not parameters:
            raise
        epochs[-1] = replace(epochs[-1], interrupted=True)
    epochs[kept] = replace(epochs[kept], kept=True)
    head.load_state_dict(parameters)
    _refuse_overgrown(head.eval())
    for strategy in strategies:
        strategy.end_task(head, [b.to(device) for b in pairs.train.in_order(course.batch_size)], loss)
    return epochs


def _epochs(head: Head, pairs: Material, objective: Objective, course: Course) -> Iterator[Epoch]:
    """Train on and on, and yield what each epoch came to."""
    device = next(head.parameters()).device.type
    step = compose(objective.strategies, head, loss_gradient(head, objective.loss))
    generator = torch.Generator().manual_seed(course.seed)
    rates = _rates(course, -(-len(pairs.train) // course.batch_size))
    number = 0
    while True:
        batches = pairs.train.epoch(course.batch_size, generator, number)
        loss = _steps(head, (batch.to(device) for batch in batches), step, rates, number + 1)
        measured = measure(head.eval(), pairs.validation, objective.loss, course.batch_size)
        yield Epoch(loss, *measured, pairs.gauge(head))
        number += 1


def _rates(course: Course, batches: int) -> Iterator[float]:
    """Yield the step size of every step: a straight line up to lr, then lr."""
    rising = round(course.warmup * course.epochs * batches)
    yield from (course.lr * (step + 1) / (rising + 1) for step in range(rising))
    while True:
        yield course.lr


def measure(head: Head, pairs: PairSet, loss: Loss, batch_size: int) -> tuple[float | None, float | None]:
    """Return the loss and recall@10 of validation pairs; None where there are too few to rank."""
    if len(pairs) < 2:
        return None, None
    device = next(head.parameters()).device.type
    with torch.inference_mode():
        batches = [batch.to(device) for batch in pairs.in_order(batch_size)]
        values = [(weighted_mean(loss(embed(head, b), b), b), len(b)) for b in batches if len(b) > 1]
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


def _steps(
    head: Head, batches: Iterable[Batch], step: GradientFn, rates: Iterator[float], epoch: int
) -> float:
    """Take one step on each batch and return their mean loss."""
    head.train()
    values = []
    for place, batch in enumerate(batches):
        move = step(batch)
        _refuse_not_finite(float(move.loss), f"epoch {epoch}, batch {place + 1}")
        _apply(head, move, next(rates))
        values.append(float(move.loss))
    return sum(values) / len(values)


def _refuse_not_finite(loss: float, place: str) -> None:
    if not math.isfinite(loss):
        raise UserError(f"the loss is {loss} in {place}: nothing was kept; try a smaller {LR}", [LR])


def _refuse_overgrown(head: Head) -> None:
    """Refuse parameters whose squares overflow: they embed every item as a row of zeros."""
    if not all(p.detach().square().sum().isfinite() for p in head.parameters()):
        raise UserError(
            f"the head's parameters grew beyond all bounds: nothing was kept; try a smaller {LR}", [LR]
        )


def _apply(head: Head, move: Gradient, lr: float) -> None:
    with torch.no_grad():
        for name, direction in move.by_name.items():
            head.get_parameter(name).sub_(direction, alpha=lr)
