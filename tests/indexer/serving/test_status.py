import os
from pathlib import Path
from typing import Any

import pytest

import worlds
from indexer.serving import reindex, remove
from indexer.serving.status import status, to_json
from indexer.serving.wanted import ServingRequest
from indexer.shards import files as shards


def of(root: Path) -> dict[str, Any]:
    return to_json(status(root / ".mneme"))


def test_tasks_come_as_they_were_learned_with_their_newest_head_and_distinct_items(trained: Path) -> None:
    assert of(trained)["tasks"] == [
        {"task": task, "head": head, "items": {"image": 30, "text": 30}, "features": True}
        for head, task in enumerate(worlds.TASKS, 1)
    ]
    assert of(trained)["items"] == {"image": 89, "text": 90}


def test_a_task_that_is_stored_and_not_indexed_has_no_head(trained: Path, tmp_path: Path) -> None:
    worlds.index(tmp_path, trained / "sky.npz")
    worlds.learn(tmp_path, "life", trained / "life.npz")
    assert {task["task"]: task["head"] for task in of(tmp_path)["tasks"]} == {"sky": 0, "life": None}


def test_a_learned_task_without_items_is_named(world: Path) -> None:
    source = world / "places.npz"
    worlds.save(source, worlds.rows("life", 20))
    worlds.learn(world, "life", source)
    counts = {task["task"]: task["items"] for task in of(world)["tasks"]}
    assert set(counts) == set(worlds.TASKS)


def test_the_head_of_a_task_is_the_newest_that_embeds_any_of_it(world: Path) -> None:
    reindex.reindex(world / ".mneme", ServingRequest("matched", {"text-image": "reindex"}))
    assert [task["head"] for task in of(world)["tasks"]] == [3, 3, 3]


def test_heads_are_the_untrained_one_and_those_of_lessons_with_their_parents(trained: Path) -> None:
    assert of(trained)["heads"] == [
        {"head": 0, "parent": None, "task": None, "method": None, "loss": None},
        *(
            {"head": n, "parent": n - 1, "task": task, "method": "finetune", "loss": "infonce"}
            for n, task in enumerate(worlds.TASKS, 1)
        ),
    ]
    known = ("number", "task", "head")
    assert [tuple(lesson[name] for name in known) for lesson in of(trained)["lessons"]] == [
        (n, task, n) for n, task in enumerate(worlds.TASKS, 1)
    ]


def test_shards_say_how_many_rows_and_bytes_they_hold(trained: Path) -> None:
    workspace = worlds.opened(trained)
    assert of(trained)["shards"] == [
        {
            "task": shard.key.task,
            "modality": shard.key.modality,
            "head": shard.key.head,
            "rows": 30,
            "bytes": shards.read_facts(workspace.shards / shard.path).bytes,
        }
        for shard in workspace.manifest.served.shards
    ]


def test_the_rest_is_what_the_manifest_and_the_disk_say(trained: Path) -> None:
    content, manifest = of(trained), worlds.opened(trained).manifest
    assert list(content) == [
        "format",
        "tasks",
        "items",
        "heads",
        "lessons",
        "shards",
        "policy",
        "backbone",
        "bytes",
    ]
    assert (content["format"], content["policy"]) == (1, "no-reindex")
    assert content["backbone"] == {modality: encoder.spec for modality, encoder in manifest.backbones.items()}
    files = [path for path in (trained / ".mneme").rglob("*") if path.is_file()]
    assert content["bytes"] == sum(path.stat().st_size for path in files)


def test_a_file_that_goes_while_sizes_are_added_up_counts_nothing(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size, walk = of(trained)["bytes"], os.walk
    gone = str(trained / ".mneme/shards/.sky.draft")
    monkeypatch.setattr(os, "walk", lambda folder: [*walk(folder), (gone, [], ["vectors.npy"])])
    assert of(trained)["bytes"] == size


def test_a_task_whose_features_were_removed_says_so(world: Path) -> None:
    remove.remove_features(world / ".mneme", "sky")
    assert {task["task"]: task["features"] for task in of(world)["tasks"]} == {
        "sky": False,
        "life": True,
        "places": True,
    }
