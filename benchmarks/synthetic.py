"""Workspaces of any size for benchmarks of cost: random features, heads of random weights."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from engine.heads import files as heads
from engine.heads.files import Record
from engine.heads.head import Head
from engine.history import History, Lesson
from engine.ingest.encoding import Loader
from engine.ingest.ingest import ingest
from engine.ingest.setup import WorkspaceOptions, open_or_make
from engine.storage.store import Store
from engine.storage.workspace import open_at
from engine.storage.writer import writing
from engine.types import HeadForm, TrainSettings
from indexer.serving.index import index

MODALITIES = ("image", "depth")
VALIDATION = 50
"""Most validation pairs of a task."""


@dataclass(frozen=True)
class Shape:
    """How large a workspace is.

    Attributes:
        items: pairs of each task.
        width: D and E.
        tested: the share of pairs of split test; one in a hundred is of split val, at most 50 a task.
    """

    items: int
    width: int = 512
    form: HeadForm = "mlp"
    tested: float = 0.01


def make_workspace(root: Path, tasks: Sequence[str], shape: Shape) -> Path:
    """Make a workspace with a lesson for each task, indexed as no-reindex; return its folder."""
    root.mkdir(parents=True)
    source, width, form = _source(root / "rows.npz", tasks, shape), shape.width, shape.form
    with writing(root):
        workspace, backbones = open_or_make(root, [source], WorkspaceOptions(width=width), "cpu")
        with Store(workspace.store, readonly=False) as store:
            ingest(Loader(store, backbones.of), source)
        manifest = workspace.manifest
        for number in range(1, len(tasks) + 1):
            head = Head(form, width, seed=number)
            for modality in MODALITIES:
                head.add_branch(modality, width)
            widths = dict.fromkeys(MODALITIES, width)
            ids = {modality: manifest.backbones[modality].id for modality in MODALITIES}
            settings = TrainSettings(tasks[number - 1], form=form, modalities=MODALITIES)
            record = Record(number, number - 1, widths, width, form, False, settings, ids)
            heads.write(workspace.head(number), head, record, {}, b"")
        lessons = tuple(Lesson(number, task, number) for number, task in enumerate(tasks, 1))
        open_at(root).with_manifest(replace(manifest, history=History(lessons)))
    index(root, [source], WorkspaceOptions())
    return root


def _source(path: Path, tasks: Sequence[str], shape: Shape) -> Path:
    """Write the features of all tasks: each task round its own centre, the modalities near each other."""
    draw, items = np.random.default_rng(0), shape.items
    centres = np.repeat(draw.normal(size=(len(tasks), shape.width)).astype(np.float32), items, axis=0)
    image = centres + draw.standard_normal(centres.shape, np.float32)
    depth = image + np.float32(0.5) * draw.standard_normal(image.shape, np.float32)
    place = np.tile(np.arange(items), len(tasks))
    split = np.where(draw.random(len(place)) < shape.tested, "test", "train")
    split[place < min(VALIDATION, max(2, items // 100))] = "val"
    task = np.repeat(np.array(tasks), items)
    np.savez(path, image=image, depth=depth, task=task, split=split, id=np.arange(len(place)).astype(str))
    return path
