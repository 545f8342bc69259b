"""The only training loop."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from engine.errors import Setting, UserError
from engine.heads.head import Head
from engine.types import Modality, TrainSettings
from training.batch import Batch
from training.data.pairs import PairSet
from training.drift import Drift
from training.gradient import (
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
class LessonData:
    """The pairs of a lesson, and what tells how far old tasks have drifted."""

    train: PairSet
    validation: PairSet
    drift: Callable[[Head], Drift] = lambda head: {}


@dataclass(frozen=True)
class Objective:
    """The loss, and the strategies that wrap its gradient, outermost first."""

    loss: Loss
    strategies: Sequence[Strategy]


def train_task(
    head: Head,
    data: LessonData,
    objective: Objective,
    settings: TrainSettings,
    on_epoch: Callable[[int, Epoch], None] = lambda number, epoch: None,
) -> list[Epoch]:
    """Train the head in place on one task; it ends with the parameters of the epoch that is kept.

    Interrupted after a finished epoch (Ctrl-C), training ends there; before, the interrupt goes on.

    Args:
        settings: how long and how fast to train; what is trained on, and by which method, is given beside them.
    """
    epochs: list[Epoch] = []
    best, without_progress, kept = math.inf, 0, 0
    parameters: dict[str, Tensor] = {}
    running = _epochs(head, data, objective, settings)
    try:
        for number in range(settings.epochs):
            epochs.append(next(running))
            judged = epochs[-1].val_loss if len(data.validation) >= ENOUGH_TO_JUDGE else None
            without_progress = 0 if judged is None or judged < best else without_progress + 1
            best = best if judged is None else min(best, judged)
            if without_progress == 0 or settings.keep == "last":
                kept = number
                parameters = {name: p.detach().clone() for name, p in head.named_parameters()}
            on_epoch(number, epochs[-1])
            if settings.patience and without_progress >= settings.patience:
                break
    except KeyboardInterrupt:
        if not parameters:
            raise
        epochs[-1] = replace(epochs[-1], interrupted=True)
    epochs[kept] = replace(epochs[kept], kept=True)
    head.load_state_dict(parameters)
    _refuse_overgrown(head.eval())
    for strategy in objective.strategies:
        batches = [b.to(_device(head)) for b in data.train.in_order(settings.batch_size)]
        strategy.end_task(head, batches, objective.loss)
    return epochs


def _epochs(head: Head, data: LessonData, objective: Objective, settings: TrainSettings) -> Iterator[Epoch]:
    """Train on and on, and yield what each epoch came to."""
    device = _device(head)
    step = compose(objective.strategies, head, loss_gradient(head, objective.loss))
    generator = torch.Generator().manual_seed(settings.seed)
    rates = _rates(settings, -(-len(data.train) // settings.batch_size))
    number = 0
    while True:
        batches = data.train.epoch(settings.batch_size, generator, number)
        loss = _steps(head, (batch.to(device) for batch in batches), step, rates, number + 1)
        measured = measure(head.eval(), data.validation, objective.loss, settings.batch_size)
        yield Epoch(loss, *measured, data.drift(head))
        number += 1


def _rates(settings: TrainSettings, batches: int) -> Iterator[float]:
    """Yield the step size of every step: a straight line up to lr, then lr.

    Args:
        batches: of an epoch.
    """
    rising = round(settings.warmup * settings.epochs * batches)
    yield from (settings.lr * (step + 1) / (rising + 1) for step in range(rising))
    while True:
        yield settings.lr


def measure(head: Head, pairs: PairSet, loss: Loss, batch_size: int) -> tuple[float | None, float | None]:
    """Return the loss and recall@10 of validation pairs; None where there are too few to rank."""
    if len(pairs) < 2:
        return None, None
    with torch.inference_mode():
        batches = [batch.to(_device(head)) for batch in pairs.in_order(batch_size)]
        values = [(weighted_mean(loss(embed(head, b), b), b), len(b)) for b in batches if len(b) > 1]
        mean = sum(float(value) * rows for value, rows in values) / sum(rows for _, rows in values)
        _refuse_not_finite(mean, "the validation")
        return mean, _recall(head, pairs)


def _recall(head: Head, pairs: PairSet, k: int = 10) -> float:
    """Return recall@k averaged over the ordered pairs of modalities, every distinct item ranked once."""
    device = _device(head)
    z = {m: head({m: column.features.to(device)})[m].cpu() for m, column in pairs.columns.items()}
    recalls = []
    for a in z:
        for b in z:
            relevant = _paired(pairs, a, b)
            queries = relevant.any(1)
            if a != b and queries.any():
                nearest = (z[a][queries] @ z[b].T).topk(min(k, len(z[b])), dim=1).indices
                recalls.append(float(relevant[queries].gather(1, nearest).any(1).float().mean()))
    return sum(recalls) / len(recalls)


def _paired(pairs: PairSet, a: Modality, b: Modality) -> Tensor:
    """Return (N_a, N_b): which items stand in one pair."""
    members = [torch.zeros(len(pairs), len(pairs.columns[m].features)) for m in (a, b)]
    for m, member in zip((a, b), members, strict=True):
        owner = torch.arange(len(pairs)).repeat_interleave(pairs.columns[m].count)
        member[owner, pairs.columns[m].flat] = 1
    return members[0].T @ members[1] > 0


def _steps(
    head: Head, batches: Iterable[Batch], step: GradientFn, rates: Iterator[float], epoch: int
) -> float:
    """Take one step on each batch and return their mean loss."""
    head.train()
    losses = []
    for number, batch in enumerate(batches, 1):
        direction = step(batch)
        losses.append(float(direction.loss))
        _refuse_not_finite(losses[-1], f"epoch {epoch}, batch {number}")
        _apply(head, direction, next(rates))
    return sum(losses) / len(losses)


def _refuse_not_finite(loss: float, place: str) -> None:
    if not math.isfinite(loss):
        raise UserError(f"the loss is {loss} in {place}: nothing was kept; try a smaller {LR}", [LR])


def _refuse_overgrown(head: Head) -> None:
    """Refuse parameters whose squares overflow: they embed every item as a row of zeros."""
    if not all(p.detach().square().sum().isfinite() for p in head.parameters()):
        raise UserError(
            f"the head's parameters grew beyond all bounds: nothing was kept; try a smaller {LR}", [LR]
        )


def _apply(head: Head, direction: Gradient, lr: float) -> None:
    with torch.no_grad():
        for name, d in direction.by_name.items():
            head.get_parameter(name).sub_(d, alpha=lr)


def _device(head: Head) -> str:
    return next(head.parameters()).device.type
