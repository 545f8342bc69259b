"""The runs of the tables of Liu et al. 2025: heads on a pack's built-in features, trained and measured."""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.papers.pmrl_measure import classify, directions, retrieve
from benchmarks.papers.pmrl_vectors import bare_volume
from engine.heads.head import Head
from engine.storage.store import Store
from engine.storage.workspace import open_at
from engine.types import ItemId, LossName, Modality, Pair, Split, TrainSettings
from training import methods
from training.data.pairs import PairSet, collect
from training.loop import LessonData, Objective, train_task

Noise = Literal["none", "input", "labels"]
Start = Literal["scratch", "infonce"]
MODALITIES: Sequence[Modality] = ("audio", "image", "text")
STRENGTH = 0.4
FLIPPED = 0.3
BATCH = 64

VARIANTS: Mapping[str, tuple[LossName, Mapping[str, float | str]]] = {
    "infonce": ("infonce", {}),
    "gram": ("gram", {}),
    "gram w/o reg": ("gram", {}),
    "pmrl": ("pmrl", {}),
    "pmrl w/o reg": ("pmrl", {"pmrl.instance_weight": 0.0}),
    "pmrl w/o IM": ("pmrl", {"pmrl.match_weight": 0.0}),
    "pmrl s1+s2": ("pmrl", {"pmrl.form": "pair"}),
}
"""Losses by the name of their row; `gram w/o reg` is the bare volume, with no contrast."""


PLAN: Mapping[Start, Sequence[str]] = {"scratch": ("infonce", "gram", "pmrl"), "infonce": tuple(VARIANTS)}


@dataclass(frozen=True)
class Job:
    """What one process does at a time: variants of one pack and seed, which share the head they start from.

    Attributes:
        root: the workspace that holds the pack's features.
        by_class: pairs are joined by class, so that what is right is a class, and rows of one class are no
            negatives.
        plan: the variants from each start; infonce: from a head that it trained, at a tenth of the step size.
    """

    root: Path
    pack: str
    by_class: bool
    seed: int
    noise: Noise = "none"
    plan: Mapping[Start, Sequence[str]] = field(default_factory=lambda: PLAN)
    epochs: int = 12


@dataclass(frozen=True)
class Trained:
    """What one trained head came to: recall, and where there are classes their accuracy; and its directions."""

    start: Start
    variant: str
    figures: Mapping[str, float]
    directions: Mapping[str, float]


def run(job: Job) -> list[Trained]:
    """Train each variant from each start and measure it on the test pairs."""
    torch.set_num_threads(1)
    by_split = dict(sets(job))
    test, owner = by_split["test"]
    material = LessonData(by_split["train"][0], by_split["val"][0])
    first = _trained(_head(job.seed), "infonce", material, _settings(job, 1e-3))
    by_start: Mapping[Start, TrainSettings] = {
        "scratch": _settings(job, 1e-3),
        "infonce": _settings(job, 1e-4),
    }
    heads = []
    for start, variants in job.plan.items():
        for variant in variants:
            head = deepcopy(first) if start == "infonce" else _head(job.seed)
            head = _trained(head, variant, material, by_start[start])
            figures = retrieve(head, test, owner) | (classify(head, test, owner) if job.by_class else {})
            heads.append(Trained(start, variant, figures, directions(head, test)))
    return heads


def _head(seed: int) -> Head:
    head = Head("mlp", 512, seed=seed)
    for m in MODALITIES:
        head.add_branch(m, 512)
    return head


def _settings(job: Job, lr: float) -> TrainSettings:
    return TrainSettings("all", epochs=job.epochs, lr=lr, batch_size=BATCH, seed=job.seed)


def _trained(head: Head, variant: str, material: LessonData, settings: TrainSettings) -> Head:
    """Train a head in place and return it."""
    name, options = VARIANTS[variant]
    settings = replace(settings, loss=name, options=options)
    loss = bare_volume if variant == "gram w/o reg" else methods.loss(settings, head)
    train_task(head, material, Objective(loss, list(methods.strategies(settings).values())), settings)
    return head


def sets(job: Job) -> Iterator[tuple[Split, tuple[PairSet, Tensor]]]:
    """Yield each split's pairs as one group, and what makes items right for each other (P,)."""
    workspace = open_at(job.root)
    draw = np.random.default_rng(job.seed)
    splits: tuple[Split, ...] = ("train", "val", "test")
    with Store(workspace.store) as store:
        every = store.pairs()
        classes = sorted({label for pair in every for label in pair.labels})

        def read(modality: Modality, ids: Sequence[ItemId]) -> NDArray[np.float32]:
            x: NDArray[np.float32] = store.features(ids, workspace.manifest.backbones[modality].id)
            return disturbed(x, draw) if job.noise == "input" else x

        for split in splits:
            pairs = [pair for pair in every if pair.split == split]
            if job.noise == "labels" and split != "test":
                pairs = flipped(pairs, draw)
            columns = collect(pairs, MODALITIES, read)
            columns = replace(columns, group=torch.zeros_like(columns.group))
            owner = torch.arange(len(pairs))
            if job.by_class:
                owner = torch.tensor([classes.index(pair.labels[0]) for pair in pairs])
                columns = _numbered(columns, owner)
            yield split, (columns, owner)


def disturbed(x: NDArray[np.float32], draw: np.random.Generator) -> NDArray[np.float32]:
    """Return features (N, D) with Gaussian noise of .4 of each column's standard deviation."""
    noise = draw.standard_normal(x.shape).astype(np.float32)
    noisy: NDArray[np.float32] = x + np.float32(STRENGTH) * x.std(axis=0) * noise
    return noisy


def flipped(pairs: Sequence[Pair], draw: np.random.Generator) -> list[Pair]:
    """Return the pairs, three in ten with the label and the texts of another class."""
    texts = {pair.labels[0]: pair.items["text"] for pair in pairs}
    relabelled = []
    for pair in pairs:
        label = pair.labels[0]
        if draw.random() < FLIPPED:
            label = str(draw.choice([other for other in sorted(texts) if other != label]))
        relabelled.append(replace(pair, items={**pair.items, "text": texts[label]}, labels=(label,)))
    return relabelled


def _numbered(pairs: PairSet, owner: Tensor) -> PairSet:
    """Number every item by the class of its pair, so that no loss takes it as a negative within the class."""
    columns = {}
    for m, column in pairs.columns.items():
        numbers = torch.empty_like(column.numbers)
        numbers[column.flat] = owner.repeat_interleave(column.count)
        columns[m] = replace(column, numbers=numbers)
    return replace(pairs, columns=columns)
