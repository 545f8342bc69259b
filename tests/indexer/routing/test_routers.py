from pathlib import Path

import numpy as np
import pytest

import worlds
from engine.errors import UserError, Vanished
from engine.evaluation.splits import grouped, items_of
from engine.heads.embedder import Embedder
from engine.types import Modality
from indexer.embeddings.embeddings import reader
from indexer.routing import routers
from indexer.routing.slda import Sums


def folder(root: Path, modality: Modality = "image") -> Path:
    """Return where the router that is served lies."""
    workspace = worlds.opened(root)
    return workspace.routers / workspace.manifest.served.routers[modality]


def afresh(root: Path, modality: Modality = "image") -> Sums:
    """Return the sums over the training items of all tasks, made at once."""
    workspace = worlds.opened(root)
    with worlds.stored(root) as store:
        pairs = store.pairs()
        read, sums = reader(Embedder(workspace), store, pairs), Sums(worlds.WIDTH)
        for task in worlds.TASKS:
            routers.add(sums, read, task, modality, items_of(grouped(pairs), task, "train", modality))
    return sums


def test_sums_that_grew_task_by_task_are_those_of_all_at_once(trained: Path) -> None:
    grown, items = routers.read_sums(folder(trained))
    once = afresh(trained)
    assert grown.counts == once.counts == dict.fromkeys(worlds.TASKS, 21)
    assert grown.squares == pytest.approx(once.squares, abs=1e-9)
    assert all(grown.totals[task] == pytest.approx(once.totals[task], abs=1e-9) for task in worlds.TASKS)
    assert {task: len(ids) for task, ids in items.items()} == grown.counts


def test_rows_that_are_gone_leave_no_trace_in_the_sums(tmp_path: Path) -> None:
    source = worlds.save(tmp_path / "sky.npz", worlds.rows("sky"))
    worlds.index(tmp_path, source)
    worlds.save(source, worlds.rows("sky", 20))
    worlds.index(tmp_path, source)
    left, items = routers.read_sums(folder(tmp_path))
    assert left.counts == {"sky": 14}
    assert left.squares == pytest.approx(afresh(tmp_path).squares, abs=1e-9)
    assert len(items["sky"]) == 14


def test_a_router_comes_back_from_disk_as_it_was(trained: Path, tmp_path: Path) -> None:
    found = routers.read(folder(trained))
    sums, items = routers.read_sums(folder(trained))
    routers.write(tmp_path / "again", found, sums, items)
    again = routers.read(tmp_path / "again")
    assert list(again.tasks) == list(found.tasks)
    assert np.array_equal(again.weights, found.weights)
    assert np.array_equal(again.bias, found.bias)
    assert again.shrinkage == found.shrinkage


def test_a_changed_router_is_one_line(trained: Path, tmp_path: Path) -> None:
    root = worlds.copied(trained, tmp_path)
    path = folder(root) / "router.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(UserError, match="is damaged: its checksum does not hold"):
        routers.read(folder(root))


def test_a_router_that_is_gone_says_so(tmp_path: Path) -> None:
    with pytest.raises(Vanished, match="is gone: run `mneme index`"):
        routers.read(tmp_path / "image-00000000")


def test_the_second_index_makes_no_router(trained: Path, tmp_path: Path) -> None:
    root = worlds.copied(trained, tmp_path)
    before = worlds.opened(root).manifest.served.routers
    worlds.index(root, trained / "places.npz")
    assert worlds.opened(root).manifest.served.routers == before
    assert sorted(path.name for path in (root / ".mneme/router").iterdir()) == sorted(before.values())
