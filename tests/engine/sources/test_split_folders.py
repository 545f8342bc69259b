import json
from pathlib import Path

import pytest

from engine.errors import UserError
from engine.sources import open_source
from engine.sources.base import Row


def lay(folder: Path, *rows: dict[str, object]) -> None:
    folder.mkdir(parents=True)
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def read(folder: Path) -> list[Row]:
    return [row for row in open_source(folder).rows() if isinstance(row, Row)]


def test_each_folder_is_the_split_of_its_rows(tmp_path: Path) -> None:
    for name in ("train", "validation", "test"):
        lay(tmp_path / name, {"file_name": "a.jpg", "text": name})
    assert [(row.split, row.texts, row.media["image"]) for row in read(tmp_path)] == [
        ("test", ("test",), tmp_path / "test" / "a.jpg"),
        ("train", ("train",), tmp_path / "train" / "a.jpg"),
        ("val", ("validation",), tmp_path / "validation" / "a.jpg"),
    ]
    assert open_source(tmp_path).count() == 3


@pytest.mark.parametrize(
    ("name", "split"), [("dev", "val"), ("val", "val"), ("valid", "val"), ("testing", "test")]
)
def test_splits_go_by_the_names_in_use(tmp_path: Path, name: str, split: str) -> None:
    lay(tmp_path / name, {"text": "a"})
    assert [row.split for row in read(tmp_path)] == [split]


def test_a_row_that_names_its_split_keeps_it(tmp_path: Path) -> None:
    lay(tmp_path / "train", {"text": "a", "split": "test"})
    assert [row.split for row in read(tmp_path)] == ["test"]


def test_equal_ids_of_two_splits_are_two_rows(tmp_path: Path) -> None:
    lay(tmp_path / "train", {"id": "7", "text": "a"})
    lay(tmp_path / "test", {"id": "7", "text": "b"})
    assert [(row.name, row.id) for row in read(tmp_path)] == [("test/7", "7"), ("train/7", "7")]


def test_what_is_to_be_said_of_several_splits_is_said_once(tmp_path: Path) -> None:
    for name in ("train", "test"):
        lay(tmp_path / name, {"file_name": "a.jpg", "caption": "a"})
    assert open_source(tmp_path).notes == ["column 'caption' is read as text"]


def test_a_folder_of_folders_without_metadata_is_a_folder_of_media(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "a.jpg").touch()
    assert [row.split for row in read(tmp_path)] == [None]


def test_splits_of_features_by_two_encoders_are_refused(tmp_path: Path) -> None:
    lay(tmp_path / "train", {"image_embedding": [0.5, 1.0]})
    lay(tmp_path / "test", {"image_embedding": [0.5, 1.0, 2.0]})
    with pytest.raises(UserError, match=r"features of image have 3 numbers in test/ and 2 in train/: "):
        open_source(tmp_path)
