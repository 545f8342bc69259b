"""What a table is read into, how much of one is read, and values as every kind of table gives them."""

import math
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, time
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from engine.decoding.limits import LIMITS as DECODING_LIMITS
from engine.decoding.limits import DecodingLimits
from engine.errors import Setting, Unreadable, UserError
from engine.ids import counted

Fields: TypeAlias = Mapping[str, object]
Line: TypeAlias = "tuple[int, Fields | Unreadable]"
"""A row's number, from 1 (of a text file its line), and its fields, or why there are none.

A field that cannot be read is the reason why.
"""


@dataclass(frozen=True)
class Limits:
    """How much of a source is read; the program's memory stays within what these allow.

    Attributes:
        max_rows: of a table.
        max_width: numbers in one vector, columns of a table.
        max_bytes: of a table's columns once they are decompressed.
        max_depth: of lists and objects in each other.
    """

    max_rows: int = 20_000_000
    max_width: int = 65_536
    max_bytes: int = 64 << 30
    max_depth: int = 100


LIMITS = Limits()


@dataclass(frozen=True)
class SourceOptions:
    """How sources are read.

    Attributes:
        media: the folder that the media lie in which a table names; None: where they usually do.
        reread: read every row again, whatever its file's size and time say; features are of the encoder of before.
        decoding: how much of a medium is decoded, and what that may take.
    """

    media: Path | None = None
    limits: Limits = LIMITS
    reread: bool = False
    decoding: DecodingLimits = DECODING_LIMITS


AS_USUAL = SourceOptions()


@dataclass(frozen=True)
class Table:
    """A table that was opened.

    Attributes:
        columns: the width D of those that hold vectors, None of all others.
        total: how many rows to expect.
        rows: reads them, one after the other.
        notes: what a person should know of how it is read; rows may bring more.
        literal: whether every cell is a string, so that a list is written as one (`a; b`).
        is_complete: whether rows bring no other columns.
    """

    columns: Mapping[str, int | None]
    total: int
    rows: Callable[[], Iterator[Line]]
    notes: Sequence[str] = ()
    literal: bool = False
    is_complete: bool = True


def over(name: str, limit: int, what: str) -> UserError:
    """Return the refusal of more than a limit allows; it names the setting that allows more."""
    setting = Setting(name, str(limit))
    return UserError(f"{what}; the limit is {setting}, which can be raised", [setting])


def one_line(error: BaseException) -> str:
    """Return what a library says of a file, in one line of at most 200 characters."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def regular(path: Path) -> Path:
    """Return a path, or raise where it is no regular file: a pipe or a device may never end."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise UserError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from None
    if not stat.S_ISREG(mode):
        raise UserError(f"cannot read {path}: not a regular file")
    return path


def plain(value: object, depth: int = LIMITS.max_depth) -> Any:
    """Return a value as JSON knows it; Unreadable where it cannot be, or is nested deeper.

    Numbers of numpy are Python's, bytes are UTF-8, dates are ISO 8601; what is no finite number is not there.
    """
    if depth < 0:
        raise Unreadable("nested too deeply")
    if isinstance(value, np.generic):
        return plain(_of_numpy(value), depth)
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise Unreadable("bytes that are not UTF-8") from None
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(part, depth - 1) for part in value]
    if isinstance(value, Mapping):
        return {str(name): plain(part, depth - 1) for name, part in value.items()}
    return str(value)


def _of_numpy(value: np.generic) -> object:
    """Return a number of numpy as one of Python, or where there is none like it as a string."""
    if isinstance(value, np.datetime64 | np.timedelta64):
        return None if np.isnat(value) else str(value)
    item = float(value) if isinstance(value, np.longdouble) else value.item()
    return str(item) if isinstance(item, np.generic) else item


def vector(value: object, width: int | None) -> NDArray[np.float32] | None:
    """Return a vector (D,) as float32; None where it is not there: null or empty."""
    if value is None:
        return None
    try:
        with np.errstate(over="ignore"):  # what is too large becomes infinite, and its row is refused
            array = np.asarray(value, np.float32)
    except (TypeError, ValueError, OverflowError):
        raise Unreadable("not a list of numbers") from None
    if array.size == 0:
        return None
    if array.ndim != 1:
        array = array.reshape(-1)
    if width is not None and len(array) != width:
        raise Unreadable(f"{counted(len(array), 'number')} where other rows have {width}")
    return array


def row_of(cells: Mapping[str, Any], columns: Mapping[str, int | None], depth: int) -> dict[str, object]:
    """Return a row's fields: arrays where columns hold them, plain values elsewhere, or why there is none."""
    return {name: _value(cell, columns[name], depth) for name, cell in cells.items()}


def _value(cell: Any, width: int | None, depth: int) -> object:
    """Return a cell's value; an array in the type that it was stored in, for it may be but a field."""
    try:
        if width is not None and cell is not None:
            with suppress(ValueError):  # of lists of other lengths
                array = np.asarray(cell)
                if array.dtype.kind in "fiub":
                    return array
        return plain(cell, depth)
    except Unreadable as error:
        return error
