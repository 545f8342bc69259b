"""Several processes that each do one thing at a time, and end when their parent does."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from typing import TypeVar

import torch

from engine.errors import Setting, UserError

Given = TypeVar("Given")
Made = TypeVar("Made")


def each(
    function: Callable[[Given], Made], given: Sequence[Given], jobs: int
) -> Generator[tuple[Given, Made], None, None]:
    """Yield what a function makes of each, as it is made; one job at a time works in this process.

    To be closed by who stops listening: that ends the processes.
    """
    jobs = min(jobs, len(given))
    if jobs > 1:
        yield from _at_once(function, given, jobs)
    else:
        yield from ((one, function(one)) for one in given)


def _at_once(
    function: Callable[[Given], Made], given: Sequence[Given], jobs: int
) -> Generator[tuple[Given, Made], None, None]:
    before = set(multiprocessing.active_children())
    threads = max(1, (os.cpu_count() or 1) // jobs)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, _begin, (threads,)) as pool:
        with _deaf():
            futures = {pool.submit(function, one): one for one in given}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenExecutor:
            resume, fewer = Setting("resume"), Setting("jobs")
            raise UserError(
                f"a worker process died (out of memory?): go on with {resume}, with fewer {fewer}",
                [resume, fewer],
            ) from None
        except BaseException:
            for child in set(multiprocessing.active_children()) - before:
                child.terminate()
            pool.shutdown(cancel_futures=True)
            raise


@contextmanager
def _deaf() -> Iterator[None]:
    """Start processes that ignore Ctrl-C, which a terminal sends to all: their parent ends them."""
    held = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, held)


def _begin(threads: int) -> None:
    torch.set_num_threads(threads)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
