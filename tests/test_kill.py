"""A crash of `index`, `train` or `reindex` at any touch of the disk: answers are as ever, and the next run completes.

MNEME_KILLS sets how many moments of each command are tried; the suite tries few, for each takes seconds.
"""

import os
import random
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

import apart
import worlds
from engine.ingest.setup import WorkspaceOptions
from engine.ranking.query import Input
from engine.storage.store import Store
from engine.storage.workspace import open_at
from engine.types import Hit
from indexer.serving.index import index
from indexer.serving.reindex import reindex
from indexer.serving.search import open_searcher
from indexer.serving.wanted import ServingRequest
from journal import Journal
from studies.demo import pictures

KILLS = int(os.environ.get("MNEME_KILLS", "2"))
EPOCHS = 10
QUERIES = [b"a red tram in the rain", b"five yellow tulips"]
BUILTIN = WorkspaceOptions(["builtin"])


@dataclass(frozen=True)
class Calm:
    """A source, and workspaces after each command ran in peace; how often each command touched the disk."""

    source: Path
    indexed: Path
    learned: Path
    reindexed: Path
    touches: dict[str, int]


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Calm:
    folder = tmp_path_factory.mktemp("calm")
    source, indexed, learned, reindexed = (folder / name for name in ("pictures", "one", "two", "three"))
    pictures.render(source, per_task=8)
    touches = {"index": touches_of(indexed, *INDEX, str(source))}
    shutil.copytree(indexed, learned)
    touches["train"] = touches_of(learned, *TRAIN)
    index(learned / ".mneme", [source], BUILTIN)
    shutil.copytree(learned, reindexed)
    touches["reindex"] = touches_of(reindexed, *REINDEX)
    return Calm(source, indexed, learned, reindexed, touches)


INDEX = ("index", "--backbone", "builtin")
TRAIN = ("train", "-t", "streets", "--epochs", str(EPOCHS))
REINDEX = ("reindex", "--policy", "reindex")


@pytest.mark.parametrize("attempt", range(KILLS))
def test_a_killed_index_is_completed_by_the_next_run(attempt: int, calm: Calm, tmp_path: Path) -> None:
    kill(tmp_path, moment(attempt, calm.touches["index"]), *INDEX, str(calm.source))

    index(tmp_path / ".mneme", [calm.source], BUILTIN)

    assert answers(tmp_path) == answers(calm.indexed)


@pytest.mark.parametrize("attempt", range(KILLS))
def test_a_killed_train_changes_no_answer_and_is_completed_by_the_next_run(
    attempt: int, calm: Calm, tmp_path: Path
) -> None:
    workspace = tmp_path / "workspace"
    shutil.copytree(calm.indexed, workspace)
    kill(workspace, moment(attempt, calm.touches["train"]), *TRAIN)
    assert answers(workspace) == answers(calm.indexed)

    if not open_at(workspace / ".mneme").manifest.history.lessons:
        assert apart.run(apart.mneme, *TRAIN, "-w", str(workspace)) == 0  # with as many threads as in peace
    index(workspace / ".mneme", [calm.source], BUILTIN)

    assert answers(workspace) == answers(calm.learned)


@pytest.mark.parametrize("attempt", range(KILLS))
def test_a_killed_reindex_leaves_the_old_index_answering_or_the_new_one(
    attempt: int, calm: Calm, tmp_path: Path
) -> None:
    workspace = tmp_path / "workspace"
    shutil.copytree(calm.learned, workspace)
    kill(workspace, moment(attempt, calm.touches["reindex"]), *REINDEX)
    assert answers(workspace) in (answers(calm.learned), answers(calm.reindexed))

    reindex(workspace / ".mneme", ServingRequest("reindex"))

    assert answers(workspace) == answers(calm.reindexed)


def index_more(world: Path) -> None:
    worlds.index(world, worlds.save(world / "more.npz", worlds.rows("sky", 40)))


def learn_more(world: Path) -> None:
    worlds.learn(world, "sky")


def serve_otherwise(world: Path) -> None:
    reindex(world / ".mneme", ServingRequest("reindex"))


@pytest.mark.parametrize("change", [index_more, learn_more, serve_otherwise])
def test_what_the_manifest_names_is_on_the_disk_before_the_manifest_is(
    world: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]
) -> None:
    root = world / ".mneme"
    journal = Journal(root)
    journal.watch(monkeypatch)

    change(world)

    *made, flushed, named, settled = journal.lines[:-3]  # less its copy
    folders = [line.removeprefix("name ") for line in made if line.startswith("name ")]
    assert folders != []
    for folder in folders:
        before, after = made[: made.index(f"name {folder}")], made[made.index(f"name {folder}") :]
        files = [f"{folder}/{file.name}, {file.stat().st_size} bytes" for file in (root / folder).iterdir()]
        assert {f"flush {name}" for name in (*files, f"{folder}/")} <= set(before)
        assert f"flush {Path(folder).parent}/" in after
    size = (root / "workspace.json").stat().st_size
    assert (flushed, named, settled) == (
        f"flush workspace.json, {size} bytes",
        "name workspace.json",
        "flush ./",
    )


def mortal(last: int, touches: Connection, *arguments: str) -> None:
    """Run `mneme`, killed before its last flush, rename or opening of a transaction; tell how many there were."""
    count = 0

    def mortal(touch: Callable[..., object]) -> Callable[..., object]:
        def touch_or_die(*given: object) -> object:
            nonlocal count
            count += 1
            if count == last:
                os.kill(os.getpid(), signal.SIGKILL)
            return touch(*given)

        return touch_or_die

    for owner, name in ((os, "fsync"), (Store, "writing"), (Path, "rename"), (Path, "replace")):
        setattr(owner, name, mortal(getattr(owner, name)))
    try:
        apart.mneme(*arguments)
    finally:
        touches.send(count)


def touches_of(workspace: Path, *arguments: str) -> int:
    """Run a command in peace; return how often it touched the disk."""
    heard, told = apart.pipe()
    assert apart.run(mortal, 0, told, *arguments, "-w", str(workspace)) == 0
    count: int = heard.recv()
    return count


def moment(attempt: int, touches: int) -> int:
    """Return before which touch of the disk a command is killed."""
    return random.Random(attempt).randint(1, touches)


def kill(workspace: Path, touch: int, *arguments: str) -> None:
    _, told = apart.pipe()
    assert apart.run(mortal, touch, told, *arguments, "-w", str(workspace)) == -signal.SIGKILL


def answers(workspace: Path) -> list[list[Hit]]:
    with open_searcher(workspace / ".mneme") as searcher:
        every = searcher.all_tasks()
        return [searcher.search([Input("text", query)], None, 10, every).hits for query in QUERIES]
