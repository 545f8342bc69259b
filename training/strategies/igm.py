"""Training one modality at a time, each with regard to what the one before it was given."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from itertools import combinations

import torch
from torch import Tensor

from engine.errors import Setting, UserError
from engine.heads.head import Head
from engine.types import Modality
from training.gradient import Batch, Gradient, GradientFn, Loss


@dataclass
class Alternate:
    """Alternating training (Zhang et al. 2024, MLA; Jiang et al. 2025, algorithm 1): one branch at a time.

    The modalities of a batch take turns by name. What is shared and what a loss owns are trained throughout.

    Args:
        epochs: of a modality's turn.
    """

    _: KW_ONLY
    epochs: int = 5
    state: dict[str, Tensor] = field(default_factory=dict, init=False)
    _active: Modality | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise UserError(f"alternate.epochs must be at least 1, not {self.epochs}")

    def gradient(self, head: Head, batch: Batch, inner: GradientFn) -> Gradient:
        """Leave out the gradient of all branches but one; remembered rows train the same one as the task's."""
        found = inner(batch)
        there = sorted(m for m, rows in batch.present.items() if rows.any())
        if batch.epoch >= 0 and there:
            self._active = there[batch.epoch // self.epochs % len(there)]
        kept = {None, self._active}
        return Gradient(found.loss, {n: g for n, g in found.by_name.items() if head.branch_of(n) in kept})

    def end_task(self, head: Head, batches: Iterable[Batch], loss: Loss) -> None:
        """Let the next lesson begin with its first modality."""
        self._active = None


@dataclass(frozen=True)
class Stage:
    """A turn of one modality, and what its weights' gradients are multiplied by {name: (D, D)}."""

    modality: Modality
    matrices: Mapping[str, Tensor]


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
    _stage: Stage | None = field(default=None, init=False, repr=False)
    _sums: dict[int, Tensor] = field(default_factory=dict, init=False, repr=False)
    _seed: int | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.tau > 0:
            raise UserError(f"igm.tau must be above 0, not {self.tau}")

    def gradient(self, head: Head, batch: Batch, inner: GradientFn) -> Gradient:
        """Damp what `inner` returns, and add the batch to the sums of the modality in training."""
        found = inner(batch)
        modality = _in_training(head, found)
        if modality is None:
            return found
        if batch.epoch >= 0 and batch.seed != self._seed:
            self._seed = batch.seed
            if self._stage is None or modality != self._stage.modality:
                self._close(head)
                self._stage = _begin("igm", head, batch, modality, self.state)
            for place, mean in enumerate(_means(head, batch, modality)):
                product = torch.outer(mean.double(), mean.double())
                self._sums[place] = self._sums[place] + product if place in self._sums else product
        return _multiplied(found, self._stage)

    def end_task(self, head: Head, batches: Iterable[Batch], loss: Loss) -> None:
        """Close the last stage, for the next lesson to begin with."""
        self._close(head)
        self._stage, self._seed = None, None

    def _close(self, head: Head) -> None:
        if self._stage is None:
            return
        dtype = next(head.parameters()).dtype
        for place, total in self._sums.items():
            self.state[f"matrix.{self._stage.modality}.{place}"] = flat(total, self.tau).to(dtype)
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
    _stage: Stage | None = field(default=None, init=False, repr=False)
    _seed: int | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.alpha > 0:
            raise UserError(f"mla.alpha must be above 0, not {self.alpha}")

    def gradient(self, head: Head, batch: Batch, inner: GradientFn) -> Gradient:
        """Project what `inner` returns, and take the batch into the projector of the modality in training."""
        found = inner(batch)
        modality = _in_training(head, found)
        if modality is None:
            return found
        if batch.epoch >= 0 and batch.seed != self._seed:
            self._seed = batch.seed
            if self._stage is None or modality != self._stage.modality:
                self._stage = _begin("mla", head, batch, modality, self.state)
            for place, mean in enumerate(_means(head, batch, modality)):
                key = f"matrix.{modality}.{place}"
                p = self.state[key].to(mean) if key in self.state else torch.eye(len(mean)).to(mean)
                turned = p @ mean
                self.state[key] = p - torch.outer(turned, turned) / (self.alpha + mean @ turned)
        return _multiplied(found, self._stage)

    def end_task(self, head: Head, batches: Iterable[Batch], loss: Loss) -> None:
        """Close the last stage."""
        self._stage, self._seed = None, None


def flat(total: Tensor, tau: float) -> Tensor:
    """Return T (D, D) of a sum of outer products (D, D), as float64 (Jiang et al. 2025, equation 4)."""
    values, vectors = torch.linalg.eigh(total.double())
    spread = values[-1] - values[0]
    share = (values - values[0]) / spread if spread > 0 else torch.zeros_like(values)
    turned: Tensor = (vectors * torch.exp(-tau * share)) @ vectors.T
    return turned


def _in_training(head: Head, found: Gradient) -> Modality | None:
    """Return the modality whose branch alone has a gradient."""
    branches = {head.branch_of(name) for name in found.by_name} - {None}
    return branches.pop() if len(branches) == 1 else None


def _begin(method: str, head: Head, batch: Batch, modality: Modality, state: dict[str, Tensor]) -> Stage:
    """Begin a modality's turn, and number it, so that a later lesson knows which was last."""
    with torch.no_grad():
        inputs = head.inputs({m: x[:1] for m, x in batch.features.items()})
    _refuse_unlike(method, {m: [x.shape[1] for x in layers.values()] for m, layers in inputs.items()})
    turns = {key.removeprefix("turn."): int(turn) for key, turn in state.items() if key.startswith("turn.")}
    state[f"turn.{modality}"] = torch.tensor(1 + max(turns.values(), default=0))
    turns.pop(modality, None)
    partner = max(turns, key=lambda m: turns[m], default=None)
    matrices = {}
    for place, (layer, x) in enumerate(inputs[modality].items()):
        matrix = state.get(f"matrix.{partner}.{place}")
        if matrix is not None and len(matrix) == x.shape[1]:
            matrices[f"{layer}.weight"] = matrix.to(x)
    return Stage(modality, matrices)


def _refuse_unlike(method: str, widths: Mapping[Modality, Sequence[int]]) -> None:
    for a, b in combinations(sorted(widths), 2):
        if not any(one == other for one, other in zip(widths[a], widths[b], strict=False)):
            mlp = Setting("form", "mlp")
            raise UserError(
                f"{method} needs branches of one width: {a} has {widths[a][0]}, {b} {widths[b][0]}; "
                f"take another method, or train the first head with {mlp}",
                [mlp],
            )


@torch.no_grad()
def _means(head: Head, batch: Batch, modality: Modality) -> list[Tensor]:
    """Return the mean input (D,) of each layer over the rows that have the modality."""
    rows = batch.features[modality][batch.present[modality]]
    return [x.mean(0) for x in head.inputs({modality: rows})[modality].values()] if len(rows) else []


def _multiplied(found: Gradient, stage: Stage | None) -> Gradient:
    """Multiply gradients on the right, where the inputs are."""
    matrices = stage.matrices if stage is not None else {}
    return Gradient(
        found.loss, {n: g @ matrices[n] if n in matrices else g for n, g in found.by_name.items()}
    )
