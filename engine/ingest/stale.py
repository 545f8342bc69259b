"""Rows that a pass over a source leaves as they were: of other tasks, or of where it stood before it moved."""

import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from engine.errors import Note, Setting
from engine.ids import counted
from engine.ingest import gone
from engine.ingest.matching import Matcher
from engine.sources.base import Row
from engine.types import Skipped


@dataclass(frozen=True)
class StaleRows:
    """Rows of one task that a pass over a source left as they were.

    Attributes:
        source: the one that was read.
        place: where they were read from: the source, or where it stood before it moved.
        is_asked: whether the pass was for them, and did not find them again.
    """

    source: str
    place: str
    task: str
    rows: int
    is_asked: bool


@dataclass(frozen=True)
class OtherTask:
    """What a pass over a source learns of the rows that it has under another task.

    Attributes:
        matcher: of a pass that is for them.
        rows: how many are stored.
        unmet: keys of those that the source has not brought so far.
        outdated: of rows that are stored otherwise under the other task, or not at all, the key in this pass.
    """

    matcher: Matcher
    rows: int
    unmet: set[bytes]
    outdated: set[bytes] = field(default_factory=set)

    def compare(self, row: Row, key: bytes) -> None:
        """Take in a row of the source, and its key in this pass."""
        if row.task is None:
            self.unmet.discard(self.matcher.key(row))
            if self.matcher.current(row) is None:
                self.outdated.add(key)

    def stale(self, met: set[bytes], dropped: set[bytes], left_out: Sequence[Skipped]) -> list[StaleRows]:
        """Return its rows where the source has others now.

        Args:
            met: keys of the rows that the pass could use; what it cannot use, no other can.
            dropped: keys of the rows that it dropped.
            left_out: what the source itself could not use.
        """
        store = self.matcher.store
        unmet = [row for key in self.unmet - dropped if (row := store.row(key))]
        if self.outdated.isdisjoint(met) and not gone.sort_out(unmet, left_out).gone:
            return []
        source = str(self.matcher.collection.source)
        return [StaleRows(source, source, self.matcher.task or "", self.rows, is_asked=False)]


def others(matcher: Matcher) -> list[OtherTask]:
    """Return the other tasks that rows of a source were stored under."""
    return [
        OtherTask(replace(matcher, task=task), len(keys), set(keys))
        for task, keys in sorted(matcher.others.items())
    ]


def left_behind(matcher: Matcher, met: set[bytes]) -> list[StaleRows]:
    """Return the rows that are stored of where a source stood before it moved, and were not met again."""
    if matcher.former is None:
        return []
    place, source = matcher.former.source, str(matcher.collection.source)
    rows = [row for row in matcher.store.rows() if row.source == place and row.key not in met]
    counts = Counter((row.task, matcher.asks_for(row)) for row in rows)
    return [StaleRows(source, place, task, rows, asked) for (task, asked), rows in sorted(counts.items())]


def notes_on(stale: Sequence[StaleRows]) -> Iterator[Note]:
    """Yield what to say of rows that were left as they were, and the command for each."""
    for rows in stale:
        if not rows.is_asked:
            yield _of_other(rows)
    for place in dict.fromkeys(rows.place for rows in stale if rows.is_asked):
        missed = [rows for rows in stale if rows.place == place and rows.is_asked]
        is_all = all(rows.is_asked for rows in stale if rows.place == place)
        drops = [Setting("source", shlex.quote(place), command="remove")] if is_all else [*map(_drop, missed)]
        yield Note(
            f"rows of {place}, which is no more, that were not found again: {sum(rows.rows for rows in missed)}; "
            f"to drop them: {', '.join(map(str, drops))}",
            drops,
        )


def _drop(rows: StaleRows) -> Setting:
    return Setting("task", shlex.quote(rows.task), command=f"remove {shlex.quote(rows.place)}")


def _of_other(rows: StaleRows) -> Note:
    index = Setting("task", shlex.quote(rows.task), command=f"index {shlex.quote(rows.source)}")
    count = counted(rows.rows, f"row of {rows.task} is", f"rows of {rows.task} are")
    them = "it" if rows.rows == 1 else "them"
    told = (
        f"{count} of {rows.source} as it was before: {index} brings {them} up to date"
        if rows.place == rows.source
        else f"{count} of {rows.place}, which is no more: {index} moves {them} too"
    )
    return Note(told, [index])
