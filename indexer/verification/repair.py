"""Mend a workspace: copies take the place of what is damaged, the rest is made anew from features or read again."""

import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import safetensors.torch

from engine.backbones import Backbones
from engine.errors import UserError
from engine.heads import files as heads
from engine.history import Arrival, History, newest_head
from engine.ingest.encoding import Loader
from engine.ingest.ingest import ingest
from engine.storage import files, tables
from engine.storage import workspace as workspaces
from engine.storage.manifest import Manifest, Served
from engine.storage.rows import ids_of
from engine.storage.store import Store
from engine.storage.workspace import Workspace
from engine.storage.writer import writing
from indexer.serving.build import serve
from indexer.serving.wanted import ServingRequest
from indexer.verification import checks
from indexer.verification.damage import Verification
from indexer.verification.verify import problems


def repair(root: Path, *, compact: bool = False, device: str = "cpu") -> Verification:
    """Mend what can be mended, and verify what came of it.

    Args:
        compact: give back the room that the store does not use any more.
    """
    began, done = time.perf_counter(), list[str]()
    with writing(root):
        damaged = any(True for _ in problems(root, deep=True))
        done += _manifest(root)
        workspace = workspaces.open_at(root)
        if damaged:
            done += _back_in_place(workspace)
            lost = [version for version in checks.versions(workspace) if _head(workspace, version, done)]
            done += [
                f"head v{version:04d} is lost: its lesson is forgotten; train it again" for version in lost
            ]
            if not list(checks.pages(workspace)):
                _serve(replace(workspace, manifest=without(workspace.manifest, lost)), device, done)
        for left in checks.orphans(workspaces.open_at(root)):
            files.drop_folder(left)
            done.append(f"{left}: dropped")
        if compact and not list(checks.pages(workspace)):
            done.append(f"{workspace.store}: {tables.compact(workspace.store) / 1e6:.1f} MB given back")
    remaining = list(problems(root, deep=True))
    return Verification(remaining, done, [], time.perf_counter() - began)


def _manifest(root: Path) -> Iterator[str]:
    """Put the copy of the manifest in its place, or the other way round."""
    manifest, copy = root / workspaces.MANIFEST, root / workspaces.COPY
    if checks.manifest(root) is not None:
        workspaces.open_copy(root)  # raises where it is damaged, too
        files.replace(manifest, copy.read_bytes())
        yield f"{manifest}: its copy took its place"
    elif not checks.same(manifest, copy):
        files.replace(copy, manifest.read_bytes())
        yield f"{copy}: written anew"


def _back_in_place(workspace: Workspace) -> Iterator[str]:
    """Give heads the names of their versions where these are free: no other copy of a head may be left."""
    said = {folder: heads.versions(folder) for folder in sorted((workspace.root / "heads").glob("v*"))}
    names = {folder: set(map(workspace.head, versions)) for folder, versions in said.items()}
    misplaced = {
        folder: min(right) for folder, right in names.items() if len(right) == 1 and folder not in right
    }
    wanted = [name for name in misplaced.values() if name in misplaced or not name.exists()]
    moved = {folder: name for folder, name in misplaced.items() if wanted.count(name) == 1}
    aside = {folder.rename(folder.with_name(f"{folder.name}-moved")): name for folder, name in moved.items()}
    for folder, name in aside.items():
        if not name.exists():
            folder.rename(name)
            yield f"{name}: put back in its place"


def _head(workspace: Workspace, version: int, done: list[str]) -> bool:
    """Mend a head from its copies; say whether it is lost."""
    folder = workspace.head(version)
    for name, copy in heads.COPIES.items():
        if not _is_whole(folder, name) and _is_whole(folder, copy):
            files.replace(folder / name, (folder / copy).read_bytes())
            done.append(f"{folder / name}: its copy took its place")
    try:
        head, record = heads.read(folder, workspace.digest(version))
        _, sums = heads.read_facts(folder)
    except UserError:
        return True
    whole = {name: _holds(folder / name, sums.get(name)) for name in (heads.MEMORY, heads.LOG)}
    if all(whole.values()):
        for name, copy in heads.COPIES.items():
            if heads.LOG in sums and not checks.same(folder / name, folder / copy):
                files.replace(folder / copy, (folder / name).read_bytes())
                done.append(f"{folder / copy}: written anew")
        return False
    memory = safetensors.torch.load((folder / heads.MEMORY).read_bytes()) if whole[heads.MEMORY] else {}
    log = (folder / heads.LOG).read_bytes() if whole[heads.LOG] else b""
    heads.write(folder, head, record, memory, log)
    done += [f"{folder / name}: lost, and empty now" for name in whole if not whole[name]]
    return False


def _is_whole(folder: Path, name: str) -> bool:
    """Say whether a record or tensors are as they were written; tensors are what any whole record says."""
    if name.endswith(".json"):
        return not list(checks.attempt("head", "", lambda: heads.read_facts(folder, name)))
    for record in (heads.RECORD, heads.COPIES[heads.RECORD]):
        if _is_whole(folder, record):
            return _holds(folder / name, heads.read_facts(folder, record)[1][heads.TENSORS])
    return False


def _holds(path: Path, sum: str | None) -> bool:
    """Say whether a file has a checksum, or where none is known whether it is there."""
    return (
        path.is_file()
        if sum is None
        else not list(checks.attempt("head", "", lambda: files.checked(path, sum)))
    )


def without(manifest: Manifest, lost: Sequence[int]) -> Manifest:
    """Return a manifest without the lessons and references whose heads are lost; all is to be served anew."""
    if not lost:
        return manifest
    history = manifest.history
    gone = [lesson.number for lesson in history.lessons if lesson.head in lost]
    kept = [lesson for lesson in history.lessons if lesson.head not in lost]
    lessons = tuple(replace(lesson, number=number) for number, lesson in enumerate(kept, 1))

    def before(after: int) -> int:
        return after - sum(number <= after for number in gone)

    def arrived(arrival: Arrival) -> Arrival:
        after = before(arrival.after)
        head = newest_head(History(lessons[:after])) if arrival.head in lost else arrival.head
        return Arrival(arrival.task, after, head)

    served = manifest.served
    return replace(
        manifest,
        history=History(lessons, tuple(map(arrived, history.arrivals))),
        references=tuple(
            replace(reference, after=before(reference.after))
            for reference in manifest.references
            if reference.head not in lost
        ),
        served=Served(served.policy, policies=served.policies, chosen=served.chosen),
        previous=None,
    )


def _serve(workspace: Workspace, device: str, done: list[str]) -> None:
    """Mend the store, drop what is damaged of shards and routers, and serve what they were made of."""
    with Store(workspace.store, readonly=False, served=workspace.state) as store:
        done += _reread(workspace, store, device)
        broken = {Path(p.path) for p in checks.derived(workspace, deep=True) if p.mend.settings}
        folders = {path if path.is_dir() or not path.suffix else path.parent for path in broken}
        manifest, served = workspace.manifest, workspace.manifest.served
        routers = {m: path for m, path in served.routers.items() if workspace.router(path) not in folders}
        named = {workspace.shard(shard.path) for shard in served.shards}
        if folders & named and "partial" in (served.policy, *served.policies.values()):
            served = replace(served, shards=(), directions=())
        previous = manifest.previous
        if previous and folders & {
            *(workspace.shard(shard.path) for shard in previous.shards),
            *(workspace.router(path) for path in previous.routers.values()),
        }:
            previous = None
            done.append("what `rollback` would have served is lost")
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
        manifest = replace(manifest, served=replace(served, routers=routers), previous=previous)
        mended = replace(workspace, manifest=manifest)
        try:
            mended, _ = serve(mended, store, ServingRequest(), device=device)
        except UserError as error:
            done.append(f"not served: {error}")
        if mended.manifest != workspaces.open_at(workspace.root).manifest:  # what is lost is named no more
            mended.with_manifest(mended.manifest)
        done += [f"{folder}: made anew" for folder in sorted(folders) if folder.is_dir()]


def _reread(workspace: Workspace, store: Store, device: str) -> Iterator[str]:
    """Drop what is not as it was written, and read again the sources it came from, where these are at hand."""
    corrupt = store.corruption(deep=True)
    if corrupt.counts:
        with store.writing() as txn:
            txn.drop_corrupt()
        yield from (
            f"store: {count} of {name} dropped" for name, count in corrupt.counts.items() if name != "missing"
        )
    missing = checks.lacking(workspace, store)
    rows = [
        row for row in store.rows() if corrupt.rows or corrupt.items or not missing.isdisjoint(ids_of(row))
    ]
    sources = dict.fromkeys((row.source, None if row.named else row.task) for row in rows)
    loader = Loader(store, Backbones(workspace.manifest.backbones, device).of)
    for source, task in sources:
        try:
            read = ingest(loader, Path(source), task=task)
            yield f"{source}: read again, {read.added} rows added, {read.updated} updated"
        except UserError as error:
            yield f"{source}: not read again: {error}"
