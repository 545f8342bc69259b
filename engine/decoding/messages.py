"""Messages between a process and one that decodes for it: a few words in JSON, then bytes; nothing is unpickled."""

import json
import struct
from collections.abc import Mapping
from io import FileIO
from typing import Any, TypeAlias

LENGTHS = struct.Struct("<IQ")
AT_ONCE = 1 << 16
"""Bytes up to which a message is written in one go, for whoever reads it to wake once."""
MAX_HEAD = 1 << 20
MAX_BODY = 1 << 40

Head: TypeAlias = Mapping[str, Any]


def send(pipe: FileIO, head: Head, body: bytes | memoryview = b"") -> None:
    """Write a message; OSError where nobody reads any more."""
    words = json.dumps(head).encode()
    start = LENGTHS.pack(len(words), len(body)) + words
    if len(body) <= AT_ONCE:
        _write(pipe, b"".join([start, body]))
    else:
        _write(pipe, start)
        _write(pipe, body)


def receive(pipe: FileIO) -> tuple[Head, bytearray]:
    """Read a message.

    Raises:
        EOFError: the other side has ended.
        ValueError: what came is no message.
    """
    length, size = LENGTHS.unpack(_read(pipe, LENGTHS.size))
    if length > MAX_HEAD or size > MAX_BODY:
        raise ValueError("a message that is too long")
    head = json.loads(_read(pipe, length))
    if not isinstance(head, dict):
        raise ValueError("a message without words")
    return head, _read(pipe, size)


def _write(pipe: FileIO, data: bytes | memoryview) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[pipe.write(rest) :]


def _read(pipe: FileIO, size: int) -> bytearray:
    data = bytearray(size)
    rest = memoryview(data)
    while rest:
        count = pipe.readinto(rest)
        if not count:
            raise EOFError
        rest = rest[count:]
    return data
