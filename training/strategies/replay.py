"""Strategies that join rows of earlier lessons to the batch."""

from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from engine.errors import UserError
from engine.heads.head import Head
from engine.types import Modality
from training.batch import Batch, join, seeded, select_modalities, select_rows, trained_rows
from training.data.history import PastTasks
from training.data.pairs import PairSet
from training.gradient import Gradient, GradientFn, Loss
from training.hyperparameters import check_at_least
from training.strategies.reservoir import Reservoir

Role = Literal["positives", "negatives"]
Source = Literal["features", "indexed"]


@dataclass
class Replay:
    """Join remembered rows to every batch (experience replay: Rolnick et al. 2019, Chaudhry et al. 2019b).

    A step draws from what was remembered before it, one set of modalities at a time, as the reservoir
    baselines of Buzzega et al. 2020 do; then its own rows come by the reservoir, once an epoch.

    Attributes:
        role: remembered rows are learned from (weight 1), or are negatives only (weight 0), as past rows
            are in the asymmetric loss of Cha et al. 2021, eq. 3.
        size: how many rows are remembered. rows: how many of them join a batch.
    """

    past: PastTasks
    role: Role
    _: KW_ONLY
    size: int = 256
    rows: int = 64
    state: dict[str, Tensor] = field(default_factory=dict, init=False)
    skips_memory: ClassVar[bool] = True
    _reservoir: Reservoir | None = field(default=None, init=False, repr=False)
    _drawn: tuple[int, Batch] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        check_at_least("replay.size", self.size, 1, "replay trains on remembered rows")
        check_at_least("replay.rows", self.rows, 1)

    def gradient(self, head: Head, batch: Batch, inner: GradientFn) -> Gradient:
        """Ask for the gradient of the batch and the rows drawn for its step."""
        if self._drawn is None or self._drawn[0] != batch.step:
            if self._reservoir is None:
                self._reservoir = Reservoir(self.past, self.size, self.state, batch.weight.device)
            self._drawn = batch.step, self._draw(self._reservoir, batch)
            _remember(self._reservoir, trained_rows(batch))
        return inner(join(batch, self._drawn[1]))

    def end_task(self, head: Head, batches: Iterable[Batch], loss: Loss) -> None:
        """Let go of the features; the numbers stay."""
        self._reservoir = self._drawn = None

    def _draw(self, memory: Reservoir, batch: Batch) -> Batch:
        rows = memory.take(memory.draw(self.rows, f"{batch.seed} replay"))
        weight = torch.full_like(rows.weight, self.role == "positives")
        return replace(rows, weight=weight, group=batch.group[:1].expand(len(rows)))


def _remember(memory: Reservoir, rows: Batch) -> None:
    slots, admitted = memory.admit(len(rows), rows.seed)
    memory.put(slots, {"row": select_rows(rows, admitted)}, {})


@dataclass
class CrossTask:
    """Join items of earlier tasks to every batch as negatives: cross-task negatives (Wang et al. 2021, 3.3).

    `features` draws from all pairs that are stored, and both branches are trained against them; that asks
    for the old data. `indexed` takes the embeddings of one modality as an index that was never rebuilt
    holds them (the pseudo cross-task negatives of section 5.4): only the queries of the others are moved.

    Attributes:
        rows: how many join a batch.
        modality: whose indexed embeddings are taken; empty: the first by name that is not text.
    """

    past: PastTasks
    _: KW_ONLY
    rows: int = 128
    source: Source = "features"
    modality: str = ""
    state: dict[str, Tensor] = field(default_factory=dict, init=False)
    skips_memory: ClassVar[bool] = True
    _pairs: tuple[PairSet, Tensor] | None = field(default=None, init=False, repr=False)
    _indexed: tuple[Tensor, Tensor] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        check_at_least("crosstask.rows", self.rows, 1)

    def gradient(self, head: Head, batch: Batch, inner: GradientFn) -> Gradient:
        """Ask for the gradient of the batch among items of other tasks."""
        drawn = self._from_pairs(batch) if self.source == "features" else self._from_index(batch)
        return inner(join(batch, drawn))

    def end_task(self, head: Head, batches: Iterable[Batch], loss: Loss) -> None:
        """Let go of what was read."""
        self._pairs = self._indexed = None

    def _from_pairs(self, batch: Batch) -> Batch:
        if self._pairs is None:
            pairs = self.past.pairs()
            has_modality = torch.zeros(len(pairs), dtype=torch.bool)
            for m in pairs.columns.keys() & batch.features.keys():
                has_modality |= pairs.columns[m].count > 0
            self._pairs = pairs, has_modality.nonzero()[:, 0]
        pairs, usable = self._pairs
        generator = seeded(f"{batch.seed} crosstask")
        chosen = usable[torch.randperm(len(usable), generator=generator)[: self.rows]]
        rows = pairs.batch(chosen, torch.rand(len(chosen), generator=generator)).to(batch.weight.device)
        # what the batch lacks is nobody's negative here, and its branch is to stay untouched
        shared = sorted(rows.features.keys() & batch.features.keys())
        group = batch.group[:1].expand(len(rows))
        return replace(select_modalities(rows, shared), group=group, weight=torch.zeros_like(rows.weight))

    def _from_index(self, batch: Batch) -> Batch:
        modality, device = self._indexed_modality(batch), batch.weight.device
        if self._indexed is None:
            numbers, embeddings = self.past.indexed(modality)
            self._indexed = numbers.to(device), embeddings.to(device)
        numbers, embeddings = self._indexed
        order = torch.randperm(len(numbers), generator=seeded(f"{batch.seed} crosstask"))
        rows = order[: self.rows].to(device)
        return Batch(
            features={},
            present={modality: torch.ones(len(rows), dtype=torch.bool, device=device)},
            item={modality: numbers[rows]},
            group=batch.group[:1].expand(len(rows)),
            weight=torch.zeros(len(rows), device=device),
            fixed={modality: embeddings[rows]},
        )

    def _indexed_modality(self, batch: Batch) -> Modality:
        modalities = sorted(batch.features)
        if self.modality and self.modality not in modalities:
            raise UserError(
                f"no modality {self.modality!r} for crosstask.modality; pairs hold: {', '.join(modalities)}"
            )
        return self.modality or next(m for m in modalities if m != "text")
