from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import worlds
from engine.errors import Vanished
from engine.heads.embedder import Embedder
from indexer.routing import slda
from indexer.serving.snapshot import ServedSnapshot


def snapshot(root: Path) -> ServedSnapshot:
    workspace = worlds.opened(root)
    return ServedSnapshot(workspace, Embedder(workspace))


def test_tasks_come_in_the_order_they_were_learned(trained: Path) -> None:
    assert snapshot(trained).tasks == ["sky", "life", "places"]


def test_a_task_that_was_trained_and_not_indexed_is_not_there(trained: Path, tmp_path: Path) -> None:
    worlds.index(tmp_path, trained / "sky.npz")
    worlds.learn(tmp_path, "life", trained / "life.npz")
    assert snapshot(tmp_path).tasks == ["sky"]


def test_a_lesson_has_its_say_once_it_is_indexed(trained: Path, tmp_path: Path) -> None:
    worlds.index(tmp_path, trained / "sky.npz")
    worlds.learn(tmp_path, "sky")
    assert not snapshot(tmp_path).is_trained
    worlds.index(tmp_path, trained / "sky.npz")
    assert snapshot(tmp_path).is_trained


def test_a_direction_is_searched_as_the_manifest_says(trained: Path) -> None:
    served = worlds.opened(trained).manifest.served
    (direction,) = (one for one in served.directions if (one.query, one.target) == ("text", "image"))
    lookups = snapshot(trained).lookups("text", "image")
    assert [(one.key, one.queries, one.tau) for one in lookups] == [
        (served.shards[one.shard].key, one.queries, one.tau) for one in direction.lookups
    ]
    assert [(one.key.task, one.key.modality, one.key.head) for one in lookups] == [
        ("sky", "image", 1),
        ("life", "image", 2),
        ("places", "image", 3),
    ]


def test_a_direction_that_is_not_served_has_no_lookups(trained: Path) -> None:
    assert snapshot(trained).lookups("text", "depth") == []


def test_a_lookup_opens_the_shard_of_its_key(trained: Path) -> None:
    for lookup in snapshot(trained).lookups("text", "image"):
        shard = lookup.open()
        assert (shard.key, len(shard.ids)) == (lookup.key, 30)


def test_a_lookup_whose_shard_is_gone_says_so(trained: Path) -> None:
    workspace = worlds.opened(trained)
    served = workspace.manifest.served
    moved = replace(served, shards=tuple(replace(shard, path="sky/gone") for shard in served.shards))
    gone = ServedSnapshot(
        replace(workspace, manifest=replace(workspace.manifest, served=moved)), Embedder(workspace)
    )
    with pytest.raises(Vanished):
        gone.lookups("text", "image")[0].open()


def test_the_router_is_the_one_on_disk(trained: Path) -> None:
    workspace = worlds.opened(trained)
    expected = slda.read(workspace.routers / workspace.manifest.served.routers["image"])
    assert np.array_equal(snapshot(trained).router("image").weights, expected.weights)


def test_to_a_modality_of_which_nothing_was_learned_all_tasks_are_as_likely(tmp_path: Path) -> None:
    rows = [replace(row, split="test") for row in [*worlds.rows("sky", 6), *worlds.rows("life", 6)]]
    worlds.index(tmp_path, worlds.save(tmp_path / "all.npz", rows))
    log_p = snapshot(tmp_path).router("text").log_p(np.ones((2, 512), np.float32), ["sky", "life"])
    assert np.exp(log_p) == pytest.approx(0.5)


def test_training_brings_no_router_before_the_next_index(tmp_path: Path) -> None:
    rows = [replace(row, split="test") for row in [*worlds.rows("sky", 6), *worlds.rows("life", 6)]]
    worlds.index(tmp_path, worlds.save(tmp_path / "all.npz", rows))
    more = worlds.save(tmp_path / "more.npz", [*worlds.rows("sky", 12), *worlds.rows("life", 12)])
    worlds.learn(tmp_path, "sky", more)
    assert list(snapshot(tmp_path).router("text").tasks) == []
