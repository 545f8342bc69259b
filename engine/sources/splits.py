"""Folders of a data set cut into splits, each with a metadata file of its own (Hugging Face's ImageFolder)."""

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from engine.errors import UserError
from engine.ids import counted
from engine.sources.base import Collection, Row, metadata_of, unread_beside
from engine.sources.table import open_table
from engine.sources.tables.values import Limits
from engine.types import Modality, Skipped, Split

SPLITS: dict[str, Split] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "val", "valid", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
MOST_NAMED = 5
"""Folders beside the splits that are named."""


def open_splits(folder: Path, limits: Limits) -> Collection | None:
    """Open a folder whose folders are splits; None where it is no such folder."""
    files = {
        name: metadata_of(folder / name) for name in sorted(SPLITS)
    }  # a closed split is not gone: it raises
    parts = {
        name: open_table(folder, paths[0], split=SPLITS[name], limits=limits)
        for name, paths in files.items()
        if paths
    }
    if not parts:
        return None
    notes = [note for name in parts for note in unread_beside(*files[name])]
    notes += _others(folder, parts)

    def say(part: Collection) -> None:
        notes.extend(note for note in part.notes if note not in notes)

    def rows() -> Iterator[Row | Skipped]:
        for name, part in parts.items():
            for row in part.rows():  # rows of two splits may have one id
                yield row if isinstance(row, Skipped) else replace(row, name=f"{name}/{row.name}")
            say(part)

    for part in parts.values():
        say(part)
    widths = _widths(folder, parts)
    encoded = _encoded([*parts.values()])
    return Collection(
        folder, lambda: sum(part.count() for part in parts.values()), rows, widths, encoded, notes
    )


def _widths(folder: Path, parts: Mapping[str, Collection]) -> dict[Modality, int]:
    """Return the width of each modality's features; UserError where two parts have other ones."""
    widths: dict[Modality, int] = {}
    first: dict[Modality, str] = {}
    for name, part in parts.items():
        for modality, width in part.widths.items():
            before = widths.setdefault(modality, width)
            where = first.setdefault(modality, name)
            if before != width:
                raise UserError(
                    f"{folder}: features of {modality} have {counted(before, 'number')} in {where}/ and {width} in "
                    f"{name}/: those of two encoders do not mix, so index one alone or make both by one encoder"
                )
    return widths


def _encoded(parts: Sequence[Collection]) -> Sequence[Modality] | None:
    """Return what any of the parts must have encoded."""
    if any(part.encoded is None for part in parts):
        return None
    return sorted({modality for part in parts for modality in part.encoded or ()})


def _others(folder: Path, parts: Container[str]) -> Iterator[str]:
    """Yield what to say of folders beside the splits."""
    names = sorted(place.name for place in folder.iterdir() if place.is_dir() and place.name not in parts)
    shown = [name for name in names if not name.startswith(".")]
    if shown:
        more = f" and {len(shown) - MOST_NAMED} more" if len(shown) > MOST_NAMED else ""
        yield f"folders that are no splits with metadata are not read: {', '.join(shown[:MOST_NAMED])}{more}"
