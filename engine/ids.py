"""Item ids: 32 hex digits as text, 16 bytes as a key of the store, rows of bytes as an array; what they digest.

And when names of tasks and modalities are the same.
"""

import re
import unicodedata
from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from engine.errors import Unreadable
from engine.types import ItemId, Modality

Ids = NDArray[np.bytes_]
"""Ids as bytes, whose order is that of the texts; of queries of two items also two ids joined."""

BYTES = 16
DIGITS = 2 * BYTES
DTYPE = np.dtype(f"S{DIGITS}")

MAX_TEXT_BYTES = 16 << 20
MAX_NAME = 255
"""Characters of the name of a task or a modality: no folder has more."""

JOINERS = "\u200c\u200d"
"""What many scripts and emoji join their letters with, or keep them apart; beside ASCII they do nothing."""
_IDLE_JOINERS = re.compile(rf"(?<![^\x00-\x7f])[{JOINERS}]+|[{JOINERS}]+(?![^\x00-\x7f])")

_NO_JOINERS = dict.fromkeys(map(ord, JOINERS))


def item_id(modality: Modality, data: bytes) -> ItemId:
    """Return the identity of an item: the digest of its modality and bytes."""
    return blake2b(modality.encode() + b"\0" + data, digest_size=BYTES).hexdigest()


def counted(count: int, one: str, several: str = "") -> str:
    """Return a number and what it counts: 1 text file, 2 text files.

    Args:
        several: what it is called where there is not one; empty: as usual, with an s.
    """
    return f"{count} {one if count == 1 else several or one + 's'}"


def clean_text(text: str) -> str:
    """Return the text as it is stored and digested: NFC, without outer white space."""
    try:
        cleaned = unicodedata.normalize("NFC", text).strip()
        size = len(cleaned.encode())
    except UnicodeEncodeError:
        raise Unreadable("text holds a lone surrogate, which is no character") from None
    if not cleaned:
        raise Unreadable("blank text")
    if size > MAX_TEXT_BYTES:
        raise Unreadable(f"text of {size >> 20} MiB; the limit is {MAX_TEXT_BYTES >> 20} MiB")
    return cleaned


def clean_name(name: str) -> str:
    """Return the name of a task, modality or label as it is stored and compared: those that look equal are one.

    NFC, every kind of space the plain one and none outside, no joiners that join nothing.
    """
    if not name.isascii():
        name = _IDLE_JOINERS.sub("", unicodedata.normalize("NFC", name))
        name = "".join(" " if unicodedata.category(c) == "Zs" else c for c in name)
    return name.strip()


def checked_name(name: str) -> str:
    """Return a name of a task or a modality, or raise where it could not be shown in one line."""
    cleaned = clean_name(name)
    if not cleaned or len(cleaned) > MAX_NAME or not cleaned.translate(_NO_JOINERS).isprintable():
        raise Unreadable(f"must be 1 to {MAX_NAME} printable characters")
    return cleaned


def escape(name: str, marks: str) -> str:
    """Return a name that can be joined to others by these marks: they and % are written %XX.

    `urllib.parse.unquote` gives it back.
    """
    return "".join(f"%{ord(c):02X}" if c == "%" or c in marks else c for c in name)


def to_key(id: ItemId) -> bytes:
    """Return the 16 bytes of an id, under which the store keeps its item."""
    return bytes.fromhex(id)


def from_key(key: bytes) -> ItemId:
    """Return the id whose 16 bytes these are."""
    return key.hex()


def first_key(beginning: str) -> bytes:
    """Return the smallest key of an id that begins with these digits."""
    return to_key(beginning.ljust(DIGITS, "0"))


def parts(id: ItemId) -> list[ItemId]:
    """Return the ids that were joined to one."""
    return [id[place : place + DIGITS] for place in range(0, len(id), DIGITS)]


def encode(ids: Sequence[ItemId]) -> Ids:
    """Return ids as an array (N,)."""
    return np.array(ids, DTYPE)


def decode(ids: Ids) -> list[ItemId]:
    """Return the ids of an array (N,) as strings."""
    return [id.decode() for id in ids.tolist()]


def to_digits(ids: Ids) -> NDArray[np.uint8]:
    """Return the digits (N, 32) of ids (N,), as files that know no strings keep them."""
    return np.ascontiguousarray(ids, DTYPE).view(np.uint8).reshape(-1, DIGITS)


def from_digits(digits: NDArray[np.uint8]) -> Ids:
    """Return the ids (N,) whose digits (N, 32) are given."""
    ids: Ids = np.ascontiguousarray(digits).view(DTYPE).reshape(-1)
    return ids
