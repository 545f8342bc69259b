"""Strategies that join rows of earlier lessons to the batch."""

from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

from engine.errors import UserError
from engine.heads.head import Head
from engine.types import Modality
from training.data.history import Past
from training.data.pairs import PairSet
from training.gradient import Batch, Gradient, GradientFn, Loss, join
from training.strategies.reservoir import Reservoir, check_least, generator, own_rows, pick

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

    past: Past
    role: Role
    _: KW_ONLY
    size: int = 256
    rows: int = 64
    state: dict[str, Tensor] = field(default_factory=dict, init=False)
    _memory: Reservoir | None = field(default=None, init=False, repr=False)
    _drawn: tuple[int, Batch | None] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        check_least("replay.size", self.size, 1, "replay trains on remembered rows")
        check_least("replay.rows", self.rows, 1)

    def gradient(self, head: Head, batch: Batch, inner: GradientFn) -> Gradient:
        """Ask for the gradient of the batch and the rows drawn for it."""
        if batch.epoch == -1:
            return inner(batch)
        if self._drawn is None or self._drawn[0] != batch.seed:
            self._drawn = batch.seed, self._step(batch)
        drawn = self._drawn[1]
        return inner(batch if drawn is None else join(batch, drawn))

    def end_task(self, head: Head, batches: Iterable[Batch], loss: Loss) -> None:
        """Let go of the features; the numbers stay."""
        self._memory = self._drawn = None

    def _step(self, batch: Batch) -> Batch | None:
        if self._memory is None:
            self._memory = Reservoir(self.past, self.size, self.state, batch.weight.device)
        memory, drawn = self._memory, None
        if len(memory):
            rows = memory.take(memory.draw(self.rows, f"{batch.seed} replay"))
            weight = torch.full_like(rows.weight, self.role == "positives")
            drawn = replace(rows, weight=weight, group=batch.group[:1].expand(len(rows)))
        came = own_rows(batch)
        slots, kept = memory.admit(len(came), batch.seed)
        memory.put(slots, {"row": pick(came, kept)}, {})
        return drawn


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

    past: Past
    _: KW_ONLY
    rows: int = 128
    source: Source = "features"
    modality: str = ""
    state: dict[str, Tensor] = field(default_factory=dict, init=False)
    _pairs: tuple[PairSet, Tensor] | None = field(default=None, init=False, repr=False)
    _indexed: tuple[Tensor, Tensor] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        check_least("crosstask.rows", self.rows, 1)

    def gradient(self, head: Head, batch: Batch, inner: GradientFn) -> Gradient:
        """Ask for the gradient of the batch among items of other tasks."""
        if batch.epoch == -1:
            return inner(batch)
        drawn = self._from_pairs(batch) if self.source == "features" else self._from_index(batch)
        return inner(join(batch, drawn) if len(drawn) else batch)

    def end_task(self, head: Head, batches: Iterable[Batch], loss: Loss) -> None:
        """Let go of what was read."""
        self._pairs = self._indexed = None

    def _from_pairs(self, batch: Batch) -> Batch:
        if self._pairs is None:
            pairs = self.past.pairs()
            held = torch.zeros(len(pairs), dtype=torch.bool)
            for m in pairs.columns.keys() & batch.features.keys():
                held |= pairs.columns[m].count > 0
            self._pairs = pairs, held.nonzero()[:, 0]
        pairs, usable = self._pairs
        source = generator(f"{batch.seed} crosstask")
        rows = usable[torch.randperm(len(usable), generator=source)[: self.rows]]
        found = pairs.batch(rows, torch.rand(len(rows), generator=source)).to(batch.weight.device.type)
        # what the batch lacks is nobody's negative here, and its branch is to stay untouched
        held_by_both = sorted(found.features.keys() & batch.features.keys())
        return replace(
            found,
            features={m: found.features[m] for m in held_by_both},
            present={m: found.present[m] for m in held_by_both},
            item={m: found.item[m] for m in held_by_both},
            group=batch.group[:1].expand(len(rows)),
            weight=torch.zeros_like(found.weight),
            epoch=-1,
        )

    def _from_index(self, batch: Batch) -> Batch:
        modality = self._queried(batch)
        device = batch.weight.device
        if self._indexed is None:
            numbers, embeddings = self.past.indexed(modality)
            self._indexed = numbers.to(device), embeddings.to(device)
        numbers, embeddings = self._indexed
        order = torch.randperm(len(numbers), generator=generator(f"{batch.seed} crosstask"))
        rows = order[: self.rows].to(device)
        return Batch(
            features={},
            present={modality: torch.ones(len(rows), dtype=torch.bool, device=device)},
            item={modality: numbers[rows]},
            group=batch.group[:1].expand(len(rows)),
            weight=torch.zeros(len(rows), device=device),
            epoch=-1,
            fixed={modality: embeddings[rows]},
        )

    def _queried(self, batch: Batch) -> Modality:
        held = sorted(batch.features)
        if self.modality and self.modality not in held:
            raise UserError(
                f"no modality {self.modality!r} for crosstask.modality; pairs hold: {', '.join(held)}"
            )
        return self.modality or next(m for m in held if m != "text")
