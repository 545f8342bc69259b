"""Flatness: ask for the gradient at shifted parameters, and step from where the head stands."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from engine.heads.head import Head
from training.batch import Batch
from training.gradient import LOSS_PARAMETERS, Gradient, GradientFn, Loss
from training.hyperparameters import check_length, check_strength


@contextmanager
def shifted(head: Head, by: Mapping[str, Tensor]) -> Iterator[None]:
    """Move parameters by so much, and put them back to the bit, whatever happens within."""
    parameters = dict(head.named_parameters())
    before = {name: parameters[name].detach().clone() for name in by}
    try:
        with torch.no_grad():
            for name, shift in by.items():
                parameters[name].add_(shift)
        yield
    finally:
        with torch.no_grad():
            for name, value in before.items():
                parameters[name].copy_(value)


@dataclass
class Sam:
    """Sharpness-aware minimisation (Foret et al. 2021, algorithm 1; Jiang et al. 2025 use it in IGM).

    The gradient at p + rho g / |g|, the norm over all parameters together. The code that Jiang et al. released
    has rho = 1e-10, which in float32 moves nothing; this version uses that of Foret et al.

    Args:
        rho: the length of the shift.
    """

    _: KW_ONLY
    rho: float = 0.05
    state: dict[str, Tensor] = field(default_factory=dict, init=False)
    skips_memory: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_length("sam.rho", self.rho)

    def gradient(self, head: Head, batch: Batch, inner: GradientFn) -> Gradient:
        """Return the loss where the head stands and the gradient uphill of it."""
        here = inner(batch)
        with shifted(head, _uphill(here.by_name, self.rho)):
            return Gradient(here.loss, inner(batch).by_name)

    def end_task(self, head: Head, batches: Iterable[Batch], loss: Loss) -> None:
        """SAM remembers nothing."""


@dataclass
class CFlat:
    """C-Flat (Bian et al. 2024), as in the authors' code: SAM's gradient plus that of a local sharpness.

    With g(.) the gradient at a shift and u(.) a vector scaled to length rho: h = g(u(g(0))) - g(0),
    e = u(h), and the result is g(u(g(0))) + strength x (g(e + u(g(e))) - g(e)). Four calls of `inner`.

    Args:
        rho: the length of each shift.
        strength: lambda, the weight of the second term.
    """

    _: KW_ONLY
    rho: float = 0.2
    strength: float = 0.2
    state: dict[str, Tensor] = field(default_factory=dict, init=False)
    skips_memory: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_length("cflat.rho", self.rho)
        check_strength("cflat.strength", self.strength)

    def gradient(self, head: Head, batch: Batch, inner: GradientFn) -> Gradient:
        """Return the loss where the head stands and the flattened gradient."""
        here = inner(batch)
        with shifted(head, _uphill(here.by_name, self.rho)):
            above = inner(batch).by_name
        ascent = _uphill({name: g - here.by_name[name] for name, g in above.items()}, self.rho)
        with shifted(head, ascent):
            steep = inner(batch).by_name
        further = _uphill(steep, self.rho)
        with shifted(head, {name: shift + further[name] for name, shift in ascent.items()}):
            steepest = inner(batch).by_name
        flattened = {name: g + self.strength * (steepest[name] - steep[name]) for name, g in above.items()}
        return Gradient(here.loss, flattened)

    def end_task(self, head: Head, batches: Iterable[Batch], loss: Loss) -> None:
        """C-Flat remembers nothing."""


def _uphill(by_name: Mapping[str, Tensor], rho: float) -> dict[str, Tensor]:
    """Return the gradient scaled to length rho over all parameters together, less those of a loss's own."""
    of_head = {name: g for name, g in by_name.items() if not name.startswith(LOSS_PARAMETERS)}
    if not of_head:
        return {}
    length = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in of_head.values()]))
    scale = rho / (length + 1e-12)
    return {name: g * scale for name, g in of_head.items()}
