"""Sums over the features of the items of every task: they are exact whatever the order of arrival."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """What the discriminant is made of.

    Attributes:
        tasks: those that have items.
        means: of each (D, T).
        within: the covariance within tasks, of all tasks together (D, D).
    """

    tasks: list[str]
    means: Floats
    within: Floats


@dataclass
class Sums:
    """Sums over the features (D,) of the items of each task, in float64.

    Attributes:
        counts: how many items.
        totals: their sum (D,).
        squares: sum of x x^T over all tasks (D, D).
    """

    width: int
    counts: dict[str, int] = field(default_factory=dict)
    totals: dict[str, Floats] = field(default_factory=dict)
    squares: Floats = field(init=False)

    def __post_init__(self) -> None:
        self.squares = np.zeros((self.width, self.width))

    def add(self, task: str, features: NDArray[np.float32]) -> None:
        """Take the features (N, D) of items of a task in."""
        x = features.astype(np.float64)
        self._grow(task, len(x), x.sum(axis=0))
        self.squares += x.T @ x

    def join(self, other: "Sums") -> None:
        """Take in what other sums are over."""
        for task, count in other.counts.items():
            self._grow(task, count, other.totals[task])
        self.squares += other.squares

    def moments(self) -> Moments | None:
        """Return means and covariance; None where there are no items."""
        tasks = [task for task, count in self.counts.items() if count]
        if not tasks:
            return None
        counts = [self.counts[task] for task in tasks]
        means = np.stack([self.totals[task] / self.counts[task] for task in tasks], axis=1)
        return Moments(tasks, means, (self.squares - (means * counts) @ means.T) / sum(counts))

    def _grow(self, task: str, count: int, total: Floats) -> None:
        self.counts[task] = self.counts.get(task, 0) + count
        self.totals[task] = self.totals.get(task, np.zeros(self.width)) + total
