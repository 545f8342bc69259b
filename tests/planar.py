"""Items in the plane, which heads turn: embeddings whose every cosine can be read off."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from engine import ids as item_ids
from engine.ids import Ids
from engine.types import ItemId, Modality

TURN = 90.0
"""By how many degrees each head version turns its embeddings further than the one before."""


def named(name: str) -> ItemId:
    """Return the id of an item that is called by a letter."""
    return name * item_ids.DIGITS


def ids(names: str) -> Ids:
    """Return the ids of items, each called by a letter."""
    return item_ids.encode([named(name) for name in names])


def letters(items: Ids) -> str:
    """Return the letters by which items are called."""
    return "".join(id.decode()[0] for id in items)


def unit(degrees: Sequence[float]) -> NDArray[np.float32]:
    """Return unit rows (N, 2) at angles."""
    turned = np.radians(np.asarray(degrees, np.float64))
    return np.stack([np.cos(turned), np.sin(turned)], axis=1).astype(np.float32)


@dataclass
class Plane:
    """Stands for an embedding cache.

    Attributes:
        degrees: at which angle features lie and heads put each item, by its letter, before they turn it.
        untrained: where head 0 puts an item, if elsewhere.
        embedded: what was asked for, in order: modality, letters and head.
    """

    degrees: Mapping[str, float]
    untrained: Mapping[str, float] = field(default_factory=dict)
    embedded: list[tuple[Modality, str, int]] = field(default_factory=list)

    def embed(
        self, modality: Modality, ids: Sequence[ItemId], head: int, space: int | None = None
    ) -> NDArray[np.float32]:
        """Return the rows (N, 2) of items by a head; mapped, they lie as the other head puts them."""
        self.embedded.append((modality, "".join(id[0] for id in ids), head))
        degrees = {**self.degrees, **self.untrained} if head == 0 else self.degrees
        turn = TURN * (head if space is None else space)
        return unit([degrees[id[0]] + turn for id in ids])

    def features(self, modality: Modality, ids: Sequence[ItemId]) -> NDArray[np.float32]:
        """Return the features (N, 2)."""
        return unit([self.degrees[id[0]] for id in ids])
