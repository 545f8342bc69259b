"""What a policy is given and what it returns: how the items of every task are embedded and searched."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from engine.history import History
from engine.types import ItemId, Modality, ShardKey

ItemsByHead: TypeAlias = Mapping[int, Sequence[ItemId]]
"""Which items of a task each head version embeds; no item stands under two versions."""


@dataclass(frozen=True)
class Placement:
    """How some items of a task are embedded, and by which head they are searched.

    Attributes:
        head: the version that embeds the items.
        space: the version in whose space their embeddings then lie: `head`, unless they are mapped.
        queries: the version that embeds the queries.
        items: which items, sorted; None: all of the task.
    """

    head: int
    space: int
    queries: int
    items: tuple[ItemId, ...] | None = None

    def key(self, task: str, modality: Modality) -> ShardKey:
        """Return the key of the shard that holds these items of a task."""
        part = "" if self.items is None else blake2b("".join(self.items).encode(), digest_size=4).hexdigest()
        return ShardKey(task, modality, self.head, self.space, part)


Plan: TypeAlias = Mapping[str, tuple[Placement, ...]]
"""For one direction: the placements of every task, in the order the tasks were learned."""


class Statistics(Protocol):
    """What is measured of one direction, for those policies that decide by measurements."""

    def items(self, task: str) -> Sequence[ItemId]:
        """Return the target items of a task, sorted."""
        ...

    def drift(self, task: str, old: int, new: int, items: Sequence[ItemId]) -> NDArray[np.float64]:
        """Return how far items (N,) of a task move from one head version to another: 1 - cosine (N,), 0 to 2."""
        ...

    def likelihood(self, task: str, version: int) -> NDArray[np.float64]:
        """Return log p(partner | q, task) of a task's validation queries (Q,), a version embedding both sides."""
        ...


@dataclass(frozen=True)
class Indexed:
    """What is indexed already of a direction's targets, and how much of it may be embedded again.

    Attributes:
        by_head: of each task, which items each head version embeds; empty where nothing is indexed yet.
        budget: the share of all items that may be embedded again, 0 to 1.
    """

    by_head: Mapping[str, ItemsByHead] = field(default_factory=dict)
    budget: float = 0.0


Policy: TypeAlias = Callable[[History, Statistics, Indexed], Plan]
"""A pure function: what was learned, what is measured, and what is indexed already, to a plan."""
