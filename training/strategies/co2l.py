"""Strategies that hold the head to what an earlier head made of the same rows."""

from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass, field

import torch
from torch import Tensor

from engine.heads.head import Head
from training.gradient import Batch, Gradient, GradientFn, Loss, added
from training.strategies.relations import Teacher
from training.strategies.reservoir import check_above, check_least


@dataclass
class Distil:
    """Keep how alike rows are (instance-wise relation distillation: Cha et al. 2021, eq. 4-6).

    Over all rows of the batch, those that memory joined included, and the embeddings of all modalities that
    were learned before. In the first lesson there is nothing to keep. With kappa_star below kappa, as
    published, the term has a gradient even where nothing has changed.

    Attributes:
        power: the term's weight. kappa: the temperature of the head's similarities. kappa_star: the teacher's.
    """

    _: KW_ONLY
    power: float = 1.0
    kappa: float = 0.2
    kappa_star: float = 0.01
    state: dict[str, Tensor] = field(default_factory=dict, init=False)
    _teacher: Teacher = field(default_factory=Teacher, init=False, repr=False)

    def __post_init__(self) -> None:
        check_least("co2l.power", self.power, 0)
        check_above("co2l.kappa", self.kappa, 0)
        check_above("co2l.kappa_star", self.kappa_star, 0)

    def gradient(self, head: Head, batch: Batch, inner: GradientFn) -> Gradient:
        """Add power times the distillation."""
        found = inner(batch)
        if batch.epoch == -1:
            return found
        term = self._teacher.term(head, batch, self.state, self.kappa, self.kappa_star)
        return found if term is None else added(found, head, self.power * term)

    def end_task(self, head: Head, batches: Iterable[Batch], loss: Loss) -> None:
        """Note which modalities there is something to keep of."""
        self._teacher.leave(self.state)


@dataclass
class Cila:
    """As Distil, weighted by how the losses compared so far (adaptive distillation: Wen et al. 2024).

    1 in the second lesson, later max(1, balance x the sum of the mean distillation losses of lessons from
    the second on / that of the mean losses without it), both unweighted. From summaries of the paper: its
    authors' program is not public.

    Attributes:
        balance: the paper's kappa; 5 in Liu et al. 2025, E.
        kappa: the temperature of the head's similarities. kappa_star: the teacher's.
    """

    _: KW_ONLY
    balance: float = 5.0
    kappa: float = 0.2
    kappa_star: float = 0.01
    state: dict[str, Tensor] = field(default_factory=dict, init=False)
    _teacher: Teacher = field(default_factory=Teacher, init=False, repr=False)
    _seen: int | None = field(default=None, init=False, repr=False)
    _losses: list[Tensor] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        check_least("cila.balance", self.balance, 0)
        check_above("cila.kappa", self.kappa, 0)
        check_above("cila.kappa_star", self.kappa_star, 0)

    def gradient(self, head: Head, batch: Batch, inner: GradientFn) -> Gradient:
        """Add the distillation, weighted, and note both losses."""
        found = inner(batch)
        if batch.epoch == -1:
            return found
        term = self._teacher.term(head, batch, self.state, self.kappa, self.kappa_star)
        if term is None:
            return found
        if self._seen != batch.seed:
            self._seen = batch.seed
            self._losses.append(torch.stack([term.detach(), found.loss.detach()]))
        return added(found, head, adapted(self.state, self.balance) * term)

    def end_task(self, head: Head, batches: Iterable[Batch], loss: Loss) -> None:
        """Add the lesson's mean losses to their sums."""
        self._teacher.leave(self.state)
        if self._losses:
            mean = torch.stack(self._losses).double().mean(0).cpu()
            self.state["losses"] = self.state.get("losses", torch.zeros(2, dtype=torch.float64)) + mean
        self._seen, self._losses = None, []


def adapted(state: dict[str, Tensor], balance: float) -> float:
    """Return the weight that follows from the sums of mean losses: `losses` (distillation, without it)."""
    if "losses" not in state:
        return 1.0
    distilled, contrasted = (float(total) for total in state["losses"])
    return max(1.0, balance * distilled / contrasted) if contrasted > 0 else 1.0
