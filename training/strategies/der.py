"""Dark experience replay: remembered rows, a partner for each, and the scores they entered with."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass, field
from itertools import combinations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss

from engine.heads.head import Head
from training.data.history import Past
from training.gradient import Batch, Gradient, GradientFn, Loss, added
from training.strategies.reservoir import Reservoir, check_least, own_rows, pick


@dataclass(frozen=True)
class Draw:
    """Remembered rows, for each a partner that it is not joined to, and their scores at entry {name: (K,)}."""

    row: Batch
    partner: Batch
    scores: Mapping[str, Tensor]


@dataclass
class Dark:
    """What dark experience replay remembers, as open for one lesson; rows without a partner do not enter."""

    memory: Reservoir
    temperature: float
    _drawn: tuple[int, list[Draw]] | None = field(default=None, init=False, repr=False)

    def step(self, head: Head, batch: Batch, rows: int, draws: int) -> list[Draw]:
        """Return independent draws of what was remembered before this batch, then let its rows come by.

        Asked again about one batch it returns the same draws and remembers nothing more.
        """
        if self._drawn is None or self._drawn[0] != batch.seed:
            slots = [
                self.memory.draw(rows, f"{batch.seed} dark {n}") for n in range(draws) if len(self.memory)
            ]
            take = self.memory.take
            found = [Draw(take(s), take(s, "partner"), self.memory.scores(s)) for s in slots]
            self._drawn = batch.seed, found
            self._enter(head, own_rows(batch), batch.seed)
        return self._drawn[1]

    def _enter(self, head: Head, came: Batch, seed: int) -> None:
        partner = partners(came)
        able = (partner >= 0).nonzero()[:, 0]
        slots, kept = self.memory.admit(len(able), seed)
        if len(slots):
            kept = able[kept.to(able.device)]
            entry = {"row": pick(came, kept), "partner": pick(came, partner[kept])}
            with torch.no_grad():
                now = scores(head, entry["row"], entry["partner"], self.temperature)
            self.memory.put(slots, entry, now)


@dataclass
class Der:
    """Dark experience replay (Buzzega et al. 2020, eq. 6): remembered rows keep the scores they entered with.

    For retrieval the logits are the scores <z_a, z_b> / temperature of a row's own items and of its item
    and that of another row of its batch, its partner (the reading here; Liu et al. 2025 do not say theirs).

    Attributes:
        size: how many rows are remembered. rows: how many are drawn for a step. alpha: the term's weight.
    """

    past: Past
    temperature: float
    _: KW_ONLY
    size: int = 256
    rows: int = 64
    alpha: float = 0.1
    state: dict[str, Tensor] = field(default_factory=dict, init=False)
    _dark: Dark | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        check_least("der.size", self.size, 1, "der trains on remembered rows")
        check_least("der.rows", self.rows, 1)
        check_least("der.alpha", self.alpha, 0)

    def gradient(self, head: Head, batch: Batch, inner: GradientFn) -> Gradient:
        """Add alpha times the mean squared change of remembered scores."""
        found, draws = inner(batch), _draws(self, head, batch, 1)
        if not draws:
            return found
        return added(found, head, self.alpha * change(head, draws[0], self.temperature))

    def end_task(self, head: Head, batches: Iterable[Batch], loss: Loss) -> None:
        """Let go of the features; numbers and scores stay."""
        self._dark = None


@dataclass
class DerPp:
    """DER++ (Buzzega et al. 2020, eq. 7): as Der, and remembered rows are told from their partners.

    The label is whether two items are of one instance (Liu et al. 2025, A.4). Each term has a draw of its
    own, as in the authors' program.

    Attributes:
        alpha: the weight of the scores' change. beta: the weight of the labels.
    """

    past: Past
    temperature: float
    _: KW_ONLY
    size: int = 256
    rows: int = 64
    alpha: float = 0.1
    beta: float = 0.1
    state: dict[str, Tensor] = field(default_factory=dict, init=False)
    _dark: Dark | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        check_least("derpp.size", self.size, 1, "derpp trains on remembered rows")
        check_least("derpp.rows", self.rows, 1)
        check_least("derpp.alpha", self.alpha, 0)
        check_least("derpp.beta", self.beta, 0)

    def gradient(self, head: Head, batch: Batch, inner: GradientFn) -> Gradient:
        """Add both terms, weighted."""
        found, draws = inner(batch), _draws(self, head, batch, 2)
        if not draws:
            return found
        kept = self.alpha * change(head, draws[0], self.temperature)
        return added(found, head, kept + self.beta * mistaken(head, draws[1], self.temperature))

    def end_task(self, head: Head, batches: Iterable[Batch], loss: Loss) -> None:
        """Let go of the features; numbers and scores stay."""
        self._dark = None


def _draws(link: Der | DerPp, head: Head, batch: Batch, count: int) -> list[Draw]:
    """Return draws of what a link remembers, and let the batch's rows come by; none for remembered rows."""
    if batch.epoch == -1:
        return []
    if link._dark is None:
        memory = Reservoir(link.past, link.size, link.state, batch.weight.device)
        link._dark = Dark(memory, link.temperature)
    return link._dark.step(head, batch, link.rows, count)


def partners(batch: Batch) -> Tensor:
    """Return for each row the next one of its modalities that shares no item with it (B,); -1: none does."""
    size, device = len(batch), batch.weight.device
    apart = torch.ones(size, size, dtype=torch.bool, device=device)
    for m, here in batch.present.items():
        same = batch.item[m][:, None] == batch.item[m]
        apart &= (here[:, None] == here) & ~(same & here)
    place = torch.arange(size, device=device)
    steps = (place - place[:, None]).remainder(size).masked_fill(~apart, size)
    nearest = steps.min(1) if size else steps.new_zeros(0, 1).max(1)
    return torch.where(nearest.values < size, nearest.indices, -1)


def scores(head: Head, row: Batch, partner: Batch, temperature: float) -> dict[str, Tensor]:
    """Return <z_a, z_b> / temperature (K,) of rows, and of a row's a and its partner's b, in evaluation mode.

    {"own.a.b": ..., "other.a.b": ...} over the pairs of modalities; those of rows that lack one say nothing.
    """
    names = sorted(row.features)
    # the partner's item of the first modality stands in no pair
    both = {m: torch.cat([row.features[m], partner.features[m]]) for m in names[1:]}
    with evaluating(head):
        z = head({names[0]: row.features[names[0]], **both})
    found = {}
    for a, b in combinations(names, 2):
        own, other = z[b].split(len(row))
        found[f"own.{a}.{b}"] = (z[a][: len(row)] * own).sum(1) / temperature
        found[f"other.{a}.{b}"] = (z[a][: len(row)] * other).sum(1) / temperature
    return found


def change(head: Head, draw: Draw, temperature: float) -> Tensor:
    """Return the mean squared difference of a draw's scores now and at entry."""
    now = scores(head, draw.row, draw.partner, temperature)
    return mse_loss(torch.stack(list(now.values())), torch.stack([draw.scores[name] for name in now]))


def mistaken(head: Head, draw: Draw, temperature: float) -> Tensor:
    """Return the mean binary cross-entropy of a draw's scores: 1 for a row's own items, 0 for a partner's."""
    now = scores(head, draw.row, draw.partner, temperature)
    logits = torch.stack(list(now.values()))
    label = torch.tensor([float(name.startswith("own.")) for name in now], device=logits.device)
    return binary_cross_entropy_with_logits(logits, label[:, None].expand_as(logits))


@contextmanager
def evaluating(head: Head) -> Iterator[None]:
    """Put the head into evaluation mode for a while."""
    before = head.training
    head.eval()
    try:
        yield
    finally:
        head.train(before)
