"""The `remove` command's work: a task's features go, what is made of them stays."""

import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from engine.errors import Setting, UserError
from engine.storage import removed
from engine.storage.rows import ids_of
from engine.storage.store import Store
from engine.storage.workspace import Workspace, open_at, writing
from engine.types import ItemId
from indexer.policies.policies import REMAKING
from indexer.serving import build
from indexer.serving.build import Wanted


@dataclass(frozen=True)
class RemovalSummary:
    """What `mneme remove --features --json` prints; seconds are wall time.

    Attributes:
        items: how many items lost their features.
        kept: how many kept them, since they stand in other tasks too.
        bytes: of features that were removed.
    """

    task: str
    items: int
    kept: int
    bytes: int
    seconds: float


def remove_features(root: Path, task: str, *, device: str = "cpu") -> RemovalSummary:
    """Remove the features of a task's items; its vectors and what the router knows of it stay.

    The manifest is first to say so, and it names by then all that stands in for the features.
    """
    began = time.perf_counter()
    with writing(root):
        workspace = open_at(root)
        check(workspace, task)
        with Store(workspace.store, readonly=False) as store:
            going, kept = _sorted_out(workspace, store, task)
            build.serve(workspace, store, Wanted(sealing=task), device=device)
            with store.writing() as txn:
                dropped = txn.drop_features(going)
    return RemovalSummary(task, len(going), kept, dropped, time.perf_counter() - began)


def check(workspace: Workspace, task: str) -> None:
    """Refuse a task that is not indexed, or that is served under a policy that needs its features later."""
    served = workspace.manifest.served
    held = list(dict.fromkeys(one.key.task for one in served.shards))
    if not held:
        raise UserError("nothing is indexed yet: run `mneme index SOURCE`")
    if task not in held:
        raise UserError(f"no task {task!r} in the index; tasks are: {', '.join(held)}")
    for way, policy in [("", served.policy), *served.policies.items()]:
        if policy in REMAKING:
            where = f" for {way}" if way else ""
            other = Setting("policy", command="reindex")
            raise UserError(
                f"policy {policy}, which is served{where}, needs the features of task {task!r} later: first run "
                f"{other} with matched, no-reindex or aligned",
                [other],
            )


def _sorted_out(workspace: Workspace, store: Store, task: str) -> tuple[list[ItemId], int]:
    """Return the items that lose their features, and how many keep them for another task's sake."""
    gone = {task, *removed.tasks(workspace.manifest, store)}
    held: dict[bool, set[ItemId]] = defaultdict(set)
    mine: set[ItemId] = set()
    for row in store.rows():
        held[row.task in gone].update(ids_of(row))
        if row.task == task:
            mine.update(ids_of(row))
    there = mine - store.lacking(mine)
    if not there:
        raise UserError(f"no features of task {task!r} are stored: they were removed before")
    if not there - held[False]:
        raise UserError(
            f"all items of task {task!r} with features stand in other tasks too: nothing was removed"
        )
    return sorted(there - held[False]), len(there & held[False])
