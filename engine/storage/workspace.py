"""The workspace: its folders, the manifest read from it, who may write."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import filelock

from engine.errors import Setting, UserError
from engine.storage import files
from engine.storage.manifest import FORMAT, Manifest, from_json, to_json
from engine.storage.store import Store

FOLDER = ".mneme"


@dataclass(frozen=True)
class Workspace:
    """A folder `.mneme` on disk and the manifest read from it."""

    root: Path
    manifest: Manifest

    @property
    def store(self) -> Path:
        """Where LMDB lives."""
        return self.root / "store"

    @property
    def shards(self) -> Path:
        """Where shards live."""
        return self.root / "shards"

    @property
    def routers(self) -> Path:
        """Where routers live."""
        return self.root / "router"

    def head(self, version: int) -> Path:
        """Return the folder of a head version."""
        return self.root / "heads" / f"v{version:04d}"

    def with_manifest(self, manifest: Manifest) -> "Workspace":
        """Replace `workspace.json` in one step and return the workspace as it now stands."""
        files.replace(self.root / "workspace.json", files.to_json(to_json(manifest)))
        return replace(self, manifest=manifest)


def find(start: Path) -> Path | None:
    """Return the `.mneme` of a folder or of the nearest one above it; None where there is none."""
    for folder in (start, *start.parents):
        if (folder / FOLDER / "workspace.json").is_file():
            return folder / FOLDER
    return None


def locate(given: Path | None) -> Path:
    """Return the `.mneme` that a command reads: the one given, MNEME_WORKSPACE's, or the nearest above."""
    root = place(given)
    if not (root / "workspace.json").is_file():
        named = given or os.environ.get("MNEME_WORKSPACE")
        if named:
            index = Setting("workspace", str(named), command="index SOURCE")
            raise UserError(f"no workspace in {named}; make one there with {index}", [index])
        other = Setting("workspace", "DIR")
        raise UserError(
            f"no workspace here or above; make one with `mneme index SOURCE`, or name one with {other}",
            [other],
        )
    return root


def place(given: Path | None) -> Path:
    """Return where a command that may create a workspace keeps it."""
    named = given or (Path(os.environ["MNEME_WORKSPACE"]) if os.environ.get("MNEME_WORKSPACE") else None)
    if named is not None:
        return named.absolute() / FOLDER
    return find(Path.cwd()) or Path.cwd() / FOLDER


def open_at(root: Path) -> Workspace:
    """Read the manifest of a workspace; UserError where there is none, or one that is damaged or newer."""
    path = root / "workspace.json"
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {error}") from None
    format = content.get("format")
    if format not in range(1, FORMAT + 1):
        raise UserError(f"{path} has format {format}; this mneme reads up to {FORMAT}: upgrade mneme")
    try:
        return Workspace(root, from_json(content))
    except (KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged: {error}") from None


@contextmanager
def writing(root: Path) -> Iterator[None]:
    """Hold the workspace's writer lock, which the system frees when its holder dies.

    What a crash left half-written is dropped first. A folder that was made for a run that then failed, before
    anything was stored, is removed again.
    """
    is_new = not root.exists()
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(root / "lock")
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise UserError(
            f"another mneme is writing to {root}; wait until it ends (searching goes on)"
        ) from None
    except OSError as error:
        raise UserError(f"cannot write to {root}: {error.strerror}") from None
    try:
        files.drop_drafts(root)
        yield
    except UserError:
        if is_new and not _holds_rows(root):
            shutil.rmtree(root, ignore_errors=True)
        raise
    finally:
        lock.release()


def _holds_rows(root: Path) -> bool:
    if not (root / "store").exists():
        return False
    with Store(root / "store") as store:
        return any(True for _ in store.rows())
