from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import worlds
from engine.errors import UserError
from engine.storage.store import Store
from engine.types import TrainSettings
from training import methods, selection
from training.loop import LessonData
from worlds import Row

SKY = TrainSettings("sky")


def stored(root: Path, rows: Sequence[Row]) -> Path:
    """Store rows in a new workspace that has learned nothing."""
    worlds.index(root, worlds.save(root / "rows.npz", rows))
    return root


def data(root: Path, settings: TrainSettings = SKY) -> LessonData:
    """Return what a lesson would be trained on."""
    workspace, recipe = worlds.opened(root), methods.recipe(settings.method)
    with worlds.stored(root) as store:
        selected = selection.select(workspace, store, settings, recipe)
        return selection.load(workspace, store, settings, recipe, selected)


def refusal(root: Path, settings: TrainSettings = SKY) -> str:
    with pytest.raises(UserError) as caught:
        data(root, settings)
    return str(caught.value)


def test_one_train_pair_is_too_few(tmp_path: Path) -> None:
    rows = [replace(row, split="train" if n == 0 else "val") for n, row in enumerate(worlds.rows("sky", 5))]
    assert refusal(stored(tmp_path, rows)) == (
        "task 'sky' has 1 train pairs that join image and text: at least 2 are needed"
    )


def test_two_train_pairs_are_enough(tmp_path: Path) -> None:
    assert len(data(stored(tmp_path, worlds.rows("sky", 2))).train) == 2


def test_pairs_of_other_tasks_do_not_make_up_for_too_few(trained: Path, tmp_path: Path) -> None:
    root = worlds.copied(trained, tmp_path)
    rows = [replace(row, task="rare") for row in worlds.rows("sky", 1, start=1)]
    worlds.index(root, worlds.save(tmp_path / "rare.npz", rows))
    assert refusal(root, TrainSettings("rare", method="joint")).startswith("task 'rare' has 1 train pairs")


def test_a_task_of_texts_alone_cannot_be_trained(tmp_path: Path) -> None:
    (tmp_path / "words.csv").write_text("text,split\none,train\ntwo,train\nthree,train\n")
    worlds.index(tmp_path, tmp_path / "words.csv", task="words")
    assert refusal(tmp_path, TrainSettings("words")) == (
        "task 'words' holds text only: training needs pairs of two modalities"
    )


def test_a_modality_that_no_pair_holds_is_refused_with_those_there_are(trained: Path) -> None:
    assert refusal(trained, replace(SKY, modalities=("image", "depth"))) == (
        "no pair of task 'sky' holds depth; they hold: image, text"
    )


def test_an_unknown_task_is_refused_with_those_there_are(trained: Path) -> None:
    assert refusal(trained, TrainSettings("skies")) == (
        "no task 'skies' is stored; tasks are: life, places, sky (give a SOURCE that holds it)"
    )


def test_features_that_are_no_numbers_are_refused(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    features = Store.features
    monkeypatch.setattr(Store, "features", lambda *given: features(*given) * np.nan)
    assert refusal(trained) == "the image features of task 'sky' hold a value that is no number"


def test_finetune_uses_the_pairs_of_its_task_alone(trained: Path) -> None:
    lesson = data(trained)
    assert (len(lesson.train), len(lesson.validation)) == (21, 3)


def test_joint_uses_the_pairs_of_every_task(trained: Path) -> None:
    lesson = data(trained, replace(SKY, method="joint"))
    assert (len(lesson.train), len(lesson.validation)) == (63, 9)


def test_joint_leaves_out_tasks_that_were_never_learned(tmp_path: Path) -> None:
    root = stored(tmp_path, [*worlds.rows("sky", 12), *worlds.rows("life")])
    assert len(data(root, replace(SKY, method="joint")).train) == 9


def test_joint_has_negatives_across_tasks(trained: Path) -> None:
    assert set(data(trained, replace(SKY, method="joint")).train.group.tolist()) == {0}


def test_joint_intra_has_negatives_from_the_rows_own_task_only(trained: Path) -> None:
    group = data(trained, replace(SKY, method="joint-intra")).train.group
    assert torch.bincount(group).tolist() == [21, 21, 21]


def test_test_pairs_are_never_trained_on(trained: Path) -> None:
    with worlds.stored(trained) as store:
        ids = [pair.items["text"][0] for pair in store.pairs() if pair.split == "test"]
        hidden = store.features(ids, "builtin-1")
    seen = data(trained, replace(SKY, method="joint")).train.columns["text"].features.numpy()
    assert not (hidden[:, None] == seen[None]).all(axis=2).any()


def test_validation_pairs_of_several_tasks_are_mixed(trained: Path) -> None:
    group = data(trained, replace(SKY, method="joint-intra")).validation.group.tolist()
    assert sorted(group) != group


def test_validation_pairs_beyond_the_most_are_left_out(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert selection.MOST_VALIDATION == 4096
    monkeypatch.setattr("training.selection.MOST_VALIDATION", 2)
    assert len(data(trained).validation) == 2


def with_depth(path: Path, split: Sequence[str], depth: Sequence[bool]) -> Path:
    """Save a features file of rows of which some have a third modality."""
    rows = worlds.rows("sky", len(split))
    third = np.where(np.array(depth)[:, None], 1.0, np.nan) * np.ones((len(split), 5))
    np.savez(
        path,
        image=np.stack([row.image for row in rows]),
        depth=third,
        text=[row.text for row in rows],
        task=["sky"] * len(split),
        split=split,
    )
    return path


@pytest.mark.parametrize(("depth", "count"), [([True, True, True], 1), ([True, True, False], 0)])
def test_validation_pairs_that_lack_a_trained_modality_cannot_judge(
    tmp_path: Path, depth: list[bool], count: int
) -> None:
    worlds.index(tmp_path, with_depth(tmp_path / "rows.npz", ["train", "train", "val"], depth))
    assert len(data(tmp_path).validation) == count


def test_a_modality_that_is_not_trained_is_not_asked_of_validation_pairs(tmp_path: Path) -> None:
    source = with_depth(tmp_path / "rows.npz", ["train", "train", "val"], [True, True, False])
    worlds.index(tmp_path, source)
    assert len(data(tmp_path, replace(SKY, modalities=("image", "text"))).validation) == 1
