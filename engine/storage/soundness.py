"""The pages of LMDB's file, each read and held against what the others say of it; without LMDB, which damage may end.

Values have checksums of their own (`inspection`); what leads to them has none, so here everything is counted twice.
"""

import struct
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from engine.storage.pages import BRANCH, ELSEWHERE, HEADER, META, NODE, NOWHERE, VERSION

RECORD = struct.Struct("=IHHQQQQQ")
"""Of a table: unused, flags, depth, pages of branches, leaves and long values, entries, root."""

RECORDS = HEADER.size + struct.calcsize("=IIQQ")
"""Where a meta page has the records of the table of free pages, and of the table of tables."""

LEAF, LONG, DIRTY, INNER = 0x02, 0x04, 0x10, 0x40
"""Flags of a page: entries, a long value, what was written just now, a page within a value."""

TABLE, SEVERAL = 0x02, 0x04
"""Flags of an entry: its value is the record of a table; it has several values."""

METAS = 1 << 17
"""Bytes of two pages, of the largest that there are; each write changes them."""

TURNS = 5
"""How often a file is read anew that is written to meanwhile."""

Record: TypeAlias = tuple[int, int, int, int, int, int, int, int]
Entry: TypeAlias = tuple[bytes, int, bytes]
"""Key, flags and the value, or where it is."""


class Unsound(Exception):
    """Pages that contradict each other; says what was met."""


def flaw(file: Path, tables: frozenset[bytes]) -> str | None:
    """Return what is wrong with the pages of a store's file, or None; of a file in use all is of one write.

    Args:
        tables: the names that its tables may have.
    """
    problem = None
    for _ in range(TURNS):
        with file.open("rb") as opened:
            before = opened.read(METAS)
            problem = _met(opened, tables)
            opened.seek(0)
            if problem is None or before == opened.read(METAS):
                break
    return problem


def _met(file: BinaryIO, tables: frozenset[bytes]) -> str | None:
    try:
        _check(file, _newest(file), tables)
    except (struct.error, EOFError, ValueError, IndexError):
        return "a page says wrongly what it holds"
    except Unsound as error:
        return str(error)
    return None


@dataclass
class _Walk:
    """What was met of a file: which pages are taken."""

    file: BinaryIO
    page: int
    last: int
    taken: set[int] = field(default_factory=set)

    def take(self, number: int, count: int = 1) -> bytes:
        """Return the first of some pages, which nothing else has taken."""
        pages = range(number, number + count)
        if number < 2 or pages[-1] > self.last or not self.taken.isdisjoint(pages):
            raise Unsound(f"page {number} is used twice, or there is none")
        self.taken.update(pages)
        self.file.seek(number * self.page)
        content = self.file.read(self.page)
        if len(content) < self.page or HEADER.unpack_from(content)[0] != number:
            raise Unsound(f"page {number} has another number")
        return content

    def entries(self, record: Record, *, numbers: bool = False) -> Iterator[Entry]:
        """Yield the entries of a table, which is as large as its record says; numbers: what its keys are."""
        _, _, depth, *sizes, entries, root = record
        counts = [0, 0, 0, 0]
        if root != NOWHERE:
            yield from self._below(root, depth, (None, None), counts, numbers)
        elif depth:
            raise Unsound("a table has no root")
        if counts != [*sizes, entries]:
            raise Unsound("a table has other entries than are counted")

    def _below(
        self,
        number: int,
        depth: int,
        bounds: tuple[bytes | int | None, bytes | int | None],
        counts: list[int],
        numbers: bool,
    ) -> Iterator[Entry]:
        kind = LEAF if depth == 1 else BRANCH
        content = self.take(number)
        counts[kind == LEAF] += 1
        nodes = list(_nodes(content, kind))
        keys = [int.from_bytes(key, sys.byteorder) if numbers else key for key, *_ in nodes]
        if kind == BRANCH:
            keys[0:1] = []
        low, high = bounds
        _ascend([*([] if low is None else [low]), *keys, *([] if high is None else [high])], kind == LEAF)
        if kind == BRANCH:
            edges = [low, *keys, high]
            for n, (_, _, child) in enumerate(nodes):
                below = int.from_bytes(child, "little")
                yield from self._below(below, depth - 1, (edges[n], edges[n + 1]), counts, numbers)
            return
        for key, flags, value in nodes:
            content, count = self._value(flags, value, counts)
            counts[3] += count
            yield key, flags, content

    def _value(self, flags: int, value: bytes, counts: list[int]) -> tuple[bytes, int]:
        """Return a value, less what is in further pages, and how many there are."""
        if flags & ELSEWHERE:
            size, first = struct.unpack("=IQ", value)
            count = (HEADER.size + size - 1) // self.page + 1
            start = self.take(first, count)
            if HEADER.unpack_from(start)[2] != LONG or struct.unpack_from("=I", start, 12) != (count,):
                raise Unsound(f"page {first} is no long value")
            counts[2] += count
            self.file.seek(first * self.page + HEADER.size)
            return (self.file.read(size) if size < 1 << 16 else b""), 1
        if not flags & SEVERAL:
            return value, 1
        if flags & TABLE:
            below = RECORD.unpack(value)
            counts[:3] = [count + more for count, more in zip(counts, below[3:6], strict=False)]
            return b"", sum(1 for _ in self.entries(below))
        values = [key for key, *_ in _nodes(value, LEAF, within=True)]
        _ascend(values, strictly=True)
        return b"", len(values)


def _ascend(keys: Sequence[Any], strictly: bool) -> None:
    """Raise where keys, all bytes or all numbers, are not in order; the first, a lower bound, may come twice."""
    pairs = pairwise(keys)
    if any(one > other or (one == other and n) for n, (one, other) in enumerate(pairs)):
        raise Unsound("keys are not in order")


def _nodes(page: bytes, kind: int, *, within: bool = False) -> Iterator[Entry]:
    """Yield the entries of a page, which fill its end; of a long value its size and page, of a branch the page."""
    _, _, flags, low, high = HEADER.unpack_from(page)
    if (flags & ~DIRTY if within else flags) != (kind | INNER if within else kind) or low % 2 or low > high:
        raise Unsound("a page is of another kind")
    places, ends = struct.unpack_from(f"={(low - HEADER.size) // 2}H", page, HEADER.size), {}
    for place in places:
        size_low, size_high, more, key = NODE.unpack_from(page, place)
        start, size = place + NODE.size + key, size_low | size_high << 16
        name = page[place + NODE.size : start]
        if kind == BRANCH:
            value = struct.pack("<Q", size | more << 32)
            ends[place] = start
        elif more & ELSEWHERE:
            value = struct.pack("=I", size) + page[start : start + 8]
            ends[place] = start + 8
        else:
            value = page[start : start + size]
            ends[place] = start + size
        yield name, more, value
    edges = sorted(ends)
    if len(edges) != len(places) or [end + end % 2 for _, end in sorted(ends.items())] != [
        *edges[1:],
        len(page),
    ]:
        raise Unsound("entries of a page overlap")
    if edges[:1] != [high]:
        raise Unsound("a page is not filled as it says")


def _metas(file: BinaryIO) -> list[tuple[int, bytes]]:
    """Return the number of the write of each meta page, and the page."""
    file.seek(0)
    first = file.read(HEADER.size + META.size)
    page = META.unpack_from(first, HEADER.size)[4]
    file.seek(page)
    both = [first, file.read(len(first))]
    return [(META.unpack_from(meta, HEADER.size)[-1], meta) for meta in both]


def _newest(file: BinaryIO) -> tuple[int, bytes]:
    """Return the meta page that counts; both must be those of writes that followed each other."""
    metas = _metas(file)
    (even, _), (odd, _) = metas
    if abs(even - odd) > 1 or (even % 2 and even > 1) or (not odd % 2 and odd > 1):
        raise Unsound("the numbers of writes do not follow each other")
    return max(metas, key=lambda meta: meta[0])


def _check(file: BinaryIO, newest: tuple[int, bytes], tables: frozenset[bytes]) -> None:
    _, meta = newest
    _, version, _, _, page, *_ = fields = META.unpack_from(meta, HEADER.size)
    if version != VERSION:
        return
    walk = _Walk(file, page, fields[-2])
    free, main = (RECORD.unpack_from(meta, RECORDS + n * RECORD.size) for n in range(2))
    lists = [value for _, _, value in walk.entries(free, numbers=True)]
    for name, flags, value in list(walk.entries(main)):
        if name not in tables or not flags & TABLE:
            raise Unsound("a table has an unknown name")
        for _ in walk.entries(RECORD.unpack(value)):
            pass
    for value in lists:
        count, *numbers = struct.unpack(f"={len(value) // 8}Q", value)
        let_go = set(numbers[:count])
        if count > len(numbers) or len(let_go) < count or not walk.taken.isdisjoint(let_go):
            raise Unsound("pages in use are listed as free")
        if let_go and not 2 <= min(let_go) <= max(let_go) <= walk.last:
            raise Unsound("pages are listed as free that there are not")
        walk.taken |= let_go
