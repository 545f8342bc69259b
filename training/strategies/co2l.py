"""Distillation of relations: the head is held to how alike an earlier head found the same rows."""

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import KW_ONLY, dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from engine.heads.head import Head
from engine.types import Modality
from training.batch import Batch, select_modalities
from training.gradient import Gradient, GradientFn, Loss, add_term, embed, evaluating
from training.hyperparameters import check_above, check_at_least


@dataclass
class Co2l:
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
    skips_memory: ClassVar[bool] = True
    _teacher: "Teacher" = field(init=False, repr=False)

    def __post_init__(self) -> None:
        check_at_least("co2l.power", self.power, 0)
        check_above("co2l.kappa", self.kappa, 0)
        check_above("co2l.kappa_star", self.kappa_star, 0)
        self._teacher = Teacher(self.state, self.kappa, self.kappa_star)

    def gradient(self, head: Head, batch: Batch, inner: GradientFn) -> Gradient:
        """Add power times the distillation."""
        gradient, term = inner(batch), self._teacher.distillation(head, batch)
        return gradient if term is None else add_term(gradient, head, self.power * term)

    def end_task(self, head: Head, batches: Iterable[Batch], loss: Loss) -> None:
        """Note which modalities there is something to keep of."""
        self._teacher.end_lesson()


@dataclass
class Cila:
    """As Co2l, weighted by how the losses compared so far (adaptive distillation: Wen et al. 2024).

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
    skips_memory: ClassVar[bool] = True
    _teacher: "Teacher" = field(init=False, repr=False)
    _losses: dict[int, Tensor] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        check_at_least("cila.balance", self.balance, 0)
        check_above("cila.kappa", self.kappa, 0)
        check_above("cila.kappa_star", self.kappa_star, 0)
        self._teacher = Teacher(self.state, self.kappa, self.kappa_star)

    def gradient(self, head: Head, batch: Batch, inner: GradientFn) -> Gradient:
        """Add the distillation, weighted, and note both losses."""
        gradient, term = inner(batch), self._teacher.distillation(head, batch)
        if term is None:
            return gradient
        self._losses.setdefault(batch.step, torch.stack([term.detach(), gradient.loss.detach()]))
        return add_term(gradient, head, adapted_weight(self.state, self.balance) * term)

    def end_task(self, head: Head, batches: Iterable[Batch], loss: Loss) -> None:
        """Add the lesson's mean losses to their sums."""
        self._teacher.end_lesson()
        if self._losses:
            mean = torch.stack(list(self._losses.values())).double().mean(0).cpu()
            self.state["losses"] = self.state.get("losses", torch.zeros(2, dtype=torch.float64)) + mean
        self._losses.clear()


def adapted_weight(state: dict[str, Tensor], balance: float) -> float:
    """Return the weight that follows from the sums of mean losses: `losses` (distillation, without it)."""
    if "losses" not in state:
        return 1.0
    distilled, contrasted = (float(total) for total in state["losses"])
    return max(1.0, balance * distilled / contrasted) if contrasted > 0 else 1.0


@dataclass
class Teacher:
    """The head as a lesson found it, for what earlier lessons learned.

    Attributes:
        state: `learned.<modality>` for every modality that earlier lessons had; empty before any.
        kappa: the temperature of the student's similarities. kappa_star: the teacher's.
    """

    state: dict[str, Tensor]
    kappa: float
    kappa_star: float
    _head: Head | None = field(default=None, init=False, repr=False)
    _trained: set[Modality] = field(default_factory=set, init=False, repr=False)

    def distillation(self, head: Head, batch: Batch) -> Tensor | None:
        """Return how far relations are from the teacher's; None in a first lesson, which has none."""
        self._trained |= set(batch.features)
        if not self.state:
            return None
        self._head = self._head or frozen(head)
        known = [m for m in batch.features if f"learned.{m}" in self.state]
        return relation_loss(head, self._head, select_modalities(batch, known), self.kappa, self.kappa_star)

    def end_lesson(self) -> None:
        """Note which modalities the next lesson has something to keep of, and let go of the head."""
        for m in sorted(self._trained):
            self.state[f"learned.{m}"] = torch.tensor(1)
        self._head = None
        self._trained.clear()


def frozen(head: Head) -> Head:
    """Return a copy of a head that stays as it is, in evaluation mode."""
    return deepcopy(head).eval().requires_grad_(False)


def relation_loss(head: Head, teacher: Head, batch: Batch, kappa: float, kappa_star: float) -> Tensor:
    """Return the mean cross-entropy of similarities by the head to those by the teacher (Cha et al. 2021, eq. 6).

    Over the embeddings of all modalities side by side, those of absent items left out; each is compared
    with all others. 0 where there are fewer than two.
    """
    with evaluating(head):
        student = _stacked(head, batch)
    if len(student) < 2:
        return student.new_zeros(())
    with torch.no_grad():
        target = log_similarities(_stacked(teacher, batch), kappa_star).exp()
    log_p = log_similarities(student, kappa)
    # the teacher's 0 times the head's -inf is no number, and an item is not compared with itself
    return -(target * log_p.masked_fill(target == 0, 0)).sum() / len(student)


def log_similarities(z: Tensor, temperature: float) -> Tensor:
    """Return the log-softmax of each row's cosines with all others (N, N), -inf for itself."""
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    return (z @ z.T / temperature).masked_fill(itself, -torch.inf).log_softmax(1)


def _stacked(head: Head, batch: Batch) -> Tensor:
    """Return the embeddings of the items that are there, modality after modality (N, E)."""
    z = embed(head, batch)
    rows = [z[m][batch.present[m]] for m in sorted(z)]
    return torch.cat(rows) if rows else batch.weight.new_zeros(0, 1)
