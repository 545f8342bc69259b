"""Retrieval over the three modalities of a pack, from one and from two of them, after each way to bind them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations, product
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import normalize

from benchmarks.retrieval import recalls
from engine.evaluation import metrics
from engine.heads.head import Head
from engine.storage.store import Store
from engine.storage.workspace import open_at
from engine.types import LossName, Modality, Split, TrainSettings
from training import methods
from training.batch import Embeddings
from training.data.pairs import PairSet, collect
from training.loop import LessonData, Objective, train_task

KS = (1, 5, 10)
SETTINGS: Mapping[str, tuple[LossName, Mapping[str, str | float]]] = {
    "FABIND text": ("fabind", {"fabind.anchor": "text"}),
    "FABIND image": ("fabind", {"fabind.anchor": "image"}),
    "FABIND audio": ("fabind", {"fabind.anchor": "audio"}),
    "CentroBind": ("centrobind", {}),
    "CentroBind, noise .5": ("centrobind", {"centrobind.noise": 0.5}),
    "PMRL": ("pmrl", {}),
    "GRAM": ("gram", {}),
    "InfoNCE": ("infonce", {}),
}


@dataclass(frozen=True)
class Splits:
    """The pairs of all tasks together."""

    train: PairSet
    val: PairSet
    test: PairSet


def read(root: Path) -> Splits:
    """Read an indexed pack."""
    workspace = open_at(root)
    backbones = workspace.manifest.backbones
    with Store(workspace.store) as store:
        pairs = store.pairs()

        def part(split: Split) -> PairSet:
            chosen = [pair for pair in pairs if pair.split == split]
            return together(
                collect(chosen, sorted(backbones), lambda m, ids: store.features(ids, backbones[m].id))
            )

        return Splits(part("train"), part("val"), part("test"))


def together(pairs: PairSet) -> PairSet:
    """Return the pairs as of one task, so that those of another are negatives too."""
    return PairSet(pairs.columns, torch.zeros_like(pairs.group))


def trained(splits: Splits, name: str, seed: int) -> Head:
    """Return an mlp head bound in one way on all train pairs, with the defaults of a lesson."""
    loss, options = SETTINGS[name]
    settings = TrainSettings(task="", loss=loss, options=options, seed=seed)
    head = Head("mlp", 512, seed=seed)
    for m, column in splits.train.columns.items():
        head.add_branch(m, column.features.shape[1])
    objective = Objective(methods.loss(settings, head), list(methods.strategies(settings).values()))
    train_task(head, LessonData(splits.train, splits.val), objective, settings)
    return head.eval()


def retrieval(head: Head, test: PairSet) -> dict[str, float]:
    """Return recall at 1, 5 and 10 of every direction from one modality and from two, and the means."""
    with torch.no_grad():
        z = head({m: column.features for m, column in test.columns.items()})
    return _table({(query, target): recall(z, test, query, target) for query, target in _directions(test)})


def chance(test: PairSet) -> dict[str, float]:
    """Return the same where every order of the items is as likely."""
    right = {(query, target): relevant(test, query, target)[1] for query, target in _directions(test)}
    return _table({direction: [_expected(rows, k) for k in KS] for direction, rows in right.items()})


def recall(z: Embeddings, test: PairSet, query: tuple[Modality, ...], target: Modality) -> list[float]:
    """Return recall at each of `KS`.

    Every distinct query and item counts once, and the item of any pair with it is right.

    Args:
        query: whose items make a query: one, or the centroid of two that stand in a pair.
    """
    items, right = relevant(test, query, target)
    centroids = torch.stack([z[m][rows] for m, rows in zip(query, items, strict=True)]).mean(0)
    return recalls(normalize(centroids, dim=1) @ z[target].T, right, KS)


def _expected(right: Tensor, k: int) -> float:
    """Return the expected recall at k of a random order, given what is right (Q, N)."""
    return metrics.chance(right.sum(1).numpy(), right.shape[1], k)


def relevant(test: PairSet, query: tuple[Modality, ...], target: Modality) -> tuple[Tensor, Tensor]:
    """Return the items of each distinct query (1 or 2, Q), and which items of the target are right (Q, N)."""
    stands = {m: standing(test, m) for m in (*query, target)}
    items = torch.tensor(sorted(set(_queries([stands[m] for m in query])))).T
    pairs = torch.stack([stands[m][:, rows] for m, rows in zip(query, items, strict=True)]).all(0)  # (P, Q)
    right = pairs.float().T @ stands[target].float() > 0
    some = right.any(1)
    return items[:, some], right[some]


def standing(pairs: PairSet, modality: Modality) -> Tensor:
    """Return (P, N): which items stand in which pair."""
    column = pairs.columns[modality]
    stands = torch.zeros(len(pairs), len(column.features), dtype=torch.bool)
    stands[torch.arange(len(pairs)).repeat_interleave(column.count), column.flat] = True
    return stands


def _queries(stands: Sequence[Tensor]) -> Iterator[tuple[int, ...]]:
    """Yield the items of each pair that make a query, in every combination."""
    for rows in zip(*stands, strict=True):
        yield from product(*(row.nonzero()[:, 0].tolist() for row in rows))


def _directions(test: PairSet) -> list[tuple[tuple[Modality, ...], Modality]]:
    names = sorted(test.columns)
    single: list[tuple[tuple[Modality, ...], Modality]] = [((a,), b) for a, b in permutations(names, 2)]
    return [*single, *(((a, b), c) for a, b, c in permutations(names, 3) if a < b)]


def _table(recalls: Mapping[tuple[tuple[Modality, ...], Modality], Sequence[float]]) -> dict[str, float]:
    """Return recalls by name, each k's means after them."""
    table: dict[str, float] = {}
    for place, k in enumerate(KS):
        for title, count in (("one to one", 1), ("two to one", 2)):
            chosen = {direction: at[place] for direction, at in recalls.items() if len(direction[0]) == count}
            table |= {f"{' + '.join(query)} to {b} R@{k}": value for (query, b), value in chosen.items()}
            table[f"{title} R@{k}"] = sum(chosen.values()) / len(chosen)
    return table
