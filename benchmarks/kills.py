"""Commands that are killed at random moments: do answers stay whole, is every item kept, does the next run complete?

    python -m benchmarks.kills
    python -m benchmarks.kills --kills 10

Each command runs on a copy of one workspace and gets kill -9 at a moment drawn from the time that it takes in peace.
Then the workspace must answer as before the command or as after it, the command is given again where it was not done,
and must exit 0, answer as after peace, and hold the same items. To results/kills.json.
"""

import argparse
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from benchmarks.readers import TASKS, draw
from benchmarks.report import machine, markdown, write
from engine.errors import UserError
from engine.ingest.setup import WorkspaceOptions
from engine.ranking.query import Input
from engine.types import Modality, TrainSettings
from indexer.serving.index import index
from indexer.serving.reindex import reindex
from indexer.serving.search import open_searcher
from indexer.serving.status import status
from indexer.serving.wanted import ServingRequest
from training.lesson import learn

OUT = Path(__file__).parent / "results" / "kills.json"
TARGETS: Sequence[Modality] = ("image", "text")
PICTURES = 30
EPOCHS = 5
FORKS = multiprocessing.get_context("forkserver")

Answers: TypeAlias = list[tuple[object, ...]]


@dataclass(frozen=True)
class Command:
    """A command that is killed.

    Attributes:
        arguments: of `mneme`, less the workspace.
        damage: what is done to the workspace first.
    """

    name: str
    arguments: Sequence[str]
    damage: Callable[[Path], object] = lambda workspace: None


@dataclass(frozen=True)
class Peace:
    """What comes of a command that nobody disturbs, and the seconds it takes."""

    before: Answers
    after: Answers
    lessons: int
    items: int
    exported: int
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=30, help="of each command")
    given = parser.parse_args()
    FORKS.set_forkserver_preload(
        ["cli", "engine.backbones.builtin", "indexer.serving.index", "training.lesson"]
    )
    with tempfile.TemporaryDirectory() as folder:
        made = make(Path(folder))
        rows = [row(command, made, Path(folder, "copy"), given.kills) for command in commands(Path(folder))]
    print(markdown(rows))
    write(OUT, {**machine(), "items": 4 * PICTURES, "rows": rows})


def make(folder: Path) -> Path:
    """Return a workspace that knows two tasks and can be rolled back; its sources have changed since."""
    workspace, media = folder / "workspace", folder / "media"
    root = workspace / ".mneme"
    draw(media, 0, PICTURES)
    for task in TASKS:
        options = WorkspaceOptions(["builtin"])
        learn(root, [media / task], options, TrainSettings(task, epochs=EPOCHS))
        index(root, [media / task], options, task=task)
    reindex(root, ServingRequest("reindex"))
    draw(media, 1, PICTURES)
    return workspace


def commands(folder: Path) -> list[Command]:
    """Return the commands that are killed."""
    media = folder / "media"
    return [
        Command("index", ["index", *(str(media / task) for task in TASKS)]),
        Command("train", ["train", "-t", TASKS[0], "--epochs", str(EPOCHS)]),
        Command("reindex", ["reindex", "--policy", "matched"]),
        Command("rollback", ["rollback"]),
        Command("remove", ["remove", "--task", TASKS[0]]),
        Command("export", ["export", str(folder / "exported")]),
        Command("verify --repair", ["verify", "--repair"], damage),
    ]


def damage(workspace: Path) -> None:
    """Turn a byte of every shard over, and cut a head."""
    for vectors in workspace.glob(".mneme/shards/**/vectors.npy"):
        with vectors.open("r+b") as file:
            file.seek(-1, os.SEEK_END)
            last = file.read(1)[0]
            file.seek(-1, os.SEEK_END)
            file.write(bytes([last ^ 1]))
    head = min(workspace.glob(".mneme/heads/*/head.safetensors"))
    os.truncate(head, head.stat().st_size // 2)


def row(command: Command, workspace: Path, copy: Path, kills: int) -> dict[str, object]:
    """Kill a command so many times, each on a copy of a workspace; return how often what was wrong."""
    peace = undisturbed(command, workspace, copy)
    draws = random.Random(command.name)
    faults: Counter[str] = Counter()
    finished = 0
    for _ in range(kills):
        renew(command, workspace, copy)
        status = run(command, copy, draws.uniform(0, 1.02 * peace.seconds))
        finished += status == 0
        faults.update(after_kill(command, copy, peace))
    wrong = {name: faults[name] for name in ("wrong answers", "lost items", "next run fails")}
    return {"command": command.name, "kills": kills, "finished before": finished, **wrong}


def undisturbed(command: Command, workspace: Path, copy: Path) -> Peace:
    """Run a command in peace, on a copy."""
    run(command, renew(command, workspace, copy))  # what is read for the first time is slow
    before = answers(renew(command, workspace, copy))
    began = time.perf_counter()
    if run(command, copy) != 0:
        raise SystemExit(f"{command.name} fails in peace")
    seconds = time.perf_counter() - began
    now = status(copy / ".mneme")
    return Peace(before, answers(copy), len(now.lessons), sum(now.items.values()), exported(command), seconds)


def renew(command: Command, workspace: Path, copy: Path) -> Path:
    """Make the copy of a workspace anew, and return it."""
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(workspace, copy)
    if command.name == "export":
        shutil.rmtree(command.arguments[1], ignore_errors=True)
    command.damage(copy)
    return copy


def after_kill(command: Command, copy: Path, peace: Peace) -> list[str]:
    """Return what is wrong with a workspace whose command was killed, and with what the next run makes of it."""
    faults = []
    now = answers(copy)
    if now not in (peace.before, peace.after):
        faults.append("wrong answers")
    is_done = now == peace.after and len(status(copy / ".mneme").lessons) == peace.lessons
    if command.name == "export":
        is_done = Path(
            command.arguments[1]
        ).exists()  # whole, or not there; another export wants another folder
    if not is_done and run(command, copy) != 0:
        faults.append("next run fails")
    if answers(copy) != peace.after or len(status(copy / ".mneme").lessons) != peace.lessons:
        faults.append("wrong answers")
    if sum(status(copy / ".mneme").items.values()) != peace.items or exported(command) != peace.exported:
        faults.append("lost items")
    return faults


def answers(workspace: Path) -> Answers:
    """Return what two queries find: all items, with their scores, paths and tasks; nothing where they are refused."""
    try:
        with open_searcher(workspace / ".mneme") as searcher:
            every = searcher.all_tasks()
            results = [
                searcher.search([Input("text", b"a cloud")], target, 1000, every) for target in TARGETS
            ]
    except UserError:
        return []
    hits = [hit for result in results for hit in result.hits]
    return [(hit.id, round(hit.score, 5), hit.path, hit.text, tuple(hit.tasks)) for hit in hits]


def exported(command: Command) -> int:
    """Return how many rows an export holds; 0 for other commands."""
    if command.name != "export":
        return 0
    import pyarrow.parquet as pq

    return sum(pq.read_metadata(file).num_rows for file in Path(command.arguments[1]).glob("*.parquet"))


def run(command: Command, workspace: Path, seconds: float | None = None) -> int:
    """Run a command, killed after so many seconds; return its exit status, below zero that of a signal."""
    process = FORKS.Process(target=mneme, args=([*command.arguments, "-w", str(workspace)],))
    process.start()
    process.join(seconds)
    if process.pid and process.exitcode is None:
        os.kill(process.pid, signal.SIGKILL)
    process.join()
    return process.exitcode or 0


def mneme(arguments: Sequence[str]) -> None:
    """Run `mneme` silently; exits with its status."""
    import cli

    sys.argv = ["mneme", *arguments]
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        cli.main()


if __name__ == "__main__":
    main()
