"""Dark experience replay: remembered rows, a partner for each, and the scores they entered with."""

from collections.abc import Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from itertools import combinations
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss

from engine.heads.head import Head, branch_key
from training.batch import Batch, select_rows, trained_rows
from training.data.history import PastTasks
from training.gradient import Gradient, GradientFn, Loss, add_term, evaluating
from training.hyperparameters import check_at_least
from training.strategies.reservoir import Reservoir


@dataclass
class Der:
    """Dark experience replay (Buzzega et al. 2020, eq. 6): remembered rows keep the scores they entered with.

    For retrieval the logits are the scores <z_a, z_b> / temperature of a row's own items and of its item
    and that of another row of its batch, its partner (the reading here; Liu et al. 2025 do not say theirs).

    Attributes:
        size: how many rows are remembered. rows: how many are drawn for a step. alpha: the term's weight.
    """

    past: PastTasks
    temperature: float
    _: KW_ONLY
    size: int = 256
    rows: int = 64
    alpha: float = 0.1
    state: dict[str, Tensor] = field(default_factory=dict, init=False)
    skips_memory: ClassVar[bool] = True
    _memory: "ScoredMemory" = field(init=False, repr=False)

    def __post_init__(self) -> None:
        check_at_least("der.size", self.size, 1, "der trains on remembered rows")
        check_at_least("der.rows", self.rows, 1)
        check_at_least("der.alpha", self.alpha, 0)
        self._memory = ScoredMemory(self.past, self.size, self.state, self.temperature)

    def gradient(self, head: Head, batch: Batch, inner: GradientFn) -> Gradient:
        """Add alpha times the mean squared change of remembered scores."""
        gradient = inner(batch)
        draws = self._memory.step(head, batch, self.rows, 1)
        if not draws:
            return gradient
        return add_term(gradient, head, self.alpha * score_change(head, draws[0], self.temperature))

    def end_task(self, head: Head, batches: Iterable[Batch], loss: Loss) -> None:
        """Let go of the features; numbers and scores stay."""
        self._memory.close()


@dataclass
class DerPp:
    """DER++ (Buzzega et al. 2020, eq. 7): as Der, and remembered rows are told from their partners.

    The label is whether two items are of one instance (Liu et al. 2025, A.4). Each term has a draw of its
    own, as in the authors' program.

    Attributes:
        alpha: the weight of the scores' change. beta: the weight of the labels.
    """

    past: PastTasks
    temperature: float
    _: KW_ONLY
    size: int = 256
    rows: int = 64
    alpha: float = 0.1
    beta: float = 0.1
    state: dict[str, Tensor] = field(default_factory=dict, init=False)
    skips_memory: ClassVar[bool] = True
    _memory: "ScoredMemory" = field(init=False, repr=False)

    def __post_init__(self) -> None:
        check_at_least("derpp.size", self.size, 1, "derpp trains on remembered rows")
        check_at_least("derpp.rows", self.rows, 1)
        check_at_least("derpp.alpha", self.alpha, 0)
        check_at_least("derpp.beta", self.beta, 0)
        self._memory = ScoredMemory(self.past, self.size, self.state, self.temperature)

    def gradient(self, head: Head, batch: Batch, inner: GradientFn) -> Gradient:
        """Add both terms, weighted."""
        gradient = inner(batch)
        draws = self._memory.step(head, batch, self.rows, 2)
        if not draws:
            return gradient
        kept = self.alpha * score_change(head, draws[0], self.temperature)
        return add_term(gradient, head, kept + self.beta * label_loss(head, draws[1], self.temperature))

    def end_task(self, head: Head, batches: Iterable[Batch], loss: Loss) -> None:
        """Let go of the features; numbers and scores stay."""
        self._memory.close()


@dataclass(frozen=True)
class ScoredRows:
    """Remembered rows, for each a partner that it is not joined to, and their scores at entry {name: (K,)}."""

    rows: Batch
    partners: Batch
    scores: Mapping[str, Tensor]


@dataclass
class ScoredMemory:
    """A reservoir of rows with a partner each and their scores; rows without a partner do not enter."""

    past: PastTasks
    size: int
    state: dict[str, Tensor]
    temperature: float
    _reservoir: Reservoir | None = field(default=None, init=False, repr=False)
    _drawn: tuple[int, list[ScoredRows]] | None = field(default=None, init=False, repr=False)

    def step(self, head: Head, batch: Batch, rows: int, draws: int) -> list[ScoredRows]:
        """Return independent draws of what was remembered before this batch, then let its rows come by.

        Asked again about one step it returns the same draws and remembers nothing more. While nothing is
        remembered there are no draws.
        """
        if self._drawn is None or self._drawn[0] != batch.step:
            if self._reservoir is None:
                self._reservoir = Reservoir(self.past, self.size, self.state, batch.weight.device)
            self._drawn = batch.step, self._draw(self._reservoir, batch.seed, rows, draws)
            self._enter(self._reservoir, head, trained_rows(batch))
        return self._drawn[1]

    def close(self) -> None:
        """Let go of all that is not state."""
        self._reservoir = self._drawn = None

    def _draw(self, memory: Reservoir, seed: int, rows: int, draws: int) -> list[ScoredRows]:
        if not len(memory):
            return []
        slots = [memory.draw(rows, f"{seed} dark {n}") for n in range(draws)]
        return [ScoredRows(memory.take(s), memory.take(s, "partner"), memory.scores(s)) for s in slots]

    def _enter(self, memory: Reservoir, head: Head, rows: Batch) -> None:
        partner = partner_rows(rows)
        paired = (partner >= 0).nonzero()[:, 0]
        slots, admitted = memory.admit(len(paired), rows.seed)
        if len(slots):
            entered = paired[admitted.to(paired.device)]
            entry = {"row": select_rows(rows, entered), "partner": select_rows(rows, partner[entered])}
            with torch.no_grad():
                scores = pair_scores(head, entry["row"], entry["partner"], self.temperature)
            memory.put(slots, entry, scores)


def partner_rows(batch: Batch) -> Tensor:
    """Return for each row the next one of its modalities that shares no item with it (B,); -1: none does."""
    size, device = len(batch), batch.weight.device
    apart = torch.ones(size, size, dtype=torch.bool, device=device)
    for m, present in batch.present.items():
        same = batch.item[m][:, None] == batch.item[m]
        apart &= (present[:, None] == present) & ~(same & present)
    row = torch.arange(size, device=device)
    steps = (row - row[:, None]).remainder(size).masked_fill(~apart, size)
    nearest = steps.min(1) if size else steps.new_zeros(0, 1).max(1)
    return torch.where(nearest.values < size, nearest.indices, -1)


def pair_scores(head: Head, rows: Batch, partners: Batch, temperature: float) -> dict[str, Tensor]:
    """Return <z_a, z_b> / temperature (K,) of rows, and of a row's a and its partner's b, in evaluation mode.

    {"own.a.b": ..., "other.a.b": ...} over the pairs of modalities; those of rows that lack one say nothing.
    """
    names = sorted(rows.features)
    # the partner's item of the first modality stands in no pair
    both = {m: torch.cat([rows.features[m], partners.features[m]]) for m in names[1:]}
    with evaluating(head):
        z = head({names[0]: rows.features[names[0]], **both})
    scores = {}
    for a, b in combinations(names, 2):
        own, other = z[b].split(len(rows))
        between = f"{branch_key(a)}.{branch_key(b)}"
        scores[f"own.{between}"] = (z[a][: len(rows)] * own).sum(1) / temperature
        scores[f"other.{between}"] = (z[a][: len(rows)] * other).sum(1) / temperature
    return scores


def score_change(head: Head, memory: ScoredRows, temperature: float) -> Tensor:
    """Return the mean squared difference of remembered rows' scores now and at entry."""
    now = pair_scores(head, memory.rows, memory.partners, temperature)
    return mse_loss(torch.stack(list(now.values())), torch.stack([memory.scores[name] for name in now]))


def label_loss(head: Head, memory: ScoredRows, temperature: float) -> Tensor:
    """Return the mean binary cross-entropy of scores: 1 for a row's own items, 0 for a partner's."""
    now = pair_scores(head, memory.rows, memory.partners, temperature)
    logits = torch.stack(list(now.values()))
    label = torch.tensor([float(name.startswith("own.")) for name in now], device=logits.device)
    return binary_cross_entropy_with_logits(logits, label[:, None].expand_as(logits))
