"""What stands in a cell of a table: words, lists of them, and paths inside the source."""

import os
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeGuard

import numpy as np

from engine.errors import Unreadable
from engine.ids import counted, item_id
from engine.sources.base import inside, located
from engine.sources.tables.columns import Part
from engine.types import Modality

INSIDE = "in the table itself, which is not read: save each as a file"
"""What is said of a medium that stands in a table itself."""

Named = list[tuple[Modality, Path]]
"""The files that a row names, each with what it is."""


def one_each(named: Named) -> dict[Modality, Path]:
    """Return the file of each modality; Unreadable where a row names two of one."""
    paths: dict[Modality, Path] = {}
    for modality, path in named:
        if paths.setdefault(modality, path) != path:
            raise Unreadable(f"names two files of {modality}: give each a row of its own")
    return paths


def row_name(paths: Mapping[Modality, Path], texts: list[str]) -> str:
    """Return what tells a row without an id from others: its media, or its first text."""
    return " ".join(map(str, paths.values())) or item_id("text", texts[0].encode())


def listed(cell: object) -> list[object]:
    """Return what stands in a cell, one value or a list of them, without what is null."""
    return [value for value in (cell if isinstance(cell, list) else [cell]) if value is not None]


def word(value: object, name: str) -> str:
    """Return a name or a number as a string."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value) if isinstance(value, int | float) else string(value, name)


def all_of(parts: Mapping[str, Part], values: Mapping[str, object], part: Part) -> list[object]:
    """Return what a row's columns say of one part, lists flattened, without what is null."""
    named = [values[name] for name, of in parts.items() if of == part and name in values]
    return [value for cell in named for value in listed(cell)]


def one_of(parts: Mapping[str, Part], values: Mapping[str, object], part: Part) -> object | None:
    """Return what a row's column says of a part that has one value; None where it says nothing."""
    named = [values[name] for name, of in parts.items() if of == part and name in values]
    if any(isinstance(value, list | np.ndarray) for value in named):
        raise Unreadable(f"{part} is not a string")
    if len(named) > 1:
        raise Unreadable(f"two columns say its {part}")
    return next(iter(named), None)


def all_labels(parts: Mapping[str, Part], values: Mapping[str, object], *, literal: bool) -> Iterator[str]:
    """Yield the labels that a row's columns give."""
    for name, part in parts.items():
        if part == "labels":
            yield from labels_of(name, values.get(name), literal=literal)


def labels_of(name: str, cell: object, *, literal: bool) -> Iterator[str]:
    """Yield the labels of a cell: strings or numbers, or the places of the ones in a row of zeros and ones.

    Args:
        name: of the column.
        literal: a cell of several labels is one string, `a; b`.
    """
    if isinstance(cell, np.ndarray):
        if not np.isin(cell, (0, 1)).all():
            raise Unreadable(f"{name} is a row of numbers that are not all 0 or 1")
        yield from map(str, np.flatnonzero(cell))
    elif isinstance(cell, list) and _is_multi_hot(cell):
        yield from map(str, np.flatnonzero(cell))
    else:
        cut = cell.split(";") if literal and isinstance(cell, str) else listed(cell)
        labels = (unicodedata.normalize("NFC", word(label, "label")).strip() for label in cut)
        yield from filter(None, labels)


def _is_multi_hot(values: list[object]) -> bool:
    """Say whether a list is a row of zeros and ones: booleans, or so many numbers that one of the two is repeated."""
    known = [value for value in values if value is not None]
    is_one = bool(known) and all(isinstance(value, bool) for value in known)
    is_one |= len(known) > 2 and all(isinstance(value, int | float) and value in (0, 1) for value in known)
    if is_one and len(known) < len(values):
        raise Unreadable("a row of zeros and ones with a null in it")
    return is_one


def string(value: object, name: str) -> str:
    """Return a value that must be a string."""
    if not isinstance(value, str):
        raise Unreadable(f"{name} is not a string")
    return value


def is_stored(value: object) -> TypeGuard[Mapping[str, object]]:
    """Say whether a cell is Hugging Face's of a medium: its bytes, and the path that it had."""
    return isinstance(value, Mapping) and {*value} <= {"bytes", "path"} and "path" in value


def path_beside(folder: Path, stored: Mapping[str, object], *, of_features: bool) -> str | None:
    """Return the path that a medium with its bytes had, where a file is there; features need none."""
    path = stored["path"]
    if not isinstance(path, str) or not path or "\0" in path:
        return None
    is_there = of_features or os.path.isfile(located(folder, path))  # noqa: PTH113 - false on any error
    return path if is_there else None


def path_of(folder: Path, value: object, name: str, notes: "RowNotes") -> Path:
    """Return the file that a cell names, inside the folder; notes learn where it is read otherwise than written."""
    if isinstance(value, list):
        raise Unreadable(
            f"{name} is a list, but not of so many numbers in every row, as features are, nor a path"
        )
    if not isinstance(value, str) or not value or "\0" in value:
        raise Unreadable(f"{name} is not a path")
    if "://" in value:
        raise Unreadable(f"{name} is an address; only files are read")
    if Path(value).is_absolute():
        raise Unreadable(f"{name} is an absolute path; give it relative to the source")
    return inside(folder, notes.located(folder, value))


@dataclass
class RowNotes:
    """What to say of rows once all were read.

    Attributes:
        inside: the rows by column whose medium is inside the table alone.
        blank: the rows by modality that are NaN throughout.
        parted: the paths that were read as Windows writes them.
    """

    inside: dict[str, list[int]] = field(default_factory=dict)
    blank: dict[Modality, list[int]] = field(default_factory=dict)
    parted: list[str] = field(default_factory=list)

    def located(self, folder: Path, name: str) -> Path:
        """Return the path of a file that a row names, as the folder has it."""
        path = located(folder, name)
        if str(path).count("\\") < str(folder).count("\\") + name.count("\\"):
            self.parted.append(name)
        return path

    def notes(self) -> Iterator[str]:
        """Yield them."""
        for name, rows in self.inside.items():
            said = counted(len(rows), "row has its medium", "rows have their media")
            yield f"column {name!r}: {said} {INSIDE} (the first is row {rows[0]})"
        for modality, rows in self.blank.items():
            said = counted(len(rows), "row holds", "rows hold")
            without = "is read without it" if len(rows) == 1 else "are read without"
            yield f"{said} NaN alone as {modality} and {without}, like row {rows[0]}"
        if self.parted:
            said = counted(len(self.parted), "path is", "paths are")
            yield f"{said} read with / for \\ between folders, like {self.parted[0]}"
