"""Which task a query belongs to: a streaming linear discriminant on frozen features (Hayes and Kanan 2020).

It needs no head, and so serves every policy. Its state is sums: exact whatever the order of arrival. A folder on
disk holds a router and the sums it was made of.

Queries are often unlike what was learned: three words, where captions have twenty. So how much a query has of what
all tasks share is no evidence, nor quite how typical it is of a task; evidence grows with the logarithm of the
distance; some doubt always stays. Why: docs/decisions/0018-queries-unlike-captions.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from scipy.special import log_softmax

from engine import ids as item_ids
from engine.errors import Damaged
from engine.ids import Ids
from engine.ranking.fusion import Scores
from engine.storage import files
from indexer.routing.sums import Floats, Sums
from indexer.shards import files as shards

FORMAT = 2
FACTS, TENSORS = "router.json", "router.safetensors"
USUAL_TEMPERATURE = 1.5
"""Where validation items do not say. Where they do, on photos, captions and sounds, they say 1 to 2."""


@dataclass(frozen=True)
class Router:
    """The discriminant of the tasks it knows.

    Attributes:
        means: mu of each task (D, T).
        precision: P (D, D), by which d = (x - mu)^T P (x - mu) is the squared distance of a row x to a mean.
        weights: P mu of each task (D, T).
        typical: the mean d of training items to the mean of their own task; infinite: far is as near.
        shrinkage: how P was regularised.
        temperature: what evidence is divided by.
        leeway: variance of how typical of its task a query is; a task's mean is 1, the mean of all tasks 0.
        doubt: share of queries that are like nothing that was learned: to these all tasks are as likely.
    """

    tasks: Sequence[str]
    means: Floats
    precision: NDArray[np.float32]
    weights: Floats
    typical: float = 1.0
    shrinkage: float = 1.0
    temperature: float = USUAL_TEMPERATURE
    leeway: float = 0.02
    doubt: float = 0.01

    def log_p(self, features: NDArray[np.float32], tasks: Sequence[str]) -> Scores:
        """Return log p(task | x) of rows (Q, D) for these tasks (Q, T), with an equal prior.

        A task that the router does not know, since it brought no training items of the modality, has the
        average: 1 / T.
        """
        known = [n for n, task in enumerate(tasks) if task in self._columns]
        log_p = np.full((len(features), len(tasks)), -np.log(len(tasks)))
        if known:
            evidence = self.evidence(features, [tasks[n] for n in known])
            share = np.log(len(known) / len(tasks))
            log_p[:, known] = doubted(evidence / self.temperature, self.doubt) + share
        return log_p

    def evidence(self, features: NDArray[np.float32], tasks: Sequence[str]) -> Scores:
        """Return log p(x | task) of rows (Q, D) for tasks it knows (Q, T), all less the same number.

        This is a multivariate Student t: near what was learned -d / 2 as a Gaussian's, far from it a logarithm.
        """
        x = features.astype(np.float64)
        distances = ((x @ self.precision) * x).sum(axis=1, keepdims=True) + self._less(x)
        distances = distances[:, [self._columns[task] for task in tasks]]
        gaussian: Scores = -0.5 * distances
        if np.isinf(self.typical):
            return gaussian
        student: Scores = -self.typical * np.log(self.typical + np.maximum(distances, 0))
        return student

    def _less(self, x: Floats) -> Scores:
        """Return d - x^T P x of rows (Q, D) for all tasks (Q, T).

        d is by the covariance P^-1 + leeway delta delta^T, delta from the mean of all means to the task's.
        """
        along = self.weights - self.weights.mean(axis=1, keepdims=True)  # P delta
        delta = self.means - self.means.mean(axis=1, keepdims=True)
        beyond = x @ along - (self.means * along).sum(axis=0)  # delta^T P (x - mu)
        excused = beyond**2 * self.leeway / (1 + self.leeway * (delta * along).sum(axis=0))
        less: Scores = (self.means * self.weights).sum(axis=0) - 2 * x @ self.weights - excused
        return less

    @cached_property
    def _columns(self) -> Mapping[str, int]:
        return {task: n for n, task in enumerate(self.tasks)}


def doubted(evidence: Scores, doubt: float) -> Scores:
    """Return log p(task | x) (Q, T) by evidence (Q, T), mixed with a share of doubt, in which all are as likely."""
    log_p: Scores = log_softmax(evidence, axis=1)
    if not doubt:
        return log_p
    mixed: Scores = np.logaddexp(log_p + np.log1p(-doubt), np.log(doubt / log_p.shape[1]))
    return mixed


def untaught(width: int) -> Router:
    """Return the router that knows no task: to it all are as likely.

    Args:
        width: D, of the features.
    """
    return Router((), np.zeros((width, 0)), np.zeros((width, width), np.float32), np.zeros((width, 0)))


def averaged(log_p: Sequence[Scores]) -> Scores:
    """Return what several routers say together of the tasks of queries, each log p(task | x) (Q, T): (Q, T).

    It is the geometric mean of their probabilities, scaled to sum to one.
    """
    mean: Scores = log_softmax(np.mean(log_p, axis=0), axis=1)
    return mean


@dataclass(frozen=True)
class Facts:
    """What `router.json` says: as of a Router, the tasks of the sums, and of files their checksums by name.

    Attributes:
        name: of its folder, which tells it from other routers; empty where an older mneme wrote it.
    """

    format: int
    tasks: Sequence[str]
    known: Sequence[str]
    checksums: Mapping[str, str]
    typical: float = 1.0
    shrinkage: float = 1.0
    temperature: float = 1.0
    leeway: float = 0.0
    doubt: float = 0.0
    name: str = ""


def write(folder: Path, router: Router, sums: Sums, items: Mapping[str, Ids]) -> None:
    """Write a router, the sums it was made of, and the items of each task that these are over."""
    tasks = list(items)
    zero = np.zeros(sums.width)
    tensors: dict[str, NDArray[Any]] = {
        "means": router.means,
        "precision": router.precision,
        "weights": router.weights,
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
        "typical": router.typical,
        "shrinkage": router.shrinkage,
        "temperature": router.temperature,
        "leeway": router.leeway,
        "doubt": router.doubt,
        "name": folder.name,
        "checksums": {TENSORS: files.checksum(data)},
    }
    with files.new_folder(folder) as draft:
        (draft / TENSORS).write_bytes(data)
        (draft / FACTS).write_bytes(files.to_sealed_json(facts))


def read(folder: Path) -> Router:
    """Read a router."""
    facts, tensors = _read(folder)
    if facts.format == 1:
        return _upgraded(facts, tensors)
    return Router(
        facts.known,
        tensors["means"],
        tensors["precision"],
        tensors["weights"],
        facts.typical,
        facts.shrinkage,
        facts.temperature,
        facts.leeway,
        facts.doubt,
    )


def _upgraded(facts: Facts, tensors: Mapping[str, NDArray[Any]]) -> Router:
    """Return a router of format 1, which answers as it did: as a Gaussian that is sure."""
    sums, weights = _sums(facts, tensors), tensors["weights"]
    means = [sums.totals[task] / sums.counts[task] for task in facts.known]
    return Router(
        facts.known,
        np.stack(means, axis=1) if means else weights,
        untaught(sums.width).precision,  # what it adds to the logits of all tasks alike was not kept
        weights,
        typical=np.inf,
        shrinkage=facts.shrinkage,
        temperature=1.0,
        leeway=0.0,
        doubt=0.0,
    )


def read_sums(folder: Path) -> tuple[Sums, dict[str, Ids]]:
    """Read the sums that a router was made of, and the items of each task that they are over."""
    facts, tensors = _read(folder)
    items = item_ids.from_digits(tensors["items"])
    parts = np.split(items, np.cumsum(tensors["counts"])[:-1])
    return _sums(facts, tensors), dict(zip(facts.tasks, parts, strict=True))


def _sums(facts: Facts, tensors: Mapping[str, NDArray[Any]]) -> Sums:
    sums = Sums(tensors["squares"].shape[0])
    sums.squares = tensors["squares"].copy()
    for task, count, total in zip(facts.tasks, tensors["counts"].tolist(), tensors["totals"], strict=True):
        sums.counts[task], sums.totals[task] = count, total.copy()
    return sums


def check(folder: Path) -> None:
    """Read a router and its sums; Damaged where they are not as they were written."""
    read(folder)
    read_sums(folder)


def _read(folder: Path) -> tuple[Facts, dict[str, NDArray[Any]]]:
    facts = files.typed(folder / FACTS, Facts, shards.read_json(folder, FACTS, FORMAT))
    if facts.name not in ("", folder.name):
        raise Damaged(folder / FACTS, f"it is of another router, {facts.name}")
    if TENSORS not in facts.checksums:
        raise Damaged(folder / FACTS, "it has no checksums")
    return facts, safetensors.numpy.load(files.checked(folder / TENSORS, facts.checksums[TENSORS]))
