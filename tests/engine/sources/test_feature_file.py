import io
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.errors import UserError
from engine.sources import open_source
from engine.sources.base import Collection, Row
from engine.sources.tables.values import Limits, SourceOptions
from engine.types import Skipped

IMAGES = np.arange(6, dtype=np.float32).reshape(2, 3)
SOUNDS = np.arange(4, dtype=np.float32).reshape(2, 2)


class Bomb:
    """What would make a file if it were ever unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[Path]]:
        return Path.touch, (self.path,)


def npz(folder: Path, columns: Mapping[str, Any]) -> Collection:
    with (folder / "rows.npz").open("wb") as file:
        np.savez(file, **columns)
    return open_source(folder / "rows.npz")


def parquet(folder: Path, columns: Mapping[str, Any]) -> Collection:
    pq.write_table(pa.table(dict(columns)), folder / "rows.parquet")
    return open_source(folder / "rows.parquet")


def rows(collection: Collection) -> list[Row]:
    rows = [row for row in collection.rows() if isinstance(row, Row)]
    assert len(rows) == collection.count()
    return rows


def features(row: Row) -> dict[str, list[float]]:
    return {modality: array.tolist() for modality, array in row.features.items()}


def reason(collection: Collection, line: int) -> str:
    """Return why this row, and it alone, is skipped."""
    (skipped,) = (row for row in collection.rows() if isinstance(row, Skipped))
    assert (skipped.path, skipped.line) == (str(collection.source), line)
    return skipped.reason


# what a row says


def test_arrays_are_rows_of_every_modality(tmp_path: Path) -> None:
    first, second = rows(npz(tmp_path, {"image": IMAGES, "depth": SOUNDS}))
    assert features(first) == {"image": [0, 1, 2], "depth": [0, 1]}
    assert features(second) == {"image": [3, 4, 5], "depth": [2, 3]}


def test_the_widths_of_what_it_brings_are_known_at_once(tmp_path: Path) -> None:
    assert npz(tmp_path, {"image": IMAGES, "depth": SOUNDS}).widths == {"image": 3, "depth": 2}


def test_columns_of_strings_say_the_rest(tmp_path: Path) -> None:
    said = {"id": ["a", "b"], "task": ["sky", "life"], "split": ["val", "test"], "text": ["A", "B "]}
    columns = {name: np.array(values) for name, values in said.items()}
    _, row = rows(npz(tmp_path, {"image": IMAGES, "labels": np.array(["dog", "cat"]), **columns}))
    assert (row.name, row.id, row.task, row.split) == ("b", "b", "life", "test")
    assert (row.texts, row.labels, row.line) == (("B",), ("cat",), 2)


def test_a_row_may_have_several_texts_and_labels(tmp_path: Path) -> None:
    columns = {"text": np.array([["a", "b"], ["c", "c"]]), "labels": np.array([["x", "y"], ["x", "z"]])}
    first, second = rows(npz(tmp_path, {"image": IMAGES, **columns}))
    assert (first.texts, second.texts) == (("a", "b"), ("c",))
    assert (first.labels, second.labels) == (("x", "y"), ("x", "z"))


def test_labels_may_be_whole_numbers(tmp_path: Path) -> None:
    first, second = rows(npz(tmp_path, {"image": IMAGES, "labels": np.array([3, 7])}))
    assert (first.labels, second.labels) == (("3",), ("7",))


def test_ids_and_tasks_may_be_whole_numbers_and_texts_bytes(tmp_path: Path) -> None:
    columns = {"id": np.array([3, 7]), "task": np.array([0, 1]), "text": np.array([b"a cat", b"a dog"])}
    said = [(row.id, row.task, row.texts) for row in rows(npz(tmp_path, {"image": IMAGES, **columns}))]
    assert said == [("3", "0", ("a cat",)), ("7", "1", ("a dog",))]


def test_rows_without_id_are_named_by_their_number(tmp_path: Path) -> None:
    assert [row.name for row in rows(npz(tmp_path, {"image": IMAGES}))] == ["row 1", "row 2"]


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int8, np.uint8, np.int64])
def test_numbers_of_any_type_are_kept_as_float32(tmp_path: Path, dtype: type[np.number[Any]]) -> None:
    first, _ = rows(npz(tmp_path, {"image": IMAGES.astype(dtype)}))
    assert first.features["image"].dtype == np.float32


def test_other_columns_are_passed_over(tmp_path: Path) -> None:
    first, _ = rows(npz(tmp_path, {"image": IMAGES, "year": np.array([1999, 2001])}))
    assert first.features.keys() == {"image"}


def test_rows_of_nan_alone_lack_the_modality_and_are_counted(tmp_path: Path) -> None:
    images = IMAGES.copy()
    images[1] = np.nan
    collection = npz(tmp_path, {"image": images, "depth": SOUNDS})
    assert [sorted(row.features) for row in rows(collection)] == [["depth", "image"], ["depth"]]
    assert collection.notes == ["1 row holds NaN alone as image and is read without it, like row 2"]


def test_a_row_of_nan_alone_that_has_nothing_else_is_skipped(tmp_path: Path) -> None:
    images = IMAGES.copy()
    images[1] = np.nan
    assert reason(npz(tmp_path, {"image": images}), 2) == "no features in it"


def test_an_array_that_means_nothing_and_has_other_rows_is_left_out_and_noted(tmp_path: Path) -> None:
    collection = npz(tmp_path, {"image": IMAGES, "centers": np.ones((3, 2)), "version": np.array(1)})
    assert collection.widths == {"image": 3}
    assert collection.notes == [
        "array 'centers' is left out: it has 3 rows, and 'image' has 2",
        "array 'version' is left out: it is a single value, and 'image' has 2 rows",
    ]


# parquet


@pytest.mark.parametrize(
    "type_",
    [
        *(pa.list_(pa.float32()), pa.large_list(pa.float64()), pa.list_(pa.float32(), 3)),
        *(pa.list_(pa.float16()), pa.list_(pa.int8()), pa.list_(pa.uint8(), 3)),
    ],
    ids=str,
)
def test_lists_of_numbers_are_a_modality(tmp_path: Path, type_: pa.DataType) -> None:
    collection = parquet(tmp_path, {"image": pa.array(list(IMAGES.astype(np.float16)), type_)})
    assert [features(row) for row in rows(collection)] == [{"image": [0, 1, 2]}, {"image": [3, 4, 5]}]


def test_tensors_are_a_modality(tmp_path: Path) -> None:
    collection = parquet(tmp_path, {"image": pa.FixedShapeTensorArray.from_numpy_ndarray(IMAGES)})
    assert [features(row) for row in rows(collection)] == [{"image": [0, 1, 2]}, {"image": [3, 4, 5]}]


@pytest.mark.parametrize("type_", [pa.list_(pa.float32()), pa.list_(pa.float32(), 2)], ids=str)
def test_null_is_a_missing_modality(tmp_path: Path, type_: pa.DataType) -> None:
    images = pa.array([None, [1.0, 2.0], [3.0, 4.0]], type_)
    sounds = pa.array([[5.0], [6.0], None], pa.list_(pa.float32()))
    first, second, third = rows(parquet(tmp_path, {"image": images, "audio": sounds}))
    assert features(first) == {"audio": [5]}
    assert features(second) == {"image": [1, 2], "audio": [6]}
    assert features(third) == {"image": [3, 4]}


def test_a_column_of_nulls_alone_is_no_modality(tmp_path: Path) -> None:
    columns = {"image": pa.array([[1.0, 2.0]]), "audio": pa.array([None], pa.list_(pa.float32()))}
    assert parquet(tmp_path, columns).widths == {"image": 2}


def test_a_null_string_is_as_if_it_were_not_there(tmp_path: Path) -> None:
    columns = {name: [None, "train"] for name in ("id", "task", "split", "text", "labels")}
    first, _ = rows(parquet(tmp_path, {"image": [[1.0], [2.0]], **columns}))
    assert first == Row("row 1", line=1, features=first.features)


def test_an_id_that_is_the_number_of_another_row_is_no_repetition(tmp_path: Path) -> None:
    assert len(rows(parquet(tmp_path, {"image": [[1.0], [2.0]], "id": ["1", None]}))) == 2


def test_a_list_of_texts_is_several_texts(tmp_path: Path) -> None:
    (row,) = rows(parquet(tmp_path, {"image": [[1.0]], "text": [["a", "b"]]}))
    assert row.texts == ("a", "b")


def test_a_null_among_the_numbers_of_a_row_is_not_a_number(tmp_path: Path) -> None:
    collection = parquet(tmp_path, {"image": [[1.0, 2.0], [None, 3.0]]})
    assert reason(collection, 2) == "image holds NaN or infinite numbers"


def test_a_row_of_another_width_is_skipped(tmp_path: Path) -> None:
    collection = parquet(tmp_path, {"image": [[1.0], [2.0, 3.0]]})
    assert reason(collection, 2) == "2 numbers where other rows have 1"


def test_what_is_no_parquet_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "rows.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(UserError, match=r"^cannot read .*rows\.parquet: "):
        open_source(tmp_path / "rows.parquet")


# why a row is skipped


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_row_with_a_number_that_is_none_is_skipped(tmp_path: Path, value: float) -> None:
    images = IMAGES.copy()
    images[1, 2] = value
    assert reason(npz(tmp_path, {"image": images}), 2) == "image holds NaN or infinite numbers"


def test_a_number_too_large_for_float32_is_infinite(tmp_path: Path) -> None:
    assert (
        reason(npz(tmp_path, {"image": np.array([[1.0], [1e300]])}), 2)
        == "image holds NaN or infinite numbers"
    )


def test_a_row_that_lacks_every_modality_is_skipped(tmp_path: Path) -> None:
    assert reason(parquet(tmp_path, {"image": [[], [1.0, 2.0]]}), 1) == "no features in it"


STORED = pa.array([{"bytes": b"\xff", "path": "a.png"}, {"bytes": b"\xff", "path": "b.png"}])


def test_a_medium_in_a_table_is_read_from_the_path_it_had_or_told(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    collection = parquet(tmp_path, {"image": STORED, "text": ["a cat", "a dog"]})
    first, second = rows(collection)
    assert (first.media, second.media) == ({"image": tmp_path / "a.png"}, {})
    assert collection.notes == [
        "column 'image': 1 row has its medium in the table itself, which is not read: save each as a file "
        "(the first is row 2)"
    ]


@pytest.mark.parametrize(
    ("column", "why"),
    [
        (pa.array([b"\x89PNG"]), "holds media themselves, which are not read: save them as files"),
        (pa.array([[True, False]]), "is left out: it holds lists of bool, and features are lists of numbers"),
        (
            pa.array([[[1.0]]]),
            "is left out: it holds lists of list<element: double>, and features are lists of numbers",
        ),
    ],
    ids=["bytes", "booleans", "nested"],
)
def test_a_column_that_is_no_medium_and_no_features_costs_no_other(
    tmp_path: Path, column: pa.Array, why: str
) -> None:
    collection = parquet(tmp_path, {"image": column, "text": ["a cat"]})
    assert [row.texts for row in rows(collection)] == [("a cat",)]
    assert collection.notes == [f"column 'image' {why}"]
    with pytest.raises(UserError, match=r"has no column of media, texts or features; column 'image' "):
        parquet(tmp_path, {"image": column})


@pytest.mark.parametrize(
    ("name", "values", "why"),
    [
        ("id", ["a", "a"], "id 'a' stands in an earlier row too"),
        ("id", ["a", ""], "id must be 1 to 200 printable characters"),
        ("task", ["sky", "all"], "a task cannot be called 'all'"),
        ("split", ["train", "devel"], "split 'devel' is none of train, val, test"),
        ("text", ["a cat", " "], "blank text"),
    ],
)
def test_a_bad_value_skips_its_row(tmp_path: Path, name: str, values: list[str], why: str) -> None:
    assert reason(npz(tmp_path, {"image": IMAGES, name: np.array(values)}), 2) == why


def test_a_text_that_is_not_a_string_skips_its_row(tmp_path: Path) -> None:
    collection = npz(tmp_path, {"image": IMAGES[:1], "text": np.array([3])})
    assert reason(collection, 1) == "text is not a string"


# what no row can be read from


def test_an_array_of_objects_is_never_unpickled(tmp_path: Path) -> None:
    bomb = np.array([Bomb(tmp_path / "fired"), None])
    with pytest.raises(UserError, match=r"^cannot read .*rows\.npz: Object arrays cannot be loaded"):
        npz(tmp_path, {"image": IMAGES, "text": bomb})
    assert not (tmp_path / "fired").exists()


def test_an_array_of_objects_that_means_nothing_is_left_out_with_a_note(tmp_path: Path) -> None:
    bomb = np.array([Bomb(tmp_path / "fired"), None])
    collection = npz(tmp_path, {"image": IMAGES, "extra": bomb})
    assert len(list(collection.rows())) == 2
    assert collection.notes == ["array 'extra' is left out: it would have to be unpickled"]
    assert not (tmp_path / "fired").exists()


def test_a_file_that_is_cut_short_says_so(tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", image=IMAGES)
    os.truncate(tmp_path / "rows.npz", 100)
    with pytest.raises(UserError, match=r"rows\.npz: it is cut short, or not what numpy\.savez writes$"):
        open_source(tmp_path / "rows.npz")


def test_rows_that_are_not_aligned_are_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"rows\.npz: rows are not aligned: image 2, audio 1, text 2$"):
        npz(tmp_path, {"image": IMAGES, "audio": SOUNDS[:1], "text": np.array(["a", "b"])})


@pytest.mark.parametrize("shape", [(2,), (2, 3, 4), (2, 0), ()])
def test_an_array_that_is_no_rows_of_features_is_a_user_error(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"image has shape \(.*\); give rows of features \(N, D\)$"):
        npz(tmp_path, {"image": np.zeros(shape, np.float32)})


def test_a_single_value_for_all_rows_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"rows\.npz: task is a single value: give one a row$"):
        npz(tmp_path, {"image": IMAGES, "task": np.array("sky")})


def test_a_file_without_features_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"has no column of media, texts or features, but 'labels'; columns that"
    ):
        npz(tmp_path, {"labels": np.array(["a", "b"])})


def test_a_modality_that_could_not_be_shown_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^no modality can be called 'a\\nb': it must be 1 to 255 printable"):
        npz(tmp_path, {"a\nb": IMAGES})


def test_a_lone_array_under_the_name_of_several_is_a_user_error(tmp_path: Path) -> None:
    with (tmp_path / "rows.npz").open("wb") as file:
        np.save(file, IMAGES)
    with pytest.raises(UserError, match=r"is a lone array: write it with numpy\.savez"):
        open_source(tmp_path / "rows.npz")


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 and no more", b"no zip at all"])
def test_what_is_no_npz_is_a_user_error(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "rows.npz").write_bytes(data)
    with pytest.raises(UserError, match=r"^cannot read .*rows\.npz: "):
        open_source(tmp_path / "rows.npz")


def test_an_npz_with_damaged_numbers_is_a_user_error(tmp_path: Path) -> None:
    file = io.BytesIO()
    np.savez_compressed(file, image=np.random.default_rng(0).random((50, 30), np.float32))
    data = bytearray(file.getvalue())
    data[400:420] = bytes(20)
    (tmp_path / "rows.npz").write_bytes(data)
    rows_read: list[Row | Skipped] = []
    with pytest.raises(UserError, match=r"^cannot read .*rows\.npz beyond row 0: "):
        rows_read.extend(open_source(tmp_path / "rows.npz").rows())
    assert rows_read == []


def test_a_zip_of_something_else_is_a_user_error(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "rows.npz", "w") as file:
        file.writestr("letter.txt", "dear all")
    with pytest.raises(UserError, match="has no column of media, texts or features"):
        open_source(tmp_path / "rows.npz")


@pytest.mark.parametrize("type_", [np.int64, np.float32, np.bool_])
def test_labels_may_be_a_row_of_zeros_and_ones_of_any_type(tmp_path: Path, type_: type[Any]) -> None:
    ones = np.array([[0, 1, 1], [1, 0, 0]]).astype(type_)
    assert [row.labels for row in rows(npz(tmp_path, {"image": IMAGES, "labels": ones}))] == [
        ("1", "2"),
        ("0",),
    ]
    columns = {
        "image": list(IMAGES),
        "labels": pa.array(ones.tolist(), pa.list_(pa.from_numpy_dtype(type_), 3)),
    }
    assert [row.labels for row in rows(parquet(tmp_path, columns))] == [("1", "2"), ("0",)]


def test_an_array_that_is_stored_by_columns_is_read_by_rows(tmp_path: Path) -> None:
    by_columns = np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3))
    assert [features(row) for row in rows(npz(tmp_path, {"image": by_columns}))] == [
        {"image": [0, 1, 2]},
        {"image": [3, 4, 5]},
    ]


def test_two_columns_of_one_name_are_a_user_error(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    pq.write_table(table, tmp_path / "rows.parquet")
    with pytest.raises(UserError, match=r"rows\.parquet: two columns are called 'text'$"):
        open_source(tmp_path / "rows.parquet")


LIMITED = [(Limits(max_bytes=1 << 20), "unpacks to .* bytes"), (Limits(max_width=999), "1000 numbers a row")]


@pytest.mark.parametrize(("limits", "message"), LIMITED)
@pytest.mark.parametrize("form", ["npz", "parquet"])
def test_more_than_is_read_is_refused_by_what_the_file_says_of_itself(
    tmp_path: Path, form: str, limits: Limits, message: str
) -> None:
    zeros, path = np.zeros((1000, 1000), np.float32), tmp_path / f"rows.{form}"
    if form == "npz":
        np.savez_compressed(path, image=zeros)
    else:
        pq.write_table(pa.table({"image": pa.FixedShapeTensorArray.from_numpy_ndarray(zeros)}), path)
    assert path.stat().st_size < 1 << 18
    with pytest.raises(UserError, match=f"{message}; the limit is `max_.*`, which can be raised$"):
        open_source(path, SourceOptions(limits=limits))


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("image", np.ones((2, 3), np.complex64)),
        ("Image_Embedding", np.ones((2, 3), np.complex64)),
        ("image", np.ones(2, np.complex64)),
        ("audio", np.array([["a", "b"], ["c", "d"]])),
        ("image", np.zeros((2, 3), "M8[s]")),
        ("text", np.ones((2, 3), np.complex64)),
    ],
)
def test_features_of_what_are_no_real_numbers_are_a_user_error(
    tmp_path: Path, name: str, array: np.ndarray[Any, Any]
) -> None:
    with pytest.raises(UserError) as raised:
        npz(tmp_path, {name: array, "label": ["a", "b"]})
    path = tmp_path / "rows.npz"
    kind = "words" if array.dtype.kind == "U" else array.dtype
    assert str(raised.value) == f"{path}: {name} holds {kind}; features are real numbers"


def test_words_that_are_paths_or_texts_are_no_features(tmp_path: Path) -> None:
    collection = npz(tmp_path, {"image": ["a.jpg", "b.jpg"], "text": [["a", "b"], ["c", "d"]]})
    assert [row.texts for row in rows(collection)] == [("a", "b"), ("c", "d")]


def test_columns_that_are_told_to_be_read_are_those_that_can_be(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="columns that are read are: ") as raised:
        parquet(tmp_path, {"words": ["a"]})
    assert "video" not in str(raised.value)
