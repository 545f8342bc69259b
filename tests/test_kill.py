"""kill -9 at random moments of `index`, `train` and `reindex`: the next run completes, and answers are as ever.

MNEME_KILLS sets how many moments of each command are tried; the suite tries few, for each takes seconds.
"""

import os
import random
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine.ingest.setup import WorkspaceOptions
from engine.ranking.query import Input
from engine.storage.workspace import open_at
from engine.types import Hit, TrainSettings
from indexer.serving.build import Wanted
from indexer.serving.index import index
from indexer.serving.reindex import reindex
from indexer.serving.search import open_index
from studies.demo import pictures
from training.lesson import learn

KILLS = int(os.environ.get("MNEME_KILLS", "2"))
EPOCHS = 10
QUERIES = [b"a red tram in the rain", b"five yellow tulips"]
BUILTIN = WorkspaceOptions(["builtin"])


@dataclass(frozen=True)
class Calm:
    """A source, a workspace that indexed it and one that learned too, and how long each command took (s)."""

    source: Path
    indexed: Path
    learned: Path
    index_seconds: float
    train_seconds: float


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Calm:
    folder = tmp_path_factory.mktemp("calm")
    source, indexed, learned = folder / "pictures", folder / "indexed", folder / "learned"
    pictures.render(source, per_task=60)
    began = time.monotonic()
    command(indexed, "index", str(source), "--backbone", "builtin").wait()
    index_seconds = time.monotonic() - began
    shutil.copytree(indexed, learned)
    began = time.monotonic()
    command(learned, "train", "-t", "streets", "--epochs", str(EPOCHS)).wait()
    train_seconds = time.monotonic() - began
    index(learned / ".mneme", [source], BUILTIN)
    return Calm(source, indexed, learned, index_seconds, train_seconds)


@pytest.mark.parametrize("attempt", range(KILLS))
def test_a_killed_index_is_completed_by_the_next_run(attempt: int, calm: Calm, tmp_path: Path) -> None:
    after = random.Random(attempt).uniform(0.3, 1.0) * calm.index_seconds
    kill(command(tmp_path, "index", str(calm.source), "--backbone", "builtin"), after)

    index(tmp_path / ".mneme", [calm.source], BUILTIN)

    assert answers(tmp_path) == answers(calm.indexed)


@pytest.mark.parametrize("attempt", range(KILLS))
def test_a_killed_train_changes_no_answer_and_is_completed_by_the_next_run(
    attempt: int, calm: Calm, tmp_path: Path
) -> None:
    workspace = tmp_path / "workspace"
    shutil.copytree(calm.indexed, workspace)
    after = random.Random(100 + attempt).uniform(0.3, 1.0) * calm.train_seconds
    kill(command(workspace, "train", "-t", "streets", "--epochs", str(EPOCHS)), after)
    assert answers(workspace) == answers(calm.indexed)

    if not open_at(workspace / ".mneme").manifest.history.lessons:
        learn(workspace / ".mneme", [], WorkspaceOptions(), TrainSettings(task="streets", epochs=EPOCHS))
    index(workspace / ".mneme", [calm.source], BUILTIN)

    assert answers(workspace) == answers(calm.learned)


@pytest.mark.parametrize("attempt", range(KILLS))
def test_a_killed_reindex_leaves_the_old_index_answering_or_the_new_one(
    attempt: int, calm: Calm, tmp_path: Path
) -> None:
    workspace, done = tmp_path / "workspace", tmp_path / "done"
    shutil.copytree(calm.learned, workspace)
    shutil.copytree(calm.learned, done)
    began = time.monotonic()
    command(done, "reindex", "--policy", "reindex").wait()
    after = random.Random(200 + attempt).uniform(0.3, 1.0) * (time.monotonic() - began)
    kill(command(workspace, "reindex", "--policy", "reindex"), after)
    assert answers(workspace) in (answers(calm.learned), answers(done))

    reindex(workspace / ".mneme", Wanted("reindex"))

    assert answers(workspace) == answers(done)


def command(workspace: Path, *arguments: str) -> "subprocess.Popen[bytes]":
    program = [sys.executable, "-c", "import cli; cli.main()", *arguments, "-w", str(workspace)]
    return subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def kill(running: "subprocess.Popen[bytes]", after: float) -> None:
    """Kill a command after so many seconds; it may be through by then."""
    time.sleep(after)
    running.kill()
    running.wait()


def answers(workspace: Path) -> list[list[Hit]]:
    with open_index(workspace / ".mneme") as opened:
        return [opened.ask([Input("text", query)], None, 10).hits for query in QUERIES]
