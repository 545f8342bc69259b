"""Flags: what is odd about a medium that was read all the same, told to whoever asked to hear it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

from engine.errors import Setting

Flag = Literal["incomplete", "constant", "silent", "long", "long sound", "frames"]

SETTINGS: Mapping[Flag, Setting] = {"long sound": Setting("max_seconds")}
"""What can be set to read more of such a medium."""

MEANING: Mapping[Flag, str] = {
    "incomplete": "ends early or is damaged: read as far as it goes",
    "constant": "a picture of one colour",
    "silent": "a silent sound",
    "long": "longer than is read: only its start is",
    "long sound": f"longer than is heard: only its start is; {SETTINGS['long sound']} lets more be heard",
    "frames": "several pictures in one file: the first is seen",
}
"""What a flag says about a file, in words."""

_collecting: ContextVar[set[Flag] | None] = ContextVar("flags", default=None)


@contextmanager
def collected() -> Iterator[set[Flag]]:
    """Collect the flags of what this thread decodes within the block; other threads are not heard."""
    flags: set[Flag] = set()
    token = _collecting.set(flags)
    try:
        yield flags
    finally:
        _collecting.reset(token)


def raise_flag(flag: Flag) -> None:
    """Tell the innermost `collected` of this thread, if there is one."""
    flags = _collecting.get()
    if flags is not None:
        flags.add(flag)
