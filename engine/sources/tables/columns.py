"""What the columns of a table mean: by their names, by other names in common use, or nothing but fields to keep."""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from engine.errors import UserError
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

OTHER_NAMES: Mapping[Part, Sequence[str]] = {
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
    ),
    "labels": ("label", "category", "categories", "class"),
}
"""Names in common use, in the order in which they are taken where there are several and none of the usual."""

LABELS = ("labels", *OTHER_NAMES["labels"])
"""Where such a column holds vectors, their ones say which labels a row has."""

OF_VECTORS = re.compile(r"_(embeddings?|emb|features?|vectors?)$")
MODALITY = re.compile(r"[a-z][a-z0-9_-]{0,31}")


@dataclass(frozen=True)
class Columns:
    """What a table's columns mean.

    Attributes:
        parts: the part of a row that each of these columns gives.
        media: the modality whose file each of these columns names.
        vectors: the modality whose features each of these columns holds, and their width D.
        fields: those that are kept with the row and mean nothing to mneme.
        notes: what a person should know of it.
    """

    parts: Mapping[str, Part]
    media: Mapping[str, Modality]
    vectors: Mapping[str, tuple[Modality, int]]
    fields: Sequence[str]
    notes: Sequence[str]


def understood(columns: Mapping[str, int | None]) -> Columns:
    """Return what columns mean, given the width of those that hold vectors."""
    notes: list[str] = []
    vectors = _vectors({name: width for name, width in columns.items() if width is not None}, notes)
    rest = [name for name in columns if name not in vectors]
    plain = {name: re.sub(r"[\s-]+", "_", name.strip().lower()) for name in rest}
    parts: dict[str, Part] = {name: PARTS[plain[name]] for name in rest if plain[name] in PARTS}
    media = {name: plain[name] for name in rest if plain[name] in MEDIA}
    taken = {**parts, **media}
    for part, others in OTHER_NAMES.items():
        if part in parts.values() or (part == "file" and media):
            continue
        named = sorted(
            (name for name in rest if plain[name] in others), key=lambda name: others.index(plain[name])
        )
        if named:
            parts[named[0]] = part
            notes.append(f"column {named[0]!r} is read as {_usual(part)}")
    fields = [name for name in rest if name not in parts and name not in taken]
    notes += _of_fields([name for name in fields if columns[name] is None])
    return Columns(parts, media, vectors, fields, notes)


def _vectors(widths: Mapping[str, int], notes: list[str]) -> dict[str, tuple[Modality, int]]:
    """Return the modality of each column of vectors; labels as such a column are no modality."""
    vectors: dict[str, tuple[Modality, int]] = {}
    for name, width in widths.items():
        if name in LABELS:
            continue
        modality = name if name in ("text", "texts") else OF_VECTORS.sub("", name)
        if modality in widths and modality != name:
            notes.append(f"column {name!r} is left out: {modality!r} holds features of that modality")
        elif MODALITY.fullmatch(modality):
            vectors[name] = modality, width
        else:
            raise UserError(f"no modality can be called {name!r}: use a-z, 0-9, _ and -, at most 32")
    return vectors


def _usual(part: Part) -> str:
    return next(name for name, named in PARTS.items() if named == part)


def _of_fields(names: Sequence[str]) -> list[str]:
    """Return what to say of columns that are kept as fields: each once, with the known name it may have meant."""
    everything = [*KNOWN, *(other for others in OTHER_NAMES.values() for other in others)]
    notes = []
    unlike = []
    for name in names:
        close = difflib.get_close_matches(name.strip().lower(), everything, n=1, cutoff=0.8)
        if close:
            notes.append(f"column {name!r} is not read; did you mean {close[0]!r}?")
        else:
            unlike.append(name)
    if unlike:
        listing = ", ".join(map(repr, unlike[:10])) + (
            f" and {len(unlike) - 10} more" if len(unlike) > 10 else ""
        )
        notes.append(
            f"kept as fields of their rows: {listing}; columns that are read are: {', '.join(KNOWN)}"
        )
    return notes
