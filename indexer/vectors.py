"""What head versions make of stored items, in their own space or mapped to another's."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from engine.embed import BLOCK, Embedder
from engine.store import Store
from engine.types import ItemId, Modality, Pair
from indexer import align
from indexer.kept import Kept

SAMPLE = 4096
"""Most rows that a map between spaces is fitted on."""

Vectors = NDArray[np.float32]
MOST_BYTES = 256 << 20


def _kept() -> Kept[Vectors]:
    return Kept(MOST_BYTES, lambda rows: rows.nbytes)


@dataclass
class Reader:
    """Embeddings of stored items, by any version.

    Attributes:
        sample: the items of a modality that a map to the space of a version is fitted on.
    """

    embedder: Embedder
    store: Store
    sample: Callable[[Modality, int], Sequence[ItemId]]
    _kept: Kept[Vectors] = field(default_factory=_kept)
    _maps: dict[tuple[Modality, int, int], align.Map] = field(default_factory=dict)

    def features(self, modality: Modality, ids: Sequence[ItemId]) -> Vectors:
        """Return the frozen features (N, D) of items; not to be written to."""
        backbone = self.embedder.workspace.manifest.backbones[modality].id
        return self._kept.get((modality, _digest(ids)), lambda: _sealed(self.store.features(ids, backbone)))

    def embed(
        self, modality: Modality, ids: Sequence[ItemId], head: int, space: int | None = None
    ) -> Vectors:
        """Return the unit embeddings (N, E) of items by a head, in its own space or in another's; read only."""
        lies = head if space is None else space
        return self._kept.get(
            (modality, _digest(ids), head, lies), lambda: _sealed(self._embed(modality, ids, head, lies))
        )

    def _embed(self, modality: Modality, ids: Sequence[ItemId], head: int, space: int) -> Vectors:
        if space != head:
            return self.move(modality, self.embed(modality, ids, head), head, space)
        blocks = [ids[start : start + BLOCK] for start in range(0, len(ids), BLOCK)]
        return np.concatenate(
            [self.embedder.embed(head, modality, self.features(modality, block)) for block in blocks]
        )

    def move(self, modality: Modality, rows: Vectors, head: int, space: int) -> Vectors:
        """Return embeddings (N, E) by one head as they lie in the space of another."""
        moved: Vectors = align.moved(rows, self.map(modality, head, space)).astype(np.float32)
        return moved

    def width(self, modality: Modality) -> int:
        """Return the width D of a modality's features."""
        return self.embedder.workspace.manifest.backbones[modality].width

    def map(self, modality: Modality, old: int, new: int) -> align.Map:
        """Return the map (E, E) from one version's space to another's."""
        key = (modality, old, new)
        if key not in self._maps:
            before, after = (self.embedder.head(version, modality) for version in (old, new))
            found = align.exact(before, after, modality)
            if found is None:
                # an id is a digest, so the first ones are a fair sample
                ids = sorted(self.sample(modality, new))[:SAMPLE]
                found = align.fit(self.embed(modality, ids, old), self.embed(modality, ids, new))
            self._maps[key] = found
        return self._maps[key]


def _sealed(rows: Vectors) -> Vectors:
    rows.flags.writeable = False
    return rows


def _digest(ids: Sequence[ItemId]) -> bytes:
    return blake2b("".join(ids).encode(), digest_size=16).digest()


def reader(embedder: Embedder, store: Store, pairs: Sequence[Pair]) -> Reader:
    """Return a reader whose maps are fitted on the training items that their newer version knew."""

    def sample(modality: Modality, version: int) -> list[ItemId]:
        history = embedder.workspace.manifest.history
        known = {lesson.task for lesson in history.lessons if lesson.head <= version}
        held = [pair for pair in pairs if pair.split == "train"]
        held = [pair for pair in held if pair.task in known] or held or list(pairs)
        return sorted({id for pair in held for id in pair.items.get(modality, ())})

    return Reader(embedder, store, sample)
