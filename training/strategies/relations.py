"""How alike rows are to each other, by a head and by the one it is held to."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from engine.heads.head import Head
from engine.types import Modality
from training.gradient import Batch, embed
from training.strategies.der import evaluating


@dataclass
class Teacher:
    """The head as a lesson found it, and the modalities that were met since."""

    _head: Head | None = None
    _met: set[Modality] = field(default_factory=set)

    def term(
        self, head: Head, batch: Batch, state: Mapping[str, Tensor], kappa: float, kappa_star: float
    ) -> Tensor | None:
        """Return how far relations are from the teacher's; None in a first lesson, which has none."""
        self._met |= set(batch.features)
        if not state:
            return None
        self._head = self._head or frozen(head)
        return relations(head, self._head, learned(batch, state), kappa, kappa_star)

    def leave(self, state: dict[str, Tensor]) -> None:
        """Note which modalities the next lesson has something to keep of, and let go of the head."""
        state |= {f"learned.{m}": torch.tensor(1) for m in sorted(self._met)}
        self._head, self._met = None, set()


def frozen(head: Head) -> Head:
    """Return a copy of a head that stays as it is, in evaluation mode."""
    return deepcopy(head).eval().requires_grad_(False)


def learned(batch: Batch, state: Mapping[str, Tensor]) -> Batch:
    """Return the batch without the modalities that no earlier lesson had."""
    known = [m for m in batch.features if f"learned.{m}" in state]
    return replace(
        batch,
        features={m: batch.features[m] for m in known},
        present={m: batch.present[m] for m in known},
        item={m: batch.item[m] for m in known},
        fixed={m: batch.fixed[m] for m in known if m in batch.fixed},
    )


def relations(head: Head, teacher: Head, batch: Batch, kappa: float, kappa_star: float) -> Tensor:
    """Return the mean cross-entropy of similarities by the head to those by the teacher (Cha et al. 2021, eq. 6).

    Over the embeddings of all modalities side by side, those of absent items left out; each is compared
    with all others. 0 where there are fewer than two.
    """
    with evaluating(head):
        student = stacked(head, batch)
    if len(student) < 2:
        return student.new_zeros(())
    with torch.no_grad():
        wanted = similarities(stacked(teacher, batch), kappa_star).exp()
    values = similarities(student, kappa)
    # the teacher's 0 times the head's -inf is no number, and an item is not compared with itself
    return -(wanted * values.masked_fill(wanted == 0, 0)).sum() / len(student)


def stacked(head: Head, batch: Batch) -> Tensor:
    """Return the embeddings of the items that are there, modality after modality (N, E)."""
    z = embed(head, batch)
    rows = [z[m][batch.present[m]] for m in sorted(z)]
    return torch.cat(rows) if rows else batch.weight.new_zeros(0, 1)


def similarities(z: Tensor, temperature: float) -> Tensor:
    """Return the log-softmax of each row's cosines with all others (N, N), -inf for itself."""
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    return (z @ z.T / temperature).masked_fill(itself, -torch.inf).log_softmax(1)
