"""Strategies that keep a gradient from working against a memory of every earlier lesson."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import reduce

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import nnls
from torch import Tensor

from engine.heads.head import Head
from training.data.history import Past
from training.gradient import Batch, Gradient, GradientFn, Loss, join
from training.strategies.reservoir import check_least, generator, lookup, pick


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

    past: Past
    _: KW_ONLY
    size: int = 256
    rows: int = 64
    margin: float = 0.5
    epsilon: float = 1e-3
    state: dict[str, Tensor] = field(default_factory=dict, init=False)
    _memories: list[Batch] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        check_least("gem.size", self.size, 1, "gem compares with remembered rows")
        check_least("gem.rows", self.rows, 2, "a row needs negatives")
        check_least("gem.margin", self.margin, 0)
        check_least("gem.epsilon", self.epsilon, 0)

    def gradient(self, head: Head, batch: Batch, inner: GradientFn) -> Gradient:
        """Return the gradient, changed where it would raise the loss on a memory."""
        found = inner(batch)
        if batch.epoch == -1:
            return found
        if self._memories is None:
            self._memories = memories(self.past, self.state, batch.weight.device.type)
        drawn = [some(rows, self.rows, batch.seed) for rows in self._memories]
        before = [inner(rows).by_name for rows in drawn]
        return Gradient(found.loss, constrained(found.by_name, before, self.margin, self.epsilon))

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

    past: Past
    _: KW_ONLY
    size: int = 256
    rows: int = 128
    state: dict[str, Tensor] = field(default_factory=dict, init=False)
    _memory: list[Batch] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        check_least("agem.size", self.size, 1, "agem compares with remembered rows")
        check_least("agem.rows", self.rows, 2, "a row needs negatives")

    def gradient(self, head: Head, batch: Batch, inner: GradientFn) -> Gradient:
        """Return the gradient without its part against the memory's."""
        found = inner(batch)
        if batch.epoch == -1:
            return found
        if self._memory is None:
            held = memories(self.past, self.state, batch.weight.device.type)
            self._memory = [reduce(join, held)] if held else []
        if not self._memory:
            return found
        drawn = some(self._memory[0], self.rows, batch.seed)
        return Gradient(found.loss, without_conflict(found.by_name, inner(drawn).by_name))

    def end_task(self, head: Head, batches: Iterable[Batch], loss: Loss) -> None:
        """Remember rows of the lesson."""
        self._memory = None
        remember(self.state, batches, self.size)


def remember(state: dict[str, Tensor], batches: Iterable[Batch], size: int) -> None:
    """Write the item numbers of at most `size` rows of a lesson, drawn evenly, as `<memory>.<modality>`."""
    items = [batch.item for batch in batches]
    rows = [len(next(iter(item.values()))) for item in items]
    memory = _count(state)
    chosen = torch.randperm(sum(rows), generator=generator(f"{memory} episode"))[:size].sort().values
    for m in sorted({m for item in items for m in item}):
        parts = [i[m].cpu() if m in i else torch.full((n,), -1) for i, n in zip(items, rows, strict=True)]
        state[f"{memory}.{m}"] = torch.cat(parts)[chosen]


def memories(past: Past, state: Mapping[str, Tensor], device: str) -> list[Batch]:
    """Return what is still stored of each memory that can rank: batches of weight 1, group 0 and epoch -1."""
    found = []
    for memory in range(_count(state)):
        # sorted, since a file gives them back in another order, and sums over modalities would differ by rounding
        columns = {
            key.partition(".")[2]: state[key] for key in sorted(state) if int(key.partition(".")[0]) == memory
        }
        read = {m: lookup(past, m, numbers) for m, numbers in columns.items()}
        there = torch.stack([read[m][1] | (columns[m] < 0) for m in columns]).all(0)
        used = [m for m in columns if (there & (columns[m] >= 0)).any()]
        if int(there.sum()) > 1:
            batch = Batch(
                features={m: read[m][0][there] for m in used},
                present={m: columns[m][there] >= 0 for m in used},
                item={m: columns[m][there] for m in used},
                group=torch.zeros(int(there.sum()), dtype=torch.int64),
                weight=torch.ones(int(there.sum())),
                epoch=-1,
            )
            found.append(batch.to(device))
    return found


def some(memory: Batch, rows: int, seed: int) -> Batch:
    """Return at most so many rows of a memory, drawn by a batch's seed, whose dropout masks they share."""
    if rows < len(memory):
        order = torch.randperm(len(memory), generator=generator(f"{seed} {len(memory)} episode"))
        memory = pick(memory, order[:rows])
    return replace(memory, seed=seed)


def constrained(
    own: Mapping[str, Tensor], before: Sequence[Mapping[str, Tensor]], margin: float, epsilon: float
) -> dict[str, Tensor]:
    """Return the gradient with those of memories added as gem's program says; as it is if none objects.

    Vectors run over all parameters that any of them touches; one that is absent counts as zeros.
    """
    against = [_dot(own, g) for g in before]
    if min(against, default=0) >= 0:
        return dict(own)
    lower = np.zeros((len(before), len(before)))
    for n, a in enumerate(before):
        lower[n, : n + 1] = [_dot(a, b) for b in before[: n + 1]]
    square = np.tril(lower) + np.tril(lower, -1).T
    v = least(square + epsilon * np.eye(len(before)), np.array(against), margin)
    changed = dict(own)
    for weight, g in zip(v.tolist(), before, strict=True):
        for name in _shared(g):
            changed[name] = torch.add(changed.get(name, torch.zeros_like(g[name])), g[name], alpha=weight)
    return changed


def least(square: NDArray[np.float64], linear: NDArray[np.float64], margin: float) -> NDArray[np.float64]:
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
    changed = dict(own)
    if product < 0:
        share = product / _dot(reference, reference)
        for name in _shared(reference):
            g = reference[name]
            changed[name] = torch.add(changed.get(name, torch.zeros_like(g)), g, alpha=-share)
    return changed


def _dot(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> float:
    both = [torch.dot(a[name].flatten(), b[name].flatten()) for name in _shared(a) if name in b]
    return float(torch.stack(both).sum()) if both else 0.0


def _shared(g: Mapping[str, Tensor]) -> list[str]:
    """Return the parameters that are compared: a loss's own are left out."""
    return [name for name in g if not name.startswith("losses.")]


def _count(state: Mapping[str, Tensor]) -> int:
    return 1 + max((int(key.partition(".")[0]) for key in state), default=-1)
