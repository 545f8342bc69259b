"""LMDB's files, looked at without it: whether pages in use are all there, and whether the files are ours alone."""

import os
import shutil
import struct
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import BinaryIO

from engine.storage import faults, files

HEADER = struct.Struct("=QHHHH")
"""Of every page: its number, unused, what it holds, where its list of nodes ends, where its nodes begin."""

META = struct.Struct("=IIQQ IHHQQQQQ 48x QQ")
"""Of the first two pages, behind the header: magic, version, address and length of the map; of the table of free
pages the page size, flags, depth, pages of three kinds, entries and root; the last page, the number of the write."""

NODE = struct.Struct("=HHHH")
"""Of an entry of a page: the lower and the upper part of its size, flags, the length of its key."""

LOCK_MAGIC = struct.pack("=I", 0xBEEFC0DE)
"""What LMDB's table of readers begins with."""

VERSION = 1
"""Of the format that is known here; of others nothing is said."""

BRANCH, ELSEWHERE, NOWHERE = 0x01, 0x01, (1 << 64) - 1
"""Flag of a page of further pages; flag of a node whose value has pages of its own; the root of an empty table."""


@dataclass(frozen=True)
class Meta:
    """What one of the two meta pages says.

    Attributes:
        page: bytes of a page.
        free: the root of the table of free pages.
        last: the last page that was ever taken.
        write: its number; the higher one counts.
    """

    version: int
    page: int
    free: int
    last: int
    write: int


def newest_meta(file: BinaryIO) -> Meta:
    """Return the meta page that counts; EOFError where the file ends before it."""
    first = _meta(file, 0)
    return max(first, _meta(file, first.page), key=attrgetter("write"))


def are_missing(path: Path) -> bool:
    """Say whether pages in use lie beyond the end of a file.

    It may end before the last page that was ever taken: LMDB does not write what was taken and let go in one write.
    So what lies beyond the end must all be listed as free.
    """
    with path.open("rb") as file:
        try:
            while True:
                meta = newest_meta(file)
                beyond = range(os.fstat(file.fileno()).st_size // meta.page, meta.last + 1)
                if meta.version != VERSION or set(beyond) <= set(_free(file, meta)):
                    return False
                if meta == newest_meta(file):  # else a write came in between
                    return True
        except (EOFError, struct.error, ValueError):
            return True


def refuse_links(*paths: Path) -> None:
    """Raise UserError where a file of a store is a link: LMDB would write to what it leads to, for readers too."""
    for path in paths:
        if path.is_symlink():
            raise files.a_link(path)


def make_own(file: Path) -> None:
    """Let a file that has another name too, as in a backup of hard links, be ours alone: LMDB writes in its midst.

    The caller holds the writer's lock.
    """
    draft = file.with_name(f".{file.name}.{uuid.uuid4().hex}")
    try:
        if file.exists() and file.stat().st_nlink > 1:
            shutil.copy(file, draft)
            with draft.open("rb+") as copy:
                os.fsync(copy.fileno())
            files.take_place(draft, file)
    except OSError as error:
        raise faults.explained(error, file) from None
    finally:
        draft.unlink(missing_ok=True)


def is_lock(file: Path) -> bool:
    """Say whether a file is LMDB's table of readers, or empty so far."""
    with file.open("rb") as opened:
        beginning = opened.read(len(LOCK_MAGIC))
    return beginning in (b"", bytes(len(LOCK_MAGIC)), LOCK_MAGIC)


def _meta(file: BinaryIO, place: int) -> Meta:
    _, version, _, _, page, *_, free, last, write = META.unpack(_read(file, place + HEADER.size, META.size))
    return Meta(version, page, free, last, write)


def _free(file: BinaryIO, meta: Meta) -> Iterator[int]:
    """Yield the free pages: each entry of their table is how many a write let go, and which."""
    waiting = [meta.free]
    while waiting:
        number = waiting.pop()
        if number == NOWHERE:
            continue
        page = _read(file, number * meta.page, meta.page)
        _, _, flags, end, _ = HEADER.unpack_from(page)
        for (place,) in struct.iter_unpack("=H", page[HEADER.size : end]):
            low, high, more, key = NODE.unpack_from(page, place)
            if flags & BRANCH:
                waiting.append(low | high << 16 | more << 32)
                continue
            size, start = low | high << 16, place + NODE.size + key
            value = page[start : start + size]
            if more & ELSEWHERE:
                (first,) = struct.unpack_from("=Q", page, start)
                value = _read(file, first * meta.page + HEADER.size, size)
            count, *numbers = struct.unpack(f"={len(value) // 8}Q", value)
            yield from numbers[:count]


def _read(file: BinaryIO, place: int, size: int) -> bytes:
    file.seek(place)
    content = file.read(size)
    if len(content) < size:
        raise EOFError
    return content
