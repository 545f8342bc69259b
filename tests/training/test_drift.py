from collections.abc import Iterator
from pathlib import Path

import pytest

import worlds
from engine.heads.embedder import Embedder
from engine.storage.store import Store
from engine.storage.workspace import Workspace
from training.data.history import earlier_lessons, items_of
from training.drift import SAMPLE_SIZE, drift_sample


@pytest.fixture
def workspace(trained: Path) -> Workspace:
    return worlds.opened(trained)


@pytest.fixture
def store(trained: Path) -> Iterator[Store]:
    with worlds.stored(trained) as opened:
        yield opened


def test_the_head_of_a_task_has_not_drifted_from_itself(workspace: Workspace, store: Store) -> None:
    drift = drift_sample(workspace, store, store.pairs(), "sky").drift(Embedder(workspace).head(2, "image"))
    assert drift["life"]["text"] == pytest.approx(0, abs=1e-6)


def test_drift_is_the_mean_of_one_less_the_cosine(workspace: Workspace, store: Store) -> None:
    newest = Embedder(workspace).head(3, "image")
    drift = drift_sample(workspace, store, store.pairs(), "places").drift(newest)["sky"]["image"]
    ids = items_of(earlier_lessons(workspace, store.pairs(), "places")[0][1], "image")
    x = store.features(ids, workspace.manifest.backbones["image"].id)
    embedder = Embedder(workspace)
    cosines = (embedder.embed(1, "image", x) * embedder.embed(3, "image", x)).sum(1)
    assert drift == pytest.approx(float(1 - cosines.mean()), abs=1e-5)
    assert drift > 0.01


def test_a_task_is_not_measured_against_itself(workspace: Workspace, store: Store) -> None:
    assert set(drift_sample(workspace, store, store.pairs(), "sky").items) == {"life", "places"}


def test_a_sample_holds_the_first_items_of_a_task_by_id(
    workspace: Workspace, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert SAMPLE_SIZE == 64
    monkeypatch.setattr("training.drift.SAMPLE_SIZE", 3)
    features, embeddings = drift_sample(workspace, store, store.pairs(), "sky").items["life"]["image"]
    ids = items_of(earlier_lessons(workspace, store.pairs(), "sky")[0][1], "image")[:3]
    assert features.numpy().tolist() == store.features(ids, workspace.manifest.backbones["image"].id).tolist()
    assert embeddings.shape == (3, workspace.manifest.width)


def test_a_modality_that_a_head_lacks_has_no_drift(workspace: Workspace, store: Store) -> None:
    head = Embedder(workspace).head(3, "image")
    blind = type(head)(head.form, head.width)
    blind.add_branch("text", 512)
    sample = drift_sample(workspace, store, store.pairs(), "sky")
    assert {task: set(by_modality) for task, by_modality in sample.drift(blind.eval()).items()} == {
        "life": {"text"},
        "places": {"text"},
    }
