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

Argument = TypeVar("Argument")
Value = TypeVar("Value")


def map_unordered(
    function: Callable[[Argument], Value], arguments: Sequence[Argument], jobs: int
) -> Generator[tuple[Argument, Value], None, None]:
    """Yield each argument and what a function makes of it, as it is made; one job works in this process.

    To be closed by who stops listening: that ends the processes.

    Args:
        jobs: how many processes there may be; each has its share of the cores for threads.

    Raises:
        UserError: a process died.
    """
    jobs = min(jobs, len(arguments))
    if jobs > 1:
        yield from _in_processes(function, arguments, jobs)
    else:
        yield from ((argument, function(argument)) for argument in arguments)


def _in_processes(
    function: Callable[[Argument], Value], arguments: Sequence[Argument], jobs: int
) -> Generator[tuple[Argument, Value], None, None]:
    before = set(multiprocessing.active_children())
    threads = max(1, (os.cpu_count() or 1) // jobs)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, _begin, (threads,)) as pool:
        with _ignoring_sigint():
            futures = {pool.submit(function, argument): argument for argument in arguments}
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
def _ignoring_sigint() -> Iterator[None]:
    """Start processes that ignore Ctrl-C, which a terminal sends to all: their parent ends them."""
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


def _begin(threads: int) -> None:
    torch.set_num_threads(threads)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
