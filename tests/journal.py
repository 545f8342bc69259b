"""What a run asks of the disk, in order: which files and folders are flushed, and what takes which name."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest


@dataclass
class Journal:
    """The calls of fsync, rename and replace for what is below a folder (on Linux).

    Attributes:
        names: what each draft was renamed to.
    """

    root: Path
    names: dict[Path, Path] = field(default_factory=dict)
    _calls: list[tuple[str, Path, str]] = field(default_factory=list)

    def watch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Note what this process asks from now on."""
        fsync = os.fsync

        def flush(handle: int) -> None:
            path = Path(f"/proc/self/fd/{handle}").readlink()
            size = "/" if path.is_dir() else f", {path.stat().st_size} bytes"
            self._calls.append(("flush", path, size))
            fsync(handle)

        monkeypatch.setattr(os, "fsync", flush)
        monkeypatch.setattr(Path, "rename", self._noting(Path.rename))
        monkeypatch.setattr(Path, "replace", self._noting(Path.replace))

    @property
    def lines(self) -> list[str]:
        """Return `flush NAME, N bytes` for a file, `flush NAME/` for a folder and `name NAME` for a rename.

        What was flushed as a draft is told by the name that it took later.
        """
        return [
            f"{call} {self._named(path).relative_to(self.root)}{more}" for call, path, more in self._calls
        ]

    def _named(self, path: Path) -> Path:
        named = self.names.get(path.parent, path.parent) / path.name
        return self.names.get(named, named)

    def _noting(self, rename: Callable[[Path, Path], Path]) -> Callable[[Path, Path], Path]:
        def noting(path: Path, target: Path) -> Path:
            if path.name.startswith("."):
                self.names[path] = target
                self._calls.append(("name", target, ""))
            return rename(path, target)

        return noting
