"""The errors a person can mend, and the notes on what went well."""

import errno
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Setting:
    """Something that a person can set, as a message speaks of it: by its name in the functions of the layers.

    Whatever shows the message to a person writes it as that person knows it: `--lr`, a field of a form.

    Attributes:
        name: as in Python: lr, allow_mass_delete.
        value: what it could be set to; empty where the message says so in words.
        command: the command to set it for, where that is another than the one that failed.
    """

    name: str
    value: str = ""
    command: str = ""

    def __str__(self) -> str:
        assigned = f"{self.name}={self.value}" if self.value else self.name
        return f"`{self.command} {assigned}`" if self.command else f"`{assigned}`"


class UserError(Exception):
    """One line that says what happened, to which file or name, and what to do about it.

    Attributes:
        settings: those that the message speaks of, each standing in it as `str` writes it.
    """

    def __init__(self, message: str, settings: Sequence[Setting] = ()) -> None:
        super().__init__(message)
        self.settings = tuple(settings)


class InvalidSetting(UserError):
    """A value that a setting cannot have: the problem reads on from the setting's name."""

    def __init__(self, name: str, problem: str) -> None:
        setting = Setting(name)
        super().__init__(f"{setting} {problem}", [setting])


class Vanished(UserError):
    """A folder that the manifest named has been replaced since: read the manifest again, once."""

    def __init__(self, path: Path) -> None:
        repair = Setting("repair", command="verify")
        super().__init__(f"{path} is gone: {repair} makes it anew", [repair])
        self.path, self.why = path, "it is gone"


class StoreError(UserError):
    """What keeps the whole store from being read or written, whatever the source: damage, a full disk."""


class Damaged(UserError):
    """A file of a workspace that is not as it was written; what can be mended is mended by `verify`."""

    def __init__(self, path: Path, why: str) -> None:
        repair = Setting("repair", command="verify")
        super().__init__(f"{path} is damaged: {why}; {repair} mends it", [repair])
        self.path, self.why = path, why


class Note(UserWarning):
    """One line of what a person should know although nothing failed, and what to do about it.

    Attributes:
        settings: those that the message speaks of, each standing in it as `str` writes it.
    """

    def __init__(self, message: str, settings: Sequence[Setting] = ()) -> None:
        super().__init__(message)
        self.settings = tuple(settings)


REMEDIES = {
    errno.ENOSPC: "free some room and run it again",
    errno.EDQUOT: "free some room or raise the quota, and run it again",
    errno.EFBIG: "raise the limit on the size of a file (ulimit -f) and run it again",
    errno.EMFILE: "raise the limit on open files (ulimit -n) and run it again",
    errno.ENFILE: "end other programs, for the system has too many open files, and run it again",
    errno.EROFS: "nothing can be written there",
    errno.EIO: "the disk fails, or its connection: see the system's log",
    errno.ENOLCK: "its file system has no locks: keep the workspace on another",
    errno.ENOSYS: "its file system cannot do that: keep the workspace on another",
    errno.ENODEV: "its file system cannot map files: keep the workspace on another",
}
"""What to do about what the system refuses, where its own words do not tell."""


def inaccessible(error: OSError, path: object = None, *, to: str = "access") -> UserError:
    """Return the error that says which file the system refused, why, and what to do.

    Args:
        path: the file, where the system's error names none.
        to: what cannot be done.
    """
    where = path if error.filename is None else error.filename
    reason = f"cannot {to} {where or 'a file or stream'}: {(error.strerror or str(error)).lower()}"
    remedy = REMEDIES.get(error.errno or 0)
    return UserError(f"{reason}: {remedy}" if remedy else reason)


class Unreadable(UserError):
    """The reason why one file or row of a source is skipped, and the file to blame where one is known."""

    def __init__(self, reason: str, path: Path | None = None, settings: Sequence[Setting] = ()) -> None:
        super().__init__(reason, settings)
        self.path = path


def beyond(what: str, name: str, limit: float) -> Unreadable:
    """Return why a file is skipped that takes more than a limit allows; it names the setting that allows more."""
    setting = Setting(name, f"{limit:g}" if isinstance(limit, float) else str(limit))
    return Unreadable(f"{what}; the limit is {setting}, which can be raised", settings=[setting])
