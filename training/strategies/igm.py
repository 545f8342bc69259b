"""Where modalities are trained in turn: each one's gradient is kept from what the one before it was given."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from itertools import combinations
from typing import ClassVar

import torch
from torch import Tensor

from engine.errors import Setting, UserError
from engine.heads.head import Head
from engine.types import Modality
from training.batch import Batch
from training.gradient import Gradient, GradientFn, Loss
from training.hyperparameters import check_above


@dataclass
class Igm:
    """Flat gradient modification (Jiang et al. 2025, equations 2, 4 and 5), inside Adam, outside SAM.

    The gradient of a layer's weight is multiplied by T of the same layer's inputs in the modality trained
    before it; on the right, where the paper, whose weights are (D, E), writes the left. Equation 2 sums over
    a stage. The branch in training is the only one that `inner` returns; with several, nothing is changed.
    Layers are matched by their place and input width: the paper's heterogeneous case.

    Args:
        tau: how strongly the directions of large inputs are damped, above 0: down to exp(-tau).
    """

    _: KW_ONLY
    tau: float = 0.4
    state: dict[str, Tensor] = field(default_factory=dict, init=False)
    skips_memory: ClassVar[bool] = False
    _turn: "Turn" = field(init=False, repr=False)
    _sums: dict[int, Tensor] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        check_above("igm.tau", self.tau, 0)
        self._turn = Turn("igm", self.state)

    def gradient(self, head: Head, batch: Batch, inner: GradientFn) -> Gradient:
        """Damp what `inner` returns, and add the batch to the sums of the modality in training."""
        gradient = inner(batch)
        modality = modality_in_training(head, gradient)
        if modality is None:
            return gradient
        if self._turn.is_new(batch):
            if modality != self._turn.modality:
                self._consolidate(head)
                self._turn.begin(head, batch, modality)
            for place, mean in enumerate(mean_inputs(head, batch, modality)):
                product = torch.outer(mean.double(), mean.double())
                self._sums[place] = self._sums[place] + product if place in self._sums else product
        return self._turn.multiplied(gradient)

    def end_task(self, head: Head, batches: Iterable[Batch], loss: Loss) -> None:
        """Close the last turn, for the next lesson to begin with."""
        self._consolidate(head)
        self._turn.end()

    def _consolidate(self, head: Head) -> None:
        """Make the T of the turn that ends."""
        dtype = next(head.parameters()).dtype
        for place, total in self._sums.items():
            self.state[self._turn.matrix_key(place)] = flat_matrix(total, self.tau).to(dtype)
        self._sums.clear()


@dataclass
class Mla:
    """Orthogonal gradient modification (Zhang et al. 2024, MLA, as Jiang et al. 2025 compare with it).

    As Igm, with a running projector in place of T: P <- P - P h h^T P / (alpha + h^T P h) for the mean h of
    each batch's layer inputs (recursive least squares), so that P = (I + sum of h h^T / alpha)^-1 over all
    stages and lessons of the modality. MLA has one classifier and one P for all modalities; here a modality
    has its own P, and its partner's gradient is multiplied by it. The released code's Frobenius
    normalisation, which rescales the learning rate, and its alpha that falls from .1 to .01 are left out.

    Args:
        alpha: how much input a direction must have seen to be damped by half, above 0.
    """

    _: KW_ONLY
    alpha: float = 1.0
    state: dict[str, Tensor] = field(default_factory=dict, init=False)
    skips_memory: ClassVar[bool] = False
    _turn: "Turn" = field(init=False, repr=False)

    def __post_init__(self) -> None:
        check_above("mla.alpha", self.alpha, 0)
        self._turn = Turn("mla", self.state)

    def gradient(self, head: Head, batch: Batch, inner: GradientFn) -> Gradient:
        """Project what `inner` returns, and take the batch into the projector of the modality in training."""
        gradient = inner(batch)
        modality = modality_in_training(head, gradient)
        if modality is None:
            return gradient
        if self._turn.is_new(batch):
            if modality != self._turn.modality:
                self._turn.begin(head, batch, modality)
            for place, mean in enumerate(mean_inputs(head, batch, modality)):
                key = self._turn.matrix_key(place)
                p = self.state[key].to(mean) if key in self.state else torch.eye(len(mean)).to(mean)
                turned = p @ mean
                self.state[key] = p - torch.outer(turned, turned) / (self.alpha + mean @ turned)
        return self._turn.multiplied(gradient)

    def end_task(self, head: Head, batches: Iterable[Batch], loss: Loss) -> None:
        """Close the last turn."""
        self._turn.end()


@dataclass
class Turn:
    """The turn of one modality, and what the gradients of its weights are multiplied by.

    Attributes:
        method: whose it is, as errors call it.
        state: `turn.<modality>`, the number of its last turn; `matrix.<modality>.<place of the layer>` (D, D),
            which the modality that is trained next is multiplied by.
        modality: whose turn it is; None before the first one of a lesson.
    """

    method: str
    state: dict[str, Tensor]
    modality: Modality | None = field(default=None, init=False)
    _matrices: Mapping[str, Tensor] = field(default_factory=dict, init=False, repr=False)
    _step: int | None = field(default=None, init=False, repr=False)

    def is_new(self, batch: Batch) -> bool:
        """Tell, once a step, whether a batch of the task is to be counted."""
        if batch.is_memory or batch.step == self._step:
            return False
        self._step = batch.step
        return True

    def begin(self, head: Head, batch: Batch, modality: Modality) -> None:
        """Begin a modality's turn, and number it, so that a later lesson knows which was last."""
        with torch.no_grad():
            inputs = head.inputs({m: x[:1] for m, x in batch.features.items()})
        _refuse_unlike(
            self.method, {m: [x.shape[1] for x in layers.values()] for m, layers in inputs.items()}
        )
        numbers = {k.removeprefix("turn."): int(n) for k, n in self.state.items() if k.startswith("turn.")}
        self.state[f"turn.{modality}"] = torch.tensor(1 + max(numbers.values(), default=0))
        numbers.pop(modality, None)
        partner = max(numbers, key=lambda m: numbers[m], default=None)
        self.modality, self._matrices = modality, {}
        for place, (layer, x) in enumerate(inputs[modality].items()):
            matrix = self.state.get(f"matrix.{partner}.{place}")
            if matrix is not None and len(matrix) == x.shape[1]:
                self._matrices[f"{layer}.weight"] = matrix.to(x)

    def matrix_key(self, place: int) -> str:
        """Return where the matrix of the modality in training is kept for its n-th layer, from 0."""
        return f"matrix.{self.modality}.{place}"

    def multiplied(self, gradient: Gradient) -> Gradient:
        """Multiply the gradients of weights on the right, where the inputs are."""
        by_name = {
            n: g @ self._matrices[n] if n in self._matrices else g for n, g in gradient.by_name.items()
        }
        return Gradient(gradient.loss, by_name)

    def end(self) -> None:
        """Let the next lesson begin with a turn of its own."""
        self.modality, self._matrices, self._step = None, {}, None


def flat_matrix(total: Tensor, tau: float) -> Tensor:
    """Return T (D, D) of a sum of outer products (D, D), as float64 (Jiang et al. 2025, equation 4)."""
    values, vectors = torch.linalg.eigh(total.double())
    spread = values[-1] - values[0]
    share = (values - values[0]) / spread if spread > 0 else torch.zeros_like(values)
    matrix: Tensor = (vectors * torch.exp(-tau * share)) @ vectors.T
    return matrix


def modality_in_training(head: Head, gradient: Gradient) -> Modality | None:
    """Return the modality whose branch alone has a gradient."""
    branches = {head.branch_of(name) for name in gradient.by_name} - {None}
    return branches.pop() if len(branches) == 1 else None


@torch.no_grad()
def mean_inputs(head: Head, batch: Batch, modality: Modality) -> list[Tensor]:
    """Return the mean input (D,) of each layer over the rows that have the modality."""
    rows = batch.features[modality][batch.present[modality]]
    return [x.mean(0) for x in head.inputs({modality: rows})[modality].values()] if len(rows) else []


def _refuse_unlike(method: str, widths: Mapping[Modality, Sequence[int]]) -> None:
    """Raise where two branches have no layer of one input width at the same place: nothing could be multiplied."""
    for a, b in combinations(sorted(widths), 2):
        if not any(width == other for width, other in zip(widths[a], widths[b], strict=False)):
            mlp = Setting("form", "mlp")
            raise UserError(
                f"{method} needs branches of one width: {a} has {widths[a][0]}, {b} {widths[b][0]}; "
                f"take another method, or train the first head with {mlp}",
                [mlp],
            )
