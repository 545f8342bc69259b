"""What a head is worth on the steps of a stream: recall and accuracy, by inner product and by cosine."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from benchmarks.papers.dns_stream import Step
from engine.evaluation import metrics
from engine.heads.head import Head

KS = (1, 5, 10)
SCORES = ("inner product", "cosine")


@dataclass(frozen=True)
class Exam:
    """The test pairs of a step, features (N, D) by modality and their classes, and its train pairs."""

    step: Step
    test: Mapping[str, Tensor]
    classes: Sequence[str]
    train: Mapping[str, Tensor]


@dataclass(frozen=True)
class Grade:
    """What a head came to on a step: R@k and Acc, shares from 0 to 1, and its train pairs' scores (N, N)."""

    figures: Mapping[str, float]
    alignment: Tensor


def exams(root: Path, steps: Sequence[Step]) -> list[Exam]:
    """Read the pairs of every step."""
    held = {split: _arrays(root / f"{split}.npz") for split in ("train", "test")}

    def features(step: Step, split: str) -> dict[str, Tensor]:
        rows = held[split]["task"] == step.name
        return {m: torch.from_numpy(held[split][m][rows]) for m in step.modalities}

    classes = held["test"]["class"]
    return [
        Exam(
            step,
            features(step, "test"),
            classes[held["test"]["task"] == step.name].tolist(),
            features(step, "train"),
        )
        for step in steps
    ]


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    with np.load(path) as found:
        return {name: found[name] for name in found.files}


@torch.inference_mode()
def grade(head: Head, exam: Exam, score: str) -> Grade:
    """Judge a head on one step."""
    a, b = exam.step.modalities
    test, train = (
        {m: normalize(y, dim=1) if score == "cosine" else y for m, y in head.project(x).items()}
        for x in (exam.test, exam.train)
    )
    figures = {}
    if exam.step.ranked:
        for k in KS:
            both = (recall(exam.test, test, way, k) for way in ((a, b), (b, a)))
            figures[f"R@{k}"] = statistics.mean(both)
    if exam.step.classed:
        media = a if b == "text" else b
        figures["Acc"] = accuracy(test[media], test["text"], exam.classes)
    return Grade(figures, train[a] @ train[b].T)


def recall(features: Mapping[str, Tensor], y: Mapping[str, Tensor], way: tuple[str, str], k: int) -> float:
    """Return recall@k from one modality to the other; rows of equal features are one item."""
    ia, ib = (numbered(features[m]) for m in way)
    scores = y[way[0]][first(ia)] @ y[way[1]][first(ib)].T
    best = scores.argsort(dim=1, descending=True, stable=True)
    return metrics.recall(joins(ia, ib).gather(1, best).numpy(), k)


def numbered(x: Tensor) -> Tensor:
    """Return the number of each row's item (N,); rows of equal features are one."""
    seen: dict[bytes, int] = {}
    return torch.tensor([seen.setdefault(row.tobytes(), len(seen)) for row in x.numpy()])


def joins(a: Tensor, b: Tensor) -> Tensor:
    """Return which items stand in one pair (items of a, items of b)."""
    joined = torch.zeros(int(a.max()) + 1, int(b.max()) + 1, dtype=torch.bool)
    joined[a, b] = True
    return joined


def first(item: Tensor) -> Tensor:
    """Return where each item, numbered from 0, stands first (items,)."""
    rows = torch.arange(len(item))
    whole = torch.full((int(item.max()) + 1,), len(item))
    return whole.scatter_reduce(0, item, rows, "amin")


def accuracy(y: Tensor, texts: Tensor, classes: Sequence[str]) -> float:
    """Return how often the nearest prototype, the first text of a class, is that of the row's own class."""
    names = sorted(set(classes))
    prototypes = texts[[classes.index(name) for name in names]]
    taken = (y @ prototypes.T).argmax(1).tolist()
    return statistics.mean(float(names[n] == own) for n, own in zip(taken, classes, strict=True))


def chance(exams: Sequence[Exam]) -> dict[str, float]:
    """Return what a random order comes to."""
    found: dict[str, list[float]] = {}
    for exam in exams:
        if exam.step.classed:
            found.setdefault("Acc", []).append(1 / len(set(exam.classes)))
        for way in (exam.step.modalities, exam.step.modalities[::-1]) if exam.step.ranked else ():
            joined = joins(*(numbered(exam.test[m]) for m in way))
            for k in KS:
                found.setdefault(f"R@{k}", []).append(
                    metrics.chance(joined.sum(1).numpy(), joined.shape[1], k)
                )
    means = {name: statistics.mean(values) for name, values in found.items()}
    return {**means, "new Acc": means["Acc"], "new R@10": means["R@10"]}


def figures(new: Sequence[Grade], last: Sequence[Grade]) -> dict[str, float]:
    """Return the averages over steps: after the last one, when a step was new, and the difference (eq. 13).

    Args:
        new: of every step after itself. last: after the last step. The last step counts in no BWT.
    """
    found = {}
    for name in ("Acc", *(f"R@{k}" for k in KS)):
        found[name] = statistics.mean(g.figures[name] for g in last if name in g.figures)
    for name in ("Acc", "R@10"):
        pairs = [(n, g) for n, g in zip(new, last, strict=True) if name in g.figures]
        found[f"new {name}"] = statistics.mean(n.figures[name] for n, _ in pairs)
        moved = [g.figures[name] - n.figures[name] for n, g in pairs if g is not last[-1]]
        found[f"BWT {name}"] = statistics.mean(moved)
    drifts = [
        float((g.alignment - n.alignment).abs().mean()) for n, g in zip(new[:-1], last[:-1], strict=True)
    ]
    return {**found, "drift": statistics.mean(drifts)}
