"""Features files: one float array per modality, computed elsewhere (.npz or .parquet)."""

import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from engine.errors import Unreadable, UserError
from engine.ids import clean_text
from engine.sources.base import (
    Collection,
    Row,
    checked_id,
    checked_modality,
    checked_split,
    checked_task,
    listed,
    string,
)
from engine.types import Modality, Skipped

FIELDS = ("id", "task", "split", "text", "labels")
"""What may stand beside the arrays, a value a row."""

BROKEN = (
    *(OSError, ValueError, EOFError, MemoryError, RuntimeError, NotImplementedError),
    *(zipfile.BadZipFile, zlib.error, tokenize.TokenError),
)
"""What numpy lets through of a damaged file."""

Column: TypeAlias = "NDArray[np.float32] | list[object]"


@dataclass(frozen=True)
class _Table:
    """The features (N, D) of each modality, and the N values of each field that stands beside them."""

    features: Mapping[Modality, NDArray[np.float32]]
    fields: Mapping[str, list[object]]
    rows: int


def open_arrays(source: Path) -> Collection:
    """Open a features file; nothing in it is ever unpickled."""
    columns = _npz(source) if source.suffix == ".npz" else _parquet(source)
    table = _checked(source, columns)
    widths = {modality: array.shape[1] for modality, array in table.features.items()}
    encoded = ["text"] if "text" in table.fields else []
    return Collection(source, table.rows, lambda: _rows(source, table), widths, encoded)


def _npz(source: Path) -> dict[str, Column]:
    try:
        with source.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                raise UserError(
                    f"{source} is a lone array: write it with numpy.savez, one array per modality"
                )
            arrays = {name: loaded[name] for name in loaded.files}
            return {name: _column(array) for name, array in arrays.items() if isinstance(array, np.ndarray)}
    except BROKEN as error:
        raise UserError(f"cannot read {source}: {error}") from None


def _column(array: NDArray[np.generic]) -> Column:
    if np.issubdtype(array.dtype, np.floating):
        with np.errstate(over="ignore"):  # what is too large becomes infinite, and its row is refused
            return array.astype(np.float32)
    return cast("list[object]", array.tolist())


def _parquet(source: Path) -> dict[str, Column]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(source) as file:
            table = file.read()
        columns: dict[str, Column] = {}
        for name, column in zip(table.column_names, table.columns, strict=True):
            if _holds_floats(column.type):
                columns |= _stacked(source, name, column)
            elif name in FIELDS:
                columns[name] = cast("list[object]", column.to_pylist())
    except (OSError, ValueError, pa.ArrowException) as error:
        raise UserError(f"cannot read {source}: {error}") from None
    return columns


def _holds_floats(type_: Any) -> bool:
    from pyarrow import types

    of_lists = types.is_list(type_) or types.is_large_list(type_) or types.is_fixed_size_list(type_)
    return bool(of_lists and types.is_floating(type_.value_type))


def _stacked(source: Path, name: str, column: Any) -> dict[str, Column]:
    """Return (N, D) under the column's name; a row that lacks the modality is NaN throughout.

    A column in which no row has anything is no modality.
    """
    from pyarrow import compute

    array = column.combine_chunks()
    widths = compute.list_value_length(array).drop_null().unique().to_pylist()
    if len(widths) > 1:
        raise UserError(f"{source}: column {name} has rows of several widths: {sorted(widths)}")
    if not widths:
        return {}
    rows = np.full((len(array), widths[0]), np.nan, np.float32)
    given = array.is_valid().to_numpy(zero_copy_only=False)
    with np.errstate(over="ignore"):
        rows[given] = array.flatten().to_numpy(zero_copy_only=False).reshape(-1, widths[0])
    return {name: rows}


def _checked(source: Path, columns: Mapping[str, Column]) -> _Table:
    features = {checked_modality(name): c for name, c in columns.items() if isinstance(c, np.ndarray)}
    fields = {name: c for name, c in columns.items() if isinstance(c, list) and name in FIELDS}
    single = [f for f in FIELDS if f in columns and not isinstance(columns[f], np.ndarray | list)]
    if single:
        raise UserError(f"{source}: {single[0]} is a single value: give one a row")
    if not features:
        raise UserError(f"{source} holds no float array: give one per modality, rows aligned")
    for modality, array in features.items():
        if array.ndim != 2 or not array.shape[1]:
            raise UserError(f"{source}: {modality} has shape {array.shape}; give rows of features (N, D)")
    lengths = {modality: len(array) for modality, array in features.items()}
    lengths |= {name: len(values) for name, values in fields.items()}
    if len(set(lengths.values())) != 1:
        listing = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise UserError(f"{source}: rows are not aligned: {listing}")
    return _Table(features, fields, next(iter(lengths.values())))


def _rows(source: Path, table: _Table) -> Iterator[Row | Skipped]:
    seen: set[str] = set()
    for number in range(table.rows):
        try:
            row = _row(table, number)
            if row.name in seen:
                raise Unreadable(f"id {row.name!r} stands in an earlier row too")
            seen.add(row.name)
            yield row
        except Unreadable as error:
            yield Skipped(str(source), str(error), number + 1)


def _row(table: _Table, number: int) -> Row:
    fields = {name: column[number] for name, column in table.fields.items() if column[number] is not None}
    features = {m: array[number] for m, array in table.features.items() if not np.isnan(array[number]).all()}
    for modality, row in features.items():
        if not np.isfinite(row).all():
            raise Unreadable(f"{modality} holds NaN or infinite numbers")
    if not features:
        raise Unreadable("no features in it")
    id = fields.get("id")
    given_id = None if id is None else checked_id(str(id) if isinstance(id, int) else id)
    return Row(
        given_id or f"row {number + 1}",
        line=number + 1,
        id=given_id,
        task=checked_task(fields["task"]) if "task" in fields else None,
        split=checked_split(fields["split"]) if "split" in fields else None,
        labels=tuple(map(str, listed(fields.get("labels", [])))),
        texts=tuple(
            dict.fromkeys(clean_text(string(text, "text")) for text in listed(fields.get("text", [])))
        ),
        features=features,
    )
