"""Running `mneme` in a test, and what it left."""

import json
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias


class Told(NamedTuple):
    """What a run of the command left: its exit status, stdout and stderr."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one object on stdout."""
        content: dict[str, Any] = json.loads(self.out)
        return content

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The objects on stdout, one a line."""
        return [json.loads(line) for line in self.out.splitlines()]


Run: TypeAlias = Callable[..., Told]


def is_one_line(told: Told, status: int, message: str) -> bool:
    return (told.status, told.out, told.err) == (status, "", f"error: {message}\n")
