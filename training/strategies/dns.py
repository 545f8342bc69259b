"""Projections of gradients or steps that keep what earlier pairs were aligned to."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import ClassVar, Literal, TypeAlias

import torch
from torch import Tensor, nn

from engine.errors import UserError
from engine.heads.head import Head, branch_key
from training.batch import Batch
from training.gradient import LOSS_PARAMETERS, Gradient, GradientFn, Loss
from training.hyperparameters import check_at_least, check_share

Mode = Literal["auto", "dual", "dual_norm", "right"]
Outputs = Literal["current", "stored", "both"]
Rule = Literal["energy", "relative", "absolute"]
Sided: TypeAlias = tuple[str, str]
"""One side of pairs: a modality, and its partner's, as parameters are called by them."""

NOISE = 1e-12
"""Eigenvalues below this share of the largest are rounding, whatever the rule says."""


@dataclass(frozen=True)
class ProtectedSpans:
    """What a layer may not change: how the span of inputs (D, r) maps into the span of outputs (E, s).

    Attributes:
        free: the directions of inputs beside the span (D, D - r).
        outputs: None: the whole space.
    """

    inputs: Tensor
    free: Tensor
    outputs: Tensor | None

    def project(self, g: Tensor) -> Tensor:
        """Return g (E, D) less its part from the one span into the other: the nearest allowed matrix."""
        if self.outputs is None and self.free.shape[1] < self.inputs.shape[1]:
            return g @ self.free @ self.free.T  # the same, and quicker near full rank
        forbidden = g @ self.inputs  # (E, r)
        if self.outputs is not None:
            forbidden = self.outputs @ (self.outputs.T @ forbidden)
        return torch.addmm(g, forbidden, self.inputs.T, alpha=-1)


@dataclass
class Dns:
    """Dual-sided null space (Liu et al. 2025, theorem 4): G - P_out G P_in for each branch of old pairs.

    P_in spans the branch's own old inputs, P_out its partners' old outputs. Algorithm 1 line 13, read with
    its own line 7, swaps own and partner; that leaks to first order, theorem 4 does not. It projects whatever
    `inner` returns: inside Adam the gradient (the paper's order, which Adam's rescaling undoes in part),
    outside Adam and decay the step itself. The sums of a pair's rows are kept, never the rows (theorem 8),
    counted by pair.

    Args:
        mode: dual keeps inner products (the paper); dual_norm adds a branch's own outputs, and so keeps
            cosines; right keeps the embeddings themselves, layer by layer (Wang et al. 2021, Adam-NSCL).
            auto: dual_norm for a linear head without a shared top, else right.
        outputs: of the partners as the head makes them when the lesson begins, as they were stored at the
            end of their own lesson (the paper), or the span of both.
        rule: keep the largest eigenvalues of the inputs that hold a share `energy` of their sum, those above
            `lambda_min` times the largest, or those above `lambda_min` (the paper).
        output_threshold: the same for outputs, as a share of the largest.
    """

    _: KW_ONLY
    mode: Mode = "auto"
    outputs: Outputs = "both"
    rule: Rule = "energy"
    energy: float = 0.99
    lambda_min: float = 0.01
    output_threshold: float = 1e-6
    state: dict[str, Tensor] = field(default_factory=dict, init=False)
    skips_memory: ClassVar[bool] = False
    _protected: dict[str, ProtectedSpans] | None = field(default=None, init=False, repr=False)
    _ranks: dict[str, int] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if not 0 < self.energy <= 1:
            raise UserError(f"dns.energy must be above 0 and at most 1, not {self.energy}")
        check_at_least("dns.lambda_min", self.lambda_min, 0)
        check_share("dns.output_threshold", self.output_threshold)

    def gradient(self, head: Head, batch: Batch, inner: GradientFn) -> Gradient:
        """Project what `inner` returns, layer by layer; what no earlier lesson used is free."""
        if self._protected is None:
            self._protected = self._spans(head)
        gradient = inner(batch)
        by_name = dict(gradient.by_name)
        for layer, spans in self._protected.items():
            weight, bias = f"{layer}.weight", f"{layer}.bias"
            if weight not in by_name:
                continue
            if bias in by_name:
                projected = spans.project(torch.cat([by_name[weight], by_name[bias][:, None]], 1))
                by_name[weight], by_name[bias] = projected[:, :-1].contiguous(), projected[:, -1].contiguous()
            else:
                by_name[weight] = spans.project(by_name[weight])
        return Gradient(gradient.loss, by_name)

    def end_task(self, head: Head, batches: Iterable[Batch], loss: Loss) -> None:
        """Add the lesson's sums: of inputs, and of outputs as the head now makes them."""
        self._protected = None
        linear, parameters = is_linear(head), dict(head.named_parameters())
        counts, moments = _sums(head, batches)
        for (m, p), count in counts.items():
            self._add(f"count.{m}.{p}", torch.tensor(count))
        for (m, p), layers in moments.items():
            for layer, moment in layers.items():
                self._add(f"in.{m}.{p}.{layer}", moment)
                if linear:
                    self._add(f"out.{m}.{p}", _mapped(parameters[f"{layer}.weight"].detach(), moment))

    def ranks(self) -> dict[str, int]:
        """Return how many directions are protected {layer.in or layer.out: rank} in the newest lesson."""
        return dict(self._ranks)

    def _add(self, key: str, value: Tensor) -> None:
        value = value.cpu()
        self.state[key] = self.state[key].cpu() + value if key in self.state else value

    def _spans(self, head: Head) -> dict[str, ProtectedSpans]:
        """Return what is protected of every layer that an earlier lesson used."""
        self._ranks.clear()
        mode, parameters = self._mode(head), dict(head.named_parameters())
        layers: dict[str, list[Sided]] = {}
        for key in sorted(self.state):  # a file gives them back in another order, which sums would tell
            if key.startswith("in."):
                _, m, p, layer = key.split(".", 3)
                if f"{layer}.weight" in parameters:
                    layers.setdefault(layer, []).append((m, p))
        weights = {
            sides[0][0]: (layer, parameters[f"{layer}.weight"].detach()) for layer, sides in layers.items()
        }
        spans = {}
        for layer, sides in layers.items():
            like = parameters[f"{layer}.weight"]
            inputs, free = (part.to(like.dtype) for part in self._inputs(layer, sides, like.device))
            outputs = torch.eye(len(like)).to(like)
            if mode != "right":
                wanted = [(p, m) for m, p in sides] + (sides if mode == "dual_norm" else [])
                outputs = self._outputs(self._output_sums(wanted, weights), outputs.double()).to(like.dtype)
            self._ranks[f"{layer}.in"] = inputs.shape[1]
            self._ranks[f"{layer}.out"] = outputs.shape[1]
            spans[layer] = ProtectedSpans(inputs, free, outputs if outputs.shape[1] < len(like) else None)
        return spans

    def _mode(self, head: Head) -> Mode:
        linear = is_linear(head)
        if self.mode in ("dual", "dual_norm") and not linear:
            raise UserError(
                f"dns.mode={self.mode} needs a linear head without a shared top; take dns.mode=right"
            )
        if self.mode == "auto":
            return "dual_norm" if linear else "right"
        return self.mode

    def _inputs(self, layer: str, sides: Iterable[Sided], device: torch.device) -> tuple[Tensor, Tensor]:
        """Return the span (D, r) of a layer's inputs on these sides, and what is beside it (D, D - r)."""
        sums = [self.state[f"in.{m}.{p}.{layer}"].to(device) for m, p in sides]
        count = sum(int(self.state[f"count.{m}.{p}"]) for m, p in sides)
        values, vectors = _eigen(torch.stack(sums).sum(0) / count)
        if self.rule == "energy":
            wanted = int((values.cumsum(0) < self.energy * values.sum()).sum()) + 1
        else:
            scale = float(values[0]) if self.rule == "relative" else 1.0
            wanted = int((values > self.lambda_min * scale).sum())
        rank = min(wanted, _clear(values))
        return vectors[:, :rank].contiguous(), vectors[:, rank:].contiguous()

    def _output_sums(
        self, sides: Iterable[Sided], weights: Mapping[str, tuple[str, Tensor]]
    ) -> Iterator[Tensor]:
        """Yield the sums (E, E) of outer products of outputs on these sides, stored ones and current ones."""
        for m, p in sides:
            if self.outputs != "current" and f"out.{m}.{p}" in self.state:
                yield self.state[f"out.{m}.{p}"]
            if self.outputs != "stored" and m in weights:
                layer, weight = weights[m]
                yield _mapped(weight, self.state[f"in.{m}.{p}.{layer}"])

    def _outputs(self, moments: Iterable[Tensor], whole: Tensor) -> Tensor:
        """Return the span (E, s) of sums of outputs."""
        total = torch.zeros_like(whole)
        for moment in moments:  # each of trace 1, or short rows would fall below the threshold
            total = total + (moment / moment.trace().clamp_min(1e-300)).to(total.device)
        values, vectors = _eigen(total)
        above = int((values > self.output_threshold * values[0]).sum())
        return vectors[:, : min(above, _clear(values))]


def is_linear(head: Head) -> bool:
    """Tell whether each branch is one matrix, and nothing is shared."""
    owners = Counter(
        head.branch_of(n) for n, _ in head.named_parameters() if not n.startswith(LOSS_PARAMETERS)
    )
    return None not in owners and max(owners.values(), default=0) == 1


@torch.no_grad()
def _sums(head: Head, batches: Iterable[Batch]) -> tuple[Counter[Sided], dict[Sided, dict[str, Tensor]]]:
    """Return the rows, and the sums of outer products (D, D) of layer inputs, of each modality and partner.

    A layer with a bias has a constant 1 for its last input.
    """
    names = {name for name, _ in head.named_parameters()}
    counts: Counter[Sided] = Counter()
    moments: dict[Sided, dict[str, Tensor]] = {}
    for batch in batches:
        for m, layers in head.inputs(batch.features).items():
            rows = {layer: _augmented(x.double(), f"{layer}.bias" in names) for layer, x in layers.items()}
            for p in batch.features:
                paired = batch.present[m] & batch.present[p]
                if m == p or not paired.any():
                    continue
                side = branch_key(m), branch_key(p)
                counts[side] += int(paired.sum())
                sums = moments.setdefault(side, {})
                for layer, x in rows.items():
                    product = x[paired].T @ x[paired]
                    sums[layer] = sums[layer] + product if layer in sums else product
    return counts, moments


def _augmented(x: Tensor, bias: bool) -> Tensor:
    return nn.functional.pad(x, (0, 1), value=1.0) if bias else x


def _mapped(weight: Tensor, moment: Tensor) -> Tensor:
    """Return the sum (E, E) of outer products of outputs from that of inputs (D, D)."""
    w = weight.double()
    return w @ moment.to(w.device) @ w.T


def _eigen(moment: Tensor) -> tuple[Tensor, Tensor]:
    """Return eigenvalues (D,), the largest first, and eigenvectors (D, D) in columns."""
    values, vectors = torch.linalg.eigh((moment + moment.T) / 2)
    return values.flip(0).clamp_min(0), vectors.flip(1)


def _clear(values: Tensor) -> int:
    return int((values > NOISE * values[0]).sum())
