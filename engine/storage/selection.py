"""Which rows a person means: those of an item, of a file or folder, of a task, of a source."""

import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.errors import Setting, UserError
from engine.ids import DIGITS, clean_name
from engine.storage.rows import StoredRow, ids_of, places
from engine.storage.store import Store
from engine.types import ItemId

FEWEST_DIGITS = 8
"""Of the beginning of an item's id."""

MOST_NAMED = 5
"""Names that a message gives of those there are."""


@dataclass(frozen=True)
class Selection:
    """What is named; rows that all of it fits. To name nothing is an error.

    Attributes:
        what: an item's id or the beginning of one, a file, or a folder; empty: any.
        task, source: None: any.
    """

    what: str = ""
    task: str | None = None
    source: Path | None = None

    def __post_init__(self) -> None:
        if not self.what and self.task is None and self.source is None:
            task, source = Setting("task", "T"), Setting("source", "S")
            raise UserError(
                f"say what is to go: an item's id, a file or folder, {task} or {source}", [task, source]
            )


def select(store: Store, named: Selection) -> list[StoredRow]:
    """Return the rows that are named; where there are none the error says what there is.

    Rows that were removed are named as long as they are served: a removal that failed halfway can be asked for again.
    """
    rows = [*store.rows(), *store.going()]
    if not rows:
        raise UserError("nothing is stored yet: run `mneme index SOURCE`")
    sources = sorted({row.source for row in rows})
    if named.task is not None:
        tasks = sorted({row.task for row in rows})
        task = clean_name(named.task)
        rows = [row for row in rows if row.task == task]
        if not rows:
            raise UserError(f"no rows of task {named.task!r}; tasks are: {_listing(tasks)}")
    if named.source is not None:
        rows = [row for row in rows if _plain(row.source) in set(_spellings(str(named.source)))]
        if not rows:
            of_task = f" of task {named.task!r}" if named.task is not None else ""
            raise UserError(
                f"nothing{of_task} was read from {named.source}; sources are: {_listing(sources)}"
            )
    return _called(rows, named.what, sources) if named.what else rows


def _called(rows: Sequence[StoredRow], what: str, sources: Sequence[str]) -> list[StoredRow]:
    """Return the rows of an item, a file or a folder."""
    item, spellings = _item(rows, what), set(_spellings(what))
    folders = tuple(f"{path.rstrip(os.sep)}{os.sep}" for path in spellings)
    below = [
        row
        for row in rows
        if any(place in spellings or place.startswith(folders) for place in map(_plain, places(row)))
    ]
    if item is not None and below:
        raise UserError(f"{what} begins an item's id and is a file or folder too: write ./{what} for that")
    selected = below if item is None else [row for row in rows if item in ids_of(row)]
    if not selected:
        raise UserError(
            f"no item, file or folder {what} is indexed: give {FEWEST_DIGITS} digits of an id or more, or a path; "
            f"sources are: {_listing(sources)}"
        )
    return selected


def _item(rows: Sequence[StoredRow], what: str) -> ItemId | None:
    """Return the item whose id begins so; an error where several do."""
    beginning = what.lower()
    if not re.fullmatch(f"[0-9a-f]{{{FEWEST_DIGITS},{DIGITS}}}", beginning):
        return None
    matches = sorted({id for row in rows for id in ids_of(row) if id.startswith(beginning)})
    if len(matches) > 1:
        raise UserError(f"{len(matches)} items begin with {what}: {_listing(matches)}")
    return matches[0] if matches else None


def _spellings(path: str) -> Iterator[str]:
    """Yield how a path may have been stored: as it is written, and with its links followed."""
    yield _plain(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links
    yield _plain(os.path.realpath(path))


def _plain(path: str) -> str:
    """Return a path in the one form that tells equal names, whether their letters are composed or not."""
    return path if path.isascii() else unicodedata.normalize("NFC", path)


def _listing(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more
