"""What keeps a store from being read or written, in words."""

import errno
import os
import sys
from pathlib import Path

import lmdb

from engine.errors import Setting, StoreError, inaccessible

SCARCE = 1 << 20
"""Bytes: where fewer are free on a disk, a write failed for want of room."""


def explained(error: lmdb.Error | OSError, file: Path) -> StoreError:
    """Return what LMDB or the system says of a store's file as one line that says what to do."""
    if isinstance(error, FileNotFoundError):
        return StoreError(f"{file} is missing: {_mend(file)}")
    if isinstance(error, OSError):
        return StoreError(str(inaccessible(error, file)))
    if "already open in this process" in str(error):
        return StoreError(f"{file} is open in this process already: close it there first")
    code = getattr(error, "code", 0)
    if isinstance(error, lmdb.MemoryError):
        return StoreError(f"no address space is left to map {file}: raise the limit (ulimit -v)")
    if isinstance(error, lmdb.DiskError) or (code == errno.EIO and _free(file) < SCARCE):
        code = errno.ENOSPC
    elif code == errno.EIO and _is_full(file):
        code = errno.EFBIG
    if code > 0:
        return StoreError(str(inaccessible(OSError(code, os.strerror(code)), file)))
    reason = str(error).rpartition(": ")[2].lower()
    return StoreError(f"{file} cannot be used: {reason}; {_mend(file)}")


def overtaken(file: Path) -> StoreError:
    """Return the error of a reader who might have read what was being written."""
    return StoreError(
        f"{file} was written to while it was read, and its lock may not be written here: run again later"
    )


def corrupt(file: Path, what: Exception) -> StoreError:
    """Return the error about a value that is not as it was written."""
    repair = Setting("repair", command="verify")
    return StoreError(
        f"{file} is damaged: {what}; {repair} drops that, and says what to index again", [repair]
    )


def cut_short(file: Path) -> StoreError:
    """Return the error about a file that ends too early."""
    return StoreError(f"{file} is cut short: {_mend(file)}")


def _mend(file: Path) -> str:
    return f"put back a whole copy, or delete {file.parent} and run `mneme index` on every source again"


def _is_full(file: Path) -> bool:
    """Say whether a file is about as large as this process may make any: LMDB calls a write that is cut there EIO."""
    if sys.platform == "win32":
        return False
    import resource

    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    return limit != resource.RLIM_INFINITY and (not file.exists() or file.stat().st_size + SCARCE > limit)


def _free(file: Path) -> int:
    """Return how many bytes can still be written beside a file."""
    if os.name == "nt":
        return SCARCE
    disk = os.statvfs(file.parent)
    return disk.f_bavail * disk.f_frsize
