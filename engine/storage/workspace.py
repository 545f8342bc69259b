"""The workspace: where it is, its folders, the manifest read from it, what is left of removed features."""

import os
import stat
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path, PurePosixPath

from engine.errors import Damaged, Note, Setting, UserError, inaccessible
from engine.storage import files
from engine.storage import manifest as manifests
from engine.storage.manifest import Manifest
from engine.storage.rows import ids_of
from engine.storage.store import Store
from engine.types import ItemId, Modality, Pair

FOLDER = ".mneme"
MANIFEST, COPY = "workspace.json", "workspace.copy.json"


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

    def digest(self, version: int) -> str:
        """Return the checksum of a head's tensors; empty where an older mneme wrote the manifest."""
        lessons = {lesson.head: lesson.digest for lesson in self.manifest.history.lessons}
        references = {reference.head: reference.digest for reference in self.manifest.references}
        return (lessons | references).get(version, "")

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
        """Replace `workspace.json` in one step, then its copy, and return the workspace as it now stands."""
        manifest = replace(manifest, writes=max(manifest.writes, self.manifest.writes) + 1)
        content = files.to_sealed_json(manifests.to_json(manifest))
        files.replace(self.root / MANIFEST, content)
        files.replace(self.root / COPY, content)
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
        if is_at(folder / FOLDER):
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
    if not is_at(root):
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
    """Read the manifest of a workspace; UserError where there is none, or one that is damaged, newer or outdated."""
    workspace, writes = _read(root), _writes_of_copy(root)
    if writes > workspace.manifest.writes:
        workspace = _read(root)  # both may have been written meanwhile, the copy last
        if writes > workspace.manifest.writes:
            raise Damaged(root / MANIFEST, "it is older than its copy")
    return workspace


def _read(root: Path) -> Workspace:
    path = below(root, MANIFEST)
    try:
        return Workspace(root, manifests.from_json(path, files.read_json(path)))
    except FileNotFoundError as error:
        if (root / COPY).is_file():
            raise Damaged(path, "it is missing") from None
        raise inaccessible(error) from None


def _writes_of_copy(root: Path) -> int:
    """Return how often the copy of the manifest was written; 0 where it cannot be read, which `verify` tells."""
    try:
        writes = files.read_json(below(root, COPY)).get("writes")
    except (FileNotFoundError, UserError):
        return 0
    return writes if isinstance(writes, int) else 0


def open_copy(root: Path) -> Workspace:
    """Read the manifest's copy in its place."""
    path = below(root, COPY)
    try:
        return Workspace(root, manifests.from_json(path, files.read_json(path)))
    except FileNotFoundError:
        raise Damaged(path, "it is missing") from None


def is_at(root: Path) -> bool:
    """Say whether there is a workspace; one whose manifest is gone, but not its copy, is there and damaged."""
    return (root / MANIFEST).is_file() or (root / COPY).is_file()


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
