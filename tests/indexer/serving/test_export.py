import contextlib
import io
import json
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import worlds
from commands import Run, colours, is_one_line
from engine.errors import UserError
from engine.ranking.query import Input
from engine.storage.store import Store
from engine.storage.workspace import Workspace
from engine.types import KnownTask, ShardKey
from indexer.serving import export, reindex, snapshot
from indexer.serving.search import open_searcher
from indexer.serving.wanted import ServingRequest
from indexer.shards import files as shards
from indexer.shards.shard import Shard

GUIDE = Path(__file__).parents[3] / "docs/guide.md"
COLUMNS = ["id", "modality", "task", "tasks", "path", "paths", "text", "head", "rows", "row.id", "row.source"]
COLUMNS += ["embedding"]


@pytest.fixture(scope="module")
def exported(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("there") / "not" / "exported"
    export.export(trained / ".mneme", folder)
    return folder


def manifest(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "manifest.json").read_bytes())
    return content


def columns(folder: Path, file: str) -> dict[str, list[Any]]:
    by_name: dict[str, list[Any]] = pq.read_table(folder / file).to_pydict()
    return by_name


def served(root: Path) -> dict[str, Shard]:
    """Return the shards on disk by the names of their files."""
    workspace = worlds.opened(root)
    backbones = workspace.manifest.backbones
    return {
        export.name(shard.key): shards.read(
            workspace.shards / shard.path, shard.key, backbones[shard.key.modality].id
        )
        for shard in workspace.manifest.served.shards
    }


def assert_exported(root: Path, folder: Path) -> None:
    """Hold every file beside its shard: the same ids, the same bits."""
    by_file = served(root)
    assert {path.name for path in folder.iterdir()} == {*by_file, "manifest.json"}
    for file, shard in by_file.items():
        table = columns(folder, file)
        assert table["id"] == [id.decode() for id in shard.ids]
        assert np.array(table["embedding"], np.float32).tobytes() == shard.vectors.tobytes()
        assert {*table["head"]} == {shard.key.head}


def test_every_shard_comes_back_to_the_bit(trained: Path, exported: Path) -> None:
    assert_exported(trained, exported)


def test_what_was_mapped_and_moved_comes_back_to_the_bit(trained: Path, tmp_path: Path) -> None:
    root = worlds.copied(trained, tmp_path)
    request = ServingRequest(None, {"text-image": "aligned", "image-text": "partial"}, 0.1)
    reindex.reindex(root / ".mneme", request)
    export.export(root / ".mneme", tmp_path / "out")
    assert_exported(root, tmp_path / "out")


def test_a_row_says_what_its_embedding_stands_for(exported: Path) -> None:
    table = columns(exported, "sky.text.v0001.parquet")
    assert list(table) == COLUMNS
    assert set(table["text"]) == {row.text for row in worlds.rows("sky")}
    assert ({*table["modality"]}, {*table["task"]}, {*table["path"]}) == ({"text"}, {"sky"}, {None})


def test_an_item_of_two_tasks_names_both(exported: Path) -> None:
    table = columns(exported, "sky.image.v0001.parquet")
    assert sorted(map(len, table["tasks"])) == [1] * 29 + [2]


def test_the_embedding_is_a_list_of_one_width_of_float32(exported: Path) -> None:
    type_ = pq.read_schema(exported / "sky.text.v0001.parquet").field("embedding").type
    assert str(type_) == f"fixed_size_list<element: float>[{worlds.WIDTH}]"


def test_the_manifest_says_how_each_direction_searches_its_files(trained: Path, exported: Path) -> None:
    content, files = manifest(exported), list(served(trained))
    directions = worlds.opened(trained).manifest.served.directions
    assert (content["format"], content["width"]) == (1, worlds.WIDTH)
    assert [(one["query"], one["target"], one["policy"]) for one in content["directions"]] == [
        (one.query, one.target, one.policy) for one in directions
    ]
    assert [[tuple(lookup.values()) for lookup in one["asked"]] for one in content["directions"]] == [
        [(files[lookup.shard], lookup.queries, lookup.tau) for lookup in one.lookups] for one in directions
    ]
    manifest_ = worlds.opened(trained).manifest
    assert content["lessons"] == [vars(lesson) for lesson in manifest_.history.lessons]
    assert content["backbones"] == {modality: one.id for modality, one in manifest_.backbones.items()}


def test_the_manifest_names_only_the_lessons_that_are_served(trained: Path, tmp_path: Path) -> None:
    root = worlds.copied(trained, tmp_path)
    worlds.learn(root, "sky")
    export.export(root / ".mneme", tmp_path / "out")
    assert [lesson["task"] for lesson in manifest(tmp_path / "out")["lessons"]] == list(worlds.TASKS)


def test_the_manifest_lists_the_files(exported: Path) -> None:
    listed = {file["file"]: (file["rows"], file["bytes"]) for file in manifest(exported)["files"]}
    assert listed == {path.name: (30, path.stat().st_size) for path in exported.glob("*.parquet")}
    keys = [
        (file["task"], file["modality"], file["head"], file["space"]) for file in manifest(exported)["files"]
    ]
    assert keys == [
        (task, modality, head, head)
        for modality in ("image", "text")
        for head, task in enumerate(worlds.TASKS, 1)
    ]


@pytest.mark.parametrize(
    ("key", "name"),
    [
        (ShardKey("sky", "image", 1, 1), "sky.image.v0001.parquet"),
        (ShardKey("sky", "image", 1, 3), "sky.image.v0001.in-v0003.parquet"),
        (ShardKey("sky", "image", 1, 1, "ab12"), "sky.image.v0001.ab12.parquet"),
        (ShardKey("../a b", "text", 2, 2), "%2E%2E%2Fa%20b.text.v0002.parquet"),
        (ShardKey("a", "x.y", 2, 2), "a.x%2Ey.v0002.parquet"),
    ],
)
def test_the_name_of_a_file_tells_its_shard(key: ShardKey, name: str) -> None:
    assert export.name(key) == name


def test_rows_are_written_a_group_at_a_time(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "BLOCK", 7)
    export.export(trained / ".mneme", tmp_path / "out")
    metadata = pq.read_metadata(tmp_path / "out" / "sky.text.v0001.parquet")
    assert [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)] == [7, 7, 7, 7, 2]
    assert_exported(trained, tmp_path / "out")


def test_an_item_that_is_served_and_not_stored_is_damage(trained: Path, tmp_path: Path) -> None:
    root = worlds.copied(trained, tmp_path)
    with Store(root / ".mneme/store", readonly=False) as store, store.writing() as writer:
        writer.remove_row(next(row.key for row in store.rows() if row.name == "sky5"))
        writer.drop_unused()
    with pytest.raises(UserError, match="an item is missing that rows or shards name"):
        export.export(root / ".mneme", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_export_that_is_cut_short_leaves_nothing(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(*given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(export, "_manifest", cut)
    with pytest.raises(KeyboardInterrupt):
        export.export(trained / ".mneme", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_the_draft_of_an_export_that_was_killed_goes_with_the_next_one(trained: Path, tmp_path: Path) -> None:
    (tmp_path / f".out.{'0f' * 16}").mkdir()
    (tmp_path / f".other.{'0f' * 16}").mkdir()
    export.export(trained / ".mneme", tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"out", f".other.{'0f' * 16}"}


def test_a_manifest_that_is_out_of_date_is_read_again(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = worlds.opened(trained)
    state = now.manifest.served
    old = replace(state, shards=tuple(replace(shard, path="sky/gone") for shard in state.shards))
    states: Iterator[Workspace] = iter(
        [then := replace(now, manifest=replace(now.manifest, served=old)), then, now, now]
    )
    monkeypatch.setattr(snapshot, "open_at", lambda root: next(states))
    assert export.export(trained / ".mneme", tmp_path / "out").rows == 180


# at the command line


def test_export_prints_the_keys_it_promises(run: Run, trained: Path, tmp_path: Path) -> None:
    told = run("export", "out", "-w", trained, "--json")
    assert (told.status, told.err) == (0, "")
    assert set(told.json) == {"format", "files", "rows", "bytes", "seconds"}
    assert told.json["files"] == manifest(tmp_path / "out")["files"]
    assert told.json["bytes"] == sum(path.stat().st_size for path in (tmp_path / "out").iterdir())


def test_export_prints_one_line_for_people(run: Run, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    told = run("export", "out", "-w", trained)
    assert re.fullmatch(r"6 files, 180 rows, 0\.0 MB, \d+\.\d s\n", told.out)


def test_a_folder_that_holds_something_is_left_alone(run: Run, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear all")
    told = run("export", ".", "-w", trained)
    assert is_one_line(told, 1, f"{tmp_path} exists and is not empty: give a new folder")


def test_a_folder_that_cannot_be_made_is_one_line(run: Run, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "letter").write_text("dear all")
    told = run("export", "letter/out", "-w", trained)
    assert is_one_line(told, 1, f"cannot write to {tmp_path}/letter: file exists")


def test_without_anything_indexed_there_is_nothing_to_export(run: Run, trained: Path, tmp_path: Path) -> None:
    run("train", trained / "sky.npz", "-t", "sky", "--epochs", "1")
    told = run("export", "out")
    assert is_one_line(told, 1, "nothing is indexed yet: run `mneme index SOURCE`")


def test_a_path_is_absolute_and_one_that_is_no_utf_8_is_escaped(run: Run, tmp_path: Path) -> None:
    source = colours(tmp_path / "some", "red", "blue")
    (source / "blue.png").rename(os.fsdecode(os.fsencode(source) + b"/\xff.png"))
    run("index", source, "--backbone", "builtin")
    run("export", "out")
    paths = columns(tmp_path / "out", "some.image.v0000.parquet")["path"]
    assert {*paths} == {f"{source}/red.png", f"{source}/\\udcff.png"}


def test_the_files_that_features_are_of_come_back(run: Run, tmp_path: Path) -> None:
    written = {"image": [[1.0, 0.0], [0.0, 1.0]], "path": ["/data/0.jpg", "/data/1.jpg"]}
    pq.write_table(pa.table(written), tmp_path / "vectors.parquet")
    run("index", "vectors.parquet")
    run("export", "out")
    paths = columns(tmp_path / "out", "vectors.image.v0000.parquet")["path"]
    assert {*paths} == {"/data/0.jpg", "/data/1.jpg"}


def test_the_search_that_the_guide_shows_finds_what_mneme_finds(
    trained: Path, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    (shown,) = (block for block in blocks if "pyarrow" in block)
    monkeypatch.chdir(exported.parent)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(shown, "guide.md", "exec"), {})
    text, *lines = printed.getvalue().splitlines()
    with open_searcher(trained / ".mneme") as searcher:
        hits = searcher.search([Input("text", text.encode())], "image", 5, KnownTask("places")).hits
    assert [(line.split()[0], line.split()[1]) for line in lines] == [
        (f"{hit.score:.3f}", hit.id) for hit in hits
    ]
