import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.errors import UserError
from engine.sources import open_source
from engine.sources.base import Row
from engine.sources.cells import INSIDE
from engine.types import Skipped


def lay(folder: Path, *rows: dict[str, object]) -> None:
    folder.mkdir(parents=True)
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def shard(path: Path, *texts: str, **columns: list[object]) -> None:
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table({"text": list(texts), **columns}), path)


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
    with pytest.raises(UserError, match=r"features of image have 3 numbers in test and 2 in train: "):
        open_source(tmp_path)


@pytest.mark.parametrize("place", ["", "data"])
def test_parquet_files_named_after_splits_are_one_source(tmp_path: Path, place: str) -> None:
    folder = tmp_path / place
    for name, text in (("train-00000-of-00002", "a"), ("train-00001-of-00002-0a1b", "b")):
        shard(folder / f"{name}.parquet", text, text + text)
    shard(folder / "validation-00000-of-00001.parquet", "c")
    shard(folder / "test-00000-of-00001.parquet", "d")
    assert [(row.split, row.texts) for row in read(tmp_path)] == [
        ("test", ("d",)),
        ("train", ("a",)),
        ("train", ("aa",)),
        ("train", ("b",)),
        ("train", ("bb",)),
        ("val", ("c",)),
    ]
    assert (open_source(tmp_path).count(), open_source(tmp_path).notes) == (6, [])


def test_rows_of_one_number_in_two_parquet_files_are_two_rows(tmp_path: Path) -> None:
    for part in (0, 1):
        shard(tmp_path / f"train-0000{part}-of-00002.parquet", "a", image_embedding=[[0.5, float(part)]])
    assert [row.name for row in read(tmp_path)] == [
        "train-00000-of-00002/row 1",
        "train-00001-of-00002/row 1",
    ]


def test_a_split_of_which_a_parquet_file_is_missing_and_what_stands_beside_is_noted(tmp_path: Path) -> None:
    shard(tmp_path / "data" / "train-00000-of-00003.parquet", "a")
    shard(tmp_path / "data" / "unsupervised-00000-of-00001.parquet", "b")
    (tmp_path / "README.md").touch()
    assert open_source(tmp_path).notes == [
        "of the 3 files of train 2 are missing",
        "what is no file of a split is not read: README.md, unsupervised-00000-of-00001.parquet",
    ]


def test_a_parquet_file_among_pictures_that_is_only_called_like_a_split_is_none(tmp_path: Path) -> None:
    shard(tmp_path / "test.parquet", "a")
    (tmp_path / "a.jpg").touch()
    assert [row.name for row in read(tmp_path)] == ["a.jpg"]


def test_what_is_said_of_rows_counts_those_of_all_splits(tmp_path: Path) -> None:
    for name in ("train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001"):
        image = [{"path": "a.jpg", "bytes": b"x"}] * 2
        shard(tmp_path / f"{name}.parquet", "a", "b", image=[*image])
    collection = open_source(tmp_path)
    assert len(list(collection.rows())) == 6
    (said,) = collection.notes
    assert said.startswith("column 'image': 6 rows have their media in the table itself")


def test_a_row_that_has_nothing_is_not_said_to_hold_its_medium_as_one_of_another_split_does(
    tmp_path: Path,
) -> None:
    lay(tmp_path / "test", {"text": "a"}, {"image": {"path": "a.jpg", "bytes": None}})
    lay(tmp_path / "train", {"text": "b"}, {"image": None})
    why = [row.reason for row in open_source(tmp_path).rows() if isinstance(row, Skipped)]
    assert why == [f"its medium is {INSIDE}", "names no medium and no text"]
