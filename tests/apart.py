"""Processes of their own, forked from one that has imported everything once: each begins at once."""

import multiprocessing
import os
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    ["cli", "engine.backbones.builtin", "indexer.report.text", "indexer.serving.search", "training.lesson"]
)


def begun(function: Callable[..., object], *arguments: object) -> BaseProcess:
    """Begin a function in a process of its own, and return that."""
    process = _FORKS.Process(target=function, args=arguments)
    process.start()
    return process


def run(function: Callable[..., object], *arguments: object) -> int | None:
    """Run a function in a process of its own; return its exit status, below zero that of a signal."""
    process = begun(function, *arguments)
    process.join()
    return process.exitcode


def pipe() -> tuple[Connection, Connection]:
    """Return the ends that a function in a process of its own is heard and speaks by."""
    return _FORKS.Pipe(duplex=False)


def mneme(*arguments: str) -> None:
    """Run the command, silently; exits with its status."""
    import cli

    sys.argv = ["mneme", *arguments]
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):  # noqa: PTH123 - a device
        cli.main()
