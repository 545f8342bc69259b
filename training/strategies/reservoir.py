"""A memory of rows of fixed size: their item numbers are kept, their features looked up."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b

import torch
from torch import Tensor

from engine.errors import UserError
from engine.types import Modality
from training.data.history import Past
from training.gradient import Batch


@dataclass
class Reservoir:
    """A uniform sample of all rows that ever came by (Vitter 1985, algorithm R), as open for one lesson.

    An entry is one row, or several by role (a row and its partner). Slots whose items are no longer stored
    stay out of every draw until they are written over, which leaves the others as likely as they were.

    Attributes:
        size: how many slots there are.
        state: where it is kept: `seen`, how many rows came by; `item.<role>.<modality>` (size,) int64, -1
            where absent; `score.<name>` (size,).
        device: where features are held.
    """

    past: Past
    size: int
    state: dict[str, Tensor]
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    _features: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False)
    _there: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.state.setdefault("seen", torch.tensor(0))
        self._resize()
        self._there = torch.zeros(self.size, dtype=torch.bool)
        for key in self._columns("row"):
            self._there |= self.state[key] >= 0
        for key in self._columns(""):
            numbers = self.state[key]
            features, found = lookup(self.past, key.rpartition(".")[2], numbers)
            self._there &= found | (numbers < 0)
            if found.any():
                self._features[key] = features.to(self.device)

    def __len__(self) -> int:
        return int(self._there.sum())

    def admit(self, count: int, seed: int) -> tuple[Tensor, Tensor]:
        """Let the next rows of the stream come by.

        Returns:
            The slots that are written (K,), and which of the `count` rows goes into each (K,).
        """
        seen = int(self.state["seen"])
        self.state["seen"] = torch.tensor(seen + count)
        row = torch.arange(count)
        share = torch.rand(count, generator=generator(f"{seed} {seen} admit"), dtype=torch.float64)
        slot = torch.where(row + seen < self.size, row + seen, (share * (row + seen + 1)).long())
        kept = slot < self.size
        # of the rows that hit one slot the last stays, as if they had come one by one
        last = torch.full((self.size,), -1).scatter_reduce(0, slot[kept], row[kept], "amax")
        slots = (last >= 0).nonzero()[:, 0]
        return slots, last[slots]

    def put(self, slots: Tensor, entry: Mapping[str, Batch], scores: Mapping[str, Tensor]) -> None:
        """Write entries (K,) into slots.

        Args:
            entry: rows by role, at least "row", K of each.
            scores: {name: (K,)}.
        """
        there = {f"item.{role}.{m}": rows.item[m].cpu() for role, rows in entry.items() for m in rows.item}
        for key in {*self._columns(""), *there}:
            numbers = there.get(key, torch.full_like(slots, -1))
            self.state[key] = self.state.get(key, torch.full((self.size,), -1)).index_copy(0, slots, numbers)
        for name, score in scores.items():
            before = self.state.get(f"score.{name}", torch.zeros(self.size))
            self.state[f"score.{name}"] = before.index_copy(0, slots, score.to(before))
        for role, rows in entry.items():
            for m, x in rows.features.items():
                held = self._features.setdefault(f"item.{role}.{m}", x.new_zeros(self.size, x.shape[1]))
                held.index_copy_(0, slots.to(x.device), x)
        self._there[slots] = True

    def draw(self, rows: int, seed: str) -> Tensor:
        """Return the slots of at most `rows` entries of one set of modalities, drawn by its share of all."""
        kind = torch.zeros(self.size, dtype=torch.int64)
        for place, key in enumerate(self._columns("row")):
            kind += (self.state[key] >= 0).long() << place
        source = generator(seed)
        chosen = torch.multinomial(kind[self._there].bincount().double(), 1, generator=source)
        slots = (self._there & (kind == chosen)).nonzero()[:, 0]
        order = torch.randperm(len(slots), generator=source)
        return slots[order[:rows]]

    def take(self, slots: Tensor, role: str = "row") -> Batch:
        """Return what is remembered in these slots: a batch of weight 1, group 0 and epoch -1."""
        found = {key.rpartition(".")[2]: self.state[key][slots] for key in self._columns(role)}
        item = {m: numbers.to(self.device) for m, numbers in found.items() if (numbers >= 0).any()}
        features = {m: self._features[f"item.{role}.{m}"][slots.to(self.device)] for m in item}
        ones = torch.ones(len(slots), device=self.device)
        present = {m: numbers >= 0 for m, numbers in item.items()}
        return Batch(features, present, item, torch.zeros_like(ones, dtype=torch.int64), ones, epoch=-1)

    def scores(self, slots: Tensor) -> dict[str, Tensor]:
        """Return the scores in these slots {name: (K,)}."""
        named = {key.partition(".")[2]: t for key, t in self.state.items() if key.startswith("score.")}
        return {name: t[slots].to(self.device) for name, t in named.items()}

    def _columns(self, role: str) -> list[str]:
        return sorted(key for key in self.state if key.startswith(f"item.{role}{'.' if role else ''}"))

    def _resize(self) -> None:
        """Fit what an earlier lesson left into the slots of this one: some go, or empty ones come."""
        columns = [key for key in self.state if key != "seen"]
        before = len(self.state[columns[0]]) if columns else self.size
        if before == self.size:
            return
        kept = torch.randperm(before, generator=generator(f"{before} {int(self.state['seen'])} resize"))
        for key in columns:
            fill = -1 if key.startswith("item.") else 0
            grown = self.state[key].new_full((max(self.size - before, 0),), fill)
            order = kept[: self.size].sort().values
            self.state[key] = torch.cat([self.state[key][order], grown])


def generator(seed: str) -> torch.Generator:
    """Return a generator seeded by a text."""
    digest = blake2b(seed.encode(), digest_size=7).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big"))


def lookup(past: Past, modality: Modality, numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Return the features of items (N,), which may be absent (-1), and of which there are any.

    Returns:
        Features (N, D), zeros where there are none, and whether there are some (N,); D is 0 if none has any.
    """
    wanted = sorted(set(numbers[numbers >= 0].tolist()))
    found = past.recall(modality, wanted)
    known = torch.tensor([number for number in wanted if number in found], dtype=torch.int64)
    if not len(known):
        return torch.zeros(len(numbers), 0), torch.zeros(len(numbers), dtype=torch.bool)
    table = torch.stack([found[number].cpu() for number in known.tolist()])
    place = torch.searchsorted(known, numbers).clamp_max(len(known) - 1)
    right = known[place] == numbers
    return table[place] * right[:, None], right


def pick(batch: Batch, rows: Tensor) -> Batch:
    """Return these rows of a batch (K,)."""
    rows = rows.to(batch.weight.device)
    return replace(
        batch,
        features={m: t[rows] for m, t in batch.features.items()},
        present={m: t[rows] for m, t in batch.present.items()},
        item={m: t[rows] for m, t in batch.item.items()},
        group=batch.group[rows],
        weight=batch.weight[rows],
        fixed={m: t[rows] for m, t in batch.fixed.items()},
    )


def own_rows(batch: Batch) -> Batch:
    """Return the rows that are learned from: those of weight 0 are somebody's negatives."""
    return pick(batch, (batch.weight > 0).nonzero()[:, 0])


def check_least(name: str, value: float, least: int, why: str = "") -> None:
    """Refuse a hyper-parameter below the least it may be."""
    if not value >= least:
        raise UserError(f"{name} must be at least {least}, not {value}{why and ': '}{why}")


def check_above(name: str, value: float, bound: float) -> None:
    """Refuse a hyper-parameter that is not above a bound."""
    if not value > bound:
        raise UserError(f"{name} must be above {bound}, not {value}")
