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
import pyarrow.parquet as pq
import pytest

import worlds
from commands import Run, colours, is_one_line
from engine.ranking.query import Input
from engine.storage.store import Store
from engine.storage.workspace import Workspace
from engine.types import ShardKey
from indexer.serving import export, reindex
from indexer.serving.build import Wanted
from indexer.serving.search import open_index
from indexer.shards import files as shards
from indexer.shards.shard import Shard

GUIDE = Path(__file__).parents[3] / "docs/guide.md"
COLUMNS = ["id", "modality", "task", "tasks", "path", "text", "head", "embedding"]


@pytest.fixture(scope="module")
def exported(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("there") / "not" / "exported"
    export.export(trained / ".mneme", folder)
    return folder


def manifest(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "manifest.json").read_bytes())
    return content


def columns(folder: Path, file: str) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = pq.read_table(folder / file).to_pydict()
    return found


def served(root: Path) -> dict[str, Shard]:
    """Return the shards on disk by the names of their files."""
    workspace = worlds.opened(root)
    backbones = workspace.manifest.backbones
    return {
        export.name(one.key): shards.read(
            workspace.shards / one.path, one.key, backbones[one.key.modality].id
        )
        for one in workspace.manifest.served.shards
    }


def assert_exported(root: Path, folder: Path) -> None:
    """Hold every file beside its shard: the same ids, the same bits."""
    held = served(root)
    assert {path.name for path in folder.iterdir()} == {*held, "manifest.json"}
    for file, one in held.items():
        found = columns(folder, file)
        assert found["id"] == [id.decode() for id in one.ids]
        assert np.array(found["embedding"], np.float32).tobytes() == one.vectors.tobytes()
        assert {*found["head"]} == {one.key.head}


def test_every_shard_comes_back_to_the_bit(trained: Path, exported: Path) -> None:
    assert_exported(trained, exported)


def test_what_was_mapped_and_moved_comes_back_to_the_bit(trained: Path, tmp_path: Path) -> None:
    root = worlds.copied(trained, tmp_path)
    wanted = Wanted(None, {"text-image": "aligned", "image-text": "partial"}, 0.1)
    reindex.reindex(root / ".mneme", wanted)
    export.export(root / ".mneme", tmp_path / "out")
    assert_exported(root, tmp_path / "out")


def test_a_row_says_what_its_embedding_stands_for(exported: Path) -> None:
    found = columns(exported, "sky.text.v0001.parquet")
    assert list(found) == COLUMNS
    assert set(found["text"]) == {row.text for row in worlds.rows("sky")}
    assert ({*found["modality"]}, {*found["task"]}, {*found["path"]}) == ({"text"}, {"sky"}, {None})


def test_an_item_of_two_tasks_names_both(exported: Path) -> None:
    found = columns(exported, "sky.image.v0001.parquet")
    assert sorted(map(len, found["tasks"])) == [1] * 29 + [2]


def test_the_embedding_is_a_list_of_one_width_of_float32(exported: Path) -> None:
    type_ = pq.read_schema(exported / "sky.text.v0001.parquet").field("embedding").type
    assert str(type_) == f"fixed_size_list<element: float>[{worlds.WIDTH}]"


def test_the_manifest_says_how_each_direction_asks_its_files(trained: Path, exported: Path) -> None:
    content, files = manifest(exported), list(served(trained))
    ways = worlds.opened(trained).manifest.served.directions
    assert (content["format"], content["width"]) == (1, worlds.WIDTH)
    assert [(way["query"], way["target"], way["policy"]) for way in content["directions"]] == [
        (way.query, way.target, way.policy) for way in ways
    ]
    assert [[tuple(one.values()) for one in way["asked"]] for way in content["directions"]] == [
        [(files[one.shard], one.queries, one.tau) for one in way.lookups] for way in ways
    ]


def test_the_manifest_lists_the_files(exported: Path) -> None:
    found = {one["file"]: (one["rows"], one["bytes"]) for one in manifest(exported)["files"]}
    assert found == {path.name: (30, path.stat().st_size) for path in exported.glob("*.parquet")}


@pytest.mark.parametrize(
    ("key", "name"),
    [
        (ShardKey("sky", "image", 1, 1), "sky.image.v0001.parquet"),
        (ShardKey("sky", "image", 1, 3), "sky.image.v0001.in-v0003.parquet"),
        (ShardKey("sky", "image", 1, 1, "ab12"), "sky.image.v0001.ab12.parquet"),
        (ShardKey("../a b", "text", 2, 2), "%2E%2E%2Fa%20b.text.v0002.parquet"),
    ],
)
def test_the_name_of_a_file_tells_its_shard(key: ShardKey, name: str) -> None:
    assert export.name(key) == name


def test_rows_are_written_a_group_at_a_time(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "BLOCK", 7)
    export.export(trained / ".mneme", tmp_path / "out")
    told = pq.read_metadata(tmp_path / "out" / "sky.text.v0001.parquet")
    assert [told.row_group(n).num_rows for n in range(told.num_row_groups)] == [7, 7, 7, 7, 2]
    assert_exported(trained, tmp_path / "out")


def test_what_the_store_has_let_go_is_left_out(trained: Path, exported: Path, tmp_path: Path) -> None:
    root = worlds.copied(trained, tmp_path)
    with Store(root / ".mneme/store", readonly=False) as store, store.writing() as writer:
        writer.remove_row(next(row.key for row in store.rows() if row.name == "sky5"))
        writer.drop_unused()
    report = export.export(root / ".mneme", tmp_path / "out")
    found, before = (columns(folder, "sky.text.v0001.parquet") for folder in (tmp_path / "out", exported))
    assert {*before["text"]} - {*found["text"]} == {worlds.rows("sky")[5].text}
    kept = dict(zip(before["id"], before["embedding"], strict=True))
    assert found["embedding"] == [kept[id] for id in found["id"]]
    assert report.rows == 180 - 2


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
    old = replace(state, shards=tuple(replace(one, path="sky/gone") for one in state.shards))
    states: Iterator[Workspace] = iter([replace(now, manifest=replace(now.manifest, served=old)), now])
    monkeypatch.setattr(export, "open_at", lambda root: next(states))
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
    found = columns(tmp_path / "out", "some.image.v0000.parquet")["path"]
    assert {*found} == {f"{source}/red.png", f"{source}/\\udcff.png"}


def test_the_search_that_the_guide_shows_finds_what_mneme_finds(
    trained: Path, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    (shown,) = (block for block in blocks if "pyarrow" in block)
    monkeypatch.chdir(exported.parent)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(shown, "guide.md", "exec"), {})
    text, *lines = said.getvalue().splitlines()
    with open_index(trained / ".mneme") as answers:
        hits = answers.ask([Input("text", text.encode())], "image", 5, task="places").hits
    assert [(line.split()[0], line.split()[1]) for line in lines] == [
        (f"{hit.score:.3f}", hit.id) for hit in hits
    ]
