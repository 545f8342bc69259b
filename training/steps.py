"""The optimiser as links: Adam turns a gradient into a step, decay adds the pull towards zero."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from engine.head import Head
from training.gradient import Batch, Gradient, GradientFn


@dataclass
class Adam:
    """Adam's step for a learning rate of 1 (Kingma and Ba 2015, algorithm 1); moments last one lesson."""

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    state: dict[str, Tensor] = field(default_factory=dict)

    def gradient(self, head: Head, batch: Batch, inner: GradientFn) -> Gradient:
        """Replace each gradient by the ratio of its bias-corrected moments."""
        found = inner(batch)
        return Gradient(found.loss, {name: self._step(name, g) for name, g in found.by_name.items()})

    def end_task(self, head: Head, batches: Iterable[Batch], inner: GradientFn) -> None:
        """Forget the moments."""
        self.state.clear()

    def _step(self, name: str, g: Tensor) -> Tensor:
        count = self.state.get(f"count.{name}", torch.zeros((), dtype=torch.int64)) + 1
        mean = self.state.get(f"mean.{name}", torch.zeros_like(g)).lerp(g, 1 - self.beta1)
        square = self.state.get(f"square.{name}", torch.zeros_like(g)).lerp(g * g, 1 - self.beta2)
        self.state |= {f"count.{name}": count, f"mean.{name}": mean, f"square.{name}": square}
        t = int(count)
        scale = (square / (1 - self.beta2**t)).sqrt() + self.epsilon
        return mean / (1 - self.beta1**t) / scale


@dataclass
class Decay:
    """Decoupled weight decay (Loshchilov and Hutter 2019) on the parameters that the step touches."""

    weight: float = 1e-2
    state: dict[str, Tensor] = field(default_factory=dict)

    def gradient(self, head: Head, batch: Batch, inner: GradientFn) -> Gradient:
        """Add weight x parameter to the step."""
        found = inner(batch)
        params = dict(head.named_parameters())
        pulled = {name: g + self.weight * params[name].detach() for name, g in found.by_name.items()}
        return Gradient(found.loss, pulled)

    def end_task(self, head: Head, batches: Iterable[Batch], inner: GradientFn) -> None:
        """Decay remembers nothing."""
