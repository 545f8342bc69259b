"""Lessons of random rows and the store that recalls them, for the tests of memories."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import safetensors.torch
import torch
from torch import Tensor

from engine.heads.head import Head
from engine.types import HeadForm, Modality
from training.batch import Batch
from training.data.history import PastTasks
from training.data.pairs import Column, PairSet
from training.gradient import Gradient, GradientFn, Strategy, compose

WIDTH = 6


@dataclass
class FakeStore:
    """Every item that was ever stored, by modality and number; what is taken out cannot be recalled.

    Attributes:
        recalled: the modalities whose features were asked for, in order.
    """

    items: dict[tuple[Modality, int], Tensor] = field(default_factory=dict)
    recalled: list[Modality] = field(default_factory=list)

    def lesson(
        self,
        number: int,
        *,
        modalities: Sequence[Modality] = ("image", "text"),
        batches: int = 2,
        rows: int = 8,
    ) -> list[Batch]:
        """Return a lesson's batches, having stored their rows; row n's items are 1000 x lesson + 100 x m + n."""
        generator = torch.Generator().manual_seed(number)
        lesson = []
        for step in range(batches):
            item = {m: torch.arange(rows) + rows * step + 1000 * number + 100 * ord(m[0]) for m in modalities}
            x = {m: torch.randn(rows, WIDTH, generator=generator) for m in modalities}
            self.items |= {(m, int(i)): x[m][r] for m in modalities for r, i in enumerate(item[m])}
            present = {m: torch.ones(rows, dtype=torch.bool) for m in modalities}
            group, weight, seed = torch.full((rows,), 5), torch.ones(rows), 100 * number + step
            lesson.append(Batch(x, present, item, group, weight, seed=seed, step=step))
        return lesson

    def past(self) -> PastTasks:
        """Return what a strategy may ask; all that is stored are pairs, and their features are the index."""

        def features(modality: Modality, numbers: Sequence[int]) -> dict[int, Tensor]:
            self.recalled.append(modality)
            return {n: self.items[modality, n] for n in numbers if (modality, n) in self.items}

        def indexed(modality: Modality) -> tuple[Tensor, Tensor]:
            numbers = sorted(n for m, n in self.items if m == modality)
            if not numbers:
                return torch.zeros(0, dtype=torch.int64), torch.zeros(0, 4)
            rows = torch.stack([self.items[modality, n][:4] for n in numbers])
            return torch.tensor(numbers), torch.nn.functional.normalize(rows, dim=1)

        return PastTasks(features, self._pairs, indexed)

    def _pairs(self) -> PairSet:
        columns, size = {}, 0
        for modality in sorted({m for m, _ in self.items}):
            numbers = sorted(n for m, n in self.items if m == modality)
            size, place = len(numbers), torch.arange(len(numbers))
            features = torch.stack([self.items[modality, n] for n in numbers])
            columns[modality] = Column(features, torch.tensor(numbers), place, place, torch.ones_like(place))
        return PairSet(columns, torch.zeros(size, dtype=torch.int64))


@dataclass
class Recorder:
    """A gradient function that records the batches it is asked about and answers with one gradient."""

    gradient: Gradient = field(default_factory=lambda: Gradient(torch.tensor(0.0), {}))
    batches: list[Batch] = field(default_factory=list)

    def __call__(self, batch: Batch) -> Gradient:
        self.batches.append(batch)
        return self.gradient


def make_head(
    form: HeadForm = "linear", *, shared_top: bool = False, modalities: Sequence[Modality] = ("image", "text")
) -> Head:
    head = Head(form, 4, shared_top=shared_top, seed=3)
    for modality in modalities:
        head.add_branch(modality, WIDTH)
    return head


def teach(link: Strategy, head: Head, batches: Sequence[Batch], inner: GradientFn) -> list[Gradient]:
    """Let a strategy see a lesson to its end; the head stays as it is."""
    step = compose([link], head, inner)
    head.train()
    gradients = [step(batch) for batch in batches]
    link.end_task(head.eval(), batches, lambda z, batch: batch.weight)
    head.train()
    return gradients


def from_disk(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a state as it comes back from a file."""
    return safetensors.torch.load(safetensors.torch.save(state))


def moved(head: Head, by: float = 0.3) -> Head:
    """Move every parameter of a head, in place."""
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for p in head.parameters():
            p.add_(by * torch.randn(p.shape, generator=generator))
    return head
