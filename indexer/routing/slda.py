"""Which task a query belongs to: a streaming linear discriminant on frozen features (Hayes and Kanan 2020).

It needs no head, and so serves every policy. Its state is sums: exact whatever the order of arrival. A folder on
disk holds a router and the sums it was made of.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from scipy import linalg
from scipy.special import log_softmax

from engine import ids as item_ids
from engine.errors import UserError
from engine.ids import Ids
from engine.ranking.fusion import Scores
from engine.storage import files
from indexer.shards import files as shards

FORMAT = 1
SHRINKAGES = (0.01, 0.1, 1.0, 10.0, 100.0)
"""Of which one is chosen by validation items: how many times the mean variance is added to the covariance."""

Floats = NDArray[np.float64]


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
        log_p = np.full((len(features), len(tasks)), -np.log(len(tasks)))
        if known:
            columns = [column[tasks[n]] for n in known]
            logits = features.astype(np.float64) @ self.weights[:, columns] + self.bias[columns]
            share = np.log(len(known) / len(tasks))
            log_p[:, known] = log_softmax(logits, axis=1) + share
        return log_p


def untaught(width: int) -> Router:
    """Return the router that knows no task: to it all are as likely.

    Args:
        width: D, of the features.
    """
    return Router((), np.zeros((width, 0)), np.zeros(0))


def averaged(log_p: Sequence[Scores]) -> Scores:
    """Return what several routers say together of the tasks of queries, each log p(task | x) (Q, T): (Q, T).

    It is the geometric mean of their probabilities, scaled to sum to one.
    """
    mean: Scores = log_softmax(np.mean(log_p, axis=0), axis=1)
    return mean


def discriminant(sums: Sums, shrinkage: float) -> Router:
    """Return x^T S^-1 mu - mu^T S^-1 mu / 2 for every task, S the pooled covariance within tasks.

    Args:
        shrinkage: how many times its mean variance is added to the diagonal of S.
    """
    tasks = [task for task, count in sums.counts.items() if count]
    if not tasks:
        return replace(untaught(sums.width), shrinkage=shrinkage)
    means = np.stack([sums.totals[task] / sums.counts[task] for task in tasks], axis=1)  # (D, T)
    weights = [sums.counts[task] for task in tasks]
    within = (sums.squares - (means * weights) @ means.T) / sum(weights)
    spread = within.trace() / sums.width
    ridge = shrinkage * spread if spread > 0 else 1.0
    solved = linalg.solve(within + ridge * np.eye(sums.width), means, assume_a="pos")
    return Router(tasks, solved, -0.5 * (means * solved).sum(axis=0), shrinkage)


def fit(sums: Sums, validation: Mapping[str, NDArray[np.float32]], usual: float = 1.0) -> Router:
    """Return the router whose shrinkage gives validation items of each task (N, D) the best mean log-likelihood.

    Args:
        usual: the shrinkage where there are no validation items.
    """
    known = {task: x for task, x in validation.items() if sums.counts.get(task) and len(x)}
    if not known:
        return discriminant(sums, usual)

    def likelihood(router: Router) -> float:
        column = {task: n for n, task in enumerate(router.tasks)}
        each = [router.log_p(x, router.tasks)[:, column[task]] for task, x in known.items()]
        return float(np.mean(np.concatenate(each)))

    return max((discriminant(sums, shrinkage) for shrinkage in SHRINKAGES), key=likelihood)


def write(folder: Path, router: Router, sums: Sums, items: Mapping[str, Ids]) -> None:
    """Write a router, the sums it was made of, and the items of each task that these are over."""
    tasks = list(items)
    zero = np.zeros(sums.width)
    tensors: dict[str, NDArray[Any]] = {
        "weights": router.weights,
        "bias": router.bias,
        "squares": sums.squares,
        "totals": np.stack([sums.totals.get(task, zero) for task in tasks]),
        "items": item_ids.to_digits(np.concatenate(list(items.values()))),
        "counts": np.array([len(ids) for ids in items.values()]),
    }
    data = safetensors.numpy.save({name: np.ascontiguousarray(array) for name, array in tensors.items()})
    facts = {
        "format": FORMAT,
        "tasks": tasks,
        "known": list(router.tasks),
        "shrinkage": router.shrinkage,
        "checksums": {"router.safetensors": files.checksum(data)},
    }
    with files.new_folder(folder) as draft:
        (draft / "router.safetensors").write_bytes(data)
        (draft / "router.json").write_bytes(files.to_json(facts))


def read(folder: Path) -> Router:
    """Read a router."""
    facts, tensors = _read(folder)
    return Router(facts["known"], tensors["weights"], tensors["bias"], facts.get("shrinkage", 1.0))


def read_sums(folder: Path) -> tuple[Sums, dict[str, Ids]]:
    """Read the sums that a router was made of, and the items of each task that they are over."""
    facts, tensors = _read(folder)
    items = item_ids.from_digits(tensors["items"])
    counts: list[int] = tensors["counts"].tolist()
    parts = np.split(items, np.cumsum(counts)[:-1])
    sums = Sums(tensors["squares"].shape[0])
    sums.squares = tensors["squares"].copy()
    for task, count, total in zip(facts["tasks"], counts, tensors["totals"], strict=True):
        sums.counts[task], sums.totals[task] = count, total.copy()
    return sums, dict(zip(facts["tasks"], parts, strict=True))


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    facts = shards.read_facts(folder, "router.json", FORMAT)
    try:
        data = (folder / "router.safetensors").read_bytes()
    except OSError as error:
        raise UserError(f"{folder} is damaged: {error.filename} cannot be read; {shards.MEND}") from None
    if files.checksum(data) != facts["checksums"]["router.safetensors"]:
        raise UserError(f"{folder} is damaged: its checksum does not hold; {shards.MEND}")
    return facts, safetensors.numpy.load(data)
