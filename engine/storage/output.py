"""Files that a person asked for: a regular file is replaced whole, anything else is written through."""

import os
import re
import stat
from pathlib import Path

from engine.errors import inaccessible
from engine.storage import files

STREAMS = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}
DESCRIPTOR = re.compile(r"/(?:dev|proc/self)/fd/(\d+)")


def write(path: Path, data: bytes) -> None:
    """Write bytes to where a person said.

    A regular file is replaced in one step and keeps its mode, a link stays a link, a device or a FIFO is written
    through, `/dev/stdout` and its like go to the stream of this process.

    Raises:
        UserError: it cannot be written.
    """
    try:
        number = _descriptor(path)
        if number is not None:
            with os.fdopen(os.dup(number), "wb") as stream:
                stream.write(data)
        elif path.exists() and not stat.S_ISREG(path.stat().st_mode) and not path.is_dir():
            with path.open("wb") as device:
                device.write(data)
        else:
            files.drop_drafts_of(path.resolve())
            files.replace(path.resolve(), data)
    except OSError as error:
        error.filename = path  # as it was given
        raise inaccessible(error, to="write") from None


def _descriptor(path: Path) -> int | None:
    """Return which stream of this process a path names; None where it is a file like any other."""
    named = DESCRIPTOR.fullmatch(str(path))
    return int(named[1]) if named else STREAMS.get(str(path))
