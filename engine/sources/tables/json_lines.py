"""JSON lines: an object a line."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

from engine.errors import Unreadable, UserError
from engine.sources.tables.columns import MEDIA, OF_VECTORS, normal
from engine.sources.tables.values import Limits, Line, Table, over, plain, regular

MAX_LINE = 64 << 20
PEEKED = 100
"""So many rows are looked at to tell which fields hold vectors."""


def open_json_lines(path: Path, limits: Limits) -> Table:
    """Open a file of JSON lines."""
    with regular(path).open("rb") as file:
        total = sum(piece.count(b"\n") for piece in iter(lambda: file.read(1 << 20), b""))
    widths: dict[str, Counter[int | None]] = {}
    for _, fields in islice(_rows(path, limits), PEEKED):
        for name, value in fields.items() if isinstance(fields, Mapping) else ():
            counted = widths.setdefault(name, Counter())
            if value not in (None, []):
                counted[_width(name, value)] += 1
    columns = {name: _most(counted) for name, counted in widths.items()}
    for name, width in columns.items():
        if (width or 0) > limits.max_width:
            raise over("max_width", limits.max_width, f"{path}: {name} has {width} numbers a row")
    return Table(columns, total, lambda: _rows(path, limits), is_complete=False)


def _most(counted: Counter[int | None]) -> int | None:
    """Return what most rows hold, the earlier one of two: a row of another kind costs itself alone."""
    return counted.most_common(1)[0][0] if counted else None


def _width(name: str, value: object) -> int | None:
    """Return how many numbers a value lists; None where it is no list of fractions, or of whole numbers called so."""
    if not isinstance(value, list) or len(value) < 2:
        return None
    is_numeric = all(isinstance(number, int | float) and not isinstance(number, bool) for number in value)
    is_vector = any(isinstance(number, float) for number in value) or _is_named(name)
    return len(value) if is_numeric and is_vector else None


def _is_named(name: str) -> bool:
    """Say whether a list of whole numbers is called as features are."""
    return normal(name) in MEDIA or OF_VECTORS.search(normal(name)) is not None


def _rows(path: Path, limits: Limits) -> Iterator[Line]:
    with path.open("rb") as file:
        for number, raw in enumerate(iter(lambda: file.readline(MAX_LINE), b""), start=1):
            if len(raw) == MAX_LINE:
                raise UserError(f"{path} line {number} is longer than {MAX_LINE >> 20} MiB")
            if number > limits.max_rows:
                raise over("max_rows", limits.max_rows, f"{path} has more rows than are read")
            line = raw.removeprefix(b"\xef\xbb\xbf").strip()
            if line:
                try:
                    yield number, _object(line, limits.max_depth)
                except Unreadable as error:
                    yield number, error


def _refuse(constant: str) -> object:
    raise Unreadable(f"{constant} is not JSON")


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return an object of JSON whose names stand in it once each."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise Unreadable(f"{twice!r} stands twice in it")
    return fields


def _object(line: bytes, depth: int) -> Mapping[str, object]:
    if b"\0" in line:
        raise Unreadable("not UTF-8, but like UTF-16: save the file as UTF-8")
    try:
        value = json.loads(line.decode(), parse_constant=_refuse, object_pairs_hook=_once)
    except UnicodeDecodeError:
        raise Unreadable("not UTF-8") from None
    except RecursionError:
        raise Unreadable("nested too deeply") from None
    except ValueError as error:
        raise Unreadable(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise Unreadable("not a JSON object")
    return {name: plain(part, depth - 1) for name, part in value.items()}
