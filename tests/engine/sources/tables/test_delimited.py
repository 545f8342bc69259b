import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import Unreadable, UserError
from engine.sources.tables.delimited import open_delimited
from engine.sources.tables.values import LIMITS, Limits, Table

CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=12)


def table(folder: Path, content: str | bytes, name: str = "rows.csv", limits: Limits = LIMITS) -> Table:
    data = content.encode() if isinstance(content, str) else content
    (folder / name).write_bytes(data)
    return open_delimited(folder / name, limits)


def read(opened: Table) -> list[tuple[int, object]]:
    return [(number, str(row) if isinstance(row, Unreadable) else row) for number, row in opened.rows()]


@given(rows=st.lists(st.tuples(CELLS, CELLS), max_size=6))
def test_whatever_a_csv_writer_writes_is_read_as_it_was(
    rows: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([("first", "second"), *rows])
    opened = table(tmp_path_factory.mktemp("csv"), text.getvalue())
    expected = [{k: v for k, v in zip(("first", "second"), row, strict=True) if v.strip()} for row in rows]
    # a space after a separator is no part of a cell; a row of nothing is no row
    cells = [
        {k: str(v).lstrip(" ") for k, v in row.items()} for _, row in read(opened) if isinstance(row, dict)
    ]
    kept = [{k: v.lstrip(" ") for k, v in row.items()} for row in expected]
    assert [row for row in cells if row] == [row for row in kept if row]


@given(
    rows=st.lists(
        st.sampled_from(["a,b", '"a","b"', 'a,"b', "a,b,c", '"a" x,b', "a", 'x,5" disc']), max_size=8
    )
)
def test_a_damaged_row_costs_no_other_row(rows: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    lines = [line for row in rows for line in (row, "good,row")]
    opened = table(tmp_path_factory.mktemp("csv"), "\n".join(["first,second", *lines]) + "\n")
    good = [number for number, row in read(opened) if row == {"first": "good", "second": "row"}]
    assert good == [3 + 2 * n for n in range(len(rows))]


def test_a_quote_that_is_never_closed_costs_its_row(tmp_path: Path) -> None:
    opened = table(tmp_path, 'text\n"a dog\na cat\na bird\n')
    assert read(opened) == [
        (2, "a quote in it is never closed"),
        (3, {"text": "a cat"}),
        (4, {"text": "a bird"}),
    ]


def test_a_quote_that_another_row_closes_costs_its_row_alone(tmp_path: Path) -> None:
    opened = table(tmp_path, 'n,text\n1,"the end\n2,"six cows"\n3,four birds\n')
    assert [number for number, row in read(opened) if isinstance(row, dict)] == [3, 4]


def test_a_cell_may_go_on_over_lines(tmp_path: Path) -> None:
    opened = table(tmp_path, 'n,text\n1,"a dog,\n\nand a cat"\n2,b\n')
    assert read(opened) == [(2, {"n": "1", "text": "a dog,\n\nand a cat"}), (5, {"n": "2", "text": "b"})]


def test_in_a_tsv_a_quote_is_a_quote(tmp_path: Path) -> None:
    opened = table(tmp_path, 'n\ttext\n1\t"the end\n2\ta 12" record\n', "rows.tsv")
    assert read(opened) == [(2, {"n": "1", "text": '"the end'}), (3, {"n": "2", "text": 'a 12" record'})]


def test_cells_of_a_tsv_that_begin_and_end_with_quotes_are_counted(tmp_path: Path) -> None:
    opened = table(tmp_path, 'n\ttext\n1\t"a ""red"" bus"\n"2"\t"\n3\t"a, b"\n', "rows.tsv")
    assert next(row for _, row in read(opened)) == {"n": "1", "text": '"a ""red"" bus"'}
    assert opened.notes == [
        "3 cells of rows.tsv begin and end with quotes, which are kept: "
        "where these are a spreadsheet's, save it as CSV"
    ]


def test_quotes_around_cells_of_a_csv_are_not_noted(tmp_path: Path) -> None:
    opened = table(tmp_path, 'n,text\n1,"""a"""\n2,"b, c"\n')
    assert [len(read(opened)), opened.notes] == [2, []]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_utf_16_without_a_mark_is_refused_as_what_it_looks_like(
    tmp_path: Path, encoding: str, end: str
) -> None:
    with pytest.raises(
        UserError, match="looks like UTF-16 without a mark at its beginning: save the file as UTF-8"
    ):
        table(tmp_path, f"text,labels{end}a dog,pet{end}".encode(encoding))


@pytest.mark.parametrize("line", ["a\rdog,b", "a\r\rb,c"])
def test_a_line_end_in_a_cell_is_told_in_words_of_the_file(tmp_path: Path, line: str) -> None:
    opened = table(tmp_path, f"text,labels\n{line}\na cat,pet\n")
    assert read(opened) == [
        (2, "not CSV: a line end in a cell without quotes"),
        (3, {"text": "a cat", "labels": "pet"}),
    ]
    with pytest.raises(UserError, match=r"names no columns: a line end in a cell without quotes$"):
        table(tmp_path, f"{line}\na,b\n")


def test_columns_without_a_name_that_hold_nothing_are_none(tmp_path: Path) -> None:
    opened = table(tmp_path, "text;labels;;\na cat;pet;;\na dog;pet;; \n")
    assert [row for _, row in read(opened)] == [
        {"text": "a cat", "labels": "pet"},
        {"text": "a dog", "labels": "pet"},
    ]
    assert [*opened.columns] == ["text", "labels"]


@pytest.mark.parametrize(("separator", "name"), [(";", "semicolons"), ("\t", "tabs"), ("|", "bars")])
def test_other_separators_are_taken_with_a_note(tmp_path: Path, separator: str, name: str) -> None:
    opened = table(tmp_path, f"file_name{separator}text\na.jpg{separator}a dog\n")
    assert read(opened) == [(2, {"file_name": "a.jpg", "text": "a dog"})]
    assert opened.notes == [f"rows.csv separates its columns by {name}"]


def test_spaces_around_names_and_before_cells_are_no_part_of_them(tmp_path: Path) -> None:
    assert read(table(tmp_path, 'file_name, text\na.jpg, "a dog, asleep"\n')) == [
        (2, {"file_name": "a.jpg", "text": "a dog, asleep"})
    ]


def test_a_spreadsheets_utf_16_is_read(tmp_path: Path) -> None:
    assert read(table(tmp_path, "text\ncafé\n".encode("utf-16"))) == [(2, {"text": "café"})]


def test_a_byte_that_is_no_utf8_costs_its_row(tmp_path: Path) -> None:
    assert read(table(tmp_path, b"text\na\ncaf\xe9\nb\n")) == [
        (2, {"text": "a"}),
        (3, "not UTF-8: save the file as UTF-8 (in Excel as `CSV UTF-8`)"),
        (4, {"text": "b"}),
    ]


def test_blank_lines_are_no_rows_and_an_empty_cell_is_not_there(tmp_path: Path) -> None:
    assert read(table(tmp_path, "a,b\n\n1,\n  \n,2\n")) == [(3, {"a": "1"}), (5, {"b": "2"})]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "it is empty"),
        ("\n\n", "its first line names no columns"),
        ("a,b,a\n", "two columns are called 'a'"),
        ('a,"b\n1,2\n', "its first line names no columns: unexpected end of data"),
        (b"caf\xe9,text\n1,2\n", "its first line, which names the columns, is not UTF-8"),
    ],
)
def test_a_table_without_names_is_a_user_error(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        table(tmp_path, content)


def test_more_rows_or_columns_than_allowed_are_a_user_error_that_names_the_limit(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has more rows than are read; the limit is `max_rows=1`"):
        read(table(tmp_path, "a\n1\n2\n", limits=Limits(max_rows=1)))
    with pytest.raises(UserError, match=r"has 3 columns; the limit is `max_width=2`"):
        table(tmp_path, "a,b,c\n1,2,3\n", limits=Limits(max_width=2))


def test_half_a_character_of_utf_16_costs_its_row(tmp_path: Path) -> None:
    data = "text\na\n".encode("utf-16") + b"\x00\xd8" + "b\nc\n".encode("utf-16-le")
    assert [row for _, row in read(table(tmp_path, data))] == [{"text": "a"}, "not UTF-16", {"text": "c"}]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"file_name,text\ra.png,a cat\r", 2),
        (b"sep=;\r\nfile_name;text\r\na.png;a cat\r\n", 3),
        (b'\xef\xbb\xbf"sep=\t"\nfile_name\ttext\na.png\ta cat\n', 3),
    ],
    ids=["carriage returns", "semicolons", "tabs"],
)
def test_what_spreadsheets_write_is_read(tmp_path: Path, content: bytes, line: int) -> None:
    assert read(table(tmp_path, content)) == [(line, {"file_name": "a.png", "text": "a cat"})]


def test_names_that_are_not_utf_8_are_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is not UTF-8: save the file as UTF-8 \(in Excel as `CSV UTF-8`\)$"):
        table(tmp_path, "text,cl\xe9\na cat,1\n".encode("latin-1"))
