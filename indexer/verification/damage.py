"""What is wrong with a workspace, as `mneme verify` tells it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine.errors import Damaged, Note, Setting, UserError, Vanished

Kind = Literal["manifest", "head", "store", "shard", "router"]

REPAIR = Setting("repair", command="verify")


@dataclass(frozen=True)
class Problem:
    """One thing that is not as it should be; `mend` says what to do about it."""

    path: str
    kind: Kind
    what: str
    mend: Note


@dataclass(frozen=True)
class Verification:
    """What `mneme verify --json` prints; seconds are wall time.

    Attributes:
        problems: those that are left.
        repaired: what was mended, a line each.
        notes: what is no damage: checksums that files of before lack.
    """

    problems: Sequence[Problem]
    repaired: Sequence[str]
    notes: Sequence[Note]
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def repairable(path: Path, kind: Kind, what: str, how: str) -> Problem:
    """Return a problem that `repair` mends."""
    return Problem(str(path), kind, what, Note(f"{REPAIR} {how}", [REPAIR]))


def by_hand(path: Path, kind: Kind, what: str, how: str) -> Problem:
    """Return a problem that only a person can mend."""
    return Problem(str(path), kind, what, Note(how))


def told(error: UserError, kind: Kind, how: str) -> Problem:
    """Return the problem that an error speaks of."""
    if isinstance(error, (Damaged, Vanished)):
        return repairable(error.path, kind, error.why, how)
    return Problem("", kind, "", Note(str(error), error.settings))
