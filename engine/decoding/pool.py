"""Several processes that decode, started when there is something to decode."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from engine.decoding.jobs import Array, Job
from engine.decoding.limits import LIMITS, DecodingLimits
from engine.decoding.process import TIME_TO_START, Process, command, start
from engine.errors import Setting, Unreadable
from engine.media import raise_flag

MOST = 4
"""Processes at most; never more than there are processors."""
WORTH_ANOTHER = 16
"""Jobs by which another process pays: starting one takes as long as about twenty pictures."""
MOST_LINES = 1000
"""About so many lines that decoders print are kept."""


@contextmanager
def decoders(
    limits: DecodingLimits = LIMITS, command: Callable[[DecodingLimits], Sequence[str]] = command
) -> "Iterator[Decoders]":
    """Yield what decodes in processes of its own; none is left when the block ends.

    Args:
        command: returns the command of such a process.
    """
    pool = Decoders(limits, command)
    try:
        yield pool
    finally:
        pool.stop()


@dataclass
class Decoders:
    """Processes that decode; any thread may ask for it.

    Attributes:
        command: returns that of such a process.
        most: how many there may be.
    """

    limits: DecodingLimits
    command: Callable[[DecodingLimits], Sequence[str]]
    most: int = field(default_factory=lambda: min(MOST, processors()))
    _running: list[Process] = field(default_factory=list)
    _idle: list[Process] = field(default_factory=list)
    _done: int = 0
    _printed: dict[str, None] = field(default_factory=dict)
    _change: threading.Condition = field(default_factory=threading.Condition)
    _stopped: threading.Event = field(default_factory=threading.Event)
    _watch: threading.Thread | None = None

    def decode(self, job: Job, data: bytes) -> Array:
        """Do a job in a process; Unreadable where it cannot be done, or the process does not survive it."""
        process = self._taken()
        try:
            answer, body = process.ask({"job": job.name, "side": job.side}, data)
        finally:
            self._give_back(process)
        if "reason" in answer:
            raise Unreadable(answer["reason"], settings=[Setting(*words) for words in answer["settings"]])
        for flag in answer["flags"]:
            raise_flag(flag)
        array: Array = np.frombuffer(body, answer["type"]).reshape(answer["shape"])
        return array

    def printed(self) -> list[str]:
        """Return the lines that decoders have printed since this was asked last, equal ones once."""
        with self._change:
            lines = list(self._printed)
            self._printed.clear()
        return lines

    def stop(self) -> None:
        """End all processes at once, whatever they do; nothing is decoded any more."""
        with self._change:
            self._stopped.set()
            self._change.notify_all()
            while self._idle:
                self._drop(self._idle.pop())
            for process in self._running:
                process.end()
        if self._watch:
            self._watch.join()

    def _taken(self) -> Process:
        """Wait for a process that is free, or start one."""
        with self._change:
            while (process := self._free()) is None:
                self._change.wait()
        return process

    def _free(self) -> Process | None:
        """Return a process that is free, or a new one where that pays; None where all are at work."""
        if self._stopped.is_set():
            raise Unreadable("nothing is decoded any more")
        while self._idle:
            process = self._idle.pop()
            if process.is_usable():
                return process
            self._drop(process)
        if len(self._running) >= min(self.most, 1 + self._done // WORTH_ANOTHER):
            return None
        process = start(self.limits, self.command(self.limits))
        self._running.append(process)
        if self._watch is None:
            self._watch = threading.Thread(target=self._end_what_is_late, daemon=True)
            self._watch.start()
        return process

    def _give_back(self, process: Process) -> None:
        with self._change:
            self._done += 1
            if len(self._printed) < MOST_LINES:
                self._printed |= dict.fromkeys(process.lines()[:MOST_LINES])
            if process.is_usable() and not self._stopped.is_set():
                self._idle.append(process)
            else:
                self._drop(process)
            self._change.notify_all()

    def _drop(self, process: Process) -> None:
        self._running.remove(process)
        process.close()

    def _end_what_is_late(self) -> None:
        """End processes whose job is overdue, until all are stopped; wakes no more often than one could be."""
        wait = 0.0
        while not self._stopped.wait(wait):
            now, wait = time.monotonic(), float(min(self.limits.max_time, TIME_TO_START))
            with self._change:
                running = list(self._running)
            for process in running:
                wait = min(wait, process.end_if_late(now))


def processors() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
