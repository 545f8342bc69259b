"""A process that decodes, as seen by the one that started it."""

import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from io import FileIO
from pathlib import Path
from typing import IO

import engine
from engine.decoding.limits import DecodingLimits
from engine.decoding.messages import Head, receive, send
from engine.errors import Unreadable, UserError, beyond

TIME_TO_START = 120
"""Seconds on the clock."""

ROOT = str(Path(engine.__file__).absolute().parents[1])
CODE = (
    "import sys; sys.path.insert(0, sys.argv[2]); import engine; sys.path[:] = sys.argv[3:]; "
    "from engine.decoding.worker import main; main()"
)
"""Finds `engine` where it is here, and all else where it would be found here; the script that runs is left alone."""

ENVIRONMENT = {
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(128 << 20),
}
"""One thread a process; and glibc keeps freed memory: to give arrays of 2 MB back at each picture costs 1.5 ms."""


def command(limits: DecodingLimits) -> list[str]:
    """Return the command of a process that does the jobs of mneme."""
    search_path = [path or os.curdir for path in sys.path]
    return [sys.executable, "-c", CODE, json.dumps(asdict(limits)), ROOT, *search_path]


@dataclass(eq=False)
class Process:
    """A process that does one job at a time.

    Attributes:
        printed: what it prints, from the start of the job on.
        is_ready: whether it has started.
        is_late: whether it was ended because a job was not done in time.
        is_spent: whether it is to be replaced.
    """

    limits: DecodingLimits
    child: "subprocess.Popen[bytes]"
    requests: FileIO
    replies: FileIO
    printed: IO[bytes]
    is_ready: bool = False
    is_late: bool = False
    is_spent: bool = False
    _deadline: float = math.inf
    _clock: threading.Lock = field(default_factory=threading.Lock)

    def is_usable(self) -> bool:
        """Tell whether it can be given another job."""
        return not (self.is_late or self.is_spent) and self.child.poll() is None

    def ask(self, head: Head, data: bytes) -> tuple[Head, bytearray]:
        """Have a job done; Unreadable where the process does not survive it."""
        if not self.is_ready:
            self._wait_until_ready()
        self.is_spent = True  # until it has answered
        self._forget_lines()
        try:
            with self._within(self.limits.max_time):
                send(self.requests, head, data)
                answer, body = receive(self.replies)
        except (EOFError, OSError, ValueError, MemoryError):
            raise self._death() from None
        self.is_spent = bool(answer.get("spent"))
        return answer, body

    def end_if_late(self, now: float) -> float:
        """End it where its job is overdue; return the seconds until it is, infinite where it has none."""
        with self._clock:
            left = self._deadline - now
            if left <= 0:
                self.is_late = True
                self.child.kill()
        return left if left > 0 else math.inf

    def end(self) -> None:
        """End it, whatever it does, and wait until it has."""
        self.child.kill()
        self.child.wait()

    def close(self) -> None:
        """End it and let go of its pipes; only for whoever could ask it now."""
        self.end()
        for file in (self.requests, self.replies, self.printed):
            file.close()

    def lines(self) -> list[str]:
        """Return the lines that were printed during the last job; blank ones left out."""
        self.printed.seek(0)
        lines = (line.strip() for line in self.printed.read().decode(errors="backslashreplace").splitlines())
        return [line for line in lines if line]

    def _forget_lines(self) -> None:
        self.printed.seek(0)
        self.printed.truncate()

    def _wait_until_ready(self) -> None:
        try:
            with self._within(TIME_TO_START):
                receive(self.replies)
        except (EOFError, OSError, ValueError):
            last_line = self._last_line()
            raise _cannot_start(last_line or str(self._death())) from None
        self.is_ready = True

    @contextmanager
    def _within(self, seconds: float) -> Iterator[None]:
        """Let `end_if_late` end the process if the block takes longer."""
        with self._clock:
            self._deadline = time.monotonic() + seconds
        try:
            yield
        finally:
            with self._clock:
                self._deadline = math.inf

    def _death(self) -> Unreadable:
        """Return why a process that no longer answers has ended; end it where it has not."""
        with suppress(subprocess.TimeoutExpired):
            self.child.wait(1)  # its pipes close a moment before
        status = self.child.poll()
        self.end()
        if self.is_late or status == -getattr(signal, "SIGALRM", 0):
            limit = self.limits.max_time
            return beyond(f"took longer than {limit:g} s to decode", "max_time", limit)
        if status is None:
            return Unreadable("the decoder crashed: its answer makes no sense")
        if status == -getattr(signal, "SIGKILL", 0):
            return Unreadable(
                "the decoder was killed (SIGKILL), as happens where the machine has no memory left"
            )
        if status < 0:
            return Unreadable(f"the decoder crashed ({signal.Signals(-status).name})")
        reason = self._last_line() or f"it ended with status {status}"
        self._forget_lines()  # a traceback, whose last line says it
        return Unreadable(f"the decoder failed: {reason}")

    def _last_line(self) -> str:
        return next((line[:200] for line in reversed(self.lines())), "")


def start(limits: DecodingLimits, arguments: Sequence[str]) -> Process:
    """Start a process; it is not ready yet."""
    printed = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - the child shares its place: nothing is read ahead
    try:
        child = subprocess.Popen(
            arguments,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=printed,
            bufsize=0,
            env={**os.environ, **ENVIRONMENT},
            start_new_session=True,  # Ctrl-C and Ctrl-Z are for this process alone
        )
    except (OSError, ValueError) as error:
        printed.close()
        raise _cannot_start(getattr(error, "strerror", None) or str(error)) from None
    assert isinstance(child.stdin, FileIO)
    assert isinstance(child.stdout, FileIO)
    return Process(limits, child, child.stdin, child.stdout, printed)


def _cannot_start(reason: str) -> UserError:
    return UserError(f"cannot start a process that decodes media: {reason}")
