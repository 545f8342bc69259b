"""Lessons of random rows and the store that recalls them, for the tests of memories."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import safetensors.torch
import torch
from torch import Tensor

from engine.heads.head import Head
from engine.types import HeadForm, Modality
from training.data.history import Past
from training.data.pairs import Column, PairSet
from training.gradient import Batch, Gradient, GradientFn, Strategy

WIDTH = 6


@dataclass
class Shelf:
    """Everything that was ever stored, by modality and number; what is taken out cannot be recalled."""

    held: dict[tuple[Modality, int], Tensor] = field(default_factory=dict)
    asked: list[Modality] = field(default_factory=list)

    def lesson(
        self,
        number: int,
        *,
        modalities: Sequence[Modality] = ("image", "text"),
        batches: int = 2,
        rows: int = 8,
        epoch: int = 0,
    ) -> list[Batch]:
        """Return a lesson's batches, having stored their rows; row n's items are 1000 x lesson + 100 x m + n."""
        draw = torch.Generator().manual_seed(number)
        found = []
        for n in range(batches):
            item = {m: torch.arange(rows) + rows * n + 1000 * number + 100 * ord(m[0]) for m in modalities}
            x = {m: torch.randn(rows, WIDTH, generator=draw) for m in modalities}
            self.held |= {(m, int(i)): x[m][r] for m in modalities for r, i in enumerate(item[m])}
            present = {m: torch.ones(rows, dtype=torch.bool) for m in modalities}
            found.append(
                Batch(
                    x,
                    present,
                    item,
                    torch.full((rows,), 5),
                    torch.ones(rows),
                    100 * number + 10 * epoch + n,
                    epoch,
                )
            )
        return found

    def past(self) -> Past:
        """Return what a strategy may ask; all that is held are pairs, and their features are the index."""

        def recall(modality: Modality, numbers: Sequence[int]) -> dict[int, Tensor]:
            self.asked.append(modality)
            return {n: self.held[modality, n] for n in numbers if (modality, n) in self.held}

        def indexed(modality: Modality) -> tuple[Tensor, Tensor]:
            numbers = sorted(n for m, n in self.held if m == modality)
            if not numbers:
                return torch.zeros(0, dtype=torch.int64), torch.zeros(0, 4)
            rows = torch.stack([self.held[modality, n][:4] for n in numbers])
            return torch.tensor(numbers), torch.nn.functional.normalize(rows, dim=1)

        return Past(recall, lambda: self._pairs(), indexed)

    def _pairs(self) -> PairSet:
        columns, size = {}, 0
        for modality in sorted({m for m, _ in self.held}):
            numbers = sorted(n for m, n in self.held if m == modality)
            size, place = len(numbers), torch.arange(len(numbers))
            features = torch.stack([self.held[modality, n] for n in numbers])
            columns[modality] = Column(features, torch.tensor(numbers), place, place, torch.ones_like(place))
        return PairSet(columns, torch.zeros(size, dtype=torch.int64))


@dataclass
class Asked:
    """A gradient function that notes what it is asked and returns what it was given."""

    answer: Gradient = field(default_factory=lambda: Gradient(torch.tensor(0.0), {}))
    batches: list[Batch] = field(default_factory=list)

    def __call__(self, batch: Batch) -> Gradient:
        self.batches.append(batch)
        return self.answer


def make_head(
    form: HeadForm = "linear", *, shared_top: bool = False, modalities: Sequence[Modality] = ("image", "text")
) -> Head:
    head = Head(form, 4, shared_top=shared_top, seed=3)
    for modality in modalities:
        head.add_branch(modality, WIDTH)
    return head


def teach(link: Strategy, head: Head, batches: Sequence[Batch], inner: GradientFn) -> list[Gradient]:
    """Let a strategy see a lesson to its end; the head stays as it is."""
    found = [link.gradient(head.train(), batch, inner) for batch in batches]
    link.end_task(head.eval(), batches, lambda z, batch: batch.weight)
    head.train()
    return found


def from_disk(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return safetensors.torch.load(safetensors.torch.save(state))


def moved(head: Head, by: float = 0.3) -> Head:
    """Move every parameter of a head, in place."""
    draw = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for p in head.parameters():
            p.add_(by * torch.randn(p.shape, generator=draw))
    return head
