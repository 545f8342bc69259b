"""Aligned priors learnt on the tasks kept out of a stream; what one makes of the stream is the stream's features."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from engine.heads import files as heads
from engine.ingest.encoding import Loader
from engine.ingest.ingest import ingest
from engine.ingest.setup import WorkspaceOptions, open_or_make
from engine.storage.rows import StoredRow
from engine.storage.store import Store
from engine.storage.workspace import Workspace, open_at
from engine.storage.writer import writing
from engine.types import ItemId, Modality, TrainSettings
from indexer.serving import index as indexing
from training import lesson as lessons

WIDTH = 512
MODALITIES = ("audio", "image", "text")
PACKS = ("scenes", "sounds", "spoken", "digits")
ASIDE = {
    "scenes": ("sky", "life", "things"),
    "sounds": ("speech",),
    "spoken": ("sky", "life", "things"),
    "digits": ("digits-0-3",),
}
"""Tasks that the prior learns and the stream does not hold."""


@dataclass(frozen=True)
class Step:
    """One step of the stream: the pairs of two modalities of some tasks of a pack.

    Attributes:
        ranked: it counts in recall; pairs made by class do not, as UCF101 does not in the paper.
        classed: each pair has one of several labels, and so it counts in accuracy.
    """

    name: str
    pack: str
    tasks: tuple[str, ...]
    modalities: tuple[Modality, Modality]
    ranked: bool = True
    classed: bool = False


STEPS = (
    Step("places", "scenes", ("places",), ("image", "text")),
    Step("creatures", "sounds", ("creatures",), ("audio", "text"), classed=True),
    Step("everyday", "spoken", ("everyday",), ("image", "audio")),
    Step("digits-4-6", "digits", ("digits-4-6",), ("audio", "text"), ranked=False, classed=True),
    Step("people", "scenes", ("people",), ("image", "text")),
    Step("digits-7-9", "digits", ("digits-7-9",), ("image", "text"), ranked=False, classed=True),
    Step("told", "spoken", ("places", "people"), ("image", "audio")),
    Step("diagrams", "scenes", ("diagrams",), ("image", "text")),
    Step("clothes", "scenes", ("clothes",), ("image", "text"), classed=True),
    Step("noises", "sounds", ("elements", "machines"), ("audio", "text"), classed=True),
)


@dataclass(frozen=True)
class Packs:
    """The rows of the packs, and the features (N, D) of their items by modality, in the order of `place`."""

    rows: Sequence[StoredRow]
    place: Mapping[ItemId, int]
    features: Mapping[Modality, NDArray[np.float32]]

    def of(self, pack: str, tasks: Sequence[str], splits: Sequence[str]) -> list[StoredRow]:
        """Return the rows of some tasks of a pack."""
        return [r for r in self.rows if Path(r.source).name == pack and r.task in tasks and r.split in splits]


def prepare(data: Path, root: Path) -> None:
    """Embed the packs, and keep in `prior.npz` what the priors learn."""
    indexing.index(root / "packs", [data / pack for pack in PACKS], WorkspaceOptions(["builtin"]))
    packs = read(root / "packs")
    aside = [row for pack, tasks in ASIDE.items() for row in packs.of(pack, tasks, ("train", "val"))]
    save(root / "prior.npz", packs, [line for row in aside for line in _captioned(row)])


def stream(root: Path, seed: int) -> Path:
    """Return a seed's folder: its own prior, the stream through that in `train.npz` and `test.npz`, `stored`.

    A prior of its own, since priors differ by more than what is learnt on top of one: even rounding moves Acc by .05.
    """
    torch.set_num_threads(1)  # as in a process of several, so that one seed alone has the same prior
    folder = root / str(seed)
    settings = TrainSettings(task="prior", form="mlp", epochs=12, seed=seed)
    outcome, _ = lessons.learn(
        folder / "prior", [root / "prior.npz"], WorkspaceOptions(width=WIDTH), settings
    )
    packs = read(root / "packs")
    embedded = through(packs, open_at(folder / "prior"), outcome.lesson.head)
    for split in ("train", "test"):
        save(folder / f"{split}.npz", embedded, list(_lines(packs, split)))
    return stored(folder)


def stored(root: Path) -> Path:
    """Store `train.npz` in a workspace beside it that has learned nothing; return their folder."""
    with writing(root / "stored"):
        workspace, backbones = open_or_make(
            root / "stored", [root / "train.npz"], WorkspaceOptions(width=WIDTH), "cpu"
        )
        with Store(workspace.store, readonly=False) as store:
            ingest(Loader(store, backbones.of), root / "train.npz")
    return root


def read(root: Path) -> Packs:
    """Read what is stored of the packs, in an order that no path has a say in."""
    backbones = open_at(root).manifest.backbones
    with Store(root / "store") as store:
        rows = sorted(store.rows(), key=lambda row: (Path(row.source).name, row.task, row.name))
        place, features = dict[ItemId, int](), {}
        for m in MODALITIES:
            ids = sorted({id for row in rows for id in row.items.get(m, ())})
            place |= {id: number for number, id in enumerate(ids)}
            features[m] = store.features(ids, backbones[m].id)
    return Packs(rows, place, features)


def through(packs: Packs, workspace: Workspace, version: int) -> Packs:
    """Return the packs with what a head makes of each item, unit rows, for features."""
    head, _ = heads.read(workspace.head(version))
    with torch.inference_mode():
        embeddings = head({m: torch.from_numpy(x) for m, x in packs.features.items()})
    return Packs(packs.rows, packs.place, {m: z.numpy() for m, z in embeddings.items()})


@dataclass(frozen=True)
class Line:
    """One row of a features file: at most one item of each modality."""

    task: str
    split: str
    id: str
    items: Sequence[ItemId]
    labels: Sequence[str]


def _lines(packs: Packs, split: str) -> Iterator[Line]:
    """Yield the rows of every step; of several texts the first counts, as in the paper."""
    for step in STEPS:
        for row in packs.of(step.pack, step.tasks, (split,)):
            yield Line(step.name, split, row.name, [row.items[m][0] for m in step.modalities], row.labels)


def _captioned(row: StoredRow) -> Iterator[Line]:
    """Yield a row of the prior's task for every text of a pair."""
    media = [row.items[m][0] for m in ("image", "audio") if m in row.items]
    for number, text in enumerate(row.items["text"]):
        yield Line("prior", row.split, f"{Path(row.source).name} {row.name} {number}", [*media, text], ())


def save(path: Path, packs: Packs, lines: Sequence[Line]) -> None:
    """Write lines as a features file; where a row lacks a modality it is NaN throughout."""
    of = {id: m for row in packs.rows for m, ids in row.items.items() for id in ids}
    arrays = {m: np.full((len(lines), x.shape[1]), np.nan, np.float32) for m, x in packs.features.items()}
    for number, line in enumerate(lines):
        for id in line.items:
            arrays[of[id]][number] = packs.features[of[id]][packs.place[id]]
    names = {
        "id": [line.id for line in lines],
        "task": [line.task for line in lines],
        "split": [line.split for line in lines],
        "class": [" ".join(line.labels) for line in lines],
    }
    columns: dict[str, Any] = {**arrays, **{name: np.array(column) for name, column in names.items()}}
    np.savez(path, **columns)
