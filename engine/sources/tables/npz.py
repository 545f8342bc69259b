"""Arrays in an .npz: rows side by side, read a block at a time and never unpickled."""

import math
import struct
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import UserError
from engine.ids import counted
from engine.sources.tables.columns import LABELS, MEDIA, OF_VECTORS, TEXTS, is_named, normal
from engine.sources.tables.values import Limits, Line, Table, one_line, over, regular, row_of

BLOCK = 1024
BROKEN = (
    *(OSError, ValueError, EOFError, MemoryError, RuntimeError, SyntaxError, TypeError, OverflowError),
    *(zipfile.BadZipFile, zlib.error, tokenize.TokenError, struct.error),
)
"""What numpy and zipfile let through of a damaged file."""


@dataclass(frozen=True)
class Header:
    """What an array is, as the beginning of its file says; read without any of its numbers."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    by_columns: bool

    @property
    def bytes(self) -> int:
        return self.dtype.itemsize * math.prod(self.shape)


def open_npz(path: Path, limits: Limits) -> Table:
    """Open an .npz of arrays with a row for each instance."""
    try:
        with regular(path).open("rb") as file:
            if file.read(6) == b"\x93NUMPY":
                raise lone_array(path)
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
            headers = {name: _header(archive, name) for name in members if name.endswith(".npy")}
    except zipfile.BadZipFile:
        raise UserError(f"cannot read {path}: it is cut short, or not what numpy.savez writes") from None
    except BROKEN as error:
        raise UserError(f"cannot read {path}: {one_line(error)}") from None
    arrays = {name.removesuffix(".npy"): header for name, header in headers.items()}
    notes = [f"array {name!r} is left out: {fault}" for name, fault in _left_out(arrays).items()]
    arrays = {name: header for name, header in arrays.items() if name not in _left_out(arrays)}
    total = _checked(path, arrays, limits)
    columns = {
        name: header.shape[1] if _is_vectors(name, header) else None for name, header in arrays.items()
    }
    others = [name for name in members if name not in headers]
    if others:
        said = counted(len(others), f"file in {path.name} is no array", f"files in {path.name} are no arrays")
        notes.append(f"{said}, like {others[0]}")
    return Table(columns, total, lambda: _rows(path, columns, total, limits), notes)


def lone_array(path: Path) -> UserError:
    """Return the refusal of an array whose modality nothing names."""
    return UserError(f"{path} is a lone array: write it with numpy.savez, one array per modality")


def _header(archive: zipfile.ZipFile, name: str) -> Header:
    if archive.getinfo(name).compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{name} is packed as numpy packs none")
    with archive.open(name) as file:
        return read_header(file)


def read_header(file: IO[bytes]) -> Header:
    """Read what an array is, or raise one of BROKEN; the file then stands at its first number."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of files that Python 2 wrote
        shape, by_columns, dtype = read(file)
    return Header(shape, dtype, by_columns)


def _is_vectors(name: str, header: Header) -> bool:
    """Say whether an array holds a vector a row; labels one wide are a label a row."""
    is_label = normal(name) in LABELS and header.shape[1:] == (1,)
    return len(header.shape) == 2 and header.dtype.kind in "fiub" and not is_label


def _is_no_number(name: str, header: Header) -> bool:
    """Say whether an array called as features are holds what these cannot be, nor paths or texts, a word a row."""
    is_of_text = normal(name) in TEXTS
    words = "US" if is_of_text or len(header.shape) < 2 else ""
    is_called_so = is_of_text or normal(name) in MEDIA or OF_VECTORS.search(normal(name)) is not None
    return is_called_so and header.dtype.kind not in "fiub" + words


def _left_out(arrays: Mapping[str, Header]) -> dict[str, str]:
    """Return arrays of names that mean nothing and that are no rows beside those that do, and why."""
    known = {name: header.shape[0] for name, header in arrays.items() if is_named(name) and header.shape}
    others = {name: header for name, header in arrays.items() if not is_named(name)}
    objects = {
        name: "it would have to be unpickled" for name, header in others.items() if header.dtype.hasobject
    }
    if len({*known.values()}) != 1:
        return objects
    first, rows = next(iter(known.items()))
    return objects | {
        name: f"it has {counted(header.shape[0], 'row')}, and {first!r} has {rows}"
        if header.shape
        else f"it is a single value, and {first!r} has {counted(rows, 'row')}"
        for name, header in others.items()
        if name not in objects and header.shape[:1] != (rows,)
    }


def _checked(path: Path, arrays: Mapping[str, Header], limits: Limits) -> int:
    """Return how many rows there are; UserError where the arrays are no rows side by side, or too large."""
    for name, header in arrays.items():
        if header.dtype.hasobject:
            raise UserError(
                f"cannot read {path}: Object arrays cannot be loaded: {name} would have to be unpickled; "
                f"save it as {name}.astype(str)"
            )
        if _is_no_number(name, header):
            kind = "words" if header.dtype.kind in "US" else header.dtype
            raise UserError(f"{path}: {name} holds {kind}; features are real numbers")
        is_lone = normal(name) in MEDIA and header.dtype.kind in "fiub" and len(header.shape) < 2
        if not header.shape and not is_lone:
            raise UserError(f"{path}: {name} is a single value: give one a row")
        if is_lone or len(header.shape) > 2 or (len(header.shape) == 2 and not header.shape[1]):
            raise UserError(f"{path}: {name} has shape {header.shape}; give rows of features (N, D)")
        if len(header.shape) == 2 and header.shape[1] > limits.max_width:
            raise over("max_width", limits.max_width, f"{path}: {name} has {header.shape[1]} numbers a row")
    size = sum(header.bytes for header in arrays.values())
    if size > limits.max_bytes:
        raise over("max_bytes", limits.max_bytes, f"{path} unpacks to {size} bytes")
    lengths = {name: header.shape[0] for name, header in arrays.items()}
    if len(set(lengths.values())) > 1:
        listing = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise UserError(f"{path}: rows are not aligned: {listing}")
    total = next(iter(lengths.values()), 0)
    if total > limits.max_rows:
        raise over("max_rows", limits.max_rows, f"{path} has {counted(total, 'row')}")
    return total


def _rows(path: Path, columns: Mapping[str, int | None], total: int, limits: Limits) -> Iterator[Line]:
    number = 0
    try:
        with zipfile.ZipFile(path) as archive, ExitStack() as stack:
            _verify(archive, columns)
            blocks = {name: _blocks(archive, f"{name}.npy", stack) for name in columns}
            while number < total:
                cells = {name: next(block) for name, block in blocks.items()}
                for place in range(min(BLOCK, total - number)):
                    number += 1
                    row = {name: block[place] for name, block in cells.items()}
                    yield number, row_of(row, columns, limits.max_depth)
    except BROKEN as error:
        raise UserError(f"cannot read {path} beyond row {number}: {one_line(error)}") from None


def _verify(archive: zipfile.ZipFile, names: Iterable[str]) -> None:
    """Read every array through once, before any row of it is believed: that fails where a checksum does not hold."""
    for name in names:
        with archive.open(f"{name}.npy") as file:
            while file.read(1 << 20):
                pass


def _blocks(archive: zipfile.ZipFile, name: str, stack: ExitStack) -> Iterator[NDArray[Any]]:
    """Yield an array BLOCK rows at a time; one that is stored by columns is read as a whole."""
    file = stack.enter_context(archive.open(name))
    header = read_header(file)
    if header.by_columns and len(header.shape) == 2:
        file.seek(0)
        whole = np.lib.format.read_array(file, allow_pickle=False)
        yield from (whole[start : start + BLOCK] for start in range(0, header.shape[0], BLOCK))
        return
    row_bytes = header.bytes // max(1, header.shape[0])
    for start in range(0, header.shape[0], BLOCK):
        rows = min(BLOCK, header.shape[0] - start)
        data = file.read(rows * row_bytes)
        if len(data) != rows * row_bytes:
            raise EOFError(f"{name} ends early")
        yield np.frombuffer(data, header.dtype).reshape(rows, *header.shape[1:])
