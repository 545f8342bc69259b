"""Small collections and workspaces that several tests share."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.ingest.setup import WorkspaceOptions
from engine.storage.store import Store
from engine.storage.workspace import Workspace, open_at
from engine.types import HeadForm, LossName, MethodName, PolicyName, Split, TrainSettings
from indexer.serving import index as indexing
from indexer.serving.index import IndexSummary
from training import lesson
from training.lesson import Outcome

WIDTH = 8
WORDS = {
    "sky": ("sun", "moon", "cloud", "star", "rain", "wind"),
    "life": ("dog", "cat", "bird", "fish", "horse", "tree"),
    "places": ("house", "street", "harbour", "bridge", "field", "tower"),
}
TASKS = tuple(WORDS)
SPLITS: dict[int, Split] = {7: "test", 8: "test", 9: "val"}


@dataclass(frozen=True)
class Row:
    """One row of a features file: a picture's features (D,) and its caption."""

    id: str
    task: str
    split: Split
    image: NDArray[np.float32]
    text: str
    label: str


def rows(task: str, count: int = 30, *, start: int = 0) -> list[Row]:
    """Return pairs whose picture is a noisy sum of what its two words look like; of ten, 7 are for training."""
    looks = np.random.default_rng(5).normal(size=(len(WORDS) * 6, WIDTH))
    pairs = []
    for n in range(start, start + count):
        draw = np.random.default_rng([n, TASKS.index(task)])
        first_word, second_word = draw.choice(6, 2, replace=False)
        first = 6 * TASKS.index(task)
        image = looks[first + first_word] + looks[first + second_word] + draw.normal(0, 0.3, WIDTH)
        text = f"a {WORDS[task][first_word]} and a {WORDS[task][second_word]}, number {n}"
        split = SPLITS.get(n % 10, "train")
        pairs.append(Row(f"{task}{n}", task, split, image.astype(np.float32), text, WORDS[task][first_word]))
    return pairs


def save(path: Path, rows: Sequence[Row]) -> Path:
    """Write rows as a features file."""
    np.savez(
        path,
        image=np.stack([row.image for row in rows]),
        text=[row.text for row in rows],
        id=[row.id for row in rows],
        task=[row.task for row in rows],
        split=[row.split for row in rows],
        labels=[row.label for row in rows],
    )
    return path


def index(
    root: Path, *sources: Path, task: str | None = None, policy: PolicyName | None = None
) -> IndexSummary:
    """Index sources in the workspace of a folder."""
    return indexing.index(root / ".mneme", sources, WorkspaceOptions(), task=task, policy=policy)


def learn(
    root: Path,
    task: str,
    *sources: Path,
    method: MethodName = "finetune",
    loss: LossName = "infonce",
    form: HeadForm | None = None,
    epochs: int = 2,
    seed: int = 0,
) -> Outcome:
    """Train a task in the workspace of a folder; a first head is linear."""
    first = not (root / ".mneme/heads").is_dir() or method != "finetune"
    settings = TrainSettings(
        task,
        method=method,
        loss=loss,
        form=form or ("linear" if first else None),
        epochs=epochs,
        lr=0.02,
        batch_size=16,
        seed=seed,
    )
    return lesson.learn(root / ".mneme", sources, WorkspaceOptions(), settings)[0]


def trained(base: Path) -> Path:
    """Return a workspace of three tasks, each learned and then indexed; to be read only.

    One picture stands in sky and in life.
    """
    root = base / "trained"
    if not root.is_dir():
        root.mkdir()
        life = rows("life")
        life[0] = replace(life[0], image=rows("sky")[0].image)
        for task, pairs in (("sky", rows("sky")), ("life", life), ("places", rows("places"))):
            source = save(root / f"{task}.npz", pairs)
            learn(root, task, source, epochs=6)
            index(root, source, policy="no-reindex")
    return root


def copied(world: Path, to: Path) -> Path:
    """Return a copy of a world that a test may change; its sources stay where they were."""
    return Path(shutil.copytree(world, to / "world"))


def opened(root: Path) -> Workspace:
    """Return a workspace as it now stands on disk."""
    return open_at(root / ".mneme")


@contextmanager
def stored(root: Path) -> Iterator[Store]:
    """Open the store of a workspace."""
    with Store(root / ".mneme/store") as store:
        yield store


def bytes_below(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder, less the lock files of readers."""
    files = [file for file in sorted(folder.rglob("*")) if file.is_file() and "lock" not in file.name]
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}
