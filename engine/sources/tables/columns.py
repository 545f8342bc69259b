"""What the columns of a table mean: by their names, by other names in common use, or nothing but fields to keep."""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from engine.errors import Unreadable, UserError
from engine.ids import checked_name
from engine.sources.tables.values import Table
from engine.types import Modality

Part: TypeAlias = Literal["id", "task", "split", "labels", "text", "file"]

PARTS: Mapping[str, Part] = {
    "id": "id",
    "task": "task",
    "split": "split",
    "labels": "labels",
    "text": "text",
    "texts": "text",
    "file_name": "file",
}
MEDIA: tuple[Modality, ...] = ("image", "audio", "video")
KNOWN = (*PARTS, *MEDIA)
READ = tuple(name for name in KNOWN if name != "video")
"""What a person is told of them: a video is known and refused, row by row."""

OTHER_NAMES: Mapping[Part, Sequence[str]] = {
    "id": ("ids",),
    "text": (
        "caption",
        "captions",
        "title",
        "alt",
        "alt_text",
        "sentence",
        "sentences",
        "comment",
        "description",
        "transcription",
        "transcript",
    ),
    "file": (
        "filepath",
        "file_path",
        "filename",
        "path",
        "image_path",
        "audio_path",
        "image_name",
        "image_file",
        "image_filename",
        "audio_file",
        "audio_filename",
        "img",
        "img_path",
        "photo",
        "picture",
    ),
    "labels": ("label", "category", "categories", "class"),
}
"""Names in common use, in the order in which they are taken where there are several and none of the usual."""

LABELS = ("labels", *OTHER_NAMES["labels"])
"""Where such a column holds vectors, their ones say which labels a row has."""

TEXTS = ("text", "texts", *OTHER_NAMES["text"])
"""Where such a column holds vectors, they are features of that name."""

OF_VECTORS = re.compile(r"[_\s-](embeddings?|emb|features?|vectors?)$", re.IGNORECASE)

MOST_COMPARED = 100
"""No more unknown columns than this are compared with the known names; each comparison reads them all."""


@dataclass(frozen=True)
class Columns:
    """What a table's columns mean; all others are kept with the row as fields.

    Attributes:
        parts: the part of a row that each of these columns gives.
        media: the modality whose file each of these columns names.
        vectors: the modality whose features each of these columns holds, and their width D.
        left_out: those that are not kept either.
        notes: what a person should know of it.
    """

    parts: Mapping[str, Part]
    media: Mapping[str, Modality]
    vectors: Mapping[str, tuple[Modality, int]]
    left_out: frozenset[str]
    notes: Sequence[str]

    def is_field(self, name: str) -> bool:
        """Say whether a column means nothing to mneme and is kept with its rows."""
        taken = (self.parts, self.media, self.vectors, self.left_out)
        return not any(name in names for names in taken)


def normal(name: str) -> str:
    """Return a column's name as names are compared: without regard to case, outer spaces, `-` or a space for `_`."""
    return re.sub(r"[\s-]+", "_", name.strip().lower())


def is_known(name: str) -> bool:
    """Say whether a column of this name may mean something."""
    plain = normal(name)
    return plain in KNOWN or any(plain in others for others in OTHER_NAMES.values())


def is_named(name: str) -> bool:
    """Say whether a column of this name may mean something, be it features."""
    return is_known(name) or OF_VECTORS.search(normal(name)) is not None


def understood(columns: Mapping[str, int | None]) -> Columns:
    """Return what columns mean, given the width of those that hold vectors."""
    parts: dict[str, Part] = {
        name: PARTS[normal(name)]
        for name, width in columns.items()
        if normal(name) in PARTS and (width is None or normal(name) not in TEXTS)
    }
    widths = {name: width for name, width in columns.items() if width is not None and name not in parts}
    media = {name: normal(name) for name in columns if normal(name) in MEDIA and name not in widths}
    notes = []
    for part, others in OTHER_NAMES.items():
        if part in parts.values() or (part == "file" and media):
            continue
        named = [n for n in columns if normal(n) in others and (n not in widths or part == "labels")]
        if named:
            first = min(named, key=lambda name: others.index(normal(name)))
            parts[first] = part
            widths.pop(first, None)
            notes.append(f"column {first!r} is read as {_usual(part)}")
    is_of_media = bool(media) or "file" in parts.values()
    if is_of_media and not any(map(_is_of_vectors, widths)):
        widths.clear()
    faults = _without_nameless(widths)
    notes += faults
    if faults and not is_of_media and not widths and "text" not in parts.values():
        raise UserError(faults[0])
    vectors = _vectors(widths, notes)
    columns_meant = Columns(parts, media, vectors, frozenset(widths) - frozenset(vectors), notes)
    notes += notes_of_fields([name for name in columns if columns_meant.is_field(name)])
    return columns_meant


def check_usable(path: Path, columns: Columns, table: Table) -> None:
    """Raise where no row of a table could be used."""
    if not columns.vectors and not columns.media and not {"text", "file"} & {*columns.parts.values()}:
        listing = ", ".join(map(repr, table.columns))
        others = f", but {listing}" if listing else ""
        why = "".join(f"; {note}" for note in table.notes)
        raise UserError(
            f"{path} has no column of media, texts or features{others}{why}; "
            f"columns that are read are: {', '.join(READ)}, or an array (N, D) for each modality"
        )


def _is_of_vectors(name: str) -> bool:
    """Say whether a column is called as features are; a list of numbers of another name may be a box, or a date."""
    return normal(name) in (*MEDIA, "text") or OF_VECTORS.search(normal(name)) is not None


def _without_nameless(widths: dict[str, int]) -> list[str]:
    """Take out the columns after which no modality can be called, and return what to say of them."""
    faults = []
    for name in list(widths):
        try:
            _modality(name)
        except Unreadable as error:
            faults.append(f"no modality can be called {name!r}: it {error}")
            del widths[name]
    return faults


def _modality(name: str) -> Modality:
    """Return the modality whose features a column is called after; Unreadable where none can be.

    Those whose media mneme reads are known by their names in any case; all others are called as their columns are.
    """
    modality = OF_VECTORS.sub("", name.strip()) or name
    return checked_name(normal(modality) if normal(modality) in (*MEDIA, "text") else modality)


def _vectors(widths: Mapping[str, int], notes: list[str]) -> dict[str, tuple[Modality, int]]:
    """Return the modality of each column of vectors; of several for one the plainest name is taken."""
    vectors: dict[str, tuple[Modality, int]] = {}
    taken: dict[Modality, str] = {}
    for name in sorted(widths, key=lambda name: OF_VECTORS.search(name) is not None):
        modality = _modality(name)
        if modality in taken:
            notes.append(f"column {name!r} is left out: {taken[modality]!r} holds features of that modality")
        else:
            vectors[name], taken[modality] = (modality, widths[name]), name
    return vectors


def _usual(part: Part) -> str:
    return next(name for name, named in PARTS.items() if named == part)


def notes_of_fields(names: Sequence[str]) -> list[str]:
    """Return what to say of columns that are kept as fields: each once, with the known name it may have meant."""
    everything = [*KNOWN, *(other for others in OTHER_NAMES.values() for other in others)]
    close = {
        name: difflib.get_close_matches(normal(name), everything, n=1, cutoff=0.8)
        for name in names[:MOST_COMPARED]
        if not is_known(name)
    }
    notes = [
        f"column {name!r} is not read; did you mean {match[0]!r}?" for name, match in close.items() if match
    ]
    unlike = [name for name in names if not close.get(name)]
    if unlike:
        more = f" and {len(unlike) - 10} more" if len(unlike) > 10 else ""
        notes.append(
            f"kept as fields of their rows: {', '.join(map(repr, unlike[:10]))}{more}; "
            f"columns that are read are: {', '.join(READ)}"
        )
    return notes
