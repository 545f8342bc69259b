"""The errors a person can mend."""

from pathlib import Path


class UserError(Exception):
    """One line that says what happened, to which file or name, and what to do about it."""


class Vanished(UserError):
    """A file that the manifest named has been replaced since: read the manifest again, once."""


class Unreadable(UserError):
    """The reason why one file or row of a source is skipped, and the file to blame where one is known."""

    def __init__(self, reason: str, path: Path | None = None) -> None:
        super().__init__(reason)
        self.path = path
