"""Workspaces that several tests evaluate, and how they open an evaluation and one of its directions."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

import worlds
from engine.history import Reference
from engine.ingest.setup import WorkspaceOptions
from engine.types import Modality, TrainSettings
from indexer.evaluation.evaluate import Evaluation, open_evaluation
from indexer.evaluation.protocol import EvalSettings
from indexer.evaluation.results import Result
from indexer.evaluation.runs import Trial
from training import lesson

SETTINGS = EvalSettings(policies=("reindex", "matched"), merges=("routed",), ks=(1, 5), details=False)
USUAL = EvalSettings()


@contextmanager
def evaluated(root: Path, settings: EvalSettings = SETTINGS) -> Iterator[Evaluation]:
    """Open the evaluation of a folder's workspace."""
    with open_evaluation(root / ".mneme", settings) as opened:
        yield opened


@contextmanager
def tried(
    root: Path, settings: EvalSettings = USUAL, query: Modality = "text", target: Modality = "image"
) -> Iterator[Trial]:
    """Open one direction of the evaluation of a folder's workspace."""
    with evaluated(root, settings) as evaluation:
        yield evaluation.trial(query, target)


def direction(evaluation: Evaluation, query: Modality = "text", target: Modality = "image") -> Trial:
    """Return one of the directions of an evaluation, which keeps what it computes."""
    return next(trial for trial in evaluation.trials if (trial.query, trial.target) == (query, target))


def results(root: Path, settings: EvalSettings = USUAL) -> list[Result]:
    """Return what the evaluation of a folder's workspace yields."""
    with evaluated(root, settings) as evaluation:
        return list(evaluation.results())


def referred(base: Path) -> Path:
    """Return the trained workspace with a joint reference, which is the last lesson's head over again."""
    root = base / "referred"
    if not root.is_dir():
        worlds.copied(worlds.trained(base), root)
        workspace = worlds.opened(root / "world")
        last = workspace.manifest.history.lessons[-1]
        joint = Reference("joint", last.task, last.number, last.head, False, 12.5)
        workspace.with_manifest(replace(workspace.manifest, references=(joint,)))
    return root / "world"


def three(base: Path) -> Path:
    """Return a workspace of two tasks whose pairs hold an image, its depth and a text; a lesson of two of them."""
    root = base / "three"
    if not root.is_dir():
        root.mkdir()
        rows = [*worlds.rows("sky", 40), *worlds.rows("life", 40)]
        image = np.stack([row.image for row in rows])
        text, task, split = ([getattr(row, name) for row in rows] for name in ("text", "task", "split"))
        np.savez(root / "rows.npz", image=image, depth=image[:, ::-1] ** 2, text=text, task=task, split=split)
        settings = TrainSettings("sky", form="linear", epochs=1, modalities=("image", "text"))
        lesson.learn(root / ".mneme", [root / "rows.npz"], WorkspaceOptions(), settings)
        worlds.index(root, root / "rows.npz")
    return root
