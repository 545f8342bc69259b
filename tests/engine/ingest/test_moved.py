import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from conftest import FakeBackbone
from engine.ids import item_id
from engine.ingest.encoding import Loader
from engine.ingest.ingest import ingest, preview
from engine.ingest.report import IngestReport
from engine.storage.store import Store


@pytest.fixture
def alps(tmp_path: Path) -> Path:
    """Return a folder of three pictures with a caption each."""
    folder = tmp_path / "alps"
    folder.mkdir()
    for name in ("a", "b", "c"):
        (folder / f"{name}.jpg").write_text(f"photo {name}")
        (folder / f"{name}.txt").write_text(f"caption {name}\n")
    return folder


def counted(report: IngestReport) -> tuple[int, int, int, int, int]:
    """Return added, updated, moved, removed, unchanged."""
    return report.added, report.updated, report.moved, report.removed, report.unchanged


def places(store: Store) -> dict[tuple[str, str], int]:
    """Return how many rows there are by the name of their source and their task."""
    return dict(Counter((Path(row.source).name, row.task) for row in store.rows()))


def renamed(folder: Path, name: str) -> Path:
    return folder.rename(folder.with_name(name))


def test_a_renamed_folder_has_moved_and_keeps_its_task(loader: Loader, alps: Path) -> None:
    ingest(loader, alps)
    tyrol = renamed(alps, "tyrol")
    assert counted(ingest(loader, tyrol)) == (0, 0, 3, 0, 0)
    assert places(loader.store) == {("tyrol", "alps"): 3}


def test_a_renamed_folder_is_foreseen_as_it_is_found(loader: Loader, alps: Path) -> None:
    ingest(loader, alps)
    tyrol = renamed(alps, "tyrol")
    (tyrol / "d.jpg").write_text("photo d")
    assert preview(loader.store, tyrol) == ingest(loader, tyrol)


def test_a_moved_source_is_unchanged_when_it_is_read_again(loader: Loader, alps: Path) -> None:
    ingest(loader, alps)
    tyrol = renamed(alps, "tyrol")
    ingest(loader, tyrol)
    assert counted(ingest(loader, tyrol)) == (0, 0, 0, 0, 3)


def test_nothing_of_a_moved_source_is_decoded_again(
    loader: Loader, alps: Path, backbone: FakeBackbone
) -> None:
    ingest(loader, alps)
    backbone.read.clear()
    ingest(loader, renamed(alps, "tyrol"))
    assert backbone.read == []


def test_an_item_of_a_moved_source_has_its_living_path_alone(loader: Loader, alps: Path) -> None:
    ingest(loader, alps)
    tyrol = renamed(alps, "tyrol")
    ingest(loader, tyrol)
    stored = loader.store.item(item_id("image", b"photo a"))
    assert stored is not None
    assert stored[0].paths == (str(tyrol / "a.jpg"),)


def test_what_is_new_in_a_moved_source_has_its_task(loader: Loader, alps: Path) -> None:
    ingest(loader, alps)
    tyrol = renamed(alps, "tyrol")
    (tyrol / "0.jpg").write_text("first in order")
    assert counted(ingest(loader, tyrol)) == (1, 0, 3, 0, 0)
    (tyrol / "d.jpg").write_text("later")
    assert counted(ingest(loader, tyrol)) == (1, 0, 0, 0, 4)
    assert places(loader.store) == {("tyrol", "alps"): 5}


def test_what_is_gone_from_a_moved_source_is_removed(loader: Loader, alps: Path) -> None:
    ingest(loader, alps)
    tyrol = renamed(alps, "tyrol")
    ingest(loader, tyrol)
    (tyrol / "a.jpg").unlink()
    (tyrol / "a.txt").unlink()
    assert counted(ingest(loader, tyrol)) == (0, 0, 0, 1, 2)


def test_a_file_that_was_edited_while_its_folder_moved_is_updated(loader: Loader, alps: Path) -> None:
    ingest(loader, alps)
    tyrol = renamed(alps, "tyrol")
    (tyrol / "a.jpg").write_text("edited photo")
    assert counted(ingest(loader, tyrol)) == (0, 1, 2, 0, 0)
    assert places(loader.store) == {("tyrol", "alps"): 3}


def test_a_source_may_move_twice_and_back(loader: Loader, alps: Path) -> None:
    ingest(loader, alps)
    for name in ("tyrol", "swiss", "alps"):
        alps = renamed(alps, name)
        assert counted(ingest(loader, alps)) == (0, 0, 3, 0, 0)
    assert places(loader.store) == {("alps", "alps"): 3}
    assert not any(row.inherited for row in loader.store.rows())


def test_rows_that_were_not_met_again_stay_and_are_told(loader: Loader, alps: Path) -> None:
    ingest(loader, alps)
    tyrol = renamed(alps, "tyrol")
    (tyrol / "a.jpg").unlink()
    (tyrol / "a.txt").unlink()
    report = ingest(loader, tyrol)
    assert (counted(report), report.left) == ((0, 0, 2, 0, 0), {str(alps): 1})
    assert places(loader.store) == {("tyrol", "alps"): 2, ("alps", "alps"): 1}


def test_a_copy_of_a_source_that_still_stands_is_added(loader: Loader, alps: Path) -> None:
    ingest(loader, alps)
    copy = alps.with_name("copy")
    copy.mkdir()
    for file in alps.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    assert counted(ingest(loader, copy)) == (3, 0, 0, 0, 0)
    assert places(loader.store) == {("alps", "alps"): 3, ("copy", "copy"): 3}


def test_another_folder_with_the_same_names_is_added(loader: Loader, alps: Path) -> None:
    ingest(loader, alps)
    for file in alps.iterdir():
        file.unlink()
    alps.rmdir()
    other = alps.with_name("other")
    other.mkdir()
    for name in ("a", "b", "c"):
        (other / f"{name}.jpg").write_text(f"other {name}")
    assert counted(ingest(loader, other)) == (3, 0, 0, 0, 0)


def test_a_task_that_is_named_is_kept_where_it_is_named_again(loader: Loader, alps: Path) -> None:
    ingest(loader, alps, task="sky")
    tyrol = renamed(alps, "tyrol")
    assert counted(ingest(loader, tyrol, task="sky")) == (0, 0, 3, 0, 0)
    assert places(loader.store) == {("tyrol", "sky"): 3}


def test_a_task_that_was_named_is_kept_where_none_is_named(loader: Loader, alps: Path) -> None:
    ingest(loader, alps, task="sky")
    tyrol = renamed(alps, "tyrol")
    assert counted(ingest(loader, tyrol)) == (0, 0, 3, 0, 0)
    assert counted(ingest(loader, tyrol)) == (0, 0, 0, 0, 3)
    assert places(loader.store) == {("tyrol", "sky"): 3}


def test_of_two_tasks_the_default_one_stays_the_default(loader: Loader, alps: Path) -> None:
    ingest(loader, alps, task="a task before it by name")
    ingest(loader, alps)
    tyrol = renamed(alps, "tyrol")
    report = ingest(loader, tyrol)
    assert (counted(report), report.left) == ((0, 0, 3, 0, 0), {str(alps): 3})
    ingest(loader, tyrol, task="a task before it by name")
    assert places(loader.store) == {("tyrol", "alps"): 3, ("tyrol", "a task before it by name"): 3}


def test_another_task_that_is_named_is_added(loader: Loader, alps: Path) -> None:
    ingest(loader, alps)
    tyrol = renamed(alps, "tyrol")
    assert counted(ingest(loader, tyrol, task="tyrol")) == (3, 0, 0, 0, 0)
    assert places(loader.store) == {("alps", "alps"): 3, ("tyrol", "tyrol"): 3}


def test_a_source_that_has_a_default_task_of_its_own_keeps_it(loader: Loader, alps: Path) -> None:
    tyrol = alps.with_name("tyrol")
    tyrol.mkdir()
    (tyrol / "own.jpg").write_text("photo of tyrol")
    ingest(loader, alps)
    ingest(loader, tyrol)
    for file in alps.iterdir():
        file.rename(tyrol / file.name)
    alps.rmdir()
    assert counted(ingest(loader, tyrol)) == (3, 0, 0, 0, 1)


def test_a_renamed_table_and_its_media_have_moved(loader: Loader, tmp_path: Path) -> None:
    folder = tmp_path / "one"
    folder.mkdir()
    rows = [{"image": f"{name}.jpg", "text": f"caption {name}", "task": "sky"} for name in ("a", "b")]
    for row in rows:
        (folder / row["image"]).write_text(row["image"])
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    ingest(loader, folder / "rows.jsonl")
    other = renamed(folder, "two")
    assert counted(ingest(loader, other / "rows.jsonl")) == (0, 0, 2, 0, 0)
    assert {path for row in loader.store.rows() for path in row.files.values()} == {
        str(other / "a.jpg"),
        str(other / "b.jpg"),
    }


def test_a_renamed_features_file_has_moved(store: Store, tmp_path: Path) -> None:
    loader = Loader(store, lambda modality: FakeBackbone(spec="features", id="features"))
    np.savez(tmp_path / "sky.npz", image=np.eye(3, 8, dtype=np.float32), id=["a", "b", "c"])
    ingest(loader, tmp_path / "sky.npz")
    clouds = (tmp_path / "sky.npz").rename(tmp_path / "clouds.npz")
    assert counted(ingest(loader, clouds)) == (0, 0, 3, 0, 0)
    assert places(store) == {("clouds.npz", "sky"): 3}


def test_a_move_that_was_cut_short_is_completed(loader: Loader, alps: Path) -> None:
    ingest(loader, alps)
    tyrol = renamed(alps, "tyrol")
    (tyrol / "b.jpg").rename(tyrol / "aside")
    ingest(loader, tyrol)
    (tyrol / "aside").rename(tyrol / "b.jpg")
    ingest(loader, tyrol)
    assert places(loader.store) == {("tyrol", "alps"): 3}
