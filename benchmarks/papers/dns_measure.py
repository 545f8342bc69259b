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
from benchmarks.retrieval import recalls
from engine.evaluation import metrics
from engine.heads.head import Head

KS = (1, 5, 10)
SCORES = ("inner product", "cosine")


@dataclass(frozen=True)
class StepPairs:
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


def read_steps(root: Path, steps: Sequence[Step]) -> list[StepPairs]:
    """Read the pairs of every step."""
    arrays = {split: _arrays(root / f"{split}.npz") for split in ("train", "test")}

    def features(step: Step, split: str) -> dict[str, Tensor]:
        rows = arrays[split]["task"] == step.name
        return {m: torch.from_numpy(arrays[split][m][rows]) for m in step.modalities}

    classes = arrays["test"]["class"]
    return [
        StepPairs(
            step,
            features(step, "test"),
            classes[arrays["test"]["task"] == step.name].tolist(),
            features(step, "train"),
        )
        for step in steps
    ]


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    with np.load(path) as stored:
        return {name: stored[name] for name in stored.files}


@torch.inference_mode()
def grade(head: Head, pairs: StepPairs, score: str) -> Grade:
    """Measure a head on one step."""
    a, b = pairs.step.modalities
    test, train = (
        {m: normalize(y, dim=1) if score == "cosine" else y for m, y in head.project(x).items()}
        for x in (pairs.test, pairs.train)
    )
    figures: dict[str, float] = {}
    if pairs.step.ranked:
        both = zip(*(recall(pairs.test, test, direction) for direction in ((a, b), (b, a))), strict=True)
        figures |= {f"R@{k}": statistics.mean(values) for k, values in zip(KS, both, strict=True)}
    if pairs.step.classed:
        media = a if b == "text" else b
        figures["Acc"] = accuracy(test[media], test["text"], pairs.classes)
    return Grade(figures, train[a] @ train[b].T)


def recall(
    features: Mapping[str, Tensor], y: Mapping[str, Tensor], direction: tuple[str, str]
) -> list[float]:
    """Return recall at each of `KS` from one modality to the other; rows of equal features are one item."""
    query, target = direction
    a, b = numbered(features[query]), numbered(features[target])
    return recalls(y[query][first(a)] @ y[target][first(b)].T, joins(a, b), KS)


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
    nearest = (y @ prototypes.T).argmax(1).tolist()
    return statistics.mean(float(names[n] == own) for n, own in zip(nearest, classes, strict=True))


def chance(every: Sequence[StepPairs]) -> dict[str, float]:
    """Return what a random order comes to, averaged over steps."""
    values: dict[str, list[float]] = {}
    for pairs in every:
        modalities = pairs.step.modalities
        if pairs.step.classed:
            values.setdefault("Acc", []).append(1 / len(set(pairs.classes)))
        for direction in (modalities, modalities[::-1]) if pairs.step.ranked else ():
            right = joins(*(numbered(pairs.test[m]) for m in direction))
            for k in KS:
                expected = metrics.chance(right.sum(1).numpy(), right.shape[1], k)
                values.setdefault(f"R@{k}", []).append(expected)
    means = {name: statistics.mean(some) for name, some in values.items()}
    return {**means, "new Acc": means["Acc"], "new R@10": means["R@10"]}


def figures(new: Sequence[Grade], last: Sequence[Grade]) -> dict[str, float]:
    """Return the averages over steps: after the last one, when a step was new, and the difference (eq. 13).

    Args:
        new: of every step after itself. last: after the last step. The last step counts in no BWT.
    """
    means = {}
    for name in ("Acc", *(f"R@{k}" for k in KS)):
        means[name] = statistics.mean(g.figures[name] for g in last if name in g.figures)
    for name in ("Acc", "R@10"):
        pairs = [(n, g) for n, g in zip(new, last, strict=True) if name in g.figures]
        means[f"new {name}"] = statistics.mean(n.figures[name] for n, _ in pairs)
        moves = [g.figures[name] - n.figures[name] for n, g in pairs if g is not last[-1]]
        means[f"BWT {name}"] = statistics.mean(moves)
    drifts = [
        float((g.alignment - n.alignment).abs().mean()) for n, g in zip(new[:-1], last[:-1], strict=True)
    ]
    return {**means, "drift": statistics.mean(drifts)}
