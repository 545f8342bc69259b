"""Heads: small trained maps from frozen features to the shared space."""

import math
from collections.abc import Iterator, Mapping
from typing import cast
from urllib.parse import unquote

import torch
from torch import Tensor, nn

from engine.heads import draws
from engine.ids import escape
from engine.types import HeadForm, Modality

HIDDEN = 1024


class Branches(nn.Module):
    """The branch of each modality, which may have any name: torch wants no dots in one, and keeps some for itself."""

    def __getitem__(self, modality: Modality) -> nn.Module:
        return cast("nn.Module", self._modules[branch_key(modality)])

    def __setitem__(self, modality: Modality, branch: nn.Module) -> None:
        self.add_module(branch_key(modality), branch)

    def __contains__(self, modality: object) -> bool:
        return isinstance(modality, str) and branch_key(modality) in self._modules

    def __iter__(self) -> Iterator[Modality]:
        return map(unquote, self._modules)

    def __len__(self) -> int:
        return len(self._modules)


TAKEN = frozenset(dir(Branches()))


def branch_key(modality: Modality) -> str:
    """Return a modality's name as parameters and what strategies remember are called by: it has no dot or space."""
    key = escape(modality, ". ")
    return f"%{ord(key[0]):02X}{key[1:]}" if key in TAKEN else key


class Head(nn.Module):
    """One branch per modality into a space of width E; with a shared top, one last layer for all.

    linear: one bias-free matrix (D, E). mlp: D, 1024, ReLU, dropout .5, E.

    Attributes:
        layers: the branch of each modality.
        losses: what a loss itself trains beside the branches (a scorer).
        top: the shared last layer; None: each branch ends by itself.
        seed: of the initialisation; None: layers are made but not filled, since they are to be loaded.
    """

    def __init__(self, form: HeadForm, width: int, *, shared_top: bool = False, seed: int | None = 0) -> None:
        super().__init__()
        self.form, self.width, self.seed = form, width, seed
        self.layers = Branches()
        self.losses = nn.ModuleDict()
        self.top: nn.Linear | None = None
        if shared_top:
            self.top = (
                self._dense(HIDDEN, width, "top") if form == "mlp" else self._matrix(width, width, "top")
            )

    def add_branch(self, modality: Modality, features: int) -> None:
        """Add the untrained branch of a modality of D features."""
        layer: nn.Module
        if self.form == "linear":
            layer = self._matrix(features, self.width, modality)
        else:
            layer = nn.Sequential(self._dense(features, HIDDEN, modality))
            if self.top is None:
                layer.append(self._dense(HIDDEN, self.width, f"{modality} out"))
        self.layers[modality] = layer

    def add_scorer(self, name: str, inputs: int) -> nn.Module:
        """Return the scorer of a loss, from rows (B, inputs) to (B, 1); it is made where there is none yet."""
        if name not in self.losses:
            layers = (self._dense(inputs, self.width, name), nn.ReLU())
            self.losses[name] = nn.Sequential(*layers, self._dense(self.width, 1, f"{name} out"))
        return self.losses[name]

    def branch_of(self, parameter: str) -> Modality | None:
        """Return the modality whose branch a parameter belongs to; None: shared, or a loss's own."""
        return next((m for m in self.layers if parameter.startswith(f"layers.{branch_key(m)}.")), None)

    def inputs(self, features: Mapping[Modality, Tensor]) -> dict[Modality, dict[str, Tensor]]:
        """Return what each layer is given by each modality, in evaluation mode.

        {m: {name of the layer: its input rows (B, D_in)}}; a shared top stands under every modality.
        """
        inputs: dict[Modality, dict[str, Tensor]] = {}
        for m, x in features.items():
            inputs[m] = {}
            for place, (name, layer) in enumerate(self._chain(m)):
                inputs[m][name] = x
                x = layer(x)
                x = torch.relu(x) if self.form == "mlp" and place == 0 else x
        return inputs

    def project(self, features: Mapping[Modality, Tensor], seed: int = 0) -> dict[Modality, Tensor]:
        """Map features {m: (B, D)} to {m: (B, E)}, before normalisation.

        Args:
            seed: of the dropout masks, which are drawn in training mode only; the same seed, the same masks.
        """
        return {m: self._branch(m, x, f"{seed} {m}") for m, x in features.items()}

    def forward(self, features: Mapping[Modality, Tensor], seed: int = 0) -> dict[Modality, Tensor]:
        """Return embeddings {m: (B, E)}: unit rows, or a zero row for zero features."""
        return {m: nn.functional.normalize(y, dim=1) for m, y in self.project(features, seed).items()}

    def _branch(self, modality: Modality, x: Tensor, seed: str) -> Tensor:
        for place, (_, layer) in enumerate(self._chain(modality)):
            x = layer(x)
            if self.form == "mlp" and place == 0:
                x = torch.relu(x)
                x = x * draws.mask(x, seed) if self.training else x
        return x

    def _chain(self, modality: Modality) -> list[tuple[str, nn.Module]]:
        """Return the layers that a modality passes, first to last, by name."""
        branch, name = self.layers[modality], f"layers.{branch_key(modality)}"
        inner = [(f"{name}.{place}", layer) for place, layer in branch.named_children()] or [(name, branch)]
        return inner if self.top is None else [*inner, ("top", self.top)]

    def _matrix(self, features: int, width: int, name: str) -> nn.Linear:
        layer = _blank(features, width, bias=False)
        if self.seed is not None:
            layer.weight.data = draws.orthonormal(features, width, name)
        return layer

    def _dense(self, features: int, width: int, name: str) -> nn.Linear:
        """Return a layer initialised as torch does, but from a seed of its own."""
        layer = _blank(features, width, bias=True)
        if self.seed is not None:
            generator = draws.generator(f"{self.seed} {name}")
            nn.init.kaiming_uniform_(layer.weight, a=math.sqrt(5), generator=generator)
            nn.init.uniform_(
                layer.bias, -1 / math.sqrt(features), 1 / math.sqrt(features), generator=generator
            )
        return layer


def _blank(features: int, width: int, *, bias: bool) -> nn.Linear:
    """Return a layer that is not filled; by way of meta, since torch would draw from the global generator."""
    return nn.Linear(features, width, bias=bias, device="meta").to_empty(device="cpu")
