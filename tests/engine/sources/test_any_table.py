"""Of a table of any content each row is read as it was written, or reported; an odd row costs no other."""

import csv
import datetime
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from accounts import differences
from made_tables import ARROW, CELLS, JSON, NAMES, NUMPY, WORDS, arrow, examples
from outcomes import Outcome, outcome

UNKNOWN = datetime.date.min
"""Stands for what Python has no value for; it must be kept as something."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tables")


def unaccounted(
    came: Outcome, written: Mapping[int, Mapping[str, Any]], *, literal: bool = False
) -> list[str]:
    """Return the rows of which nobody tells, and the values that rows do not hold."""
    lost = [f"row {number}" for number in written if not (number in came.rows or came.tells_of(number))]
    return lost + [
        f"{name!r} of row {number}"
        for number, cells in written.items()
        if number in came.rows
        for name in differences(came.rows[number], cells, literal=literal)
        if not came.is_noted(name)
    ]


# JSON lines

GOOD = st.fixed_dictionaries(
    {"text": WORDS, "labels": st.lists(WORDS, max_size=2), "note": st.text(max_size=3)}
)
ODD = st.dictionaries(NAMES, JSON, max_size=5)


@examples(30)
@given(lines=st.lists(st.one_of(GOOD, ODD, st.binary(max_size=12)), max_size=8))
def test_every_line_of_json_is_read_or_reported(lines: Sequence[Any], folder: Path) -> None:
    written = {number: line for number, line in enumerate(lines, start=1) if isinstance(line, dict)}
    good = {number: {**line, "id": f"row {number}"} for number, line in written.items() if "note" in line}
    written |= good
    data = [
        json.dumps(written[number]).encode() if number in written else line.replace(b"\n", b" ")
        for number, line in enumerate(lines, start=1)
    ]
    (folder / "rows.jsonl").write_bytes(b"\n".join(data) + b"\n")
    came = outcome(folder / "rows.jsonl")
    assert unaccounted(came, written) == []
    assert [number for number, line in good.items() if {*line} == {"id", "text", "labels", "note"}] == [
        number for number in good if number in came.rows
    ]


# CSV and TSV


@st.composite
def delimited(draw: st.DrawFn) -> tuple[str, bytes, dict[int, dict[str, str]], list[int]]:
    """Draw a table: its suffix, its bytes, what it says by line, and the lines that are good."""
    suffix, separator = draw(
        st.sampled_from([(".csv", ","), (".csv", ";"), (".csv", "\t"), (".csv", "|"), (".tsv", "\t")])
    )
    is_tsv, end = suffix == ".tsv", draw(st.sampled_from(["\n", "\r\n"]))
    quoting: Literal[0, 1] = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    odd = draw(st.lists(NAMES.filter(lambda name: not {*"\0\r\n\ufffd"} & {*name}), max_size=4))
    names = ["text", "labels", "url", *(name.strip() for name in odd)]
    assume(len({*names}) == len(names) and not (is_tsv and {*"\t"} & {*"".join(names)}))
    text = io.StringIO(newline="")

    def write(cells: Sequence[str]) -> list[str]:
        if is_tsv:
            cells = [cell.replace("\n", " ").replace("\t", " ") for cell in cells]
            text.write(separator.join(cells) + end)
        else:
            csv.writer(text, delimiter=separator, lineterminator=end, quoting=quoting).writerow(cells)
        return [*cells]

    write(names)
    said: dict[int, dict[str, str]] = {}
    good: list[int] = []
    called = [name or f"column {number}" for number, name in enumerate(names, start=1)]
    for kind in draw(st.lists(st.sampled_from(["good", "odd", "raw"]), max_size=7)):
        line = text.getvalue().count("\n") + 1
        if kind == "raw":
            text.write(draw(CELLS).replace("\n", " ") + end)
            continue
        if kind == "good":
            cells = [draw(WORDS), draw(WORDS).replace(";", "."), draw(CELLS), *[""] * len(odd)]
            good.append(line)
        else:
            cells = ["x", *draw(st.lists(CELLS, max_size=len(names)))]
        said[line] = dict(zip(called, write(cells), strict=False))
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
    return suffix, text.getvalue().encode(encoding), said, good


@examples(30)
@given(table=delimited())
def test_every_row_of_a_delimited_table_is_read_or_reported(
    table: tuple[str, bytes, dict[int, dict[str, str]], list[int]], folder: Path
) -> None:
    suffix, data, said, good = table
    (folder / f"rows{suffix}").write_bytes(data)
    came = outcome(folder / f"rows{suffix}")
    # spaces before a cell without quotes are no part of it
    spaceless = {line: {name: cell.lstrip(" ") for name, cell in row.items()} for line, row in said.items()}
    assert {*unaccounted(came, said, literal=True)} & {*unaccounted(came, spaceless, literal=True)} == set()
    assert [line for line in good if line not in came.rows] == []


# Parquet and npz


@examples(20)
@given(
    rows=st.integers(0, 5),
    kinds=st.dictionaries(NAMES, st.sampled_from([*ARROW]), max_size=4),
    base=st.sampled_from(["text", "image_embedding"]),
    data=st.data(),
)
def test_every_row_of_a_parquet_file_is_read_or_reported(
    rows: int, kinds: Mapping[str, str], base: str, data: st.DataObject, folder: Path
) -> None:
    columns = {
        name: arrow(kind, data.draw(st.lists(st.none() | ARROW[kind][1], min_size=rows, max_size=rows)))
        for name, kind in kinds.items()
        if not any("\ud800" <= letter <= "\udfff" for letter in name)
    }
    columns[base] = pa.array(
        [f"row {n}" if base == "text" else [n + 0.5, 1.0] for n in range(rows)],
        pa.string() if base == "text" else pa.list_(pa.float32()),
    )
    pq.write_table(pa.table(columns), folder / "rows.parquet", row_group_size=2)
    came = outcome(folder / "rows.parquet")
    written = [{name: of_arrow(column[row]) for name, column in columns.items()} for row in range(rows)]
    assert unaccounted(came, dict(enumerate(written, start=1))) == []


def of_arrow(cell: Any) -> Any:
    try:
        return cell.as_py()
    except (ValueError, OverflowError):
        return UNKNOWN


@examples(20)
@given(
    rows=st.integers(0, 4),
    kinds=st.dictionaries(
        NAMES.filter(lambda name: name != "file" and not {*"\0/"} & {*name}),
        st.tuples(st.sampled_from([*NUMPY]), st.sampled_from([(), (1,), (2,), (3,)]), st.sampled_from("CF")),
        max_size=4,
    ),
    base=st.sampled_from(["text", "image_embedding"]),
    save=st.sampled_from([np.savez, np.savez_compressed]),
    data=st.data(),
)
def test_every_row_of_an_npz_is_read_or_reported(
    rows: int, kinds: Mapping[str, Any], base: str, save: Any, data: st.DataObject, folder: Path
) -> None:
    columns: dict[str, Any] = {}
    for name, (kind, more, order) in kinds.items():
        type_, values = NUMPY[kind]
        size = rows * int(np.prod(more))
        drawn = data.draw(st.lists(values, min_size=size, max_size=size))
        columns[name] = np.array(drawn, type_).reshape((rows, *more), order=order)
    columns[base] = np.array([f"row {n}" for n in range(rows)], "U9")
    if base != "text":
        columns[base] = np.arange(2 * rows, dtype=np.float32).reshape(rows, 2)
    with (folder / "rows.npz").open("wb") as file:
        save(file, **columns)
    came = outcome(folder / "rows.npz")
    written = [{name: of_numpy(column[row]) for name, column in columns.items()} for row in range(rows)]
    assert unaccounted(came, dict(enumerate(written, start=1))) == []


def of_numpy(value: Any) -> Any:
    if isinstance(value, np.datetime64 | np.timedelta64):
        return None if np.isnat(value) else UNKNOWN
    if isinstance(value, np.ndarray):
        return [of_numpy(part) for part in value]
    if isinstance(value, np.longdouble):
        return float(value)
    return list(value.item()) if isinstance(value, np.void) else value.item()
