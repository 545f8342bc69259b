"""What came of a table that was opened: rows that were read and lines that were skipped, each once, or a refusal."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cli import printable
from engine.errors import UserError
from engine.sources import open_source
from engine.sources.base import Row
from engine.storage.rows import StoredRow, parse, to_json
from engine.types import Skipped

FILES = ("image", "audio", "video", "file_name", "path")


@dataclass(frozen=True)
class Outcome:
    """What a source gave.

    Attributes:
        rows: those that were read, by their number.
        skipped: why others were not, by their number.
        refused: why the source was refused; None where it was read to its end.
    """

    rows: Mapping[int, Row] = field(default_factory=dict)
    skipped: Mapping[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    refused: str | None = None

    def tells_of(self, number: int) -> bool:
        """Say whether a person learns that a row was not read."""
        return self.refused is not None or number in self.skipped

    def is_noted(self, name: str) -> bool:
        """Say whether a person learns that a column was not read."""
        named = [note for note in self.notes if repr(name) in note]
        named += [note for note in self.notes if "in a table of features" in note and name.strip() in FILES]
        return any("left out" in note or "not read" in note for note in named)


def outcome(source: Path) -> Outcome:
    """Read a source to its end; whatever is raised but a UserError of one line fails the test."""
    rows: dict[int, Row] = {}
    skipped: dict[int, str] = {}
    try:
        collection = open_source(source)
        for row in collection.rows():
            assert row.line is not None
            assert row.line not in rows.keys() | skipped.keys(), f"row {row.line} comes twice"
            if isinstance(row, Skipped):
                skipped[row.line] = one_line(row.reason)
            else:
                rows[row.line] = stored(row)
    except UserError as error:
        return Outcome(refused=one_line(str(error)))
    return Outcome(rows, skipped, tuple(map(one_line, collection.notes)))


def one_line(message: str) -> str:
    """Return a message that is one line once it is printed, as the command line prints it."""
    printed = printable(message)
    assert len(printed.splitlines()) == 1, message
    return printed


def stored(row: Row) -> Row:
    """Return a row that the store keeps as it is."""
    files = {modality: str(path) for modality, path in {**row.media, **row.origins}.items()}
    kept = StoredRow("source", row.name, "task", False, "train", row.labels, {}, files, row.other, row.id)
    assert parse(to_json(kept)) == kept
    return row
