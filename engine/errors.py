"""The errors a person can mend."""


class UserError(Exception):
    """One line that says what happened, to which file or name, and what to do about it."""


class Unreadable(UserError):
    """The reason why one file or row of a source is skipped."""
