"""What a source no longer brings: gone where it was looked for and is not there, kept where nobody could look."""

import errno
import os
import shlex
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.errors import Setting, UserError
from engine.ids import counted
from engine.sources.base import Collection
from engine.storage.rows import StoredRow, ids_of, places
from engine.storage.store import Store
from engine.types import Skipped

SPARED = 10
"""So many rows may vanish from a source without a question."""

NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)


@dataclass(frozen=True)
class Missing:
    """Stored rows that a pass over their source did not meet.

    Attributes:
        gone: those that were looked for and are not there.
        kept: how many could not be looked at, and stay as they were.
        reasons: why, where the source has not said so itself.
    """

    gone: list[StoredRow]
    kept: int
    reasons: Sequence[Skipped]


def sort_out(rows: Iterable[StoredRow], left_out: Sequence[Skipped]) -> Missing:
    """Tell which rows are gone.

    A row that stands in a file or folder that was left out is not; nor is one that may have stood on a line which
    could not be made out.

    Args:
        left_out: what the source itself could not use: files, folders, lines.
    """
    names = {skipped.name for skipped in left_out if skipped.name is not None}
    closed = {skipped.path for skipped in left_out if skipped.line is None}
    has_lost_lines = any(skipped.line is not None and skipped.name is None for skipped in left_out)
    gone, kept, reasons = list[StoredRow](), 0, dict[str, Skipped]()
    for row in rows:
        if has_lost_lines or row.name in names or _stands_in(closed, row):
            kept += 1
            continue
        obstacles = [skipped for skipped in map(obstacle, map(Path, places(row))) if skipped]
        kept += bool(obstacles)
        reasons |= {skipped.path: skipped for skipped in obstacles}
        if not obstacles:
            gone.append(row)
    return Missing(gone, kept, [skipped for path, skipped in reasons.items() if path not in closed])


def obstacle(path: Path) -> Skipped | None:
    """Return what keeps a path from being looked for, and why; None where it is there, or surely is not."""
    for place in (*reversed(path.parents), path):
        try:
            if stat.S_ISLNK(os.lstat(place).st_mode) and not os.path.exists(place):  # noqa: PTH110 - false on any error
                return Skipped(str(place), "a link to what cannot be found: is a disk not mounted?")
        except OSError as error:
            if error.errno in NOT_THERE:
                return None
            closed = place.parent if isinstance(error, PermissionError) else place
            return Skipped(str(closed), (error.strerror or str(error)).lower())
    return None


def is_vanished(path: Path) -> bool:
    """Say whether nothing stands under a path, and that for sure."""
    try:
        os.lstat(path)
    except OSError:
        return obstacle(path) is None
    return False


def refuse_many(store: Store, gone: Sequence[StoredRow], known: int, source: Path) -> None:
    """Raise where most of what is known of a source would go, and items with it.

    A renamed file's items are named by its new row.
    """
    going = {row.key for row in gone}
    lost = sum(any(going.issuperset(store.users(id)) for id in ids_of(row)) for row in gone)
    if lost > max(SPARED, known // 2):
        allow = Setting("allow_mass_delete")
        raise UserError(
            f"{lost} of {known} rows of {source} are gone; nothing was removed: "
            f"is a disk not mounted? To drop them run again with {allow}",
            [allow],
        )


def rows_of(store: Store, source: Path, task: str | None) -> list[StoredRow]:
    """Return all rows that were read from a source, of one task or of any."""
    return [row for row in store.rows() if row.source == str(source) and task in (None, row.task)]


def nothing_read(
    collection: Collection, task: str | None, skipped: Sequence[Skipped], known: int
) -> UserError:
    """Return the error about a source of which no row was usable: the first reason, and how many there are.

    Args:
        task: the one that was looked for among its rows; None: any, or there were no rows.
    """
    source = collection.source
    of_task = f" of task {task!r}" if task else ""
    if not skipped:
        problem = f"nothing to read{of_task} in {source}" if task else _no_rows(collection)
        return nothing_left(problem, source, known)
    first = skipped[0]
    return UserError(
        f"nothing{of_task} in {source} could be read: {first.place}: {first.reason} ({len(skipped)} skipped)",
        first.settings,
    )


def nothing_left(problem: str, source: Path, known: int) -> UserError:
    """Return the error about a source of which nothing is left, and how its rows are dropped."""
    if not known:
        return UserError(problem)
    allow = Setting("allow_mass_delete")
    remove = Setting("source", shlex.quote(str(source)), command="remove")
    rows = counted(known, "row of it is", "rows of it are")
    return UserError(
        f"{problem}, and {rows} indexed: is a disk not mounted? To drop them run again with {allow}, or run {remove}",
        [allow, remove],
    )


def _no_rows(collection: Collection) -> str:
    """Return what to say of a source that brought no row, usable or not; of a folder, what lies in it instead."""
    if collection.source.is_file():
        return f"{collection.source} has no rows"
    instead = "; ".join(collection.instead)
    return f"nothing to read in {collection.source}" + (f": {instead}" if instead else "")


def _stands_in(closed: set[str], row: StoredRow) -> bool:
    """Say whether a row comes from one of these files, or from below one of these folders."""
    return bool(closed) and any(
        not closed.isdisjoint(map(str, (path, *path.parents))) for path in map(Path, places(row))
    )
