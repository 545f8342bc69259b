"""Figure 11 of Liu et al. 2025: what a loss does to the singular values of four free vectors a row."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from engine.heads.head import Head
from engine.types import TrainSettings
from training.batch import Batch, Embeddings
from training.data.pairs import Column, PairSet
from training.gradient import Loss, embed
from training.loop import Epoch, LessonData, Objective, train_task
from training.losses.gram import gram, volume
from training.losses.pmrl import pmrl, singular_values
from training.strategies.adam import Adam

MODALITIES = ("m1", "m2", "m3", "m4")
ROWS, WIDTH = 64, 64
SHARED = 0.5
"""The share of a first vector's square that its row's four have in common: cosines of about .5."""


def bare_volume(z: Embeddings, batch: Batch) -> Tensor:
    """Return the volume that a row's modalities span (B,): GRAM without its contrast (table 8)."""
    rows = torch.stack([z[m] for m in sorted(z)], dim=1)  # (B, M, E)
    return volume(rows @ rows.mT)


FREE: Mapping[str, Loss] = {
    "gram": gram,
    "gram w/o reg": bare_volume,
    "pmrl": pmrl,
    "pmrl w/o reg": partial(pmrl, instance_weight=0.0),
}
"""Without PMRL's matching term, whose scorer no vectors need."""


def trends(name: str, seed: int, marks: Sequence[int]) -> dict[int, list[float]]:
    """Train free vectors with a loss and return {step: the mean singular values, largest first}."""
    head = _free(seed)
    pairs = _rows()
    batch = pairs.in_order(ROWS)[0]
    sigma: dict[int, list[float]] = {}
    note = _note(head, batch, sigma, marks)
    note(-1, Epoch(0.0))
    nothing = PairSet({}, torch.zeros(0, dtype=torch.int64))
    settings = TrainSettings("", epochs=max(marks), lr=1e-2, batch_size=ROWS, keep="last", seed=seed)
    train_task(head, LessonData(pairs, nothing), Objective(FREE[name], [Adam()]), settings, note)
    return sigma


def _note(
    head: Head, batch: Batch, sigma: dict[int, list[float]], marks: Sequence[int]
) -> Callable[[int, Epoch], None]:
    """Return what writes down the singular values after a step that is marked."""

    def note(number: int, _: Epoch) -> None:
        if number + 1 in marks:
            with torch.inference_mode():
                sigma[number + 1] = singular_values(embed(head, batch), batch).mean(0).tolist()

    return note


def _free(seed: int) -> Head:
    """Return a linear head whose columns are the vectors themselves."""
    head = Head("linear", WIDTH, seed=seed)
    draw = torch.Generator().manual_seed(seed)
    shared = torch.randn(WIDTH, ROWS, generator=draw) / WIDTH**0.5
    for m in MODALITIES:
        head.add_branch(m, ROWS)
        own = torch.randn(WIDTH, ROWS, generator=draw) / WIDTH**0.5
        head.get_parameter(f"layers.{m}.weight").data = SHARED**0.5 * shared + (1 - SHARED) ** 0.5 * own
    return head


def _rows() -> PairSet:
    """Return pairs whose features are the rows' own one-hot vectors."""
    one, all_ = torch.ones(ROWS, dtype=torch.int64), torch.arange(ROWS)
    column = Column(torch.eye(ROWS), all_, all_, all_, one)
    return PairSet(dict.fromkeys(MODALITIES, column), torch.zeros(ROWS, dtype=torch.int64))
