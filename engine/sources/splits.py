"""Folders of a data set cut into splits, folders with metadata or Parquet files, as Hugging Face lays them out."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from engine.errors import UserError
from engine.ids import counted
from engine.sources.base import SPLITS, Collection, Row, metadata_of, unread_beside
from engine.sources.cells import RowNotes
from engine.sources.table import open_table
from engine.sources.tables.values import Limits
from engine.types import Modality, Skipped

SHARD = re.compile(rf"({'|'.join(SPLITS)})-\d+-of-(\d+)(-\w+)?\.parquet")
"""What the files of a split are called: train-00000-of-00002.parquet, long ago with a digest before the suffix."""

MOST_NAMED = 5
"""Files and folders beside the splits that are named."""


def open_splits(folder: Path, limits: Limits) -> Collection | None:
    """Open a folder of splits as one source; None where it is no such folder."""
    files = {
        name: metadata_of(folder / name) for name in sorted(SPLITS)
    }  # a closed split is not gone: it raises
    parts = {name: paths[0] for name, paths in files.items() if paths}
    if not parts:
        return _open_shards(folder, limits)
    notes = [note for name in parts for note in unread_beside(*files[name])]
    others = [place.name for place in folder.iterdir() if place.is_dir() and place.name not in parts]
    notes += _others("folders that are no splits with metadata are", others)
    return _together(folder, parts, limits, notes)


def _open_shards(folder: Path, limits: Limits) -> Collection | None:
    """Open a folder whose files, or whose data folder's, are named after splits; None where there are none."""
    for place in (folder, folder / "data"):
        names = _names(place)
        shards = {name: named for name in names if (named := SHARD.fullmatch(name))}
        if shards:
            others = [name for name in names if name not in shards]
            others += [name for name in _names(folder) if place != folder and name != place.name]
            notes = [*_lacking([*shards.values()]), *_others("what is no file of a split is", others)]
            parts = {name.removesuffix(".parquet"): place / name for name in shards}
            return _together(folder, parts, limits, notes)
    return None


def _names(folder: Path) -> list[str]:
    """Return what lies in a folder, in its order; nothing of one that is not there or closed, which others report."""
    try:
        return sorted(path.name for path in folder.iterdir())
    except OSError:
        return []


def _together(folder: Path, tables: Mapping[str, Path], limits: Limits, notes: list[str]) -> Collection:
    """Open the tables of a data set as one source.

    Args:
        tables: by names that begin with their splits; rows are named after them.
    """
    of_rows = RowNotes()
    parts = {name: open_table(folder, path, limits=limits, of_rows=of_rows) for name, path in tables.items()}

    def say(part: Collection) -> None:
        notes.extend(note for note in part.notes if note not in notes)

    def rows() -> Iterator[Row | Skipped]:
        for name, part in parts.items():
            split = SPLITS[name.partition("-")[0]]
            for row in part.rows():  # rows of two splits may have one id
                named = f"{name}/{row.name}"
                yield row if isinstance(row, Skipped) else replace(row, name=named, split=row.split or split)
            say(part)
        notes.extend(of_rows.notes())

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
                    f"{folder}: features of {modality} have {counted(before, 'number')} in {where} and {width} in "
                    f"{name}: those of two encoders do not mix, so index one alone or make both by one encoder"
                )
    return widths


def _encoded(parts: Sequence[Collection]) -> Sequence[Modality] | None:
    """Return what any of the parts must have encoded."""
    if any(part.encoded is None for part in parts):
        return None
    return sorted({modality for part in parts for modality in part.encoded or ()})


def _lacking(shards: Sequence[re.Match[str]]) -> Iterator[str]:
    """Yield what to say of splits of which a file is missing, as the names of the others tell."""
    for (split, total), count in Counter((named[1], int(named[2])) for named in shards).items():
        if count < total:
            yield f"of the {total} files of {split} {counted(total - count, 'is', 'are')} missing"


def _others(what: str, names: Sequence[str]) -> Iterator[str]:
    """Yield what to say of files or folders beside the splits."""
    shown = sorted(name for name in names if not name.startswith("."))
    if shown:
        more = f" and {len(shown) - MOST_NAMED} more" if len(shown) > MOST_NAMED else ""
        yield f"{what} not read: {', '.join(shown[:MOST_NAMED])}{more}"
