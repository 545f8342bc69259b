"""Strategies that keep a gradient from working against a memory of every earlier lesson."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import reduce
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import nnls
from torch import Tensor

from engine.heads.head import Head
from training.batch import Batch, join, seeded, select_rows
from training.data.history import PastTasks, stored_features
from training.gradient import LOSS_PARAMETERS, Gradient, GradientFn, Loss
from training.hyperparameters import check_at_least


@dataclass
class Gem:
    """Gradient episodic memory (Lopez-Paz and Ranzato 2017, algorithm 1).

    Where the gradient g would raise the loss on the memory of some lesson, it becomes g + M'v with v the
    least of 1/2 v'(MM' + epsilon I)v + (Mg)'v over v >= margin (eq. 11-12; M holds a memory's gradient per
    row). This is the authors' program, not the paper's: there is no epsilon in print, and there the margin
    biases the step only "in practice"; it adds gradients of memories that do not object as well.

    Attributes:
        size: how many rows of each lesson are remembered.
        rows: how many of these a step looks at, drawn anew; as many as `size`: all of them, as published,
            at several times the cost.
    """

    past: PastTasks
    _: KW_ONLY
    size: int = 256
    rows: int = 64
    margin: float = 0.5
    epsilon: float = 1e-3
    state: dict[str, Tensor] = field(default_factory=dict, init=False)
    skips_memory: ClassVar[bool] = True
    _memories: list[Batch] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        check_at_least("gem.size", self.size, 1, "gem compares with remembered rows")
        check_at_least("gem.rows", self.rows, 2, "a row needs negatives")
        check_at_least("gem.margin", self.margin, 0)
        check_at_least("gem.epsilon", self.epsilon, 0)

    def gradient(self, head: Head, batch: Batch, inner: GradientFn) -> Gradient:
        """Return the gradient, changed where it would raise the loss on a memory."""
        own = inner(batch)
        if self._memories is None:
            self._memories = stored_memories(self.past, self.state, batch.weight.device)
        drawn = [drawn_rows(memory, self.rows, batch.seed) for memory in self._memories]
        references = [inner(rows).by_name for rows in drawn]
        return Gradient(own.loss, constrained(own.by_name, references, self.margin, self.epsilon))

    def end_task(self, head: Head, batches: Iterable[Batch], loss: Loss) -> None:
        """Remember rows of the lesson."""
        self._memories = None
        remember(self.state, batches, self.size)


@dataclass
class Agem:
    """Averaged gradient episodic memory (Chaudhry et al. 2019a, eq. 11): one constraint for all lessons.

    The reference gradient is that of one batch drawn from all memories, whose rows are negatives of each
    other whatever their lesson.

    Attributes:
        size: how many rows of each lesson are remembered. rows: how many are drawn for a step.
    """

    past: PastTasks
    _: KW_ONLY
    size: int = 256
    rows: int = 128
    state: dict[str, Tensor] = field(default_factory=dict, init=False)
    skips_memory: ClassVar[bool] = True
    _memories: list[Batch] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        check_at_least("agem.size", self.size, 1, "agem compares with remembered rows")
        check_at_least("agem.rows", self.rows, 2, "a row needs negatives")

    def gradient(self, head: Head, batch: Batch, inner: GradientFn) -> Gradient:
        """Return the gradient without its part against the memories'."""
        own = inner(batch)
        if self._memories is None:
            memories = stored_memories(self.past, self.state, batch.weight.device)
            self._memories = [reduce(join, memories)] if memories else []
        by_name = own.by_name
        for memory in self._memories:  # one at most
            reference = inner(drawn_rows(memory, self.rows, batch.seed))
            by_name = without_conflict(by_name, reference.by_name)
        return Gradient(own.loss, by_name)

    def end_task(self, head: Head, batches: Iterable[Batch], loss: Loss) -> None:
        """Remember rows of the lesson."""
        self._memories = None
        remember(self.state, batches, self.size)


def remember(state: dict[str, Tensor], batches: Iterable[Batch], size: int) -> None:
    """Write the item numbers of at most `size` rows of a lesson, drawn evenly, as `<memory>.<modality>`."""
    items = [batch.item for batch in batches]
    rows = [len(next(iter(item.values()))) for item in items]
    memory = _count(state)
    drawn = torch.randperm(sum(rows), generator=seeded(f"{memory} episode"))[:size].sort().values
    for m in sorted({m for item in items for m in item}):
        parts = [i[m].cpu() if m in i else torch.full((n,), -1) for i, n in zip(items, rows, strict=True)]
        state[f"{memory}.{m}"] = torch.cat(parts)[drawn]


def stored_memories(past: PastTasks, state: Mapping[str, Tensor], device: torch.device) -> list[Batch]:
    """Return what is still stored of each memory that can rank: batches of a memory, of weight 1 and group 0."""
    batches = []
    for memory in range(_count(state)):
        # sorted, since a file gives them back in another order, and sums over modalities would differ by rounding
        numbers = {
            key.partition(".")[2]: state[key] for key in sorted(state) if int(key.partition(".")[0]) == memory
        }
        features, is_whole = {}, torch.ones(len(next(iter(numbers.values()))), dtype=torch.bool)
        for m, column in numbers.items():
            features[m], is_stored = stored_features(past, m, column)
            is_whole &= is_stored | (column < 0)
        used = [m for m, column in numbers.items() if (is_whole & (column >= 0)).any()]
        count = int(is_whole.sum())
        if count > 1:
            batch = Batch(
                features={m: features[m][is_whole] for m in used},
                present={m: numbers[m][is_whole] >= 0 for m in used},
                item={m: numbers[m][is_whole] for m in used},
                group=torch.zeros(count, dtype=torch.int64),
                weight=torch.ones(count),
                is_memory=True,
            )
            batches.append(batch.to(device))
    return batches


def drawn_rows(memory: Batch, rows: int, seed: int) -> Batch:
    """Return at most so many rows of a memory, drawn by a batch's seed, whose dropout masks they share."""
    if rows < len(memory):
        order = torch.randperm(len(memory), generator=seeded(f"{seed} {len(memory)} episode"))
        memory = select_rows(memory, order[:rows])
    return replace(memory, seed=seed)


def constrained(
    own: Mapping[str, Tensor], references: Sequence[Mapping[str, Tensor]], margin: float, epsilon: float
) -> dict[str, Tensor]:
    """Return the gradient with those of memories added as gem's program says; as it is if none objects.

    Vectors run over all parameters that any of them touches; one that is absent counts as zeros.
    """
    agreement = [_dot(own, g) for g in references]
    if min(agreement, default=0) >= 0:
        return dict(own)
    products = np.zeros((len(references), len(references)))
    for n, a in enumerate(references):
        products[n, : n + 1] = products[: n + 1, n] = [_dot(a, b) for b in references[: n + 1]]
    v = minimum(products + epsilon * np.eye(len(references)), np.array(agreement), margin)
    changed: Mapping[str, Tensor] = own
    for weight, g in zip(v.tolist(), references, strict=True):
        changed = _plus(changed, g, weight)
    return dict(changed)


def minimum(square: NDArray[np.float64], linear: NDArray[np.float64], margin: float) -> NDArray[np.float64]:
    """Return the v >= margin (T,) of least 1/2 v'Sv + c'v, for S (T, T) of no negative eigenvalue.

    As non-negative least squares (Lawson and Hanson 1974) in v - margin, which is exact and finite.
    """
    values, vectors = np.linalg.eigh(square)
    root = np.sqrt(np.maximum(values, 0))
    inverse = np.divide(1, root, out=np.zeros_like(root), where=values > values[-1] * 1e-12)
    slope = linear + square.sum(1) * margin
    beyond: NDArray[np.float64] = nnls(root[:, None] * vectors.T, -inverse * (vectors.T @ slope))[0]
    return beyond + margin


def without_conflict(own: Mapping[str, Tensor], reference: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the gradient less its projection on a reference that it works against (eq. 11)."""
    product = _dot(own, reference)
    if not product < 0:
        return dict(own)
    return _plus(own, reference, -product / _dot(reference, reference))


def _plus(own: Mapping[str, Tensor], other: Mapping[str, Tensor], weight: float) -> dict[str, Tensor]:
    """Return a gradient plus another one times a weight."""
    total = dict(own)
    for name in _compared(other):
        g = other[name]
        total[name] = torch.add(total.get(name, torch.zeros_like(g)), g, alpha=weight)
    return total


def _dot(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> float:
    both = [torch.dot(a[name].flatten(), b[name].flatten()) for name in _compared(a) if name in b]
    return float(torch.stack(both).sum()) if both else 0.0


def _compared(g: Mapping[str, Tensor]) -> list[str]:
    """Return the parameters that are compared: a loss's own are left out."""
    return [name for name in g if not name.startswith(LOSS_PARAMETERS)]


def _count(state: Mapping[str, Tensor]) -> int:
    return 1 + max((int(key.partition(".")[0]) for key in state), default=-1)
