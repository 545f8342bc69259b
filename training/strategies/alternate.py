"""Alternating training: one modality's branch at a time."""

from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass, field
from typing import ClassVar

from torch import Tensor

from engine.heads.head import Head
from engine.types import Modality
from training.batch import Batch
from training.gradient import Gradient, GradientFn, Loss
from training.hyperparameters import check_at_least


@dataclass
class Alternate:
    """Alternating training (Zhang et al. 2024, MLA; Jiang et al. 2025, algorithm 1): one branch at a time.

    The modalities of a batch take turns by name. What is shared and what a loss owns are trained throughout.
    Remembered rows train the branch whose turn it is for the rows of the task.

    Args:
        epochs: of a modality's turn.
    """

    _: KW_ONLY
    epochs: int = 5
    state: dict[str, Tensor] = field(default_factory=dict, init=False)
    skips_memory: ClassVar[bool] = False
    _active: Modality | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        check_at_least("alternate.epochs", self.epochs, 1)

    def gradient(self, head: Head, batch: Batch, inner: GradientFn) -> Gradient:
        """Leave out the gradient of all branches but one."""
        whole = inner(batch)
        modalities = sorted(m for m, rows in batch.present.items() if rows.any())
        if modalities and not batch.is_memory:
            self._active = modalities[batch.epoch // self.epochs % len(modalities)]
        kept = {None, self._active}
        return Gradient(whole.loss, {n: g for n, g in whole.by_name.items() if head.branch_of(n) in kept})

    def end_task(self, head: Head, batches: Iterable[Batch], loss: Loss) -> None:
        """Let the next lesson begin with its first modality."""
        self._active = None
