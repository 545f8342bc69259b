"""What a lesson trains on: the pairs a method asks for, and their features."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from engine.errors import InvalidSetting, Setting, UserError
from engine.storage import removed
from engine.storage.store import Store
from engine.storage.workspace import Workspace
from engine.types import ItemId, Modality, Pair, TrainSettings
from training.data.pairs import PairSet, collect
from training.drift import gauge
from training.loop import Material
from training.recipes import Recipe

MOST_VALIDATION = 4096
"""Validation pairs beyond these are not measured during training."""


@dataclass(frozen=True)
class Asked:
    """All stored pairs, those of a lesson by their use, and the modalities that are trained.

    Attributes:
        lost: tasks that the method would train on, had their features not been removed.
    """

    every: Sequence[Pair]
    train: Sequence[Pair]
    validation: Sequence[Pair]
    modalities: Sequence[Modality]
    lost: Sequence[str]


def asked(workspace: Workspace, store: Store, settings: TrainSettings, recipe: Recipe) -> Asked:
    """Return the pairs that a method trains and validates on, or raise where there are too few."""
    gone = removed.tasks(workspace.manifest, store)
    if settings.task in gone:
        source = Setting("task", settings.task, command="train SOURCE")
        raise UserError(
            f"the features of task {settings.task!r} were removed: give its source, {source}", [source]
        )
    every = removed.readable(workspace.manifest, store)
    pairs = _pairs(workspace, every, settings, recipe)
    modalities = _modalities(pairs, settings)
    joined = [pair for pair in pairs if sum(m in pair.items for m in modalities) > 1]
    train = [pair for pair in joined if pair.split == "train"]
    if sum(pair.task == settings.task for pair in train) < 2:
        raise UserError(_too_few(settings, modalities, train))
    lost = gone if recipe.pairs == "history" else []
    return Asked(every, train, _validation(joined, train, modalities), modalities, lost)


def read(
    workspace: Workspace, store: Store, settings: TrainSettings, recipe: Recipe, asked: Asked
) -> Material:
    """Read the features of these pairs."""

    def features(modality: Modality, ids: Sequence[ItemId]) -> NDArray[np.float32]:
        found = store.features(ids, workspace.manifest.backbones[modality].id)
        if not np.isfinite(found).all():
            raise UserError(
                f"the {modality} features of task {settings.task!r} hold a value that is no number"
            )
        return found

    def pair_set(pairs: Sequence[Pair]) -> PairSet:
        found = collect(pairs, asked.modalities, features)
        return replace(found, group=found.group.zero_()) if recipe.negatives == "all" else found

    old = gauge(workspace, store, asked.every, settings.task)
    return Material(pair_set(asked.train), pair_set(asked.validation), old)


def _pairs(
    workspace: Workspace, every: Sequence[Pair], settings: TrainSettings, recipe: Recipe
) -> list[Pair]:
    """Return the pairs a method trains and validates on, in the order of their names."""
    known = list(dict.fromkeys(pair.task for pair in every))
    if settings.task not in known:
        raise UserError(
            f"no task {settings.task!r} is stored; tasks are: {', '.join(known) or 'none'} "
            "(give a SOURCE that holds it)"
        )
    wanted = {settings.task}
    if recipe.pairs == "history":
        wanted |= {lesson.task for lesson in workspace.manifest.history.lessons}
    return [pair for pair in every if pair.task in wanted]


def _modalities(pairs: Sequence[Pair], settings: TrainSettings) -> list[Modality]:
    held = sorted({modality for pair in pairs for modality in pair.items})
    missing = [m for m in settings.modalities if m not in held]
    if missing:
        raise UserError(f"no pair of task {settings.task!r} holds {missing[0]}; they hold: {', '.join(held)}")
    chosen = sorted(set(settings.modalities) or held)
    if len(chosen) < 2:
        problem = f"{', '.join(chosen)} only: training needs pairs of two modalities"
        if settings.modalities:
            raise InvalidSetting("modalities", f"names {problem}")
        raise UserError(f"task {settings.task!r} holds {problem}")
    return chosen


def _too_few(settings: TrainSettings, modalities: Sequence[Modality], found: Sequence[Pair]) -> str:
    count = sum(pair.task == settings.task for pair in found)
    return (
        f"task {settings.task!r} has {count} train pairs that join {' and '.join(modalities)}: "
        "at least 2 are needed"
    )


def _validation(
    joined: Sequence[Pair], trained: Sequence[Pair], modalities: Sequence[Modality]
) -> list[Pair]:
    """Return the validation pairs in the order of their items' ids, which mixes tasks as training does.

    Where they lack a modality that is trained they cannot judge, and there are none.
    """
    held = [pair for pair in joined if pair.split == "val"]
    held.sort(key=lambda pair: [pair.items[m] for m in sorted(pair.items)])
    there = {m for pair in held for m in pair.items}
    lacking = {m for pair in trained for m in pair.items if m in modalities} - there
    return [] if lacking else held[:MOST_VALIDATION]
