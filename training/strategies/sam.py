"""Flatness: ask for the gradient at shifted parameters, and step from where the head stands."""

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass, field

import torch
from torch import Tensor

from engine.errors import UserError
from engine.heads.head import Head
from training.gradient import Batch, Gradient, GradientFn, Loss


@contextmanager
def shifted(head: Head, by: Mapping[str, Tensor]) -> Iterator[None]:
    """Move parameters by so much, and put them back to the bit, whatever happens within."""
    named = dict(head.named_parameters())
    kept = {name: named[name].detach().clone() for name in by}
    try:
        with torch.no_grad():
            for name, move in by.items():
                named[name].add_(move)
        yield
    finally:
        with torch.no_grad():
            for name, old in kept.items():
                named[name].copy_(old)


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

    def __post_init__(self) -> None:
        _check("sam.rho", self.rho)

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

    def __post_init__(self) -> None:
        _check("cflat.rho", self.rho)
        if not 0 <= self.strength < math.inf:
            raise UserError(f"cflat.strength must be a number from 0 up, not {self.strength}")

    def gradient(self, head: Head, batch: Batch, inner: GradientFn) -> Gradient:
        """Return the loss where the head stands and the flattened gradient."""
        here = inner(batch)
        with shifted(head, _uphill(here.by_name, self.rho)):
            above = inner(batch).by_name
        bend = _uphill({name: g - here.by_name[name] for name, g in above.items()}, self.rho)
        with shifted(head, bend):
            bent = inner(batch).by_name
        over = _uphill(bent, self.rho)
        with shifted(head, {name: move + over[name] for name, move in bend.items()}):
            beyond = inner(batch).by_name
        return Gradient(
            here.loss,
            {name: g + self.strength * (beyond[name] - bent[name]) for name, g in above.items()},
        )

    def end_task(self, head: Head, batches: Iterable[Batch], loss: Loss) -> None:
        """C-Flat remembers nothing."""


def _uphill(by_name: Mapping[str, Tensor], rho: float) -> dict[str, Tensor]:
    """Return the gradient scaled to length rho over all parameters together, less those of a loss's own."""
    ours = {name: g for name, g in by_name.items() if not name.startswith("losses.")}
    if not ours:
        return {}
    length = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in ours.values()]))
    scale = rho / (length + 1e-12)
    return {name: g * scale for name, g in ours.items()}


def _check(name: str, rho: float) -> None:
    if not 0 < rho < math.inf:
        raise UserError(f"{name} must be a number above 0, not {rho}")
