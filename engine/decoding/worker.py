"""The process that decodes: it does jobs one after the other until nobody asks for more."""

import json
import os
import signal
import sys
import warnings
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from PIL import Image

from engine import media
from engine.decoding.jobs import JOBS, Jobs
from engine.decoding.limits import DecodingLimits
from engine.decoding.messages import Head, receive, send
from engine.errors import Unreadable, beyond

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

MOST_PRINTED = 1 << 20
"""Bytes that decoders may print, or write anywhere."""
ENOUGH_KEPT = 512 << 20
"""Bytes that are kept after a job, by which this process is to be replaced: some decoder leaks."""
GRACE = 5
"""Seconds by which a process outlives the time for a job, if whoever started it is gone."""


def main() -> NoReturn:
    """Serve the jobs of mneme; the limits are the first argument, as JSON."""
    serve(JOBS)


def serve(jobs: Jobs) -> NoReturn:
    """Do jobs until the other side ends: it asks on stdin and is answered on what was stdout."""
    limits = DecodingLimits(**json.loads(sys.argv[1]))
    requests, replies = _own_pipes()
    _confine()
    Image.MAX_IMAGE_PIXELS = None  # ours is the limit
    warnings.simplefilter("ignore")  # what is odd is flagged
    kept = _memory()
    with suppress(EOFError, OSError):
        send(replies, {})
        while True:
            head, data = receive(requests)
            _allow(limits)
            answer, body = _done(jobs, head, bytes(data), limits)
            _disarm()
            send(replies, {**answer, "spent": _memory() - kept > ENOUGH_KEPT}, body)
            del data, body
    os._exit(0)  # at once: nothing here is worth tidying up


def _own_pipes() -> tuple[FileIO, FileIO]:
    """Take the pipes away from stdin and stdout: what decoders print on either goes where stderr goes."""
    requests, replies = (FileIO(os.dup(descriptor), mode) for descriptor, mode in ((0, "rb"), (1, "wb")))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    return requests, replies


def _confine() -> None:
    """Leave Ctrl-C to whoever asks, and write no core and no long files."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if resource:
        for what, most in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, MOST_PRINTED)):
            with suppress(OSError, ValueError):
                resource.setrlimit(what, (most, resource.getrlimit(what)[1]))


def _allow(limits: DecodingLimits) -> None:
    """Let the system end a job that takes too much memory, or outlives whoever asked for it."""
    if resource and (taken := _memory()):
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        most = taken + limits.max_memory
        resource.setrlimit(resource.RLIMIT_DATA, (most if hard < 0 else min(most, hard), hard))
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, limits.max_time + GRACE)


def _disarm() -> None:
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, 0)


def _memory() -> int:
    """Return the bytes of memory that are this process's own, in use or not; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_bytes().split()[5])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _done(jobs: Jobs, head: Head, data: bytes, limits: DecodingLimits) -> tuple[dict[str, Any], memoryview]:
    """Do a job and return what is said of it, and the numbers that came of it."""
    try:
        with media.collected() as flags:
            array = np.ascontiguousarray(jobs[head["job"]](data, head["side"], limits))
    except Unreadable as error:
        return _refusal(error), memoryview(b"")
    except MemoryError:
        return _refusal(
            beyond("takes too much memory to decode", "max_memory", limits.max_memory)
        ), memoryview(b"")
    said = {"type": array.dtype.str, "shape": array.shape, "flags": sorted(flags)}
    return said, array.reshape(-1).view(np.uint8).data


def _refusal(error: Unreadable) -> dict[str, Any]:
    settings = [(setting.name, setting.value, setting.command) for setting in error.settings]
    return {"reason": str(error), "settings": settings}
