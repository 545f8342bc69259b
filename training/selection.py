"""What a lesson trains on: the pairs a method asks for, and their features."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from engine.errors import InvalidSetting, Setting, UserError
from engine.ids import clean_name
from engine.storage.store import Store
from engine.storage.workspace import Workspace, readable_pairs, sealed_tasks
from engine.types import ItemId, Modality, Pair, TrainSettings
from training.data.pairs import PairSet, collect
from training.drift import drift_sample
from training.loop import LessonData
from training.recipes import Recipe

MOST_VALIDATION = 4096
"""Validation pairs beyond these are not measured during training."""


@dataclass(frozen=True)
class Selection:
    """The pairs of a lesson by their use, and the modalities that are trained.

    Attributes:
        stored: all pairs whose features can be read, those of other tasks too.
        lost: tasks that the method would train on, had their features not been removed.
    """

    stored: Sequence[Pair]
    train: Sequence[Pair]
    validation: Sequence[Pair]
    modalities: Sequence[Modality]
    lost: Sequence[str]


def select(workspace: Workspace, store: Store, settings: TrainSettings, recipe: Recipe) -> Selection:
    """Return the pairs that a method trains and validates on, or raise where there are too few."""
    removed_tasks = sealed_tasks(workspace.manifest, store)
    if settings.task in removed_tasks:
        source = Setting("task", settings.task, command="train SOURCE")
        raise UserError(
            f"the features of task {settings.task!r} were removed: give its source, {source}", [source]
        )
    stored = readable_pairs(workspace.manifest, store)
    pairs = _of_tasks(workspace, stored, settings, recipe)
    modalities = _modalities(pairs, settings)
    joined = [pair for pair in pairs if sum(m in pair.items for m in modalities) > 1]
    train = [pair for pair in joined if pair.split == "train"]
    count = sum(pair.task == settings.task for pair in train)
    if count < 2:
        raise UserError(
            f"task {settings.task!r} has {count} train pairs that join {' and '.join(modalities)}: "
            "at least 2 are needed"
        )
    lost = removed_tasks if recipe.pairs == "history" else []
    return Selection(stored, train, _validation(joined, train, modalities), modalities, lost)


def load(
    workspace: Workspace, store: Store, settings: TrainSettings, recipe: Recipe, selection: Selection
) -> LessonData:
    """Read the features of the selected pairs."""

    def read(modality: Modality, ids: Sequence[ItemId]) -> NDArray[np.float32]:
        features = store.features(ids, workspace.manifest.backbones[modality].id)
        if not np.isfinite(features).all():
            raise UserError(
                f"the {modality} features of task {settings.task!r} hold a value that is no number"
            )
        return features

    def pair_set(pairs: Sequence[Pair]) -> PairSet:
        grouped = collect(pairs, selection.modalities, read)
        return replace(grouped, group=grouped.group.zero_()) if recipe.negatives == "all" else grouped

    old_tasks = drift_sample(workspace, store, selection.stored, settings.task)
    return LessonData(pair_set(selection.train), pair_set(selection.validation), old_tasks.drift)


def _of_tasks(
    workspace: Workspace, stored: Sequence[Pair], settings: TrainSettings, recipe: Recipe
) -> list[Pair]:
    """Return the pairs of those tasks that a method trains on, in the order of their names."""
    known = list(dict.fromkeys(pair.task for pair in stored))
    if settings.task not in known:
        raise UserError(
            f"no task {settings.task!r} is stored; tasks are: {', '.join(known) or 'none'} "
            "(give a SOURCE that holds it)"
        )
    tasks = {settings.task}
    if recipe.pairs == "history":
        tasks |= {lesson.task for lesson in workspace.manifest.history.lessons}
    return [pair for pair in stored if pair.task in tasks]


def _modalities(pairs: Sequence[Pair], settings: TrainSettings) -> list[Modality]:
    """Return the modalities that are trained, sorted: those that are asked for, or all that the pairs hold."""
    available = sorted({modality for pair in pairs for modality in pair.items})
    wanted = [clean_name(modality) for modality in settings.modalities]
    missing = [m for m in wanted if m not in available]
    if missing:
        raise UserError(
            f"no pair of task {settings.task!r} holds {missing[0]}; they hold: {', '.join(available)}"
        )
    chosen = sorted(set(wanted) or available)
    if len(chosen) < 2:
        problem = f"{', '.join(chosen)} only: training needs pairs of two modalities"
        if settings.modalities:
            raise InvalidSetting("modalities", f"names {problem}")
        raise UserError(f"task {settings.task!r} holds {problem}")
    return chosen


def _validation(joined: Sequence[Pair], train: Sequence[Pair], modalities: Sequence[Modality]) -> list[Pair]:
    """Return the validation pairs in the order of their items' ids, which mixes tasks as training does.

    Where they lack a modality that is trained they cannot judge, and there are none.
    """
    validation = [pair for pair in joined if pair.split == "val"]
    validation.sort(key=lambda pair: [pair.items[m] for m in sorted(pair.items)])
    trained, validated = ({m for pair in part for m in pair.items} for part in (train, validation))
    can_judge = trained & {*modalities} <= validated
    return validation[:MOST_VALIDATION] if can_judge else []
