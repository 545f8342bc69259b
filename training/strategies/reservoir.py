"""A memory of rows of fixed size: their item numbers are kept, their features looked up."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from training.batch import Batch, seeded
from training.data.history import PastTasks, stored_features

ABSENT = -1
"""The number of an item that a row lacks, or that an empty slot holds."""


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

    past: PastTasks
    size: int
    state: dict[str, Tensor]
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    _features: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False)
    _usable: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.state.setdefault("seen", torch.tensor(0))
        _fit(self.state, self.size)
        self._usable = torch.zeros(self.size, dtype=torch.bool)
        for key in self._columns("row"):
            self._usable |= self.state[key] >= 0
        for key in self._columns():
            numbers = self.state[key]
            features, is_stored = stored_features(self.past, key.split(".", 2)[2], numbers)
            self._usable &= is_stored | (numbers < 0)
            if is_stored.any():
                self._features[key] = features.to(self.device)

    def __len__(self) -> int:
        return int(self._usable.sum())

    def admit(self, count: int, seed: int) -> tuple[Tensor, Tensor]:
        """Let the next rows of the stream come by.

        Returns:
            The slots that are written (K,), and which of the `count` rows goes into each (K,).
        """
        seen = int(self.state["seen"])
        self.state["seen"] = torch.tensor(seen + count)
        row = torch.arange(count)
        share = torch.rand(count, generator=seeded(f"{seed} {seen} admit"), dtype=torch.float64)
        slot = torch.where(row + seen < self.size, row + seen, (share * (row + seen + 1)).long())
        admitted = slot < self.size
        # of the rows that hit one slot the last stays, as if they had come one by one
        last = torch.full((self.size,), -1).scatter_reduce(0, slot[admitted], row[admitted], "amax")
        slots = (last >= 0).nonzero()[:, 0]
        return slots, last[slots]

    def put(self, slots: Tensor, entry: Mapping[str, Batch], scores: Mapping[str, Tensor]) -> None:
        """Write entries (K,) into slots.

        Args:
            entry: rows by role, at least "row", K of each.
            scores: {name: (K,)}.
        """
        items = {f"item.{role}.{m}": rows.item[m].cpu() for role, rows in entry.items() for m in rows.item}
        for key in {*self._columns(), *items}:
            numbers = items.get(key, torch.full_like(slots, ABSENT))
            column = self.state.get(key, torch.full((self.size,), ABSENT))
            self.state[key] = column.index_copy(0, slots, numbers)
        for name, score in scores.items():
            column = self.state.get(f"score.{name}", torch.zeros(self.size))
            self.state[f"score.{name}"] = column.index_copy(0, slots, score.to(column))
        for role, rows in entry.items():
            for m, x in rows.features.items():
                table = self._features.setdefault(f"item.{role}.{m}", x.new_zeros(self.size, x.shape[1]))
                table.index_copy_(0, slots.to(x.device), x)
        self._usable[slots] = True

    def draw(self, rows: int, seed: str) -> Tensor:
        """Return the slots of at most `rows` entries of one set of modalities, drawn by its share of all."""
        if not len(self):
            return torch.zeros(0, dtype=torch.int64)
        kind = torch.zeros(self.size, dtype=torch.int64)  # one bit a modality
        for bit, key in enumerate(self._columns("row")):
            kind += (self.state[key] >= 0).long() << bit
        generator = seeded(seed)
        chosen = torch.multinomial(kind[self._usable].bincount().double(), 1, generator=generator)
        slots = (self._usable & (kind == chosen)).nonzero()[:, 0]
        order = torch.randperm(len(slots), generator=generator)
        return slots[order[:rows]]

    def take(self, slots: Tensor, role: str = "row") -> Batch:
        """Return what is remembered in these slots: a batch of a memory, of weight 1 and group 0."""
        numbers = {key.split(".", 2)[2]: self.state[key][slots] for key in self._columns(role)}
        item = {m: column.to(self.device) for m, column in numbers.items() if (column >= 0).any()}
        features = {m: self._features[f"item.{role}.{m}"][slots.to(self.device)] for m in item}
        ones = torch.ones(len(slots), device=self.device)
        present = {m: column >= 0 for m, column in item.items()}
        return Batch(features, present, item, torch.zeros_like(ones).long(), ones, is_memory=True)

    def scores(self, slots: Tensor) -> dict[str, Tensor]:
        """Return the scores in these slots {name: (K,)}."""
        columns = {key.partition(".")[2]: t for key, t in self.state.items() if key.startswith("score.")}
        return {name: column[slots].to(self.device) for name, column in columns.items()}

    def _columns(self, role: str | None = None) -> list[str]:
        """Return the keys of the item numbers of one role, or of all of them."""
        prefix = "item." if role is None else f"item.{role}."
        return sorted(key for key in self.state if key.startswith(prefix))


def _fit(state: dict[str, Tensor], size: int) -> None:
    """Fit what an earlier lesson left into so many slots: some entries go, or empty slots come."""
    columns = [key for key in state if key != "seen"]
    before = len(state[columns[0]]) if columns else size
    if before == size:
        return
    order = torch.randperm(before, generator=seeded(f"{before} {int(state['seen'])} resize"))
    kept = order[:size].sort().values
    for key in columns:
        empty = ABSENT if key.startswith("item.") else 0
        added = state[key].new_full((max(size - before, 0),), empty)
        state[key] = torch.cat([state[key][kept], added])
