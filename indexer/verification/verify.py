"""The `verify` command's work: read what a workspace holds, and say what is not as it should be."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine.errors import Note, UserError
from engine.storage import workspace as workspaces
from engine.storage.store import Store
from engine.storage.workspace import Workspace
from indexer.verification import checks
from indexer.verification.damage import REPAIR, Problem, Verification, told


def verify(root: Path, *, deep: bool = False) -> Verification:
    """Say what is damaged, missing or left over; nothing is written.

    Args:
        deep: read every byte; else manifests, heads, vectors' sums, and of the store rows and items.
    """
    began = time.perf_counter()
    problems_met = list(problems(root, deep=deep))
    return Verification(
        problems_met, [], _notes(root) if not problems_met else [], time.perf_counter() - began
    )


def problems(root: Path, *, deep: bool) -> Iterator[Problem]:
    """Yield what is wrong; where the manifest cannot be read, that alone."""
    unreadable = checks.manifest(root)
    if unreadable:
        yield unreadable
        return
    workspace = workspaces.open_at(root)
    yield from checks.copy_of_manifest(root)
    for version in checks.versions(workspace):
        yield from checks.head(workspace, version, deep=deep)
    yield from _store(workspace, deep=deep)
    yield from checks.derived(workspace, deep=deep)


def _store(workspace: Workspace, *, deep: bool) -> Iterator[Problem]:
    """Yield what is wrong with the store; where its pages are, that alone."""
    if deep and (unsound := list(checks.pages(workspace))):
        yield from unsound
        return
    try:
        with Store(workspace.store) as store:
            yield from checks.rows(workspace, store, deep=deep)
    except UserError as error:
        yield told(error, "store", "")


def _notes(root: Path) -> list[Note]:
    """Return what is no damage: files that have no checksums, and what runs that ended early left."""
    notes = []
    if not (root / workspaces.COPY).is_file():
        notes.append(
            Note("an older mneme made it: workspace.json and what was stored then have no checksums")
        )
    if left := checks.orphans(workspaces.open_at(root)):
        what = f"{left[0]}{f' and {len(left) - 1} more' if left[1:] else ''}"
        notes.append(Note(f"a run that ended early left {what}: {REPAIR} drops it", [REPAIR]))
    return notes


def to_json(done: Verification, spoken: Any) -> dict[str, Any]:
    """Return what `mneme verify --json` prints.

    Args:
        spoken: returns a note in the words of whoever prints it.
    """
    listed = [{**vars(problem), "mend": spoken(problem.mend)} for problem in done.problems]
    notes = [spoken(note) for note in done.notes]
    return {
        "ok": done.ok,
        "problems": listed,
        "repaired": done.repaired,
        "notes": notes,
        "seconds": done.seconds,
    }
