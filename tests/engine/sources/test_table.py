import csv
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.errors import UserError
from engine.ids import item_id
from engine.sources import open_source
from engine.sources.base import Row
from engine.sources.tables import json_lines
from engine.types import Skipped


def read(source: Path) -> list[Row | Skipped]:
    return list(open_source(source).rows())


def of_lines(folder: Path, *lines: str | bytes) -> list[Row | Skipped]:
    path = folder / "rows.jsonl"
    path.write_bytes(b"\n".join(line.encode() if isinstance(line, str) else line for line in lines))
    return read(path)


def of_fields(folder: Path, fields: dict[str, Any]) -> Row:
    (row,) = of_lines(folder, json.dumps(fields))
    assert isinstance(row, Row), row
    return row


def reason(folder: Path, fields: object) -> str:
    """Return why a row is skipped that stands between two good ones."""
    first, skipped, last = of_lines(folder, '{"text": "first"}', json.dumps(fields), '{"text": "last"}')
    assert isinstance(first, Row)
    assert isinstance(last, Row)
    assert isinstance(skipped, Skipped), skipped
    assert (skipped.path, skipped.line) == (str(folder / "rows.jsonl"), 2)
    return skipped.reason


def of_table(folder: Path, name: str, *rows: list[str]) -> list[Row | Skipped]:
    text = io.StringIO()
    csv.writer(text, delimiter="\t" if name.endswith("tsv") else ",").writerows(rows)
    (folder / name).write_text(text.getvalue(), newline="")
    return read(folder / name)


# what a row says


def test_a_row_of_every_field(tmp_path: Path) -> None:
    fields = {"id": "a1", "task": "sky", "split": "val", "labels": ["dog", "cat"], "text": "a dog", "more": 1}
    assert of_fields(tmp_path, {**fields, "image": "a.jpg", "audio": "b.wav"}) == Row(
        "a1",
        line=1,
        id="a1",
        task="sky",
        split="val",
        labels=("dog", "cat"),
        media={"image": tmp_path / "a.jpg", "audio": tmp_path / "b.wav"},
        texts=("a dog",),
        other={"more": 1},
    )


def test_file_name_goes_by_its_suffix(tmp_path: Path) -> None:
    assert of_fields(tmp_path, {"file_name": "deep/b.wav"}).media == {"audio": tmp_path / "deep" / "b.wav"}


def test_text_and_texts_are_taken_together_each_once(tmp_path: Path) -> None:
    assert of_fields(tmp_path, {"text": "a", "texts": ["b", "a ", "c"]}).texts == ("a", "b", "c")


def test_a_string_for_texts_is_one_text(tmp_path: Path) -> None:
    assert of_fields(tmp_path, {"texts": "a cat"}).texts == ("a cat",)


def test_a_string_for_labels_is_one_label(tmp_path: Path) -> None:
    assert of_fields(tmp_path, {"text": "a cat", "labels": "cat"}).labels == ("cat",)


def test_texts_are_composed(tmp_path: Path) -> None:
    assert of_fields(tmp_path, {"text": "cafe\u0301"}).texts == ("caf\u00e9",)


def test_a_medium_alone_is_a_row(tmp_path: Path) -> None:
    assert of_fields(tmp_path, {"image": "a.jpg", "texts": []}).texts == ()


def test_null_for_task_and_split_is_as_if_they_were_not_there(tmp_path: Path) -> None:
    row = of_fields(tmp_path, {"text": "a", "task": None, "split": None})
    assert (row.task, row.split) == (None, None)


def test_numbers_serve_as_id_task_and_labels(tmp_path: Path) -> None:
    row = of_fields(tmp_path, {"text": "a", "id": 391895, "task": 2, "labels": [0, 2]})
    assert (row.id, row.task, row.labels) == ("391895", "2", ("0", "2"))


def test_null_is_not_there_wherever_it_stands(tmp_path: Path) -> None:
    row = of_fields(
        tmp_path, {"image": "a.jpg", "audio": None, "id": None, "texts": ["a", None], "labels": [None]}
    )
    assert (list(row.media), row.id, row.texts, row.labels) == (["image"], None, ("a",), ())


def test_a_medium_may_be_the_folders_own_link(tmp_path: Path) -> None:
    (tmp_path / "b.jpg").touch()
    (tmp_path / "a.jpg").symlink_to("b.jpg")
    assert of_fields(tmp_path, {"image": "a.jpg"}).media == {"image": tmp_path / "a.jpg"}


# names


def test_a_row_without_id_is_named_by_its_media(tmp_path: Path) -> None:
    assert of_fields(tmp_path, {"image": "a.jpg", "text": "a"}).name == str(tmp_path / "a.jpg")


def test_a_row_of_text_alone_is_named_by_it(tmp_path: Path) -> None:
    assert of_fields(tmp_path, {"text": "a"}).name == item_id("text", b"a")


def test_rows_of_one_picture_are_told_apart(tmp_path: Path) -> None:
    rows = of_lines(tmp_path, '{"image": "a.jpg", "text": "a"}', '{"image": "a.jpg", "text": "b"}')
    assert len({row.name for row in rows if isinstance(row, Row)}) == 2


def test_the_second_row_of_an_id_is_skipped(tmp_path: Path) -> None:
    first, second = of_lines(tmp_path, '{"id": "a", "text": "x"}', '{"id": "a", "text": "y"}')
    assert isinstance(first, Row)
    assert second == Skipped(str(tmp_path / "rows.jsonl"), "id 'a' stands in an earlier row too", 2)


def test_a_skipped_row_does_not_take_its_id(tmp_path: Path) -> None:
    _, second = of_lines(tmp_path, '{"id": "a", "text": ""}', '{"id": "a", "text": "y"}')
    assert isinstance(second, Row)


@pytest.mark.parametrize(
    ("said", "split"), [("training", "train"), ("Validation", "val"), (" dev ", "val"), ("test", "test")]
)
def test_a_split_has_any_of_its_usual_names(tmp_path: Path, said: str, split: str) -> None:
    assert of_fields(tmp_path, {"text": "a", "split": said}).split == split


def test_a_path_with_spaces_around_it_is_the_file_without_them(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"")
    row = of_fields(tmp_path, {"image": " a.jpg "})
    assert row.media == {"image": tmp_path / "a.jpg"}


# paths as Windows writes them


def test_a_path_of_windows_is_read_where_only_that_leads_to_a_file(tmp_path: Path) -> None:
    (tmp_path / "img").mkdir()
    (tmp_path / "img" / "a.jpg").touch()
    (tmp_path / "b\\c.jpg").touch()
    names = ("img\\a.jpg", "b\\c.jpg", "img\\z.jpg")
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"file_name": name}) + "\n" for name in names))
    collection = open_source(tmp_path / "rows.jsonl")
    paths = [row.media["image"] for row in collection.rows() if isinstance(row, Row)]
    assert paths == [tmp_path / "img" / "a.jpg", tmp_path / "b\\c.jpg", tmp_path / "img\\z.jpg"]
    assert collection.notes == ["1 path is read with / for \\ between folders, like img\\a.jpg"]


@pytest.mark.parametrize("name", ["..\\secret.jpg", "\\etc\\passwd", "img\\..\\..\\secret.jpg"])
def test_a_path_of_windows_does_not_lead_out_of_the_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.jpg").touch()
    (tmp_path / "source" / "img").mkdir(parents=True)
    assert reason(tmp_path / "source", {"image": name}) == "leaves the source's folder"


# why a row is skipped


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ([1], "not a JSON object"),
        ("text", "not a JSON object"),
        ({}, "names no medium and no text"),
        ({"sentiment": "a"}, "names no medium and no text"),
        ({"text": ""}, "blank text"),
        ({"image": "a.jpg", "text": " "}, "blank text"),
        ({"image": "a.jpg", "texts": ["good", " "]}, "blank text"),
        ({"text": 1}, "text is not a string"),
        ({"texts": ["good", 2]}, "text is not a string"),
        ({"text": {"a": 1}}, "text is not a string"),
        ({"text": "\ud800"}, "text holds a lone surrogate, which is no character"),
        ({"text": "a", "labels": [[1]]}, "label is not a string"),
        ({"text": "a", "id": {"of": 17}}, "id is not a string"),
        ({"text": "a", "id": ""}, "id must be 1 to 200 printable characters"),
        ({"text": "a", "id": "x" * 201}, "id must be 1 to 200 printable characters"),
        ({"text": "a", "id": "a\nb"}, "id must be 1 to 200 printable characters"),
        ({"text": "a", "split": "trian"}, "split 'trian' is none of train, val, test"),
        ({"text": "a", "split": 0}, "split 0 is none of train, val, test"),
        ({"text": "a", "task": ["sky"]}, "task is not a string"),
        ({"text": "a", "task": " "}, "task must be 1 to 255 printable characters"),
        ({"text": "a", "task": "図" * 256}, "task must be 1 to 255 printable characters"),
        ({"text": "a", "task": "a\x1b[31m"}, "task must be 1 to 255 printable characters"),
        ({"text": "a", "task": ".."}, "a task cannot be called '..'"),
        ({"text": "a", "task": "all"}, "a task cannot be called 'all'"),
        ({"image": None}, "names no medium and no text"),
        ({"image": ""}, "image is not a path"),
        ({"audio": 3}, "audio is not a path"),
        ({"image": "a\0.jpg"}, "image is not a path"),
        ({"image": "\ud800.jpg"}, "its path cannot be followed"),
        ({"image": "http://example.org/a.jpg"}, "image is an address; only files are read"),
        ({"image": "/etc/passwd"}, "image is an absolute path; give it relative to the source"),
        ({"file_name": "/a.jpg"}, "file_name is an absolute path; give it relative to the source"),
        ({"image": "../a.jpg"}, "leaves the source's folder"),
        ({"image": "deep/../../a.jpg"}, "leaves the source's folder"),
        ({"file_name": "a.doc"}, ".doc is no medium that can be read"),
        ({"file_name": "README"}, "README is no medium that can be read"),
        ({"video": "a.mp4"}, "videos cannot be read"),
    ],
)
def test_a_bad_row_is_skipped_with_its_line_and_the_reason(tmp_path: Path, fields: object, why: str) -> None:
    assert reason(tmp_path, fields) == why


def test_a_path_through_a_link_out_of_the_folder_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "out").symlink_to("..")
    assert reason(tmp_path / "source", {"image": "out/secret.jpg"}) == "leaves the source's folder"


def test_a_path_through_a_ring_of_links_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "ring").symlink_to("ring")
    assert reason(tmp_path, {"image": "ring/a.jpg"}) == "its path cannot be followed"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"{not json}", "not JSON: "),
        (b'{"text": "cut', "not JSON: "),
        (b'{"text": "caf\xe9"}', "not UTF-8"),
        (b'{\0"\0t\0"\0:\0"\0a\0"\0}\0', "not UTF-8, but like UTF-16: save the file as UTF-8"),
        (b'{"text": "a", "score": NaN}', "NaN is not JSON"),
        (b'{"text": "a", "score": -Infinity}', "-Infinity is not JSON"),
        (b"[" * 100_000 + b"]" * 100_000, "nested too deeply"),
        (b'{"text": "a", "n": ' + b"9" * 5_000 + b"}", "not JSON: "),
    ],
    ids=["garbage", "cut", "latin-1", "utf-16", "nan", "infinity", "deep", "long number"],
)
def test_a_line_that_is_no_json_is_skipped_alone(tmp_path: Path, line: bytes, why: str) -> None:
    first, skipped, last = of_lines(tmp_path, '{"text": "first"}', line, '{"text": "last"}')
    assert isinstance(first, Row)
    assert isinstance(skipped, Skipped)
    assert isinstance(last, Row)
    assert (skipped.line, skipped.reason[: len(why)]) == (2, why)


# lines


def test_a_byte_order_mark_and_windows_line_ends_are_no_part_of_a_row(tmp_path: Path) -> None:
    rows = of_lines(tmp_path, b'\xef\xbb\xbf{"text": "a"}\r', b'{"text": "b"}\r', b"")
    assert [row.texts for row in rows if isinstance(row, Row)] == [("a",), ("b",)]


def test_blank_lines_count_but_are_no_rows(tmp_path: Path) -> None:
    rows = of_lines(tmp_path, "", "   ", '{"text": "a"}', "", '{"text": "b"}')
    assert [row.line for row in rows] == [3, 5]


def test_a_line_over_the_limit_ends_the_run_with_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_lines, "MAX_LINE", 1 << 20)
    with pytest.raises(UserError, match=r"rows\.jsonl line 2 is longer than 1 MiB$"):
        of_lines(tmp_path, '{"text": "a"}', '{"text": "' + "a" * (1 << 20) + '"}')


def test_the_progress_bar_expects_the_lines(tmp_path: Path) -> None:
    of_lines(tmp_path, '{"text": "a"}', '{"text": "b"}', "")
    assert open_source(tmp_path / "rows.jsonl").count() == 2


# tables


@pytest.mark.parametrize("name", ["rows.csv", "rows.tsv"])
def test_a_table_of_every_field(tmp_path: Path, name: str) -> None:
    header = ["id", "task", "split", "labels", "image", "text"]
    (row,) = of_table(tmp_path, name, header, ["a1", "sky", "val", "dog; cat", "a.jpg", "a dog, a cat"])
    assert row == Row(
        "a1",
        line=2,
        id="a1",
        task="sky",
        split="val",
        labels=("dog", "cat"),
        media={"image": tmp_path / "a.jpg"},
        texts=("a dog, a cat",),
    )


def test_a_table_may_begin_with_a_byte_order_mark_and_have_windows_line_ends(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes(b"\xef\xbb\xbffile_name,text\r\na.jpg,a cat\r\n")
    (row,) = read(tmp_path / "rows.csv")
    assert isinstance(row, Row)
    assert (row.media, row.texts) == ({"image": tmp_path / "a.jpg"}, ("a cat",))


def test_an_empty_cell_is_as_if_it_were_not_there(tmp_path: Path) -> None:
    (row,) = of_table(
        tmp_path, "rows.csv", ["id", "task", "split", "image", "text"], ["", "", "", "a.jpg", ""]
    )
    assert row == Row(str(tmp_path / "a.jpg"), line=2, media={"image": tmp_path / "a.jpg"})


def test_a_bad_row_of_a_table_is_skipped_with_its_line(tmp_path: Path) -> None:
    _, bad, _ = of_table(
        tmp_path, "rows.csv", ["image", "text"], ["a.jpg", "a"], ["/a.jpg", "b"], ["b.jpg", "c"]
    )
    assert isinstance(bad, Skipped)
    assert (bad.line, bad.reason) == (3, "image is an absolute path; give it relative to the source")


def test_a_row_of_more_cells_than_columns_is_refused(tmp_path: Path) -> None:
    _, bad, _ = of_table(tmp_path, "rows.csv", ["text"], ["a"], ["a", "b", "c"], ["d"])
    assert bad == Skipped(
        str(tmp_path / "rows.csv"), "3 cells for 1 columns: put quotes around one that holds ','", 3
    )


def test_a_caption_of_several_lines_is_one_cell(tmp_path: Path) -> None:
    first, second = of_table(tmp_path, "rows.csv", ["text"], ["a\nb"], ["c"])
    assert isinstance(first, Row)
    assert isinstance(second, Row)
    assert (first.texts, second.texts) == (("a\nb",), ("c",))


def test_a_row_that_is_not_utf8_is_skipped_alone(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes("text\na tea\na café\na pub\n".encode("latin-1"))
    first, bad, last = read(tmp_path / "rows.csv")
    assert bad == Skipped(
        str(tmp_path / "rows.csv"), "not UTF-8: save the file as UTF-8 (in Excel as `CSV UTF-8`)", 3
    )
    assert [row.texts for row in (first, last) if isinstance(row, Row)] == [("a tea",), ("a pub",)]


# which file


@pytest.mark.parametrize("name", ["metadata.jsonl", "metadata.csv"])
def test_a_folder_with_metadata_is_exactly_its_rows(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.jpg").touch()
    (tmp_path / "b.jpg").touch()
    (tmp_path / name).write_text('{"image": "a.jpg"}' if name.endswith("jsonl") else "image\na.jpg\n")
    (row,) = read(tmp_path)
    assert isinstance(row, Row)
    assert row.media == {"image": tmp_path / "a.jpg"}


@pytest.mark.parametrize("name", ["ROWS.CSV", "rows.Tsv"])
def test_a_suffix_counts_in_either_case(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("text\na cat\n")
    (row,) = read(tmp_path / name)
    assert isinstance(row, Row)
    assert row.texts == ("a cat",)


def test_rows_of_json_are_read_under_their_other_suffix(tmp_path: Path) -> None:
    (tmp_path / "rows.ndjson").write_text('{"text": "a cat"}\n')
    (row,) = read(tmp_path / "rows.ndjson")
    assert isinstance(row, Row)
    assert row.texts == ("a cat",)


@pytest.mark.parametrize(
    ("content", "advice"),
    [
        ('{"text": "a"}\n{"text": "b"}\n', "it has a JSON value a line: call it .jsonl"),
        ('[{"text": "a"}]', "rows of your own are read from .jsonl, one a line"),
    ],
)
def test_rows_in_a_json_are_refused_with_the_name_to_give_them(
    tmp_path: Path, content: str, advice: str
) -> None:
    (tmp_path / "rows.json").write_text(content)
    with pytest.raises(UserError, match=rf"rows\.json.*{advice}$"):
        open_source(tmp_path / "rows.json")


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no device without end")
@pytest.mark.parametrize("suffix", ["jsonl", "csv", "tsv", "npz", "parquet", "json", "txt"])
@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")], ids=["pipe", "link"])
def test_what_may_never_end_is_refused_unopened(
    tmp_path: Path, make: Callable[[Path], object], suffix: str
) -> None:
    make(tmp_path / f"rows.{suffix}")
    with pytest.raises(UserError, match=rf"rows\.{suffix}.*: not a regular file$"):
        open_source(tmp_path / f"rows.{suffix}")


def test_the_source_of_metadata_in_a_folder_is_the_folder(tmp_path: Path) -> None:
    (tmp_path / "scenes").mkdir()
    (tmp_path / "scenes" / "metadata.jsonl").touch()
    collection = open_source(tmp_path / "scenes")
    assert (collection.source, collection.default_task) == (tmp_path / "scenes", "scenes")


def test_a_metadata_file_is_a_task_of_its_name(tmp_path: Path) -> None:
    (tmp_path / "sky.jsonl").touch()
    assert open_source(tmp_path / "sky.jsonl").default_task == "sky"


def test_a_source_is_known_by_its_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sky.jsonl").touch()
    monkeypatch.chdir(tmp_path)
    assert open_source(Path("./x/../sky.jsonl")).source == tmp_path / "sky.jsonl"


@pytest.mark.parametrize("name", ["all", "a\nb", "a\u202eb"])
def test_a_source_whose_name_cannot_be_a_task_asks_for_one(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(UserError, match="name one with `task`"):
        _ = open_source(tmp_path / name).default_task


def test_a_missing_source_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError) as raised:
        open_source(tmp_path / "scenes")
    assert str(raised.value) == f"no such file or folder: {tmp_path / 'scenes'}"


def test_a_file_of_another_kind_is_a_user_error_that_says_which_there_are(tmp_path: Path) -> None:
    (tmp_path / "rows.doc").touch()
    with pytest.raises(UserError) as raised:
        open_source(tmp_path / "rows.doc")
    assert str(raised.value) == (
        f"{tmp_path / 'rows.doc'} is no source: give a folder, a .jsonl, .csv, .tsv, .npz or .parquet file, "
        "or the captions of COCO (.json) or Flickr (.txt)"
    )


# columns of any row


def test_a_box_beside_a_picture_is_a_field_and_the_picture_is_read(tmp_path: Path) -> None:
    row = of_fields(tmp_path, {"image": "a.jpg", "text": "a dog", "bbox": [0.5, 1.0, 2.5, 3.0]})
    assert (row.media, row.texts, row.features) == ({"image": tmp_path / "a.jpg"}, ("a dog",), {})
    assert row.other == {"bbox": [0.5, 1.0, 2.5, 3.0]}


def test_a_column_that_json_lines_bring_late_is_read(tmp_path: Path) -> None:
    lines = ['{"text": "a"}'] * 150 + ['{"image": "a.jpg", "labels": [3], "mood": "fine"}']
    *_, last = of_lines(tmp_path, *lines)
    assert isinstance(last, Row)
    assert (last.media, last.labels, last.other) == ({"image": tmp_path / "a.jpg"}, ("3",), {"mood": "fine"})


def test_fields_of_other_names_in_every_row_are_kept_and_few_are_noted(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(
        "".join(f'{{"text": "t{n}", "field{n}": {n}}}\n' for n in range(3000))
    )
    collection = open_source(tmp_path / "rows.jsonl")
    rows = [row for row in collection.rows() if isinstance(row, Row)]
    assert rows[2999].other == {"field2999": 2999}
    assert len(collection.notes) < 60


@pytest.mark.parametrize("values", [[0.5, 2.0], [1, 2]])
def test_features_may_stand_in_json_lines(tmp_path: Path, values: list[float]) -> None:
    row = of_fields(tmp_path, {"id": 7, "image_embedding": values})
    assert (row.id, row.features["image"].tolist()) == ("7", values)


def test_a_number_that_is_none_is_not_there(tmp_path: Path) -> None:
    (row,) = of_lines(tmp_path, '{"text": "a", "size": 1e999}')
    assert isinstance(row, Row), row
    assert row.other == {}
