"""Read a JSON array of many objects one at a time, so that a file of a gigabyte takes a few megabytes."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from engine.errors import UserError

CHUNK = 4 << 20
MOST = 256 << 20
"""Characters: what is no whole object by then is broken."""

T = TypeVar("T")


def each(path: Path, take: Callable[[dict[str, Any]], T]) -> Iterator[T]:
    """Yield what `take` makes of every object; one that lacks what it asks for is a person's error."""
    for number, entry in enumerate(_elements(path)):
        try:
            taken = take(entry)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            reason = f"entry {number}: {type(error).__name__} {error}"
            raise UserError(f"{path} is not Visual Genome's, {reason}") from None
        yield taken


def _elements(path: Path) -> Iterator[dict[str, Any]]:
    decode = json.JSONDecoder().raw_decode
    gap = re.compile(r"[\s,]*")
    with path.open(encoding="utf-8") as file:
        buffer, at = _more(path, file.read), 0
        start = gap.match(buffer)
        if not buffer.startswith("[", at := start.end() if start else 0):
            raise UserError(f"{path} is not a JSON array")
        at += 1
        while True:
            space = gap.match(buffer, at)
            at = space.end() if space else at
            if buffer.startswith("]", at):
                return
            try:
                entry, at = decode(buffer, at)
            except json.JSONDecodeError as error:
                more = _more(path, file.read) if len(buffer) - at < MOST else ""
                if not more:
                    raise UserError(f"{path} is cut off or not JSON: {error.msg}") from None
                buffer, at = buffer[at:] + more, 0
            else:
                yield entry


def _more(path: Path, read: Callable[[int], str]) -> str:
    try:
        return read(CHUNK)
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8: {error.reason}") from None
