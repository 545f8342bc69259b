"""The mixture of Jeong et al. 2025, appendix C.1: modalities made of one latent, encoders bound, decoders on them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from zlib import crc32

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from engine.types import Modality
from training.batch import Batch, Embeddings
from training.gradient import Loss, weighted_mean
from training.losses.anchored import centrobind, fabind
from training.losses.pairwise import infonce

WIDTH, LATENT, CLASSES = 16, 8, 50
NOISE = 0.5
"""Of augmented views, in standard deviations; the paper does not say how it augments made-up rows."""


@dataclass(frozen=True)
class Size:
    """How much is drawn and how long is trained; only the widths and the classes are the paper's.

    Attributes:
        pretraining: steps of InfoNCE between two views of each modality.
    """

    train: int = 10_000
    held: int = 4_000
    pretraining: int = 20
    binding: int = 300
    decoding: int = 400
    batch: int = 128


@dataclass(frozen=True)
class Mixture:
    """Standardised rows by modality {m: (N, 16)}, worst first, and their component (N,)."""

    x: Mapping[Modality, Tensor]
    y: Tensor

    def rows(self, rows: Tensor) -> "Mixture":
        """Return these rows (B,)."""
        return Mixture({m: x[rows] for m, x in self.x.items()}, self.y[rows])


def draw(modalities: int, count: int, seed: int, *, means: float = 1.0, spread: float = 0.5) -> Mixture:
    """Draw N rows of a mixture with uniform priors and one spherical covariance (eq. 27 and 28).

    Args:
        modalities: of `x1`, 60 % of the first matrix's columns are zero; of the last, 10 %.
        means: standard deviation of the components' means.
        spread: standard deviation of a component.
    """
    g = _generator("mixture", seed)
    centres = means * torch.randn(CLASSES, LATENT, generator=g)
    y = torch.randint(CLASSES, (count,), generator=g)
    z = centres[y] + spread * torch.randn(count, LATENT, generator=g)
    by_modality = {}
    for number, share in enumerate(torch.linspace(0.6, 0.1, modalities).tolist(), start=1):
        inner = torch.randn(WIDTH, LATENT, generator=g)
        inner[:, torch.randperm(LATENT, generator=g)[: round(LATENT * share)]] = 0
        outer = torch.randn(WIDTH, WIDTH, generator=g)
        x = torch.sigmoid(z @ inner.T) @ outer.T + torch.randn(count, WIDTH, generator=g)
        by_modality[f"x{number}"] = (x - x.mean(0)) / x.std(0)
    return Mixture(by_modality, y)


def encoders(modalities: int, seed: int) -> nn.ModuleDict:
    """Return random encoders of three layers, one for each modality."""
    torch.manual_seed(_generator("encoders", seed).initial_seed())
    return nn.ModuleDict({f"x{n}": _mlp((WIDTH, 64, 64, WIDTH)) for n in range(1, modalities + 1)})


def embed(net: nn.ModuleDict, x: Mapping[Modality, Tensor]) -> dict[Modality, Tensor]:
    """Return unit rows {m: (B, 16)}."""
    return {m: normalize(layer(x[m]), dim=1) for m, layer in net.items()}


def losses(net: nn.ModuleDict) -> dict[str, Loss]:
    """Return what each method of tables 3 and 4 minimises, at temperature .3."""
    last = len(net)
    again = partial(_again, net)
    bind = partial(centrobind, again=again, temperature=0.3, noise=NOISE)
    # the share of columns that are not zero, as table 4 weighs by how informative it made a modality
    shares = torch.linspace(0.4, 0.9, last).tolist()
    return {
        "FABIND-X1": partial(fabind, temperature=0.3, anchor="x1"),
        f"FABIND-X{last}": partial(fabind, temperature=0.3, anchor=f"x{last}"),
        "CentroBind": bind,
        "weighted": partial(
            bind, anchor="weighted", weights=",".join(f"x{n}={w:.2f}" for n, w in enumerate(shares, start=1))
        ),
        "median": partial(bind, anchor="median"),
        "random": partial(bind, anchor="random", intra="no"),
        "random + intra": partial(bind, anchor="random", intra="yes"),
    }


def pretrain(net: nn.ModuleDict, mixture: Mixture, size: Size, seed: int) -> None:
    """Contrast each modality with a noisy view of itself."""

    def loss(z: Embeddings, batch: Batch) -> Tensor:
        views = _again(net, batch, NOISE)
        alone = [_of(batch, m) for m in z]
        values = [
            infonce({"own": z[m], "view": views[m]}, b, temperature=0.3)
            for m, b in zip(z, alone, strict=True)
        ]
        return torch.stack(values).mean(0)

    train(net, mixture, loss, (size.pretraining, size.batch), seed)


def train(net: nn.ModuleDict, mixture: Mixture, loss: Loss, steps: tuple[int, int], seed: int) -> None:
    """Take steps of Adam on batches drawn with replacement.

    Args:
        steps: how many, and rows of a batch.
    """
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)
    for batch in _batches(mixture, *steps, seed):
        optimiser.zero_grad()
        torch.autograd.backward(weighted_mean(loss(embed(net, batch.features), batch), batch))
        optimiser.step()


def accuracies(net: nn.ModuleDict, train: Mixture, test: Mixture, size: Size, seed: int) -> dict[str, float]:
    """Return the accuracy on held-out rows of a decoder on each modality, their mean, and of one on all of them."""
    with torch.no_grad():
        z, test_z = (torch.stack(list(embed(net, part.x).values())) for part in (train, test))  # (M, N, 16)
    alone = decode((z, train.y), (test_z, test.y), size, seed)
    flat, test_flat = (part.transpose(0, 1).flatten(1)[None] for part in (z, test_z))
    together = decode((flat, train.y), (test_flat, test.y), size, seed)
    return {**dict(zip(net, alone, strict=True)), "mean": sum(alone) / len(alone), "all": together[0]}


def decode(train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], size: Size, seed: int) -> list[float]:
    """Train M decoders of two layers side by side on features (M, N, D); return their accuracies on the test ones."""
    (f, y), (test_f, test_y) = train, test
    g = _generator("decoders", seed)
    shapes = ((f.shape[2], 64), (64, CLASSES))
    weights = [
        torch.randn(len(f), a, b, generator=g).mul_((2 / a) ** 0.5).requires_grad_() for a, b in shapes
    ]
    biases = [torch.zeros(len(f), 1, b, requires_grad=True) for _, b in shapes]

    def logits(x: Tensor) -> Tensor:
        hidden = torch.baddbmm(biases[0], x, weights[0]).relu()
        return torch.baddbmm(biases[1], hidden, weights[1])

    optimiser = torch.optim.Adam([*weights, *biases], lr=3e-3, fused=True)
    for _ in range(size.decoding):
        rows = torch.randint(len(y), (2 * size.batch,), generator=g)
        optimiser.zero_grad()
        predicted = logits(f[:, rows]).transpose(1, 2)  # (M, K, B)
        # times M: each decoder is trained as it would be alone
        torch.autograd.backward(len(f) * cross_entropy(predicted, y[rows].expand(len(f), -1)))
        optimiser.step()
    with torch.no_grad():
        right = (logits(test_f).argmax(2) == test_y).float().mean(1)
    return [float(share) for share in right]


def _batches(mixture: Mixture, steps: int, rows: int, seed: int) -> Iterator[Batch]:
    g = _generator("batches", seed)
    present = torch.ones(rows, dtype=torch.bool)
    for number in torch.randint(2**62, (steps,), generator=g).tolist():
        drawn = torch.randint(len(mixture.y), (rows,), generator=g)
        yield Batch(
            {m: x[drawn] for m, x in mixture.x.items()},
            dict.fromkeys(mixture.x, present),
            dict.fromkeys(mixture.x, drawn),
            torch.zeros_like(drawn),
            torch.ones(rows),
            number,
        )


def _again(net: nn.ModuleDict, batch: Batch, noise: float) -> dict[Modality, Tensor]:
    """Embed noisy views; the features are standardised."""
    g = torch.Generator().manual_seed(batch.seed)
    return embed(net, {m: x + noise * torch.randn(x.shape, generator=g) for m, x in batch.features.items()})


def _of(batch: Batch, modality: Modality) -> Batch:
    present, item = batch.present[modality], batch.item[modality]
    names = ("own", "view")
    return Batch(
        {}, dict.fromkeys(names, present), dict.fromkeys(names, item), batch.group, batch.weight, batch.seed
    )


def _generator(purpose: str, seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(crc32(f"{purpose} {seed}".encode()))


def _mlp(widths: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a, b in pairwise(widths):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
