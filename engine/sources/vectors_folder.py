"""A folder of embeddings as clip-retrieval writes it: `img_emb/*.npy`, `text_emb/*.npy`, `metadata/*.parquet`."""

import re
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from engine.errors import Unreadable, UserError
from engine.ids import counted
from engine.sources.base import Collection, Row
from engine.sources.table import Reading
from engine.sources.tables.columns import understood
from engine.sources.tables.npz import BROKEN, read_header
from engine.sources.tables.parquet import open_parquet
from engine.sources.tables.values import Limits, Line, one_line, over, regular
from engine.types import Modality, Skipped

FOLDERS: dict[str, Modality] = {"img_emb": "image", "text_emb": "text", "audio_emb": "audio"}


def open_vectors(folder: Path, limits: Limits) -> Collection | None:
    """Open a folder of embeddings; None where it is none."""
    files = {modality: _numbered(folder / name, "*.npy") for name, modality in FOLDERS.items()}
    files = {modality: paths for modality, paths in files.items() if paths}
    if not files:
        return None
    arrays = {modality: [_mapped(path) for path in paths] for modality, paths in files.items()}
    lengths = {modality: sum(map(len, parts)) for modality, parts in arrays.items()}
    tables = [open_parquet(path, limits) for path in _numbered(folder / "metadata", "*.parquet")]
    if tables:
        lengths["metadata"] = sum(table.total for table in tables)
    if len(set(lengths.values())) > 1:
        listing = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise UserError(f"{folder}: rows are not aligned: {listing}")
    total = next(iter(lengths.values()))
    if total > limits.max_rows:
        raise over("max_rows", limits.max_rows, f"{folder} has {counted(total, 'row')}")
    widths: dict[str, int | None] = {name: None for table in tables for name in table.columns}
    embedded = {f"{modality}_embedding": parts[0].shape[1] for modality, parts in arrays.items()}
    notes = [*_others(folder), *dict.fromkeys(note for table in tables for note in table.notes)]
    notes += [f"column {name!r} is left out: a folder holds it" for name in widths if name in embedded]
    widths |= embedded
    columns = understood(widths)
    notes += columns.notes

    def rows() -> Iterator[Row | Skipped]:
        reading = Reading(dict(widths), folder, False, notes)
        metadata: Iterator[Line] = chain.from_iterable(table.rows() for table in tables)
        vectors = {f"{m}_embedding": chain.from_iterable(parts) for m, parts in arrays.items()}
        for number in range(1, total + 1):
            cells = {name: np.asarray(next(column)) for name, column in vectors.items()}
            _, fields = next(metadata, (0, Unreadable("its metadata ends early"))) if tables else (0, {})
            try:
                if isinstance(fields, Unreadable):
                    raise fields
                yield reading.row(number, {**fields, **cells})
            except Unreadable as error:
                yield Skipped(str(folder), str(error), number, name=reading.id_of(fields))
        notes.extend(reading.of_rows.notes())

    return Collection(folder, lambda: total, rows, dict(columns.vectors.values()), [], notes)


def _others(folder: Path) -> list[str]:
    """Return what to say of folders of arrays that are not read."""
    others = sorted({path.parent.name for path in folder.glob("*/*.npy")} - FOLDERS.keys())
    notes = [
        f"the arrays in {name} are not read: folders that are read are: {', '.join(FOLDERS)}"
        for name in others
    ]
    tables = sorted(path.name for path in folder.glob("metadata/*") if path.suffix.lower() != ".parquet")
    return notes + [f"metadata/{name} is not read: only .parquet is" for name in tables]


def _numbered(folder: Path, pattern: str) -> Sequence[Path]:
    """Return the files of a folder in the order of the numbers in their names: 2 before 10."""
    return sorted(
        folder.glob(pattern), key=lambda path: ([int(n) for n in re.findall(r"\d+", path.name)], path.name)
    )


def _mapped(path: Path) -> NDArray[Any]:
    try:
        with regular(path).open("rb") as file:
            header = read_header(file)
            if len(header.shape) != 2 or not header.shape[1] or header.dtype.kind not in "fiu":
                given = f"shape {header.shape} of {header.dtype}"
                raise UserError(f"{path} has {given}; give rows of numbers (N, D)")
            if not header.shape[0]:
                return np.empty(header.shape, header.dtype)
            order: Literal["C", "F"] = "F" if header.by_columns else "C"
            return np.memmap(path, header.dtype, "r", file.tell(), header.shape, order)
    except BROKEN as error:
        raise UserError(f"cannot read {path}: {one_line(error)}") from None
