"""What is checked of each kind of file of a workspace."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from engine.errors import Damaged, UserError
from engine.heads import files as heads
from engine.ids import counted, decode
from engine.storage import files, soundness, tables
from engine.storage import workspace as workspaces
from engine.storage.manifest import Served
from engine.storage.rows import ids_of
from engine.storage.store import Store
from engine.storage.workspace import Workspace
from engine.types import ItemId, ShardKey
from indexer.routing import slda
from indexer.shards import files as shards
from indexer.verification.damage import Kind, Problem, by_hand, repairable, told

AGAIN = "run `mneme index` on the source again"


def copy_of_manifest(root: Path) -> Iterator[Problem]:
    """Yield what is wrong with the copy of the manifest, where there is one."""
    copy = root / workspaces.COPY
    if copy.is_file() and copy.read_bytes() != (root / workspaces.MANIFEST).read_bytes():
        yield repairable(copy, "manifest", "it is another than workspace.json", "writes it anew")


def versions(workspace: Workspace) -> list[int]:
    """Return the head versions that lessons and references name."""
    manifest = workspace.manifest
    return [
        *(lesson.head for lesson in manifest.history.lessons),
        *(reference.head for reference in manifest.references),
    ]


def head(workspace: Workspace, version: int, *, deep: bool) -> Iterator[Problem]:
    """Yield what is wrong with a head: each of its files is read, the memory only if `deep`."""
    folder = workspace.head(version)
    try:
        _, sums = heads.read_facts(folder)
        heads.read(folder, workspace.digest(version))
    except UserError as error:
        yield told(error, "head", "takes its copy; where that is lost too, its lesson is forgotten")
        return
    if not deep and (folder / heads.MEMORY).is_file():
        sums = {name: sum for name, sum in sums.items() if name != heads.MEMORY}
    if heads.MEMORY in sums:
        how = "empties it: later lessons know less of those before"
        yield from attempt("head", how, lambda: files.checked(folder / heads.MEMORY, sums[heads.MEMORY]))
    if heads.LOG in sums:
        yield from attempt("head", "empties it", lambda: files.checked(folder / heads.LOG, sums[heads.LOG]))
    for name, copy in heads.COPIES.items():
        if heads.LOG in sums and not same(folder / name, folder / copy):
            yield repairable(folder / copy, "head", f"it is another than {name}", "writes it anew")


def same(file: Path, other: Path) -> bool:
    """Say whether two files hold the same."""
    return file.is_file() and other.is_file() and file.read_bytes() == other.read_bytes()


def pages(workspace: Workspace) -> Iterator[Problem]:
    """Yield what is wrong with the pages of the store's file; LMDB, which would read them, may be ended by it."""
    file = workspace.store / tables.DATA
    if file.is_file() and (flaw := soundness.flaw(file, frozenset([*tables.NAMES, *tables.LATER_NAMES]))):
        mend = f"put back a whole copy, or delete {file.parent} and run `mneme index` on every source again"
        yield by_hand(file, "store", flaw, mend)


def rows(workspace: Workspace, store: Store, *, deep: bool) -> Iterator[Problem]:
    """Yield what is wrong with the store: values whose checksum does not hold, features that are not there."""
    path = workspace.store / "data.mdb"
    corrupt = store.corruption(deep=deep)
    for name, count in corrupt.counts.items():
        words = {
            "missing": "items do not know their rows",
            "files": "times of files are damaged",
            "former": "rows of what is served are damaged",
        }
        what = f"{count} {words.get(name, f'{name} are damaged')}"
        yield repairable(
            path, "store", what, "drops them, and reads their sources again where these are at hand"
        )
    missing = lacking(workspace, store)
    if not corrupt.counts and (unknown := store.lacking(served(workspace)) - missing):
        what = f"{counted(len(unknown), 'item')} of what is served are not stored"
        yield repairable(path, "store", what, "serves what is stored; index the sources again for the rest")
    if not corrupt.counts and missing:
        what, again = f"features of {len(missing)} items are missing", "reads their sources again"
        sources = sorted({row.source for row in store.rows() if not missing.isdisjoint(ids_of(row))})
        gone = [source for source in sources if not Path(source).exists()]
        index = f"they are lost until these are indexed again: {', '.join(gone)}"
        yield by_hand(path, "store", what, index) if gone else repairable(path, "store", what, again)


def lacking(workspace: Workspace, store: Store) -> set[ItemId]:
    """Return the items without features, but those of tasks whose features were removed."""
    sealed = workspace.manifest.sealed
    return store.lacking({id for row in store.rows() if row.task not in sealed for id in ids_of(row)})


def served(workspace: Workspace) -> set[ItemId]:
    """Return the items that are served, of shards that can be read and of tasks whose features are stored."""
    ids = set[ItemId]()
    for shard in workspace.manifest.served.shards:
        if shard.key.task not in workspace.manifest.sealed:
            with suppress(UserError):  # it is told as damaged
                ids.update(decode(shards.read_ids(workspace.shard(shard.path), shard.key)))
    return ids


def derived(workspace: Workspace, *, deep: bool) -> Iterator[Problem]:
    """Yield what is wrong with shards and routers."""
    manifest, backbones = workspace.manifest, workspace.manifest.backbones
    kept = list(manifest.sealed.values())
    lost = f"it stands in for features that were removed: {AGAIN}"
    lasting = {shard.path for sealed in kept for shard in sealed.shards}
    every = {shard.path: shard for state in states(workspace) for shard in state.shards}
    every |= {shard.path: shard for sealed in kept for shard in sealed.shards}
    for path, shard in every.items():
        folder, backbone = workspace.shard(path), backbones[shard.key.modality].id
        for problem in attempt("shard", "makes it anew", partial(_shard, folder, shard.key, backbone, deep)):
            yield by_hand(folder, "shard", problem.what, lost) if path in lasting else problem
    for path in {path for state in states(workspace) for path in state.routers.values()}:
        yield from attempt("router", "makes it anew", partial(slda.check, workspace.router(path)))
    for path in {path for sealed in kept for path in sealed.sums.values()}:
        for problem in attempt("router", "", partial(slda.check, workspace.router(path))):
            yield by_hand(workspace.router(path), "router", problem.what, lost)


def _shard(folder: Path, key: ShardKey, backbone: str, deep: bool) -> None:
    shards.read(folder, key, backbone)
    if deep:
        shards.check(folder)


def states(workspace: Workspace) -> list[Served]:
    """Return what is served, and what a rollback would serve."""
    manifest = workspace.manifest
    return [state for state in (manifest.served, manifest.previous) if state is not None]


def orphans(workspace: Workspace) -> list[Path]:
    """Return what runs that ended early left: drafts, and heads that no lesson names.

    Shards and routers that nothing names stay for readers until the next write, and are none.
    """
    known = {workspace.head(version) for version in versions(workspace)}
    heads_there = {path for path in (workspace.root / "heads").glob("v*") if path.name[1:].isdigit()}
    return sorted(
        [*heads_there - known, *(p for p in workspace.root.rglob(".*") if files.DRAFT.fullmatch(p.name))]
    )


def attempt(kind: Kind, how: str, check: Callable[[], object]) -> Iterator[Problem]:
    """Yield the error that a check raises, as a problem."""
    try:
        check()
    except UserError as error:
        yield told(error, kind, how)


def manifest(root: Path) -> Problem | None:
    """Return what is wrong with the manifest."""
    try:
        workspaces.open_at(root)
    except Damaged as error:
        try:
            workspaces.open_copy(root)
        except UserError:
            mend = "put back a whole copy of the workspace, or delete it and index every source again"
            return by_hand(error.path, "manifest", error.why, mend)
        return told(error, "manifest", "takes its copy")
    return None
