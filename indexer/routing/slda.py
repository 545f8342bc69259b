"""Which task a query belongs to: a streaming linear discriminant on frozen features (Hayes and Kanan 2020).

It needs no head, and so serves every policy. Its state is sums: exact whatever the order of arrival.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import linalg
from scipy.special import log_softmax

from engine.ranking.fusion import Scores

Floats = NDArray[np.float64]
SHRINKAGES = (0.01, 0.1, 1.0, 10.0, 100.0)


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

    def _grow(self, task: str, count: int, total: Floats) -> None:
        self.counts[task] = self.counts.get(task, 0) + count
        self.totals[task] = self.totals.get(task, np.zeros(self.width)) + total


@dataclass(frozen=True)
class Router:
    """The discriminant: logits x W + b for the tasks it knows.

    Attributes:
        weights: W (D, T).
        bias: b (T,).
        shrinkage: how it was regularised.
    """

    tasks: Sequence[str]
    weights: Floats
    bias: Floats
    shrinkage: float = 1.0

    def log_p(self, features: NDArray[np.float32], tasks: Sequence[str]) -> Scores:
        """Return log p(task | x) of rows (Q, D) for these tasks (Q, T), with an equal prior.

        A task that the router does not know, since it brought no training items of the modality, has the
        average: 1 / T.
        """
        column = {task: n for n, task in enumerate(self.tasks)}
        known = [n for n, task in enumerate(tasks) if task in column]
        found = np.full((len(features), len(tasks)), -np.log(len(tasks)))
        if known:
            columns = [column[tasks[n]] for n in known]
            logits = features.astype(np.float64) @ self.weights[:, columns] + self.bias[columns]
            share = np.log(len(known) / len(tasks))
            found[:, known] = log_softmax(logits, axis=1) + share
        return found


def agreed(each: Sequence[Scores]) -> Scores:
    """Return what several routers say on average of the tasks of queries, each log p(task | x) (Q, T): (Q, T)."""
    found: Scores = log_softmax(np.mean(each, axis=0), axis=1)
    return found


def discriminant(sums: Sums, shrinkage: float) -> Router:
    """Return x^T S^-1 mu - mu^T S^-1 mu / 2 for every task, S the pooled covariance within tasks.

    Args:
        shrinkage: how many times its mean variance is added to the diagonal of S.
    """
    tasks = [task for task, count in sums.counts.items() if count]
    if not tasks:
        return Router((), np.zeros((sums.width, 0)), np.zeros(0), shrinkage)
    means = np.stack([sums.totals[task] / sums.counts[task] for task in tasks], axis=1)  # (D, T)
    weights = [sums.counts[task] for task in tasks]
    within = (sums.squares - (means * weights) @ means.T) / sum(weights)
    spread = within.trace() / sums.width
    ridge = shrinkage * spread if spread > 0 else 1.0
    solved = linalg.solve(within + ridge * np.eye(sums.width), means, assume_a="pos")
    return Router(tasks, solved, -0.5 * (means * solved).sum(axis=0), shrinkage)


def fit(sums: Sums, validation: Mapping[str, NDArray[np.float32]], usual: float = 1.0) -> Router:
    """Return the router whose shrinkage gives validation items of each task (N, D) the best likelihood.

    Args:
        usual: the shrinkage where there are no validation items.
    """

    def likelihood(router: Router) -> float:
        return float(
            np.mean(
                np.concatenate(
                    [router.log_p(x, router.tasks)[:, list(router.tasks).index(t)] for t, x in known.items()]
                )
            )
        )

    known = {task: x for task, x in validation.items() if sums.counts.get(task) and len(x)}
    if not known:
        return discriminant(sums, usual)
    return max((discriminant(sums, shrinkage) for shrinkage in SHRINKAGES), key=likelihood)
