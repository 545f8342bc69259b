from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

import worlds
from engine.heads.embedder import Embedder
from engine.history import History
from engine.storage.store import Store
from engine.storage.workspace import Workspace
from training.data.history import earlier_lessons, past_tasks
from training.data.pairs import number_of


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return worlds.trained(tmp_path_factory.getbasetemp())


@pytest.fixture
def workspace(root: Path) -> Workspace:
    return worlds.opened(root)


@pytest.fixture
def store(root: Path) -> Iterator[Store]:
    with worlds.stored(root) as opened:
        yield opened


def image_of(store: Store, task: str) -> str:
    """Return a picture of a task that no other task holds."""
    tasks: dict[str, set[str]] = {}
    for pair in store.pairs():
        tasks.setdefault(pair.items["image"][0], set()).add(pair.task)
    train = [p for p in store.pairs() if p.split == "train" and tasks[p.items["image"][0]] == {task}]
    return train[0].items["image"][0]


def test_the_task_at_hand_is_no_past(workspace: Workspace, store: Store) -> None:
    assert [lesson.task for lesson, _ in earlier_lessons(workspace, store.pairs(), "life")] == [
        "sky",
        "places",
    ]


def test_the_past_holds_train_pairs_only(workspace: Workspace, store: Store) -> None:
    assert {
        pair.split for _, pairs in earlier_lessons(workspace, store.pairs(), "life") for pair in pairs
    } == {"train"}


def test_an_item_is_recalled_by_its_number(workspace: Workspace, store: Store) -> None:
    id = image_of(store, "sky")
    features = past_tasks(workspace, store, "life").features("image", [number_of(id)])
    stored = store.features([id], workspace.manifest.backbones["image"].id)
    assert torch.equal(features[number_of(id)], torch.from_numpy(stored[0].copy()))


def test_an_item_that_is_no_longer_stored_is_not_recalled(workspace: Workspace, store: Store) -> None:
    assert past_tasks(workspace, store, "life").features("image", [12345]) == {}


def test_past_pairs_are_those_of_the_other_tasks(workspace: Workspace, store: Store) -> None:
    assert len(past_tasks(workspace, store, "life").pairs()) == 42


def test_indexed_embeddings_are_those_of_each_tasks_own_head(workspace: Workspace, store: Store) -> None:
    numbers, rows = past_tasks(workspace, store, "places").indexed("image")
    id = image_of(store, "life")
    x = store.features([id], workspace.manifest.backbones["image"].id)
    place = numbers.tolist().index(number_of(id))
    assert_close(rows[place], torch.from_numpy(Embedder(workspace).embed(2, "image", x)[0]))


def test_a_first_lesson_has_no_past(workspace: Workspace, store: Store) -> None:
    first = replace(workspace, manifest=replace(workspace.manifest, history=History()))
    past = past_tasks(first, store, "sky")
    assert len(past.pairs()) == 0
    assert past.indexed("image")[1].shape == (0, 8)
