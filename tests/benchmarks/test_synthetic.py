from pathlib import Path

import numpy as np

from benchmarks.synthetic import Shape, make_workspace
from engine.storage.workspace import open_at


def test_a_workspace_has_a_lesson_a_head_and_two_shards_for_each_task(tmp_path: Path) -> None:
    manifest = open_at(make_workspace(tmp_path / "w", ["a", "b"], Shape(40, 8, "linear"))).manifest
    assert [(lesson.number, lesson.task, lesson.head) for lesson in manifest.history.lessons] == [
        (1, "a", 1),
        (2, "b", 2),
    ]
    keys = sorted((s.key.task, s.key.head, s.key.modality) for s in manifest.served.shards)
    assert keys == [("a", 1, "depth"), ("a", 1, "image"), ("b", 2, "depth"), ("b", 2, "image")]


def test_the_rows_are_those_of_the_shape(tmp_path: Path) -> None:
    make_workspace(tmp_path / "w", ["a", "b"], Shape(500, 8, "linear", tested=0.3))
    with np.load(tmp_path / "w/rows.npz") as rows:
        splits, tasks, image, depth = (rows[name] for name in ("split", "task", "image", "depth"))
    assert [(tasks == task).sum() for task in ("a", "b")] == [500, 500]
    assert (splits == "val").sum() == 2 * 5
    assert 0.25 < (splits == "test").mean() < 0.35
    assert ((image - depth) ** 2).mean() < ((image - np.roll(depth, 1, 0)) ** 2).mean()
