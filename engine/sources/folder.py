"""A folder without metadata: every media file in it, with the texts beside it."""

import os
import stat
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from engine import media
from engine.errors import Unreadable
from engine.ids import clean_text, counted
from engine.sources.base import METADATA, Collection, Row, inside
from engine.sources.table import OPEN
from engine.types import Modality, Skipped

TEXT_SUFFIXES = (".txt", ".caption")
MOST_SUFFIXES = 20
UTF_16 = (b"\xff\xfe", b"\xfe\xff")


@dataclass
class _Listing:
    """What lies in a folder and those below it.

    Attributes:
        unread: media that cannot be read, and what they are.
        texts: text files, by the path of the medium they may stand beside, with and without its suffix.
        stray: those that stand beside no medium, where there are media.
        paths: the files that are rows, in their order.
        passed: how many files of each suffix are no media and no texts.
        linked: folders that were entered by a link.
        closed: folders that cannot be listed, and why.
        seen: folders that were entered, by device and number: a link to one leads round in a circle.
    """

    media: dict[Path, Modality] = field(default_factory=dict)
    unread: dict[Path, str] = field(default_factory=dict)
    texts: dict[str, list[Path]] = field(default_factory=dict)
    stray: list[Path] = field(default_factory=list)
    paths: list[Path] = field(default_factory=list)
    passed: Counter[str] = field(default_factory=Counter)
    metadata: list[Path] = field(default_factory=list)
    linked: list[Path] = field(default_factory=list)
    closed: list[OSError] = field(default_factory=list)
    seen: set[tuple[int, int]] = field(default_factory=set)


def open_folder(folder: Path) -> Collection:
    """Open a folder of media files; in a folder without media, in it or below it, text files are rows of texts.

    Nothing is looked at before its rows are counted or read.
    """
    notes, instead = list[str](), list[str]()

    @cache
    def listing() -> _Listing:
        listing = _list(folder)
        notes.extend(_notes(folder, listing))
        instead.extend([*_below(folder, listing), *_instead(listing)])
        return listing

    return Collection(
        folder, lambda: len(listing().paths), lambda: _rows(folder, listing()), notes=notes, instead=instead
    )


def _rows(folder: Path, listing: _Listing) -> Iterator[Row | Skipped]:
    for error in listing.closed:
        yield Skipped(str(error.filename), (error.strerror or str(error)).lower())
    for path in listing.paths:
        if path in listing.unread:
            why = f"{listing.unread[path]} files cannot be read"
            yield Skipped(str(path), why, name=_name(folder, path))
        else:
            yield _row(folder, path, listing.media.get(path), listing.texts)


def _list(folder: Path) -> _Listing:
    """Look at every file of a folder, and sort out which are rows."""
    listing = _Listing()
    _walk(folder, listing)
    beside = {key for path in listing.media for key in (_key(path), _key(path.with_suffix("")))}
    alone = sorted(path for stem, paths in listing.texts.items() if stem not in beside for path in paths)
    folders = {path.parent for path in listing.media}
    with_media = folders.union(*(folder.parents for folder in folders))
    listing.stray = [path for path in alone if path.parent in with_media]
    alone = [path for path in alone if path.parent not in with_media]
    listing.paths = sorted([*listing.media, *listing.unread, *alone])
    return listing


def _walk(folder: Path, listing: _Listing) -> None:
    """Note what lies in a folder; hidden folders are left out, linked ones are entered once."""
    for place, folders, names in os.walk(folder, onerror=listing.closed.append, followlinks=True):
        try:
            status = Path(place).stat()
        except OSError as error:
            listing.closed.append(error)
            folders.clear()
            continue
        here = (status.st_dev, status.st_ino)
        if here in listing.seen:
            folders.clear()
            continue
        listing.seen.add(here)
        if Path(place) != folder and Path(place).is_symlink():
            listing.linked.append(Path(place))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            _note(Path(place, name), listing)


def _note(path: Path, listing: _Listing) -> None:
    suffix = path.suffix.lower()
    if suffix in TEXT_SUFFIXES:
        listing.texts.setdefault(_key(path.with_suffix("")), []).append(path)
    elif path.name in METADATA:
        listing.metadata.append(path)
    elif kind := _kind(path):
        if kind.modality:
            listing.media[path] = kind.modality
        else:
            listing.unread[path] = kind.name
    else:
        listing.passed[suffix or "without a suffix"] += 1


def _kind(path: Path) -> media.Kind | None:
    """Return what a file is, by its content or else its suffix; None where it is no medium at all."""
    try:
        kind = media.probe(path)
    except Unreadable:
        kind = None
    suffix = path.suffix.lower()
    known = suffix in media.SUFFIXES or suffix in media.NOT_READ
    return kind or (media.Kind(suffix, media.modality_of(path)) if known else None)


def _notes(folder: Path, listing: _Listing) -> list[str]:
    """Return what to say of files that are no rows."""
    notes = [*_below(folder, listing), *_passed(listing)]
    if listing.linked:
        example = _name(folder, listing.linked[0])
        said = counted(
            len(listing.linked), "linked folder is read as if it", "linked folders are read as if they"
        )
        notes.append(f"{said} stood here, like {example}")
    if listing.stray:
        example = _name(folder, listing.stray[0])
        said = counted(len(listing.stray), "text file stands", "text files stand")
        verb = "is" if len(listing.stray) == 1 else "are"
        notes.append(f"{said} beside no medium and {verb} left out, like {example}")
    return notes


def _below(folder: Path, listing: _Listing) -> Iterator[str]:
    """Yield what to say of folders below that have metadata."""
    for path in sorted(listing.metadata):
        yield f"{_name(folder, path)} is not read: index {_name(folder, path.parent)} as a source of its own"


def _passed(listing: _Listing) -> Iterator[str]:
    """Yield what to say of files that are no media and no texts."""
    if listing.passed:
        named = sorted(listing.passed.most_common(MOST_SUFFIXES))
        rest = listing.passed.total() - sum(count for _, count in named)
        counts = ", ".join(
            [*(f"{count} {suffix}" for suffix, count in named), *([counted(rest, "other")] if rest else [])]
        )
        yield f"files that are no media are passed over: {counts}"


def _instead(listing: _Listing) -> Iterator[str]:
    """Yield what else a folder holds in which nothing is a row: tables, or files of other kinds."""
    tables = {suffix: count for suffix, count in sorted(listing.passed.items()) if suffix in OPEN}
    if tables:
        counts = " and ".join(counted(count, f"{suffix} file") for suffix, count in tables.items())
        yield f"it holds {counts}: index {'it' if sum(tables.values()) == 1 else 'one of them'}"
    else:
        yield from _passed(listing)


def _row(
    folder: Path, path: Path, modality: Modality | None, texts: Mapping[str, list[Path]]
) -> Row | Skipped:
    """Return the row of one file; a text file without a medium beside it is a row of texts."""
    try:
        _within(folder, path)
        beside = (
            [*texts.get(_key(path.with_suffix("")), []), *texts.get(_key(path), [])] if modality else [path]
        )
        lines = tuple(dict.fromkeys(line for sidecar in sorted(beside) for line in _lines(folder, sidecar)))
        if not modality and not lines:
            raise Unreadable("no text in it")
    except Unreadable as error:
        return Skipped(str(path), str(error), name=_name(folder, path))
    except OSError as error:  # of a folder that may be listed, but not entered
        return Skipped(str(path), (error.strerror or str(error)).lower(), name=_name(folder, path))
    return Row(_name(folder, path), media={modality: path} if modality else {}, texts=lines)


def _lines(folder: Path, path: Path) -> list[str]:
    """Return the lines of a text file that are not blank."""
    try:
        _within(folder, path)
        status = path.stat()
        data = b"" if stat.S_ISREG(status.st_mode) and not status.st_size else media.read(path)
        if b"\0" in data and data[:2] not in UTF_16:
            raise Unreadable("not UTF-8, nor UTF-16 with a mark at its beginning")
        text = data.decode("utf-16" if data[:2] in UTF_16 else "utf-8-sig")
        return [clean_text(line) for line in text.splitlines() if line.strip()]
    except UnicodeDecodeError:
        raise Unreadable(f"{path.name} is not UTF-8") from None
    except Unreadable as error:
        raise Unreadable(f"{path.name}: {error}") from None


def _within(folder: Path, path: Path) -> None:
    """Raise where a link leads out of the source; files of a linked folder lie in it."""
    if path.is_symlink():
        try:
            inside(path.parent, path)
        except Unreadable:
            inside(folder, path)


def _key(path: Path) -> str:
    """Return a path as those are compared that may belong together: in whichever way accents are composed."""
    return str(path) if str(path).isascii() else unicodedata.normalize("NFC", str(path))


def _name(folder: Path, path: Path) -> str:
    return str(path.relative_to(folder))
