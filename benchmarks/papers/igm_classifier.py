"""A classifier of three layers for each modality, the ways to train it, and how well it then does."""

from collections.abc import Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from engine.heads.head import Head
from engine.storage.store import Store
from engine.storage.workspace import open_at
from engine.types import Modality, Split
from training.batch import Batch, Embeddings
from training.data.pairs import PairSet, collect
from training.gradient import Gradient, GradientFn, Loss, Strategy, compose, loss_gradient
from training.strategies.alternate import Alternate
from training.strategies.igm import Igm, Mla
from training.strategies.sam import Sam

MODALITIES: tuple[Modality, ...] = ("audio", "image")
BATCH = 12
RATE = 1e-2
JOINT, APART = "joint", "both at once, a loss each"
METHODS = (
    JOINT,
    APART,
    "alternation only",
    "SAM",
    "MLA",
    "IGM w/o SAM",
    "IGM w/o audio's T",
    "IGM w/o image's T",
    "IGM",
)


@dataclass(frozen=True)
class Plan:
    """How long training takes: in a round each modality has a turn of so many epochs."""

    rounds: int = 3
    epochs: int = 10


class Classifier(nn.Module):
    """FC(D, 256), ReLU, FC(256, 64), FC(64, C) for each modality, with what strategies ask of a head."""

    def __init__(self, widths: Mapping[Modality, int], classes: int, seed: int) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(seed)
        self.layers = nn.ModuleDict(
            {
                m: nn.Sequential(
                    _dense(width, 256, draw), nn.ReLU(), _dense(256, 64, draw), _dense(64, classes, draw)
                )
                for m, width in widths.items()
            }
        )

    def branch_of(self, parameter: str) -> Modality | None:
        """Return the modality whose branch a parameter belongs to."""
        return next((m for m in self.layers if parameter.startswith(f"layers.{m}.")), None)

    def inputs(self, features: Mapping[Modality, Tensor]) -> dict[Modality, dict[str, Tensor]]:
        """Return what each layer is given {m: {name of the layer: (B, D_in)}}."""
        inputs: dict[Modality, dict[str, Tensor]] = {}
        for m, x in features.items():
            inputs[m] = {}
            for place, layer in self.layers[m].named_children():
                if isinstance(layer, nn.Linear):
                    inputs[m][f"layers.{m}.{place}"] = x
                x = layer(x)
        return inputs

    def forward(self, features: Mapping[Modality, Tensor], seed: int = 0) -> dict[Modality, Tensor]:
        """Map features {m: (B, D)} to logits {m: (B, C)}; nothing is drawn."""
        return {m: self.layers[m](x) for m, x in features.items()}


@dataclass
class Momentum:
    """SGD's step for a learning rate of 1, with momentum and weight decay as torch has them."""

    _: KW_ONLY
    share: float = 0.9
    decay: float = 1e-4
    state: dict[str, Tensor] = field(default_factory=dict, init=False)
    skips_memory: ClassVar[bool] = False

    def gradient(self, head: Head, batch: Batch, inner: GradientFn) -> Gradient:
        """Add what is left of the steps before."""
        gradient, parameters = inner(batch), dict(head.named_parameters())
        for name, g in gradient.by_name.items():
            decayed = g.add(parameters[name].detach(), alpha=self.decay)
            self.state[name] = (
                self.state[name].mul_(self.share).add_(decayed) if name in self.state else decayed
            )
        return Gradient(gradient.loss, {name: self.state[name] for name in gradient.by_name})

    def end_task(self, head: Head, batches: Iterable[Batch], loss: Loss) -> None:
        """Forget the steps before."""
        self.state.clear()


@dataclass
class OneWay:
    """IGM that modifies the gradient of one modality only, by the other's T (Jiang et al. 2025, table 3)."""

    modified: Modality
    igm: Igm = field(default_factory=Igm)
    state: dict[str, Tensor] = field(default_factory=dict, init=False)
    skips_memory: ClassVar[bool] = False

    def gradient(self, head: Head, batch: Batch, inner: GradientFn) -> Gradient:
        """Let IGM see every turn, and return what it made of this modality's."""
        plain = inner(batch)
        changed = self.igm.gradient(head, batch, lambda _: plain)
        return changed if all(head.branch_of(name) == self.modified for name in plain.by_name) else plain

    def end_task(self, head: Head, batches: Iterable[Batch], loss: Loss) -> None:
        """Close IGM's last stage."""
        self.igm.end_task(head, batches, loss)


@dataclass(frozen=True)
class Pack:
    """Pairs to train on and to test on; a pair's group is its class."""

    train: PairSet
    test: PairSet
    classes: int


def read(root: Path) -> Pack:
    """Read an indexed pack whose pairs have one label each."""
    workspace = open_at(root)
    backbones = workspace.manifest.backbones
    with Store(workspace.store) as store:
        pairs = store.pairs()
        names = sorted({label for pair in pairs for label in pair.labels})

        def part(split: Split) -> PairSet:
            chosen = [pair for pair in pairs if pair.split == split]
            columns = collect(chosen, MODALITIES, lambda m, ids: store.features(ids, backbones[m].id)).columns
            return PairSet(columns, torch.tensor([names.index(pair.labels[0]) for pair in chosen]))

        return Pack(part("train"), part("test"), len(names))


def run(pack: Pack, method: str, seed: int, plan: Plan) -> list[dict[str, float]]:
    """Train a classifier in one way, and return its figures before it and after each turn.

    A turn begins with no momentum and at the full rate, a tenth of it in its last fifth. `joint` and
    its neighbour train both modalities in a turn, and have half as many: every branch gets as many steps.
    """
    widths = {m: column.features.shape[1] for m, column in pack.train.columns.items()}
    net = Classifier(widths, pack.classes, seed)
    head = cast(Head, net)
    momentum, order = Momentum(), torch.Generator().manual_seed(seed)
    loss = fused_loss if method == JOINT else own_loss
    step = compose([momentum, *strategies(method, plan)], head, loss_gradient(head, loss))
    after = [figures(net, pack)]
    for turn in range(plan.rounds * (1 if method in (JOINT, APART) else len(widths))):
        momentum.state.clear()
        for epoch in range(plan.epochs):
            rate = RATE if epoch < 0.8 * plan.epochs else RATE / 10
            for batch in pack.train.epoch(BATCH, order, turn * plan.epochs + epoch):
                _move(net, step(batch), rate)
        after.append(figures(net, pack))
    return after


def strategies(method: str, plan: Plan) -> list[Strategy]:
    """Return a method's links, outermost first, in the order of the project's own recipes."""
    first: dict[str, list[Strategy]] = {
        "MLA": [Mla()],
        "SAM": [Sam()],
        "IGM w/o SAM": [Igm()],
        "IGM w/o audio's T": [OneWay("audio"), Sam()],
        "IGM w/o image's T": [OneWay("image"), Sam()],
        "IGM": [Igm(), Sam()],
    }
    last: list[Strategy] = [] if method in (JOINT, APART) else [Alternate(epochs=plan.epochs)]
    return [*first.get(method, []), *last]


def own_loss(logits: Embeddings, batch: Batch) -> Tensor:
    """Return the sum of each modality's cross-entropy (B,) (Jiang et al. 2025, equation 1)."""
    return torch.stack([cross_entropy(z, batch.group, reduction="none") for z in logits.values()]).sum(0)


def fused_loss(logits: Embeddings, batch: Batch) -> Tensor:
    """Return the cross-entropy of the summed logits (B,): late fusion trained as one."""
    return cross_entropy(torch.stack(list(logits.values())).sum(0), batch.group, reduction="none")


@torch.no_grad()
def figures(net: Classifier, pack: Pack) -> dict[str, float]:
    """Return accuracy, MAP and macro-F1 of each modality and of both, 0 to 1."""
    test = pack.test.in_order(len(pack.test))[0]
    logits = net(test.features)
    scores = {**{m: z.softmax(1) for m, z in logits.items()}, "fused": fuse(logits).softmax(1)}
    return {
        f"{name} {figure}": value
        for name, p in scores.items()
        for figure, value in measures(p, test.group).items()
    }


def fuse(logits: Embeddings) -> Tensor:
    """Weight logits (B, C) by how sure each modality is of a row (Zhang et al. 2024, MLA).

    The weights are exp(largest entropy - own entropy) over their sum: a softmax of -entropy.
    """
    z = torch.stack(list(logits.values()))  # (M, B, C)
    entropy = -(z.softmax(2) * z.log_softmax(2)).sum(2, keepdim=True)
    return ((-entropy).softmax(0) * z).sum(0)


def measures(p: Tensor, classes: Tensor) -> dict[str, float]:
    """Return accuracy, and the means over classes of average precision and of F1, from scores (B, C)."""
    right = one_hot(classes, p.shape[1])
    predicted = one_hot(p.argmax(1), p.shape[1])
    f1 = 2 * (right & predicted).sum(0) / (right.sum(0) + predicted.sum(0)).clamp_min(1)
    hits = right.gather(0, p.argsort(dim=0, descending=True, stable=True))
    precision = hits.cumsum(0) / torch.arange(1, len(p) + 1)[:, None]
    average = (precision * hits).sum(0) / hits.sum(0).clamp_min(1)
    return {
        "accuracy": float((p.argmax(1) == classes).float().mean()),
        "MAP": float(average.mean()),
        "F1": float(f1.mean()),
    }


def _dense(inputs: int, width: int, draw: torch.Generator) -> nn.Linear:
    """Return a layer initialised as torch does, from a generator of its own."""
    layer = nn.Linear(inputs, width, device="meta").to_empty(device="cpu")
    for p in (layer.weight, layer.bias):
        nn.init.uniform_(p, -(inputs**-0.5), inputs**-0.5, generator=draw)
    return layer


@torch.no_grad()
def _move(net: Classifier, gradient: Gradient, rate: float) -> None:
    parameters = dict(net.named_parameters())
    for name, g in gradient.by_name.items():
        parameters[name].sub_(g, alpha=rate)
