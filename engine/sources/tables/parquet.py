"""Parquet, read batch by batch: values, lists, and vectors of any numeric type."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine.errors import UserError
from engine.ids import counted
from engine.sources.tables.columns import LABELS, MEDIA, OF_VECTORS, is_known, normal
from engine.sources.tables.values import Limits, Line, Table, one_line, over, regular, row_of

BATCH = 1024


def open_parquet(path: Path, limits: Limits) -> Table:
    """Open a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(regular(path)) as file:
            columns, notes = _columns(path, file, limits)
            facts = file.metadata
            size = sum(facts.row_group(n).total_byte_size for n in range(facts.num_row_groups))
            size = max(size, facts.num_rows * sum(4 * (width or 0) for width in columns.values()))
            rows = facts.num_rows
    except (OSError, ValueError, MemoryError, pa.ArrowException) as error:
        raise UserError(f"cannot read {path}: {one_line(error)}") from None
    if rows > limits.max_rows:
        raise over("max_rows", limits.max_rows, f"{path} has {counted(rows, 'row')}")
    if size > limits.max_bytes:
        raise over("max_bytes", limits.max_bytes, f"{path} unpacks to {size} bytes")
    if len(columns) > limits.max_width:
        raise over("max_width", limits.max_width, f"{path} has {len(columns)} columns")
    return Table(columns, rows, lambda: _rows(path, columns, limits), notes)


def _columns(path: Path, file: Any, limits: Limits) -> tuple[dict[str, int | None], list[str]]:
    """Return the columns that are read, with the width of those that hold vectors; and what is left out, and why."""
    columns: dict[str, int | None] = {}
    notes = []
    names = file.schema_arrow.names
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"cannot read {path}: two columns are called {repeated[0]!r}")
    for field in file.schema_arrow:
        width = _width_of(file, field)
        if width is not None and width > limits.max_width:
            raise over("max_width", limits.max_width, f"column {field.name} has {width} numbers a row")
        if width == 0:
            notes.append(f"column {field.name!r} is left out: it is empty in every row")
        elif width is None and (fault := _fault(file, field)):
            notes.append(f"column {field.name!r} {fault}")
        else:
            columns[field.name] = width
    return columns, notes


def _width_of(file: Any, field: Any) -> int | None:
    """Return the width of a column of vectors, 0 where every row is empty; None where it holds none."""
    width = _width(field.type)
    if getattr(field.type, "list_size", None) == 0:  # which Arrow writes and does not read
        return 0
    if width in (0, 1) and normal(field.name) in LABELS:
        return None
    return _most_width(file, field.name) if width == 0 else width


def _most_width(file: Any, name: str) -> int:
    """Return how many numbers most of the first rows have that have any; 0 where no row has."""
    from pyarrow import compute

    for batch in file.iter_batches(BATCH, columns=[name]):
        column = batch.column(0)
        lengths = compute.list_value_length(getattr(column, "storage", column)).to_pylist()
        counted: Counter[int] = Counter(length for length in lengths if length)
        if counted:
            return counted.most_common(1)[0][0]
    return 0


def _width(kind: Any) -> int | None:
    """Return how many numbers a type holds a row, 0 where rows may differ; None where it holds no vectors."""
    import pyarrow as pa
    from pyarrow import types

    if isinstance(kind, pa.BaseExtensionType):
        return _width(kind.storage_type)
    if types.is_fixed_size_list(kind) and _is_number(kind.value_type):
        return int(kind.list_size)
    if types.is_list(kind) or types.is_large_list(kind):
        return 0 if _is_number(kind.value_type) else None
    return None


def _is_number(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_floating(kind) or types.is_integer(kind))


def _fault(file: Any, field: Any) -> str | None:
    """Return why a column of no vectors is not read; None where it is."""
    from pyarrow import types

    kind, is_medium = field.type, normal(field.name) in MEDIA
    is_bytes = types.is_binary(kind) or types.is_large_binary(kind)
    if (_holds_bytes(kind) and not is_known(field.name)) or (
        is_medium and is_bytes and _is_data(file, field)
    ):
        return "holds media themselves, which are not read: save them as files"
    item = getattr(kind, "value_type", None) if types.is_nested(kind) and not types.is_map(kind) else None
    if item is None or types.is_string(item) or types.is_large_string(item):
        return None
    if is_medium or OF_VECTORS.search(normal(field.name)):
        return f"is left out: it holds lists of {item}, and features are lists of numbers"
    return None


def _is_data(file: Any, field: Any) -> bool:
    """Say whether the first value that a column of bytes has is no text, and so no path."""
    for batch in file.iter_batches(16, columns=[field.name]):
        for value in batch.column(0).drop_null().to_pylist():
            try:
                return "\0" in value.decode()
            except UnicodeDecodeError:
                return True
    return False


def _holds_bytes(kind: Any) -> bool:
    """Say whether a column is one of Hugging Face's that hold the bytes of pictures or sounds."""
    from pyarrow import types

    return bool(types.is_struct(kind) and {"bytes", "path"} <= {field.name for field in kind})


def _rows(path: Path, columns: dict[str, int | None], limits: Limits) -> Iterator[Line]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            wanted = [
                f"{name}.path" if _holds_bytes(schema.field(name).type) else name for name in columns
            ]  # without the bytes themselves
            for batch in file.iter_batches(BATCH, columns=wanted):
                cells = {name: _cells(batch.column(name), columns[name]) for name in columns}
                for place in range(batch.num_rows):
                    number += 1
                    row = {name: column[place] for name, column in cells.items()}
                    yield number, row_of(row, columns, limits.max_depth)
    except (OSError, ValueError, MemoryError, pa.ArrowException) as error:
        raise UserError(f"cannot read {path} beyond row {number}: {one_line(error)}") from None


def _cells(column: Any, width: int | None) -> Any:
    """Return a column's values: rows of an array where it holds vectors and none is missing, else a list."""
    import pyarrow as pa

    if width and isinstance(column, pa.ExtensionArray):
        column = column.storage
    if width and not column.null_count:
        numbers = column.flatten()
        if not numbers.null_count and _are_all(column, width):
            return numbers.to_numpy(zero_copy_only=False).reshape(-1, width)
    try:
        return column.to_pylist()
    except (ValueError, ArithmeticError):
        return [_cell(cell) for cell in column]


def _cell(cell: Any) -> object:
    """Return a value, where Python has none like it (a day in the year 20,000, nanoseconds) as a string."""
    import pyarrow as pa

    try:
        return cell.as_py()
    except (ValueError, ArithmeticError):
        for kind in (pa.string(), pa.binary(), pa.int64()):
            try:
                return cell.cast(kind).as_py()
            except (ValueError, ArithmeticError, pa.ArrowException):
                continue
    return f"a {cell.type} that cannot be read"


def _are_all(column: Any, width: int) -> bool:
    """Say whether every row of a column of lists holds so many numbers."""
    from pyarrow import compute

    lengths: list[int] = compute.list_value_length(column).unique().to_pylist()
    return lengths == [width]
