"""What a source is read into, and what every kind of source checks."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.errors import Setting, Unreadable, UserError
from engine.ids import checked_name, clean_name
from engine.media import spelled
from engine.types import Modality, Skipped, Split

METADATA = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
"""What a table of a folder's media is called (Hugging Face's ImageFolder)."""

MAX_ID = 200
"""Characters of a row's id."""


SPLITS: dict[str, Split] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "val", "valid", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""What the splits are called in data sets, whether by a column, a folder or a file's name."""


@dataclass(frozen=True)
class Row:
    """One instance as a source names it; nothing of its media has been read yet.

    Attributes:
        name: what tells the row from the others of its source: its id, else its media's paths.
        id: the id the row itself gave.
        task: the task the row itself named.
        features: arrays (D,) that a features file brought, by modality.
        origins: the files that those features are of; they are not read.
        other: fields that mean nothing to mneme, kept as they are.
    """

    name: str
    line: int | None = None
    id: str | None = None
    task: str | None = None
    split: Split | None = None
    labels: tuple[str, ...] = ()
    media: Mapping[Modality, Path] = field(default_factory=dict)
    texts: tuple[str, ...] = ()
    features: Mapping[Modality, NDArray[np.float32]] = field(default_factory=dict)
    origins: Mapping[Modality, Path] = field(default_factory=dict)
    other: Mapping[str, object] = field(default_factory=dict)

    @property
    def texts_to_encode(self) -> tuple[str, ...]:
        """The texts that a backbone must read: none where the source brought features of them."""
        return () if "text" in self.features else self.texts

    def title(self, modality: Modality) -> str:
        """Return how an item of features is shown: by the texts that they are of, else by the row's name."""
        return (" / ".join(self.texts) if modality == "text" else "") or self.name


@dataclass(frozen=True)
class Collection:
    """A source opened.

    Attributes:
        count: returns how many rows to expect, for a progress bar.
        widths: the width D of each modality whose features the source brings itself.
        encoded: the modalities that the source may bring and a backbone must read; None: whatever there is.
        notes: what a person should know of how it is read; grows while rows are read.
        instead: what lies in a folder of media, told where that has no rows.
    """

    source: Path
    count: Callable[[], int]
    rows: Callable[[], Iterator[Row | Skipped]]
    widths: Mapping[Modality, int] = field(default_factory=dict)
    encoded: Sequence[Modality] | None = None
    notes: list[str] = field(default_factory=list)
    instead: Sequence[str] = ()

    @cached_property
    def name(self) -> str:
        """The source's name, less the suffix of a file, as a task is spelled."""
        return clean_name(self.source.stem if self.source.is_file() else self.source.name)

    @cached_property
    def default_task(self) -> str:
        """The task of rows that name none: the source's name."""
        try:
            return checked_task(self.name)
        except Unreadable as error:
            task = Setting("task")
            raise UserError(
                f"{self.source} cannot name a task ({error}): name one with {task}", [task]
            ) from None


def checked_task(task: object) -> str:
    """Return a task's name as it is stored, or raise where it could not be shown or be an option's value."""
    if not isinstance(task, str):
        raise Unreadable("task is not a string")
    try:
        task = checked_name(task)
    except Unreadable as error:
        raise Unreadable(f"task {error}") from None
    if task in (".", "..", "all", "auto"):
        raise Unreadable(f"a task cannot be called {task!r}")
    return task


def checked_id(value: object) -> str:
    """Return a row's id, or raise where it could not be shown in one line."""
    text = value if isinstance(value, str) else ""
    if not text or not text.isprintable() or len(text) > MAX_ID:
        raise Unreadable(f"id must be 1 to {MAX_ID} printable characters")
    return text


def checked_split(value: object) -> Split:
    """Return a row's split, by any of its usual names, or raise where it is none."""
    split = SPLITS.get(value.strip().lower()) if isinstance(value, str) else None
    if split is None:
        raise Unreadable(f"split {value!r} is none of train, val, test")
    return split


def metadata_of(folder: Path) -> list[Path]:
    """Return the metadata files of a folder, the one that is read first; OSError where that cannot be told.

    A pipe, or a link to nothing, is one too: it is refused by its name, and not passed over for the media alone.
    """
    paths = [folder / name for name in METADATA]
    return [path for path in paths if path.is_symlink() or (path.exists() and not path.is_dir())]


def unread_beside(first: Path, *others: Path) -> list[str]:
    """Return what to say of metadata files beside the one that is read."""
    return [f"{other.name} is not read, but {first.name} beside it" for other in others]


def located(folder: Path, name: str) -> Path:
    """Return the path of a file that a source names.

    Outer spaces are dropped, and it is read as Windows writes paths, where only that leads to a file.
    """
    path = spelled(folder / name)
    if os.path.lexists(path):
        return path
    others = (name.strip(), name.replace("\\", "/"), name.strip().replace("\\", "/"))
    paths = (spelled(folder / other) for other in others if other != name)
    return next(filter(os.path.lexists, paths), path)


def inside(folder: Path, path: Path) -> Path:
    """Return the path, or raise where it leads out of its folder."""
    try:
        if not path.resolve().is_relative_to(folder.resolve()):
            raise Unreadable("leaves the source's folder")
    except (OSError, RuntimeError, ValueError):  # a loop of links, a name that no file can have
        raise Unreadable("its path cannot be followed") from None
    return path
