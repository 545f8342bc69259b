"""Running `mneme` in a test, and what it left."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from PIL import Image


class Completed(NamedTuple):
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


Run: TypeAlias = Callable[..., Completed]


def is_one_line(result: Completed, status: int, message: str) -> bool:
    return (result.status, result.out, result.err) == (status, "", f"error: {message}\n")


def colours(folder: Path, *names: str) -> Path:
    """Return a folder of pictures of one colour but for a gray corner, each with its colour as caption."""
    folder.mkdir()
    for name in names:
        picture = Image.new("RGB", (32, 24), name)
        picture.paste("gray", (0, 0, 2, 2))
        picture.save(folder / f"{name}.png")
        (folder / f"{name}.txt").write_text(f"a {name} picture\n")
    return folder
