"""What a run of ingestion did to the store, and what a person should know of it."""

from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from engine.errors import Note
from engine.ids import counted
from engine.ingest import moved
from engine.ingest.encoding import LoadedItem
from engine.ingest.stale import StaleRows, notes_on
from engine.media import MEANING, SETTINGS, Flag
from engine.storage.rows import StoredRow
from engine.types import ItemId, Skipped

MOST_PRINTED = 5
"""Lines of what decoders print that are passed on."""


@dataclass
class Copies:
    """Which files of a source hold what others hold.

    Attributes:
        paths, items: a number for each file that was met, and for what it holds.
    """

    paths: "array[int]" = field(default_factory=lambda: array("q"))
    items: "array[int]" = field(default_factory=lambda: array("q"))

    def meet(self, path: str, id: ItemId) -> None:
        """Take in a file and its item; a file may be met by several rows."""
        self.paths.append(hash(path))
        self.items.append(hash(id))

    def notes(self) -> list[str]:
        """Return what to say of them; nothing where there are none."""
        count = len(np.unique(self.paths)) - len(np.unique(self.items))
        one = "file is a copy of another: one item, both paths kept"
        return [counted(count, one, "files are copies of others: one item, all paths kept")] if count else []


@dataclass
class IngestReport:
    """What a run did to the store, counted in rows.

    Attributes:
        moved: those whose file, or whole source, has another name now.
        kept: those that could not be looked at, and stay as they were.
        stale: those that were left as they were, though the source has others now or has moved.
        notes: what a person should know of how the source was read.
        printed: what decoders printed meanwhile, line by line.
        flagged: the media that were read and are odd, by what is.
        copies: files that hold what others hold.
    """

    added: int = 0
    updated: int = 0
    moved: int = 0
    removed: int = 0
    unchanged: int = 0
    kept: int = 0
    stale: list[StaleRows] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    tasks: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    printed: list[str] = field(default_factory=list)
    flagged: dict[Flag, list[str]] = field(default_factory=dict)
    copies: Copies = field(default_factory=Copies, compare=False)

    @property
    def read(self) -> int:
        """How many rows were usable."""
        return self.added + self.updated + self.moved + self.unchanged

    @property
    def left(self) -> dict[str, int]:
        """How many rows are stored of where a moved source stood before, by that place."""
        left = Counter[str]()
        for rows in self.stale:
            left[rows.place] += rows.rows * (rows.place != rows.source)
        return dict(+left)

    @property
    def told(self) -> list[Note]:
        """What a person should know of the run, and what to do."""
        flagged = [_of_flag(flag, names) for flag, names in sorted(self.flagged.items())]
        return [
            *map(Note, self.notes),
            *flagged,
            *map(Note, _of_printed(self.printed)),
            *notes_on(self.stale),
        ]

    def count(self, stored: StoredRow | None, now: StoredRow) -> None:
        """Count a row by what was stored of it before, if anything."""
        has_moved = stored is not None and stored.key != now.key and moved.is_alike(stored, now)
        self.added += stored is None
        self.moved += has_moved
        self.updated += stored is not None and stored != now and not has_moved
        self.unchanged += stored == now

    def take(self, loaded: LoadedItem) -> None:
        """Note what is odd about an item that was read, and where it was read."""
        for path in loaded.item.paths:
            self.copies.meet(path, loaded.item.id)
        for flag in loaded.flags:
            name = loaded.item.paths[0] if loaded.item.paths else (loaded.item.text or "")[:60].strip()
            self.flagged.setdefault(flag, []).append(name)

    def note(self, of_source: Iterable[str], printed: Iterable[str]) -> None:
        """Take in what the source has to say, and what the decoders of its media printed."""
        self.notes += of_source
        self.printed += printed


def _of_flag(flag: Flag, names: Sequence[str]) -> Note:
    which = names[0] if len(names) == 1 else f"like {names[0]}"
    return Note(
        f"{counted(len(names), 'text' if flag == 'long' else 'file')}, {which}: {MEANING[flag]}",
        [SETTINGS[flag]] if flag in SETTINGS else [],
    )


def _of_printed(lines: Sequence[str]) -> list[str]:
    more = len(lines) - MOST_PRINTED
    said = [f"a decoder says: {line}" for line in lines[:MOST_PRINTED]]
    return said + ([f"and {counted(more, 'line')} more"] if more > 0 else [])
