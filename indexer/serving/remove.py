"""The `remove` command's work: a task's features go, what is made of them stays."""

import time
from dataclasses import dataclass
from pathlib import Path

from engine.errors import Setting, UserError
from engine.storage.rows import ids_of
from engine.storage.store import Store
from engine.storage.workspace import Workspace, open_at, sealed_tasks, writing
from engine.types import ItemId
from indexer.policies.policies import NEED_FEATURES
from indexer.serving.build import serve
from indexer.serving.wanted import ServingRequest


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
            losing, kept = _sorted_out(workspace, store, task)
            serve(workspace, store, ServingRequest(sealing=task), device=device)
            with store.writing() as txn:
                dropped = txn.drop_features(losing)
    return RemovalSummary(task, len(losing), kept, dropped, time.perf_counter() - began)


def check(workspace: Workspace, task: str) -> None:
    """Refuse a task that is not indexed, or that is served under a policy that needs its features later."""
    served = workspace.manifest.served
    indexed = list(dict.fromkeys(shard.key.task for shard in served.shards))
    if not indexed:
        raise UserError("nothing is indexed yet: run `mneme index SOURCE`")
    if task not in indexed:
        raise UserError(f"no task {task!r} in the index; tasks are: {', '.join(indexed)}")
    for direction, policy in [("", served.policy), *served.policies.items()]:
        if policy in NEED_FEATURES and (direction or served.chosen):
            where = f" for {direction}" if direction else ""
            other = Setting("policy", command="reindex")
            raise UserError(
                f"policy {policy}, which is served{where}, needs the features of task {task!r} later: first run "
                f"{other} with matched, no-reindex or aligned",
                [other],
            )


def _sorted_out(workspace: Workspace, store: Store, task: str) -> tuple[list[ItemId], int]:
    """Return the items that lose their features, and how many keep them for another task's sake."""
    sealed = {task, *sealed_tasks(workspace.manifest, store)}
    own, elsewhere = set[ItemId](), set[ItemId]()
    for row in store.rows():
        if row.task not in sealed:
            elsewhere.update(ids_of(row))
        if row.task == task:
            own.update(ids_of(row))
    stored = own - store.lacking(own)
    if not stored:
        raise UserError(f"no features of task {task!r} are stored: they were removed before")
    if not stored - elsewhere:
        raise UserError(
            f"all items of task {task!r} with features stand in other tasks too: nothing was removed"
        )
    return sorted(stored - elsewhere), len(stored & elsewhere)
