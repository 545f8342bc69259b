import argparse
from pathlib import Path

from benchmarks import costs
from benchmarks.made import Shape, made
from engine.storage.workspace import open_at


def test_a_made_workspace_has_a_lesson_a_head_and_two_shards_for_each_task(tmp_path: Path) -> None:
    manifest = open_at(made(tmp_path / "w", ["a", "b"], Shape(40, 8, "linear"))).manifest
    assert [(one.number, one.task, one.head) for one in manifest.history.lessons] == [
        (1, "a", 1),
        (2, "b", 2),
    ]
    found = sorted((one.key.task, one.key.head, one.key.modality) for one in manifest.served.shards)
    assert found == [("a", 1, "depth"), ("a", 1, "image"), ("b", 2, "depth"), ("b", 2, "image")]


def test_latency_is_told_for_every_number_of_tasks(tmp_path: Path) -> None:
    rows = costs.latency(argparse.Namespace(tasks=[1, 2], items=80), tmp_path)
    assert [row["tasks"] for row in rows] == [1, 2]
    assert all(float(str(row["unknown, ms"])) > 0 for row in rows)
