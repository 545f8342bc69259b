"""The `remove` command's work: rows go, and what is made of them; or a task's features go, and that stays."""

import os
import shlex
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from engine.errors import Note, Setting, UserError
from engine.ids import clean_name
from engine.storage.blocks import KEY, SUM
from engine.storage.rows import StoredRow, ids_of
from engine.storage.selection import Selection, select
from engine.storage.store import Store
from engine.storage.workspace import Workspace, open_at, sealed_tasks
from engine.storage.writer import writing
from engine.types import ItemId
from indexer.policies.policies import NEED_FEATURES
from indexer.serving.build import drop_unnamed, serve
from indexer.serving.wanted import ServingRequest

KEY_BYTES = KEY + SUM.size
"""What the store keeps beside features: the key and a checksum."""

MOST_NAMED = 5
"""Commands that a note gives of those there are."""


@dataclass(frozen=True)
class Origin:
    """Where rows were removed that an `index` would bring back.

    Attributes:
        task: the one to index it under; empty where it brings them without one.
    """

    source: str
    task: str
    rows: int

    @property
    def command(self) -> Setting | str:
        """What brings them back."""
        index = f"index {shlex.quote(self.source)}"
        return Setting("task", shlex.quote(self.task), command=index) if self.task else f"`mneme {index}`"


@dataclass(frozen=True)
class RowRemoval:
    """What `mneme remove --json` prints; seconds are wall time.

    Attributes:
        items: how many no other row names, and so went too.
        bytes: of their features.
        tasks: those that rows were removed from.
        emptied: those of them that have no row any more.
        present: how many of the rows have files and a source that are still there.
        in_sums: tasks whose removed features the router has in sums that nothing can be taken out of.
        origins: what brings those back that are still there.
    """

    rows: int
    items: int
    bytes: int
    tasks: list[str]
    emptied: list[str]
    present: int
    in_sums: list[str]
    seconds: float
    dry_run: bool
    origins: list[Origin] = field(default_factory=list)

    @property
    def notes(self) -> list[Note]:
        """What a person should know of it."""
        told = [self._of_origins()] if self.origins else []
        if self.in_sums:
            told.append(
                Note(
                    f"the features of {', '.join(self.in_sums)} were removed before, so the router's sums keep "
                    "what these items added to them"
                )
            )
        return told

    def _of_origins(self) -> Note:
        of = f"{self.present} of these rows" if self.present < self.rows else f"these {self.rows} rows"
        was, them = ("was", "it") if self.present == 1 else ("were", "them")
        commands = [origin.command for origin in self.origins[:MOST_NAMED]]
        more = len(self.origins) - MOST_NAMED
        named = ", ".join(map(str, commands)) + (f" and so on for {more} more" if more > 0 else "")
        return Note(
            f"what {'this row' if self.rows == 1 else of} {was} read from is still there: {named} "
            f"{'brings' if len(self.origins) == 1 else 'bring'} {them} back",
            [command for command in commands if isinstance(command, Setting)],
        )


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


def remove_rows(root: Path, named: Selection, *, device: str = "cpu") -> RowRemoval:
    """Remove rows, the items that no other row names, and what is made of them.

    The rows go in one transaction. A kill before the switch leaves the answers as they were, and the same removal,
    or the next `index`, completes it.
    """
    began = time.perf_counter()
    with writing(root):
        workspace = open_at(root)
        with Store(workspace.store, readonly=False, served=workspace.state) as store:
            rows = select(store, named)
            expected = _expected(workspace, store, rows)
            with store.writing() as txn:
                for row in rows:
                    txn.remove_row(row.key)
                txn.drop_unused()
            if workspace.manifest.served.shards:
                workspace, _ = serve(workspace, store, ServingRequest(), device=device)
                drop_unnamed(workspace)
    return replace(expected, seconds=time.perf_counter() - began, dry_run=False)


def dry_run(root: Path, named: Selection) -> RowRemoval:
    """Say what `remove_rows` would do; nothing is written."""
    began = time.perf_counter()
    workspace = open_at(root)
    with Store(workspace.store, served=workspace.state) as store:
        expected = _expected(workspace, store, select(store, named))
    return replace(expected, seconds=time.perf_counter() - began)


def _expected(workspace: Workspace, store: Store, rows: Sequence[StoredRow]) -> RowRemoval:
    going, backbones = {row.key for row in rows}, workspace.manifest.backbones
    named = {id: modality for row in rows for modality, ids in row.items.items() for id in ids}
    lost = {id: modality for id, modality in named.items() if going.issuperset(store.users(id))}
    encoded = [backbones[m] for id, m in lost.items() if store.has_features(id, backbones[m].id)]
    tasks = {row.task for row in rows}
    left = {row.task for row in store.rows() if row.key not in going}
    sealed = set(sealed_tasks(workspace.manifest, store))
    without = store.lacking(lost)
    present = [row for row in rows if all(map(os.path.exists, (row.source, *row.files.values())))]
    return RowRemoval(
        rows=len(rows),
        items=len(lost),
        bytes=sum(KEY_BYTES + 4 * backbone.width for backbone in encoded),
        tasks=sorted(tasks),
        emptied=sorted(tasks - left),
        present=len(present),
        in_sums=sorted({row.task for row in rows if not without.isdisjoint(ids_of(row))} & sealed & left),
        seconds=0.0,
        dry_run=True,
        origins=_origins(present),
    )


def _origins(rows: Sequence[StoredRow]) -> list[Origin]:
    """Return what an `index` would bring rows back by."""
    counts = Counter((row.source, "" if _names_itself(row) else row.task) for row in rows)
    return [Origin(source, task, count) for (source, task), count in sorted(counts.items())]


def _names_itself(row: StoredRow) -> bool:
    """Say whether a row has its task without one being asked for: by itself, or by its source's name."""
    source = Path(row.source)
    return row.named or row.task == clean_name(source.stem if source.is_file() else source.name)


def remove_features(root: Path, task: str, *, device: str = "cpu") -> RemovalSummary:
    """Remove the features of a task's items; its vectors and what the router knows of it stay.

    The manifest is first to say so, and it names by then all that stands in for the features.
    """
    began, task = time.perf_counter(), clean_name(task)
    with writing(root):
        workspace = open_at(root)
        check(workspace, task)
        with Store(workspace.store, readonly=False, served=workspace.state) as store:
            losing, kept = _sorted_out(workspace, store, task)
            serve(workspace, store, ServingRequest(sealing=task), device=device)
            with store.writing() as txn:
                txn.drop_features(losing)
    return RemovalSummary(task, len(losing), kept, txn.dropped, time.perf_counter() - began)


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
