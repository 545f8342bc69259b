"""Rows of a table, of whatever form: media beside it, texts, or features that it brings itself."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine import media
from engine.errors import Unreadable
from engine.ids import clean_text
from engine.sources.base import Collection, Row, checked_id, checked_split, checked_task
from engine.sources.cells import (
    INSIDE,
    RowNotes,
    all_labels,
    all_of,
    is_stored,
    one_each,
    one_of,
    path_beside,
    path_of,
    row_name,
    string,
    word,
)
from engine.sources.tables.columns import Columns, Part, check_usable, is_known, notes_of_fields, understood
from engine.sources.tables.delimited import open_delimited
from engine.sources.tables.json_lines import open_json_lines
from engine.sources.tables.npz import open_npz
from engine.sources.tables.parquet import open_parquet
from engine.sources.tables.values import LIMITS, Limits, plain, vector
from engine.types import Modality, Skipped

OPEN = {
    ".jsonl": open_json_lines,
    ".ndjson": open_json_lines,
    ".csv": open_delimited,
    ".tsv": open_delimited,
    ".parquet": open_parquet,
    ".npz": open_npz,
}
MOST_NOTED = 50
"""Columns that JSON lines bring later are noted as long as there are no more than so many."""

ONE_VALUE: tuple[Part, ...] = ("id", "task", "split")


def open_table(
    source: Path,
    path: Path,
    *,
    folder: Path | None = None,
    limits: Limits = LIMITS,
    of_rows: RowNotes | None = None,
) -> Collection:
    """Open a table.

    Args:
        source: what the user named: the file, or the folder that it stands in.
        folder: where the media lie that it names; None: beside it.
        of_rows: grows with the rows of all tables of one source, whose opener says it; None: said of this one alone.
    """
    table = OPEN.get(path.suffix.lower(), open_delimited)(path, limits)
    columns = understood(table.columns)
    if table.is_complete:
        check_usable(path, columns, table)
    notes = [*table.notes, *columns.notes]
    widths = dict(columns.vectors.values())
    texts = ["text"] if "text" in columns.parts.values() and "text" not in widths else []
    encoded = texts if columns.vectors else None

    def rows() -> Iterator[Row | Skipped]:
        reading = Reading(
            dict(table.columns), folder or path.parent, table.literal, notes, of_rows or RowNotes()
        )
        for number, cells in table.rows():
            try:
                if isinstance(cells, Unreadable):
                    raise cells
                yield reading.row(number, cells)
            except Unreadable as error:
                yield Skipped(str(path), str(error), number, name=reading.id_of(cells))
        own = () if of_rows else reading.of_rows.notes()
        notes.extend(note for note in [*table.notes, *own] if note not in notes)

    return Collection(source, lambda: table.total, rows, widths, encoded, notes)


@dataclass
class Reading:
    """How the rows of one table are read.

    Attributes:
        widths: of the columns that are known so far; JSON lines may bring more at any row.
        folder: where its media lie.
        literal: a cell of several labels is one string, `a; b`.
        notes: what a person should know; grows with the columns.
        of_rows: what to say of rows once all were read.
        names: how often each row's name was met.
    """

    widths: dict[str, int | None]
    folder: Path
    literal: bool
    notes: list[str]
    of_rows: RowNotes = field(default_factory=RowNotes)
    names: dict[str, int] = field(default_factory=dict)
    columns: Columns = field(init=False)

    def __post_init__(self) -> None:
        self.columns = understood(self.widths)

    def _learn(self, names: Iterable[str]) -> None:
        """Take in columns that were not there before."""
        new = [name for name in names if name not in self.widths]
        self.widths.update(dict.fromkeys(new))
        notes: Sequence[str] = ()
        if any(map(is_known, new)):
            self.columns = understood(self.widths)
            notes = self.columns.notes
        elif len(self.widths) <= MOST_NOTED:
            notes = notes_of_fields(new)
        self._note(*notes)

    def row(self, number: int, cells: Mapping[str, object]) -> Row:
        """Return one row, or raise Unreadable with the reason why it cannot be used."""
        if not cells.keys() <= self.widths.keys():
            self._learn(cells)
        values = {n: self._named(number, n, cell) for n, cell in cells.items() if self._is_whole(n, cell)}
        values = {name: value for name, value in values.items() if value is not None}
        features = self._features(number, values)
        paths = self._origins(values, features) if features else self._media(values)
        texts = [clean_text(string(text, "text")) for text in all_of(self.columns.parts, values, "text")]
        if not features and not paths and not texts:
            raise Unreadable(self._lack(cells.keys() - values.keys(), cells))
        id, task, split = (one_of(self.columns.parts, values, part) for part in ONE_VALUE)
        id = None if id is None else checked_id(word(id, "id"))
        row = Row(
            id or (f"row {number}" if features else row_name(paths, texts)),
            line=number,
            id=id,
            task=None if task is None else checked_task(word(task, "task")),
            split=None if split is None else checked_split(split),
            labels=tuple(dict.fromkeys(all_labels(self.columns.parts, values, literal=self.literal))),
            media={} if features else paths,
            origins=paths if features else {},
            texts=tuple(dict.fromkeys(texts)),
            features=features,
            other={name: plain(value) for name, value in values.items() if self.columns.is_field(name)},
        )
        return self._told_apart(row)

    def _named(self, number: int, name: str, value: object) -> object:
        """Return a value, of a medium with its path that path; None where no such file is there."""
        if not is_stored(value) or self.columns.is_field(name):
            return value
        if path := path_beside(self.folder, value, of_features=bool(self.columns.vectors)):
            return path
        self.of_rows.inside.setdefault(name, []).append(number)
        return None

    def _lack(self, left_out: Iterable[str], cells: Mapping[str, object]) -> str:
        """Return why a row has nothing that can be used, but cells that are left out."""
        if any(is_stored(cells[name]) for name in left_out):
            return f"its medium is {INSIDE}"
        return "no features in it" if self.columns.vectors else "names no medium and no text"

    def _is_whole(self, name: str, value: object) -> bool:
        """Say whether a value was read; one that was not costs a field itself alone, any other column the row."""
        if not isinstance(value, Unreadable):
            return True
        if not self.columns.is_field(name):
            raise Unreadable(f"{name}: {value}")
        self._note(f"column {name!r} is left out where it cannot be kept: {value}")
        return False

    def _note(self, *notes: str) -> None:
        self.notes += [note for note in notes if note not in self.notes]

    def id_of(self, cells: Mapping[str, object] | Unreadable) -> str | None:
        """Return the id of a row that cannot be used, as far as it can be told."""
        known = {} if isinstance(cells, Unreadable) else cells
        ids = [known[name] for name, part in self.columns.parts.items() if part == "id" and name in known]
        return str(ids[0]) if ids and isinstance(ids[0], str | int) else None

    def _told_apart(self, row: Row) -> Row:
        """Return the row under a name of its own; a row a caption, all with the same picture, is Flickr8k's style."""
        count = self.names[row.name] = self.names.get(row.name, 0) + 1
        if count > 1 and row.id is not None:
            raise Unreadable(f"id {row.id!r} stands in an earlier row too")
        return row if count == 1 else replace(row, name=f"{row.name}#{count}")

    def _features(self, number: int, values: Mapping[str, object]) -> dict[Modality, NDArray[np.float32]]:
        """Return the features of a row; an array has no null, so that NaN throughout says that they are not there."""
        features = {}
        for name, (modality, width) in self.columns.vectors.items():
            array = vector(values.get(name), width)
            if array is not None and np.isnan(array).all():
                self.of_rows.blank.setdefault(modality, []).append(number)
            elif array is not None:
                if not np.isfinite(array).all():
                    raise Unreadable(f"{modality} holds NaN or infinite numbers")
                features[modality] = array
        return features

    def _media(self, values: Mapping[str, object]) -> dict[Modality, Path]:
        """Return the files that a row names, which are read."""
        named = [
            (m, path_of(self.folder, values[name], m, self.of_rows))
            for name, m in self.columns.media.items()
            if name in values
        ]
        for value in all_of(self.columns.parts, values, "file"):
            path = path_of(self.folder, value, "file_name", self.of_rows)
            modality = media.modality_at(path)
            if modality is None:
                raise Unreadable(f"{path.suffix or path.name} is no medium that can be read")
            named.append((modality, path))
        if any(modality == "video" for modality, _ in named):
            raise Unreadable("videos cannot be read")
        return one_each(named)

    def _origins(
        self, values: Mapping[str, object], features: Mapping[Modality, object]
    ) -> dict[Modality, Path]:
        """Return the files whose features a row brings: they are named, not read.

        A file of another kind stands for the first of the features if none of their own does.
        """
        first = next(iter(features))
        cells = [(m, values[name]) for name, m in self.columns.media.items() if name in values]
        cells += [
            (media.modality_of(Path(str(value))) or first, value)
            for value in all_of(self.columns.parts, values, "file")
        ]
        located = self.of_rows.located
        named = [(m, located(self.folder, string(value, "a file's name"))) for m, value in cells]
        paths = one_each([(m, path) for m, path in named if m in features])
        for m, path in named:
            if m not in features:
                paths.setdefault(first, path)
                self._note(f"files of {m} are not read in a table of features")
        return paths
