from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from engine.heads import embedder as embed
from engine.heads import files as heads
from engine.heads.embedder import Embedder
from engine.heads.files import Record
from engine.heads.head import Head
from engine.storage.manifest import BackboneRecord, Manifest
from engine.storage.rows import StoredRow
from engine.storage.store import Store
from engine.storage.workspace import Workspace
from engine.types import Item, TrainSettings

FEATURES = np.random.default_rng(0).standard_normal((5, 8)).astype(np.float32)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Return a workspace of width 8 whose head 1 knows images only, and turns them."""
    encoders = {"image": BackboneRecord("fake", "fake-1", 8), "text": BackboneRecord("fake", "fake-1", 8)}
    workspace = Workspace(
        tmp_path, Manifest(8, True, {**encoders, "depth": BackboneRecord("features", "features", 3)})
    )
    turned = Head("linear", 8)
    turned.add_branch("image", 8)
    turned.layers["image"].load_state_dict({"weight": -torch.eye(8)})
    record = Record(1, 0, {"image": 8}, 8, "linear", False, TrainSettings("sky"), {"image": "fake-1"})
    heads.write(workspace.head(1), turned, record, {}, b"")
    return workspace


def unit(rows: embed.Embeddings) -> embed.Embeddings:
    lengths: embed.Embeddings = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, lengths)


def test_version_0_is_the_identity_where_the_widths_agree(workspace: Workspace) -> None:
    assert_allclose(Embedder(workspace).embed(0, "image", FEATURES), unit(FEATURES), rtol=1e-6)


def test_version_0_keeps_the_cosines_of_narrower_features(workspace: Workspace) -> None:
    narrow = FEATURES[:, :3]
    rows = Embedder(workspace).embed(0, "depth", narrow)
    assert rows.shape == (5, 8)
    assert_allclose(rows @ rows.T, unit(narrow) @ unit(narrow).T, atol=1e-6)


def test_a_trained_version_embeds_by_its_own_branch(workspace: Workspace) -> None:
    assert_allclose(Embedder(workspace).embed(1, "image", FEATURES), -unit(FEATURES), rtol=1e-6)


def test_a_modality_that_a_version_lacks_is_embedded_by_head_0(workspace: Workspace) -> None:
    assert_allclose(Embedder(workspace).embed(1, "text", FEATURES), unit(FEATURES), rtol=1e-6)


def test_zero_features_give_a_zero_row(workspace: Workspace) -> None:
    rows = Embedder(workspace).embed(0, "depth", np.zeros((1, 3), np.float32))
    assert np.array_equal(rows, np.zeros((1, 8)))


def test_a_version_is_read_once(workspace: Workspace) -> None:
    embedder = Embedder(workspace)
    assert embedder.head(1, "image") is embedder.head(1, "image")


def test_features_that_may_not_be_written_are_embedded_without_a_warning(workspace: Workspace) -> None:
    fixed = np.frombuffer(FEATURES.tobytes(), np.float32).reshape(5, 8)
    assert_allclose(Embedder(workspace).embed(0, "image", fixed), unit(FEATURES), rtol=1e-6)


def test_stored_items_are_embedded_in_blocks_in_their_order(
    workspace: Workspace, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embed, "BLOCK", 2)
    ids = [f"{number:032x}" for number in range(5)]
    with store.writing() as txn:
        for id, row in zip(ids, FEATURES, strict=True):
            txn.put_item(Item(id, "image"))
            txn.put_features(id, "fake-1", row)
        txn.put_row(StoredRow("/s", "a", "sky", True, "train", (), {"image": tuple(ids)}, {}))
    blocks = list(Embedder(workspace).blocks(store, 0, "image", ids[::-1]))
    assert [len(block) for block in blocks] == [2, 2, 1]
    assert_allclose(np.concatenate(blocks), unit(FEATURES[::-1]), rtol=1e-6)
