"""CSV and TSV, whose damaged rows cost themselves alone."""

import csv
import re
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from engine.errors import Unreadable, UserError
from engine.ids import counted
from engine.sources.tables.columns import is_known
from engine.sources.tables.values import Limits, Line, Table, over, regular

MAX_LINE = 16 << 20
MAX_LINES = 1000
"""A quoted cell may go on over so many lines."""

CURE = ": save the file as UTF-8 (in Excel as `CSV UTF-8`)"

SAID = re.compile(r'"?sep=([^\w\s"]|\t)"? *', re.IGNORECASE)
"""A line before the names by which Excel is told what separates cells."""

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}


def open_delimited(path: Path, limits: Limits) -> Table:
    """Open a CSV, or a TSV, in which a quote is a quote; its first line names the columns."""
    encoding, end = _encoding(regular(path)), _end(path)
    with path.open("rb") as file:
        total = max(0, sum(piece.count(end) for piece in iter(lambda: file.read(1 << 20), b"")) - 1)
    usual = "\t" if path.suffix.lower() == ".tsv" else ","
    begin, first, separator = _head(path, _lines(path, encoding, end), usual)
    literal = separator == usual == "\t"
    names = _names(path, first, separator, literal)
    if len(names) > limits.max_width:
        raise over("max_width", limits.max_width, f"{path} has {len(names)} columns")
    notes = (
        []
        if separator == usual
        else [f"{path.name} separates its columns by {SEPARATORS.get(separator, separator)}"]
    )
    if encoding != "utf-8" and path.stat().st_size % 2:
        notes.append(f"{path.name} is UTF-16 of which a byte is missing")

    def rows() -> Iterator[Line]:
        lines = (line for line in _lines(path, encoding, end) if line[0] >= begin)
        records = _records(lines, len(names), separator, literal)
        next(records)  # the names
        long: list[int] = []
        quoted = 0
        for count, (number, cells) in enumerate(records, start=1):
            if count > limits.max_rows:
                raise over("max_rows", limits.max_rows, f"{path} has more rows than are read")
            if isinstance(cells, Unreadable):
                yield number, cells
            else:
                if any("\n" in cell for cell in cells):
                    long.append(number)
                quoted += literal and sum(map(_is_quoted, cells))
                pairs = zip(names, cells, strict=False)
                yield number, {name: cell for name, cell in pairs if cell.strip()}
        notes.extend(_notes_of_rows(path, long, quoted))

    # of columns without a name, rows bring those that hold anything
    columns = [name for name, given in names.items() if given]
    return Table(dict.fromkeys(columns), total, rows, notes, literal=True)


def _notes_of_rows(path: Path, long: Sequence[int], quoted: int) -> Iterator[str]:
    """Yield what to say of rows that go on over several lines, and of cells whose quotes are kept."""
    if long:
        said = counted(len(long), f"row of {path.name} goes", f"rows of {path.name} go")
        yield f"{said} on over several lines, like line {long[0]}"
    if quoted:
        said = counted(quoted, f"cell of {path.name} begins and ends", f"cells of {path.name} begin and end")
        yield f"{said} with quotes, which are kept: where these are a spreadsheet's, save it as CSV"


def _is_quoted(cell: str) -> bool:
    """Say whether a cell is one that a spreadsheet may have put quotes around, which are none of it in a CSV."""
    return len(cell) > 1 and cell[0] == cell[-1] == '"'


def _head(path: Path, lines: Iterator[tuple[int, str | Unreadable]], usual: str) -> tuple[int, str, str]:
    """Return the number of the line that names the columns, that line, and what separates its names."""
    said = None
    for number, line in lines:
        if isinstance(line, Unreadable):
            raise UserError(f"cannot read {path}: its first line, which names the columns, is {line}")
        if said is None and (said := SAID.fullmatch(line)):
            continue
        if line.strip():
            return number, line, said[1] if said else _separator(line, usual)
    return 1, "", usual


def _names(path: Path, first: str, separator: str, literal: bool) -> dict[str, str]:
    """Return what columns are called, and how a table's first line has it: one without a name goes by its number."""
    if first.count("\0") * 3 > len(first):
        raise UserError(f"cannot read {path}: it looks like UTF-16 without a mark at its beginning{CURE}")
    try:
        names = [name.strip() for name in _record([first], separator, literal)]
    except csv.Error as error:
        raise UserError(f"cannot read {path}: its first line names no columns: {_fault(error)}") from None
    if not any(names):
        if not path.stat().st_size:
            raise UserError(f"cannot read {path}: it is empty")
        raise UserError(f"cannot read {path}: its first line names no columns")
    called = [name or f"column {number}" for number, name in enumerate(names, start=1)]
    if repeated := sorted({name for name in called if called.count(name) > 1}):
        raise UserError(f"cannot read {path}: two columns are called {repeated[0]!r}")
    return dict(zip(called, names, strict=True))


def _encoding(path: Path) -> str:
    """Return UTF-16 where a mark at the beginning says so, as spreadsheets write it; else UTF-8."""
    with path.open("rb") as file:
        mark = file.read(2)
    return "utf-16" if mark in (b"\xff\xfe", b"\xfe\xff") else "utf-8"


def _end(path: Path) -> bytes:
    """Return what ends a line: a carriage return where a file begins without any line feed, as on the old Mac."""
    with path.open("rb") as file:
        beginning = file.read(1 << 20)
    return b"\r" if b"\r" in beginning and b"\n" not in beginning else b"\n"


def _lines(path: Path, encoding: str, end: bytes) -> Iterator[tuple[int, str | Unreadable]]:
    """Yield the lines of a file, numbered from 1, without their ends; of one that is no text, why."""
    if encoding != "utf-8":
        with path.open(encoding=encoding, errors="replace", newline="") as text:
            for number, line in enumerate(iter(lambda: text.readline(MAX_LINE), ""), start=1):
                if len(line) == MAX_LINE:
                    raise UserError(f"{path} line {number} is longer than {MAX_LINE >> 20} MiB")
                yield number, Unreadable("not UTF-16") if "\ufffd" in line else line.rstrip("\r\n")
        return
    with path.open(encoding="latin-1", newline=end.decode()) as bytewise:
        for number, line in enumerate(iter(lambda: bytewise.readline(MAX_LINE), ""), start=1):
            if len(line) == MAX_LINE:
                raise UserError(f"{path} line {number} is longer than {MAX_LINE >> 20} MiB")
            try:
                raw = line.encode("latin-1")
                yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError:
                yield number, Unreadable(f"not UTF-8{CURE}")


def _separator(first: str, usual: str) -> str:
    """Return what separates the names of the first line: what makes most known names of it, or is usual, or most."""

    def rank(mark: str) -> tuple[int, bool, int]:
        known = sum(is_known(name.strip().strip('"')) for name in first.split(mark))
        return known, mark == usual and mark in first, first.count(mark)

    return max([usual, *SEPARATORS], key=rank)


def _record(lines: Sequence[str], separator: str, literal: bool) -> list[str]:
    """Return the cells of one record; csv.Error where its quotes do not match."""
    if literal:
        return lines[0].split(separator)
    (cells,) = csv.reader(["\n".join(lines)], delimiter=separator, strict=True, skipinitialspace=True)
    return cells


def _fault(error: csv.Error) -> str:
    """Return what is wrong with a record; Python's words for a line end in it speak of how it opens files."""
    is_line_end = "new-line character" in str(error)
    return "a line end in a cell without quotes" if is_line_end else str(error)


def _records(
    lines: Iterator[tuple[int, str | Unreadable]], width: int, separator: str, literal: bool
) -> Iterator[tuple[int, list[str] | Unreadable]]:
    """Yield records with the number of their first line; after a broken one, reading goes on at the next line."""
    csv.field_size_limit(MAX_LINE)
    waiting: deque[tuple[int, str | Unreadable]] = deque()
    while True:
        if not waiting:
            waiting.extend(islice(lines, 1))
        if not waiting:
            return
        number, first = waiting[0]
        if isinstance(first, Unreadable):
            waiting.popleft()
            yield number, first
        elif not first.strip():
            waiting.popleft()
        else:
            try:
                cells, used = _cells(waiting, lines, separator, literal)
                _check_width(len(cells), width, used, separator)
            except Unreadable as error:
                yield number, error
                used = 1
            else:
                yield number, cells
            for _ in range(used):
                waiting.popleft()


def _check_width(cells: int, width: int, lines: int, separator: str) -> None:
    """Raise where a record has too many cells, or too few on several lines: a stray quote has joined them."""
    if cells > width:
        raise Unreadable(f"{cells} cells for {width} columns: put quotes around one that holds {separator!r}")
    if cells < width and lines > 1:
        raise Unreadable(
            f"a quote in it is closed {lines - 1} lines later, with {cells} cells for {width} columns"
        )


def _cells(
    waiting: "deque[tuple[int, str | Unreadable]]",
    lines: Iterator[tuple[int, str | Unreadable]],
    separator: str,
    literal: bool,
) -> tuple[list[str], int]:
    """Return the cells of the record that begins at the first waiting line, and how many lines it takes."""
    texts = [str(waiting[0][1])]
    try:
        return _record(texts, separator, literal), 1
    except csv.Error as error:
        if "unexpected end" not in str(error):
            raise Unreadable(f"not CSV: {_fault(error)}") from None
    quotes = texts[0].count('"')
    while len(texts) < MAX_LINES:
        if len(waiting) == len(texts):
            waiting.extend(islice(lines, 1))
        if len(waiting) == len(texts):
            break
        line = waiting[len(texts)][1]
        if isinstance(line, Unreadable):
            break
        texts.append(line)
        quotes += line.count('"')
        if quotes % 2 == 0:
            try:
                return _record(texts, separator, literal), len(texts)
            except csv.Error as error:
                raise Unreadable(f"not CSV: {_fault(error)}") from None
    raise Unreadable("a quote in it is never closed")
