"""Folders of a data set cut into splits, each with a metadata file of its own (Hugging Face's ImageFolder)."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from engine.sources.base import METADATA, Collection, Row
from engine.sources.table import open_table
from engine.sources.tables.values import Limits
from engine.types import Skipped, Split

SPLITS: dict[str, Split] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "val", "valid", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


def open_splits(folder: Path, limits: Limits) -> Collection | None:
    """Open a folder whose folders are splits; None where it is no such folder."""
    parts = {
        place.name: open_table(folder, place / name, split=SPLITS[place.name], limits=limits)
        for place in (folder / name for name in sorted(SPLITS))
        for name in METADATA
        if (place / name).is_file()  # raises where that cannot be told: a closed split is not gone
    }
    if not parts:
        return None

    def rows() -> Iterator[Row | Skipped]:
        for name, part in parts.items():
            for row in part.rows():  # rows of two splits may have one id
                yield row if isinstance(row, Skipped) else replace(row, name=f"{name}/{row.name}")

    widths = {modality: width for part in parts.values() for modality, width in part.widths.items()}
    notes = list(dict.fromkeys(note for part in parts.values() for note in part.notes))
    total, first = sum(part.total for part in parts.values()), next(iter(parts.values()))
    return Collection(folder, total, rows, widths, first.encoded, notes)
