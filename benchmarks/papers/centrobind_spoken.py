"""Retrieval over the three modalities of a pack, from one and from two of them, after each way to bind them."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations, product
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import normalize

from engine.heads.head import Head
from engine.storage.store import Store
from engine.storage.workspace import open_at
from engine.types import LossName, Modality, Split, TrainSettings
from training import methods
from training.data.pairs import PairSet, collect
from training.gradient import Embeddings
from training.loop import Course, Material, Objective, train_task

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
            found = collect(chosen, sorted(backbones), lambda m, ids: store.features(ids, backbones[m].id))
            return together(found)

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
    train_task(head, Material(splits.train, splits.val), objective, Course(seed=seed))
    return head.eval()


def retrieval(head: Head, test: PairSet) -> dict[str, float]:
    """Return recall at 1, 5 and 10 of every direction from one modality and from two, and the means."""
    with torch.no_grad():
        z = head({m: column.features for m, column in test.columns.items()})
    return _table({(asked, target): recalls(z, test, asked, target) for asked, target in _directions(test)})


def chance(test: PairSet) -> dict[str, float]:
    """Return the same where every order of the items is as likely."""
    right = {(asked, target): relevant(test, asked, target)[1] for asked, target in _directions(test)}
    return _table({direction: {k: expected(rows, k) for k in KS} for direction, rows in right.items()})


def recalls(z: Embeddings, test: PairSet, asked: tuple[Modality, ...], target: Modality) -> dict[int, float]:
    """Return recall at each k: every distinct query and item counts once, and the item of any pair with it is right.

    Args:
        asked: whose items make a query: one, or the centroid of two that stand in a pair.
    """
    places, right = relevant(test, asked, target)
    query = normalize(torch.stack([z[m][rows] for m, rows in zip(asked, places, strict=True)]).mean(0), dim=1)
    near = (query @ z[target].T).topk(min(max(KS), right.shape[1]), dim=1).indices
    hits = right.gather(1, near)
    return {k: float(hits[:, :k].any(1).float().mean()) for k in KS}


def expected(right: Tensor, k: int) -> float:
    """Return the expected recall at k of a random order, given what is right (Q, N)."""
    items = right.shape[1]
    missed = [math.comb(items - count, k) / math.comb(items, k) for count in right.sum(1).tolist()]
    return 1 - sum(missed) / len(missed)


def relevant(test: PairSet, asked: tuple[Modality, ...], target: Modality) -> tuple[Tensor, Tensor]:
    """Return the items of each distinct query (1 or 2, Q), and which items of the target are right (Q, N)."""
    stands = {m: standing(test, m) for m in (*asked, target)}
    places = torch.tensor(sorted(set(_queries([stands[m] for m in asked])))).T
    pairs = torch.stack([stands[m][:, rows] for m, rows in zip(asked, places, strict=True)]).all(0)  # (P, Q)
    right = pairs.float().T @ stands[target].float() > 0
    some = right.any(1)
    return places[:, some], right[some]


def standing(pairs: PairSet, modality: Modality) -> Tensor:
    """Return (P, N): which items stand in which pair."""
    column = pairs.columns[modality]
    found = torch.zeros(len(pairs), len(column.features), dtype=torch.bool)
    found[torch.arange(len(pairs)).repeat_interleave(column.count), column.flat] = True
    return found


def _queries(stands: Sequence[Tensor]) -> Iterator[tuple[int, ...]]:
    """Yield the items of each pair that are asked with, in every combination."""
    for held in zip(*stands, strict=True):
        yield from product(*(row.nonzero()[:, 0].tolist() for row in held))


def _directions(test: PairSet) -> list[tuple[tuple[Modality, ...], Modality]]:
    names = sorted(test.columns)
    one: list[tuple[tuple[Modality, ...], Modality]] = [((a,), b) for a, b in permutations(names, 2)]
    return [*one, *(((a, b), c) for a, b, c in permutations(names, 3) if a < b)]


def _table(found: Mapping[tuple[tuple[Modality, ...], Modality], Mapping[int, float]]) -> dict[str, float]:
    """Return recalls by name, each k's means after them."""
    table: dict[str, float] = {}
    for k in KS:
        for title, count in (("one to one", 1), ("two to one", 2)):
            chosen = {direction: at[k] for direction, at in found.items() if len(direction[0]) == count}
            table |= {f"{' + '.join(asked)} to {b} R@{k}": value for (asked, b), value in chosen.items()}
            table[f"{title} R@{k}"] = sum(chosen.values()) / len(chosen)
    return table
