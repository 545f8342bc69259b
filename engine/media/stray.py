"""What C libraries print: kept off the terminal, and handed over as lines."""

import io
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

STDERR = 2
MOST_LINES = 1000

_one_at_a_time = threading.Lock()


@contextmanager
def caught() -> Iterator[list[str]]:
    """Catch what C libraries (libtiff, mpg123) print on file descriptor 2 in the block; Python's stderr goes on.

    The descriptor belongs to the process, not to a thread: enter this once, around all threads that decode.
    Within another block of the same process it does nothing.

    Yields:
        A list that holds the printed lines once the block has ended, equal ones once.
    """
    lines: list[str] = []
    if not _one_at_a_time.acquire(blocking=False):
        yield lines
        return
    try:
        saved = _duplicate()
        if saved is None:
            yield lines
            return
        with tempfile.TemporaryFile() as printed:
            before, own = sys.stderr, _own_stream(saved)
            os.dup2(printed.fileno(), STDERR)
            sys.stderr = own or before
            try:
                yield lines
            finally:
                sys.stderr = before
                if own:
                    own.close()
                os.dup2(saved, STDERR)
                os.close(saved)
                lines += _lines(printed)
    finally:
        _one_at_a_time.release()


def _duplicate() -> int | None:
    """Return another descriptor of stderr, None where stderr is closed."""
    try:
        sys.stderr.flush()
        return os.dup(STDERR)
    except (OSError, ValueError, AttributeError):
        return None


def _own_stream(saved: int) -> io.TextIOWrapper | None:
    """Return a stream to the real stderr for Python, None where `sys.stderr` does not go there (a notebook)."""
    try:
        if sys.stderr.fileno() != STDERR:
            return None
    except (OSError, ValueError):
        return None
    return os.fdopen(os.dup(saved), "w", buffering=1, encoding=sys.stderr.encoding, errors=sys.stderr.errors)


def _lines(printed: IO[bytes]) -> list[str]:
    printed.seek(0)
    lines = (raw.decode(errors="backslashreplace").strip() for raw in printed.readlines(MOST_LINES * 100))
    return list(dict.fromkeys(line for line in lines if line))[:MOST_LINES]
