"""Files that survive a crash: written beside, flushed, renamed; and the checksums that prove them."""

import json
import os
import re
import shutil
import stat
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from functools import cache
from glob import escape
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from engine.errors import Damaged, UserError, inaccessible

T = TypeVar("T")

MOST_BEFORE_DRAFT = 200
"""Bytes of a name that leave room for a draft's mark."""

DRAFT = re.compile(r"\..+\.[0-9a-f]{32}", re.DOTALL)
"""The names of drafts."""


def checksum(data: bytes) -> str:
    """Return 32 hex digits that change when the bytes do."""
    return blake2b(data, digest_size=16).hexdigest()


def to_json(value: Any) -> bytes:
    """Return JSON for a file: indented, keys in the order given."""
    return json.dumps(value, indent=1).encode() + b"\n"


def to_sealed_json(value: Mapping[str, Any]) -> bytes:
    """Return JSON for a file that ends with a checksum of all before it."""
    return to_json({**value, "checksum": checksum(to_json(value))})


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a file, or FileNotFoundError; its checksum holds, if it has one: old files have none."""
    try:
        content = json.loads(read(path))
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise Damaged(path, "it is no JSON object")
    seal = content.pop("checksum", None)
    if seal is not None and seal != checksum(to_json(content)):
        raise Damaged(path, "its checksum does not hold")
    return content


def typed(path: Path, kind: type[T], content: Mapping[str, Any]) -> T:
    """Return what a file holds as a dataclass; Damaged where a field is missing, unknown, or of another type."""
    unknown = content.keys() - {field.name for field in fields(cast("Any", kind))}
    if unknown:
        raise Damaged(path, f"it has an unknown field {min(unknown)!r}")
    try:
        return cast("T", _adapter(cast("Any", kind)).validate_python(content))
    except ValidationError as error:
        first = error.errors()[0]
        raise Damaged(path, f"{'.'.join(map(str, first['loc']))}: {first['msg'].lower()}") from None


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def read(path: Path) -> bytes:
    """Return the bytes of a file; FileNotFoundError where there is none, UserError where it cannot be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise inaccessible(error) from None


def checked(path: Path, sum: str) -> bytes:
    """Return the bytes of a file that has this checksum."""
    data = read(path) if path.exists() else None
    if data is None:
        raise Damaged(path, "it is missing")
    if checksum(data) != sum:
        raise Damaged(path, "its checksum does not hold")
    return data


def replace(path: Path, data: bytes) -> None:
    """Put these bytes in the place of a file in one step; a crash leaves the old file.

    A file that was there keeps its mode.
    """
    draft = _draft(path)
    with _about(path, draft):
        try:
            write(draft, data)
            if path.is_file() and not path.is_symlink():
                draft.chmod(stat.S_IMODE(path.stat().st_mode))
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
    _sync_folder(path.parent)


def take_place(draft: Path, path: Path) -> None:
    """Put a draft, whose bytes are on the disk, in the place of a file in one step; it gets that one's mode."""
    with _about(path, draft):
        draft.chmod(stat.S_IMODE(path.stat().st_mode))
        draft.replace(path)
    _sync_folder(path.parent)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a draft folder, for files alone, that takes the name `path` when the block ends without an error.

    What stood under that name is an orphan of a crash and is dropped.
    """
    _make_folder(path.parent)
    draft = _draft(path)
    with _about(path, draft):
        draft.mkdir()
        try:
            yield draft
            for file in draft.iterdir():
                _sync(file)
            _sync_folder(draft)
            shutil.rmtree(path, ignore_errors=True)
            draft.rename(path)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    _sync_folder(path.parent)


def drop_folder(path: Path) -> None:
    """Delete a folder, of which a reader finds all or nothing; a crash may leave a draft."""
    shutil.rmtree(path.rename(_draft(path)))


def drop_drafts(folder: Path) -> None:
    """Delete what a crash left half-written anywhere below a folder; links are not followed, and stay."""
    for place, folders, names in os.walk(folder):
        for name in filter(DRAFT.fullmatch, [*folders, *names]):
            draft = Path(place, name)
            if draft.is_symlink():
                continue
            shutil.rmtree(draft) if draft.is_dir() else draft.unlink()


def drop_drafts_of(path: Path) -> None:
    """Delete what killed runs left half-written of one file or folder."""
    for draft in path.parent.glob(f"{escape(_beginning(path))}{'[0-9a-f]' * 32}"):
        shutil.rmtree(draft) if draft.is_dir() else draft.unlink()


def refuse_links(folder: Path) -> None:
    """Raise UserError where anything below a folder is a link: what is behind it belongs to somebody else."""
    for place, folders, names in os.walk(folder):
        for name in (*folders, *names):
            if Path(place, name).is_symlink():
                raise a_link(Path(place, name))


def a_link(path: Path) -> UserError:
    """Return the error that says that a file of ours is a link."""
    return UserError(
        f"{path} is a link, and mneme follows none in a workspace: remove it (what it leads to stays)"
    )


def share(folder: Path, new: Path) -> None:
    """Make a folder whose files are those of another: the same by hard links, copies where that cannot be."""
    new.mkdir()
    for file in folder.iterdir():
        try:
            os.link(file, new / file.name)
        except OSError:  # another file system, or one without hard links
            shutil.copy(file, new / file.name)


def _draft(path: Path) -> Path:
    """Return a name beside a path that nobody else uses, and by which `drop_drafts` knows it."""
    return path.with_name(f"{_beginning(path)}{uuid.uuid4().hex}")


def _beginning(path: Path) -> str:
    """Return what the names of a path's drafts begin with; there is room for the rest behind it."""
    name = os.fsencode(path.name)
    return f".{path.name if len(name) <= MOST_BEFORE_DRAFT else checksum(name)}."


@contextmanager
def _about(path: Path, draft: Path | None = None) -> Iterator[None]:
    """Let errors of the system name a file: where they name none, or its draft, which a person does not know."""
    try:
        yield
    except OSError as error:
        is_nameless = error.filename is None and error.errno is not None
        if is_nameless or (
            draft and error.filename and Path(os.fsdecode(error.filename)).is_relative_to(draft)
        ):
            error.filename = str(path)
        raise


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it that are missing, so that they survive a crash."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for made in missing:
        _sync_folder(made.parent)


def write(path: Path, data: bytes) -> None:
    """Write a file whose bytes are on the disk when this returns."""
    with _about(path), path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(path: Path) -> None:
    with _about(path), path.open("rb+") as file:
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a crash."""
    if os.name == "nt":  # Windows cannot open a folder, and its renames are ordered by the journal
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with _about(folder):
            os.fsync(handle)
    finally:
        os.close(handle)
