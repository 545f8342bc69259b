"""Which rows a person means: those of an item, of an id of their own, of a file, folder or source, of a task."""

import os
import re
import unicodedata
from collections.abc import Callable, Sequence
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
        what: an item's id or the beginning of one, a row's own id, a file, a folder, or a source; empty: any.
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
        spellings = _spellings(str(named.source))
        plain = set(map(_plain, spellings))
        rows = [row for row in rows if row.source in spellings] or [
            row for row in rows if _plain(row.source) in plain
        ]
        if not rows:
            of_task = f" of task {named.task!r}" if named.task is not None else ""
            raise UserError(
                f"nothing{of_task} was read from {named.source}; sources are: {_listing(sources)}"
            )
    return _called(rows, named.what, sources) if named.what else rows


def _called(rows: Sequence[StoredRow], what: str, sources: Sequence[str]) -> list[StoredRow]:
    """Return the rows of an item, of an id of their own, of a file, a folder or a source."""
    item = _item(rows, what)
    of_item = [row for row in rows if item is not None and item in ids_of(row)]
    own, below = [row for row in rows if row.id == what], _at(rows, what)
    meanings = {
        "begins an item's id": of_item,
        "is a row's own id": own if own not in (of_item, below) else [],
        "is a file or folder": below,
    }
    *others, meaning = [meaning for meaning, selected in meanings.items() if selected] or [""]
    if not meaning:
        raise UserError(
            f"no item, file or folder {what} is indexed: give {FEWEST_DIGITS} digits of an id or more, or a path; "
            f"sources are: {_listing(sources)}"
        )
    if others:
        remedy = f"write ./{what} for that" if below else "give the path of its file"
        raise UserError(f"{what} {', '.join(others)} and {meaning} too: {remedy}")
    if meanings[meaning] is own:
        _refuse_several(what, sorted({row.source for row in own}))
    return meanings[meaning]


def _refuse_several(id: str, sources: Sequence[str]) -> None:
    """Raise where rows of several sources gave the same id."""
    if len(sources) > 1:
        source = Setting("source", "S")
        raise UserError(
            f"{id} is the id of rows of {len(sources)} sources: {_listing(sources)}; say of which by {source}",
            [source],
        )


def _at(rows: Sequence[StoredRow], path: str) -> list[StoredRow]:
    """Return the rows of a source, or of what stands at a path or below it: spelled so, else in any composition."""
    spellings = _spellings(path)
    return _standing(rows, spellings, str) or _standing(rows, spellings, _plain)


def _standing(rows: Sequence[StoredRow], paths: set[str], form: Callable[[str], str]) -> list[StoredRow]:
    """Return the rows of sources, or of what stands at paths or below them, told apart by a form of their names."""
    spellings = set(map(form, paths))
    folders = tuple(f"{path.rstrip(os.sep)}{os.sep}" for path in spellings)
    return [
        row
        for row in rows
        if form(row.source) in spellings
        or any(place in spellings or place.startswith(folders) for place in map(form, places(row)))
    ]


def _item(rows: Sequence[StoredRow], what: str) -> ItemId | None:
    """Return the item whose id begins so; an error where several do."""
    beginning = what.lower()
    if not re.fullmatch(f"[0-9a-f]{{{FEWEST_DIGITS},{DIGITS}}}", beginning):
        return None
    matches = sorted({id for row in rows for id in ids_of(row) if id.startswith(beginning)})
    if len(matches) > 1:
        raise UserError(f"{len(matches)} items begin with {what}: {_listing(matches)}")
    return matches[0] if matches else None


def _spellings(path: str) -> set[str]:
    """Return how a path may have been stored: as it is written, and with its links followed."""
    return {os.path.abspath(path), os.path.realpath(path)}  # noqa: PTH100 - resolve() would follow links


def _plain(path: str) -> str:
    """Return a path in the one form that tells equal names, whether their letters are composed or not."""
    return path if path.isascii() else unicodedata.normalize("NFC", path)


def _listing(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more
