from pathlib import Path

import pytest

from engine.storage import files


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fill_and_fail(path: Path) -> None:
    with files.new_folder(path) as draft:
        (draft / "a.json").write_text("new")
        raise KeyError("a crash")


def test_a_checksum_changes_with_the_bytes() -> None:
    assert files.checksum(b"a") != files.checksum(b"b")


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("old")
    files.replace(tmp_path / "a.json", b"new")
    assert (tmp_path / "a.json").read_bytes() == b"new"
    assert names(tmp_path) == ["a.json"]


def test_a_reader_keeps_the_file_it_has_open(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("old")
    with (tmp_path / "a.json").open() as file:
        files.replace(tmp_path / "a.json", b"new")
        assert file.read() == "old"


def test_a_new_folder_is_not_seen_before_it_is_whole(tmp_path: Path) -> None:
    with files.new_folder(tmp_path / "deep" / "v1") as draft:
        (draft / "a.json").write_text("new")
        assert not (tmp_path / "deep" / "v1").exists()
    assert names(tmp_path / "deep") == ["v1"]
    assert (tmp_path / "deep" / "v1" / "a.json").read_text() == "new"


def test_a_folder_that_could_not_be_finished_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        fill_and_fail(tmp_path / "v1")
    assert names(tmp_path) == []


def test_a_folder_that_could_not_be_finished_leaves_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "v1").mkdir()
    (tmp_path / "v1" / "a.json").write_text("old")
    with pytest.raises(KeyError):
        fill_and_fail(tmp_path / "v1")
    assert (tmp_path / "v1" / "a.json").read_text() == "old"


def test_a_new_folder_takes_the_place_of_an_orphan(tmp_path: Path) -> None:
    (tmp_path / "v1").mkdir()
    (tmp_path / "v1" / "orphan").touch()
    with files.new_folder(tmp_path / "v1") as draft:
        (draft / "a.json").touch()
    assert names(tmp_path / "v1") == ["a.json"]


def test_drafts_of_files_and_folders_are_dropped_at_any_depth(tmp_path: Path) -> None:
    (tmp_path / "shards" / f".v1.{'0' * 32}").mkdir(parents=True)
    (tmp_path / "shards" / f".v1.{'0' * 32}" / "half").touch()
    (tmp_path / f".workspace.json.{'a' * 32}").touch()
    files.drop_drafts(tmp_path)
    assert names(tmp_path) == ["shards"]
    assert names(tmp_path / "shards") == []


def test_what_is_no_draft_is_kept(tmp_path: Path) -> None:
    (tmp_path / "workspace.json").touch()
    (tmp_path / ".hidden").touch()
    (tmp_path / f"shard-{'0' * 32}").touch()
    files.drop_drafts(tmp_path)
    assert len(names(tmp_path)) == 3
