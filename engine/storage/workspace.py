"""The workspace: where it is, its folders, the manifest read from it, what is left of removed features."""

import json
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from pathlib import Path, PurePosixPath
from typing import Any

from engine.errors import Note, Setting, UserError
from engine.history import Arrival, History, Lesson, Reference
from engine.storage import files
from engine.storage.manifest import (
    BackboneRecord,
    Lookup,
    Manifest,
    Sealed,
    Served,
    ServedDirection,
    ServedShard,
    Temperature,
)
from engine.storage.rows import ids_of
from engine.storage.store import Store
from engine.types import ItemId, Modality, Pair, ShardKey

FOLDER = ".mneme"
FORMAT = 3


@dataclass(frozen=True)
class Workspace:
    """A folder `.mneme` on disk and the manifest read from it."""

    root: Path
    manifest: Manifest

    @property
    def store(self) -> Path:
        """Where LMDB lives."""
        return below(self.root, "store")

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
        return below(self.root, "heads", f"v{version:04d}")

    def shard(self, path: str) -> Path:
        """Return the folder of a shard, whose path the manifest has."""
        return below(self.root, "shards", path)

    def router(self, path: str) -> Path:
        """Return the folder of a router, whose path the manifest has."""
        return below(self.root, "router", path)

    @property
    def state(self) -> bytes | None:
        """What tells a served state from others, as the store knows it; None where nothing is served."""
        paths = [shard.path for shard in self.manifest.served.shards]
        return blake2b("\0".join(paths).encode(), digest_size=16).digest() if paths else None

    def with_manifest(self, manifest: Manifest) -> "Workspace":
        """Replace `workspace.json` in one step and return the workspace as it now stands."""
        files.replace(self.root / "workspace.json", files.to_json(to_json(manifest)))
        return replace(self, manifest=manifest)


def below(root: Path, *parts: str) -> Path:
    """Return a path below a folder of ours; UserError where it leads out of it, or over a link."""
    path = root
    for part in PurePosixPath(*parts).parts:
        if part in {"/", ".."}:
            raise UserError(f"{'/'.join(parts)} leads out of {root}: it is damaged")
        path = path / part
        if path.is_symlink():
            raise files.a_link(path)
    return path


def find(start: Path) -> Path | None:
    """Return the `.mneme` of a folder or of the nearest one above it; None where there is none.

    Raises:
        UserError: it belongs to another user, or others may write to it: who did not name it does not mean it.
    """
    for folder in (start, *start.parents):
        if (folder / FOLDER / "workspace.json").is_file():
            _refuse_foreign(folder / FOLDER)
            return folder / FOLDER
    return None


def _refuse_foreign(root: Path) -> None:
    if os.name == "nt":
        return
    status, user = root.stat(), os.geteuid()
    mine = {user, int(os.environ.get("SUDO_UID", user))} if user == 0 else {user}
    named = Setting("workspace", str(root.parent))
    if status.st_uid not in mine:
        raise UserError(f"{root} belongs to another user; if you trust it, name it: {named}", [named])
    if status.st_mode & stat.S_IWOTH:
        raise UserError(f"everyone may write to {root}; if you trust it, name it: {named}", [named])


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


def waiting(manifest: Manifest) -> list[Note]:
    """Return the note that the newest lesson is not served yet, where that is so."""
    lessons, served = manifest.history.lessons, manifest.served
    if len(lessons) <= served.lessons:
        return []
    what = f"lesson {len(lessons)} ({lessons[-1].task}) is not served yet"
    if not served.shards:
        return [Note(f"{what}: `mneme index SOURCE` serves it")]
    how = "`mneme reindex` serves it, or `mneme index SOURCE`; until then answers are as before"
    return [Note(f"{what}: {how}")]


def place(given: Path | None) -> Path:
    """Return where a command that may create a workspace keeps it."""
    named = given or (Path(os.environ["MNEME_WORKSPACE"]) if os.environ.get("MNEME_WORKSPACE") else None)
    if named is not None:
        return named.absolute() / FOLDER
    return find(Path.cwd()) or Path.cwd() / FOLDER


def open_at(root: Path) -> Workspace:
    """Read the manifest of a workspace; UserError where there is none, or one that is damaged or newer."""
    path = below(root, "workspace.json")
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


def to_json(manifest: Manifest) -> dict[str, Any]:
    """Return what `workspace.json` holds."""
    fields = asdict(manifest)
    return {"format": FORMAT, **fields.pop("history"), **fields}


def from_json(content: Mapping[str, Any]) -> Manifest:
    """Return the manifest of this format or an older one; KeyError or TypeError where something is amiss."""
    return Manifest(
        width=content["width"],
        aligned=content["aligned"],
        backbones={m: BackboneRecord(**encoder) for m, encoder in content["backbones"].items()},
        history=History(
            tuple(Lesson(**lesson) for lesson in content["lessons"]),
            tuple(Arrival(**arrival) for arrival in content["arrivals"]),
        ),
        served=_served(content["served"], content["format"]),
        previous=_served(content["previous"], content["format"]) if content.get("previous") else None,
        sealed={task: _sealed(fields) for task, fields in content["sealed"].items()}
        if content["format"] > 2
        else {},
        references=tuple(Reference(**fields) for fields in content.get("references", ())),
    )


def _served(content: Mapping[str, Any], format: int) -> Served:
    """Return what is served; of format 1 the policy alone: the next `index` builds its shards again."""
    if format == 1:
        return Served(content["policy"], chosen=True)
    return Served(
        content["policy"],
        content["lessons"],
        _shards(content["shards"]),
        tuple(
            ServedDirection(
                d["query"], d["target"], d["policy"], tuple(Lookup(**lookup) for lookup in d["lookups"])
            )
            for d in content["directions"]
        ),
        content["policies"],
        content["routers"],
        content.get("chosen", True),  # what there was before anything was chosen unasked
    )


def _sealed(content: Mapping[str, Any]) -> Sealed:
    temperatures = tuple(Temperature(**fields) for fields in content["temperatures"])
    return Sealed(_shards(content["shards"]), content["sums"], temperatures)


def _shards(content: Sequence[Mapping[str, Any]]) -> tuple[ServedShard, ...]:
    return tuple(ServedShard(ShardKey(**shard["key"]), shard["path"]) for shard in content)


def sealed_tasks(manifest: Manifest, store: Store) -> list[str]:
    """Return the sealed tasks, less those whose features have all come back."""
    items: dict[str, set[ItemId]] = {task: set() for task in manifest.sealed}
    for row in store.rows() if items else ():
        if row.task in items:
            items[row.task].update(ids_of(row))
    return [task for task, ids in items.items() if store.lacking(ids)]


def readable_pairs(manifest: Manifest, store: Store) -> list[Pair]:
    """Return every pair, with those of its items whose features are stored."""
    return pairs_left(manifest, store, store.pairs())


def pairs_left(manifest: Manifest, store: Store, pairs: list[Pair]) -> list[Pair]:
    """Return the pairs with those of their items whose features are stored; a pair without any is left out."""
    if not manifest.sealed:
        return pairs
    gone = store.lacking({id for pair in pairs for ids in pair.items.values() for id in ids})
    rest = [replace(pair, items=_items_left(pair, gone)) for pair in pairs]
    return [pair for pair in rest if pair.items]


def _items_left(pair: Pair, gone: set[ItemId]) -> dict[Modality, tuple[ItemId, ...]]:
    left = {m: tuple(id for id in ids if id not in gone) for m, ids in pair.items.items()}
    return {m: ids for m, ids in left.items() if ids}
