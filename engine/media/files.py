"""The bytes of a medium's file, where it is a regular file of a size that can be read."""

import os
import stat
import unicodedata
from pathlib import Path

from engine.errors import Unreadable
from engine.media.kinds import HEAD, Kind, modality_of, sniff
from engine.types import Modality

MAX_BYTES = 512 << 20


def read(path: Path) -> bytes:
    """Return the bytes of a regular file; a pipe, a device or a folder is refused unopened."""
    try:
        size = _size(path)
        if size > MAX_BYTES:
            raise Unreadable(f"{size >> 20} MiB; the limit is {MAX_BYTES >> 20} MiB")
        data = path.read_bytes()
    except OSError as error:
        is_of_windows = isinstance(error, FileNotFoundError) and "\\" in path.name
        hint = "; write / between its folders, not \\" if is_of_windows else ""
        raise Unreadable((error.strerror or str(error)).lower() + hint) from None
    if not data:
        raise Unreadable("empty file")
    return data


def probe(path: Path) -> Kind | None:
    """Return what the first bytes of a regular file say it is, None where they say nothing known."""
    try:
        _size(path)
        with path.open("rb") as file:
            return sniff(file.read(HEAD))
    except OSError as error:
        raise Unreadable((error.strerror or str(error)).lower()) from None


def modality_at(path: Path) -> Modality | None:
    """Return what a file holds: by its first bytes, or where these say nothing known by its suffix.

    None where that is no medium, or one that cannot be read.
    """
    try:
        kind = probe(path)
    except Unreadable:
        kind = None
    return modality_of(path) if kind is None else kind.modality


def spelled(path: Path) -> Path:
    """Return a path as the disk has it, whichever way its accents are composed: NFC, or NFD as macOS wrote it."""
    if str(path).isascii() or os.path.lexists(path):
        return path
    found = Path(path.anchor)
    for part in path.relative_to(found).parts:
        forms = (part, *(unicodedata.normalize(form, part) for form in ("NFC", "NFD")))
        found /= next((form for form in forms if os.path.lexists(found / form)), part)
    return found


def _size(path: Path) -> int:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise Unreadable("not a regular file")
    return status.st_size
