"""Features files: one float array per modality, computed elsewhere (.npz or .parquet)."""

import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from engine import media
from engine.errors import Unreadable, UserError
from engine.sources.metadata import checked_id, checked_split
from engine.sources.row import Collection, Row, checked_modality, checked_task
from engine.types import Modality, Skipped

NAMES = ("id", "task", "split", "text", "labels")
Column: TypeAlias = "NDArray[np.float32] | list[object]"


@dataclass(frozen=True)
class _Table:
    """Arrays (N, D) by modality, and the columns of strings that stand beside them."""

    arrays: Mapping[Modality, NDArray[np.float32]]
    names: Mapping[str, list[object]]
    rows: int


def open_arrays(source: Path) -> Collection:
    """Open a features file; nothing in it is ever unpickled."""
    columns = _npz(source) if source.suffix == ".npz" else _parquet(source)
    table = _checked(source, columns)
    widths = {modality: array.shape[1] for modality, array in table.arrays.items()}
    return Collection(source, table.rows, lambda: _rows(source, table), widths)


def _npz(source: Path) -> dict[str, Column]:
    try:
        with np.load(source, allow_pickle=False) as file:
            loaded = {name: file[name] for name in file.files}
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise UserError(f"cannot read {source}: {error}") from None
    return {name: _column(array) for name, array in loaded.items()}


def _column(array: NDArray[np.generic]) -> Column:
    if np.issubdtype(array.dtype, np.floating):
        return array.astype(np.float32)
    return cast("list[object]", array.tolist())


def _parquet(source: Path) -> dict[str, Column]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(source)
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(f"cannot read {source}: {error}") from None
    columns: dict[str, Column] = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        values = column.to_pylist()
        of_lists = pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type)
        floats = of_lists and pa.types.is_floating(column.type.value_type)
        columns[name] = _stacked(source, name, list(values)) if floats else cast("list[object]", values)
    return columns


def _stacked(source: Path, name: str, values: list[Any]) -> NDArray[np.float32]:
    """Return (N, D); a row that lacks the modality is NaN throughout."""
    widths = {len(value) for value in values if value is not None}
    if len(widths) != 1:
        raise UserError(f"{source}: column {name} has rows of several widths: {sorted(widths)}")
    width = widths.pop()
    return np.array([[np.nan] * width if v is None else v for v in values], np.float32).reshape(-1, width)


def _checked(source: Path, columns: Mapping[str, Column]) -> _Table:
    arrays = {checked_modality(name): c for name, c in columns.items() if isinstance(c, np.ndarray)}
    names: dict[str, list[object]] = {
        name: c for name, c in columns.items() if isinstance(c, list) and name in NAMES
    }
    if not arrays:
        raise UserError(f"{source} holds no float array: give one per modality, rows aligned")
    for modality, array in arrays.items():
        if array.ndim != 2 or not array.shape[1]:
            raise UserError(f"{source}: {modality} has shape {array.shape}; give rows of features (N, D)")
    lengths = {name: len(array) for name, array in arrays.items()}
    lengths |= {name: len(column) for name, column in names.items()}
    if len(set(lengths.values())) != 1:
        said = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise UserError(f"{source}: rows are not aligned: {said}")
    return _Table(arrays, names, next(iter(lengths.values())))


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
    given = {name: column[number] for name, column in table.names.items() if column[number] is not None}
    features = {}
    for modality, array in table.arrays.items():
        lacking = np.isnan(array[number]).all()
        if not lacking and not np.isfinite(array[number]).all():
            raise Unreadable(f"{modality} holds NaN or infinite numbers")
        if not lacking:
            features[modality] = array[number]
    if not features:
        raise Unreadable("no features in it")
    labels = given.get("labels", ())
    text = given.get("text")
    id_ = checked_id(given["id"]) if "id" in given else None
    return Row(
        id_ or str(number),
        line=number + 1,
        id=id_,
        task=checked_task(given["task"]) if "task" in given else None,
        split=checked_split(given["split"]) if "split" in given else None,
        labels=tuple(map(str, labels)) if isinstance(labels, list | tuple) else (str(labels),),
        texts=(media.clean_text(text),) if isinstance(text, str) else (),
        features=features,
    )
