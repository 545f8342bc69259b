"""A folder without metadata: every media file in it, with the texts of the `.txt` beside it."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from engine import media
from engine.errors import Unreadable
from engine.ids import clean_text
from engine.sources.base import Collection, Row, inside
from engine.types import Skipped

TEXT_SUFFIXES = (".txt", ".TXT")


def open_folder(folder: Path) -> Collection:
    """Open a folder of media files."""
    closed: list[OSError] = []
    files = sorted(_walk(folder, closed.append))

    def rows() -> Iterator[Row | Skipped]:
        for error in closed:
            yield Skipped(str(error.filename), (error.strerror or str(error)).lower())
        for path in files:
            yield _file_row(folder, path)

    return Collection(folder, len(files), rows)


def _walk(folder: Path, on_error: Callable[[OSError], None]) -> Iterator[Path]:
    """Yield the media and text files below a folder; hidden folders and links to folders are left out."""
    sidecars: list[Path] = []
    with_media: set[str] = set()
    for place, folders, names in os.walk(folder, onerror=on_error):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(place, name)
            if path.suffix in TEXT_SUFFIXES:
                sidecars.append(path)
            elif media.modality_of(path) or path.suffix.lower() in media.NOT_READ:
                with_media.add(str(path.with_suffix("")))
                yield path
    yield from (path for path in sidecars if str(path.with_suffix("")) not in with_media)


def _file_row(folder: Path, path: Path) -> Row | Skipped:
    """Return the row of one file; a text file without a medium beside it is a row of texts."""
    try:
        modality = media.modality_of(path)
        if path.suffix.lower() in media.NOT_READ:
            raise Unreadable(f"{path.suffix.lower()} files cannot be read")
        inside(folder, path)
        sidecars = [path.with_suffix(suffix) for suffix in TEXT_SUFFIXES]
        lines = (line for sidecar in sidecars if sidecar.exists() for line in _lines(folder, sidecar))
        texts = tuple(dict.fromkeys(lines))
        if not modality and not texts:
            raise Unreadable("no text in it")
    except Unreadable as error:
        return Skipped(str(path), str(error))
    except OSError as error:  # of a folder that may be listed, but not entered
        return Skipped(str(path), (error.strerror or str(error)).lower())
    return Row(str(path.relative_to(folder)), media={modality: path} if modality else {}, texts=texts)


def _lines(folder: Path, path: Path) -> list[str]:
    """Return the lines of a text file that are not blank."""
    try:
        inside(folder, path)
        text = media.read(path).decode("utf-8-sig") if path.stat().st_size else ""
        return [clean_text(line) for line in text.splitlines() if line.strip()]
    except UnicodeDecodeError:
        raise Unreadable(f"{path.name} is not UTF-8") from None
    except Unreadable as error:
        raise Unreadable(f"{path.name}: {error}") from None
