"""What stands in a cell of a table: words, lists of them, and paths inside the source."""

from collections.abc import Mapping
from pathlib import Path

from engine.errors import Unreadable
from engine.ids import item_id
from engine.media import spelled
from engine.sources.base import inside
from engine.types import Modality


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


def string(value: object, name: str) -> str:
    """Return a value that must be a string."""
    if not isinstance(value, str):
        raise Unreadable(f"{name} is not a string")
    return value


def path_of(folder: Path, value: object, name: str) -> Path:
    """Return the file that a cell names, inside the folder."""
    if not isinstance(value, str) or not value or "\0" in value:
        raise Unreadable(f"{name} is not a path")
    if "://" in value:
        raise Unreadable(f"{name} is an address; only files are read")
    if Path(value).is_absolute():
        raise Unreadable(f"{name} is an absolute path; give it relative to the source")
    return inside(folder, spelled(folder / value))
