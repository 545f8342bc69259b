"""Permission bits that bind the tests too, where these run as root."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

VERSION = 0x20080522
OVERRIDES = 0b110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


@contextmanager
def by_permissions() -> Iterator[None]:
    """Let permission bits bind this thread and those it starts, as they bind every user but root."""
    if os.name == "nt" or os.geteuid() != 0:
        yield
        return
    if sys.platform != "linux":
        raise OSError("root has no capabilities here that could be laid down")
    system, header, sets = ctypes.CDLL(None), _Header(VERSION, 0), (_Sets * 2)()
    system.capget(ctypes.byref(header), sets)
    before = sets[0].effective
    sets[0].effective = before & ~OVERRIDES
    system.capset(ctypes.byref(header), sets)
    try:
        yield
    finally:
        sets[0].effective = before
        system.capset(ctypes.byref(header), sets)
