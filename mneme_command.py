"""Where the installed `mneme` command begins: Ctrl-C ends it in one line, even while the rest is being imported."""

from __future__ import annotations

import os
import signal
import sys

TYPE_CHECKING = (
    False  # as of `typing`, which takes ten milliseconds to import: an interrupt meets no handler yet
)
if TYPE_CHECKING:
    from types import FrameType
    from typing import NoReturn

IMPORTING = "<frozen importlib._bootstrap>"
"""What Python names the file of the functions that import."""
STATUS = 130


def main() -> None:
    """Run the command line; whoever ignores interrupts when starting it goes on to do so."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        run()
        return
    signal.signal(signal.SIGINT, interrupt)
    try:
        run()
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # what Python does at its end prints tracebacks


def run() -> None:
    """Import the command line and run it."""
    import cli

    cli.main()


def interrupt(number: int, frame: FrameType | None) -> None:
    """Let what runs tidy up, a second time not; end at once in the midst of an import.

    There is nothing to tidy up there, and what raises in an import can surface as any other error, or not at all.
    """
    signal.signal(signal.SIGINT, leave)
    while frame is not None:
        if frame.f_code.co_filename == IMPORTING:
            leave(number, frame)
        frame = frame.f_back
    raise KeyboardInterrupt


def leave(number: int, frame: FrameType | None) -> NoReturn:
    """End this process at once."""
    os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, b"interrupted\n")
    os._exit(STATUS)
