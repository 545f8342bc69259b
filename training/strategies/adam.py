"""The optimiser as links: Adam turns a gradient into a step, decay adds the pull towards zero."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from engine.heads.head import Head
from engine.types import TrainSettings
from training.batch import Batch
from training.gradient import Gradient, GradientFn, Loss


@dataclass
class Adam:
    """Adam's step for a learning rate of 1 (Kingma and Ba 2015, algorithm 1); moments last one lesson."""

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    state: dict[str, Tensor] = field(default_factory=dict)
    skips_memory: ClassVar[bool] = False

    def gradient(self, head: Head, batch: Batch, inner: GradientFn) -> Gradient:
        """Replace each gradient by the ratio of its bias-corrected moments."""
        gradient = inner(batch)
        return Gradient(gradient.loss, {name: self._step(name, g) for name, g in gradient.by_name.items()})

    def end_task(self, head: Head, batches: Iterable[Batch], loss: Loss) -> None:
        """Forget the moments."""
        self.state.clear()

    def _step(self, name: str, g: Tensor) -> Tensor:
        """Take a gradient into the moments and return the step."""
        if f"count.{name}" not in self.state:
            self.state[f"count.{name}"] = torch.zeros((), dtype=torch.int64)
            self.state[f"mean.{name}"] = torch.zeros_like(g)
            self.state[f"square.{name}"] = torch.zeros_like(g)
        t = int(self.state[f"count.{name}"].add_(1))
        mean = self.state[f"mean.{name}"].lerp_(g, 1 - self.beta1)
        square = self.state[f"square.{name}"].mul_(self.beta2).addcmul_(g, g, value=1 - self.beta2)
        # mean / (1 - beta1^t) over sqrt(square / (1 - beta2^t)) + epsilon, in as few passes as can be
        rising = 1 - self.beta1**t
        scale = torch.add(
            g.new_tensor(self.epsilon * rising), square.sqrt(), alpha=rising / math.sqrt(1 - self.beta2**t)
        )
        return torch.div(mean, scale, out=scale)


@dataclass
class Decay:
    """Decoupled weight decay (Loshchilov and Hutter 2019) on the parameters that the step touches."""

    weight: float = TrainSettings.weight_decay
    state: dict[str, Tensor] = field(default_factory=dict)
    skips_memory: ClassVar[bool] = False

    def gradient(self, head: Head, batch: Batch, inner: GradientFn) -> Gradient:
        """Add weight x parameter to the step."""
        step, parameters = inner(batch), dict(head.named_parameters())
        decayed = {
            name: torch.add(g, parameters[name].detach(), alpha=self.weight)
            for name, g in step.by_name.items()
        }
        return Gradient(step.loss, decayed)

    def end_task(self, head: Head, batches: Iterable[Batch], loss: Loss) -> None:
        """Decay remembers nothing."""
