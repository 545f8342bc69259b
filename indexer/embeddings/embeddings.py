"""What head versions make of stored items, in their own space or mapped to another's."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from engine import ids as item_ids
from engine.errors import UserError
from engine.heads.embedder import BLOCK, Embedder
from engine.storage.store import Store
from engine.types import ItemId, Modality, Pair
from indexer.embeddings import alignment
from indexer.embeddings.lru import LruCache
from indexer.shards import files as shards
from indexer.shards.shard import Shard

SAMPLE = 4096
"""Most rows that a map between spaces is fitted on."""

Vectors = NDArray[np.float32]
MOST_BYTES = 768 << 20


def _kept() -> LruCache:
    return LruCache(MOST_BYTES, lambda rows: rows.nbytes)


@dataclass
class EmbeddingCache:
    """Embeddings of stored items, by any version; where features were removed, by that of their task.

    Attributes:
        sample: the items of a modality that a map to the space of a version is fitted on.
    """

    embedder: Embedder
    store: Store
    sample: Callable[[Modality, int], Sequence[ItemId]]
    _kept: LruCache = field(default_factory=_kept)
    _maps: dict[tuple[Modality, int, int], alignment.Map] = field(default_factory=dict)
    _left: dict[tuple[Modality, int], list[Shard]] = field(default_factory=dict)

    def features(self, modality: Modality, ids: Sequence[ItemId]) -> Vectors:
        """Return the frozen features (N, D) of items; not to be written to."""
        backbone = self.embedder.workspace.manifest.backbones[modality].id
        return self._kept.get(
            (modality, _digest(ids)), lambda: _read_only(self.store.features(ids, backbone))
        )

    def embed(
        self, modality: Modality, ids: Sequence[ItemId], head: int, space: int | None = None
    ) -> Vectors:
        """Return the unit embeddings (N, E) of items by a head, in its own space or in another's; read only."""
        lies = head if space is None else space
        return self._kept.get(
            (modality, _digest(ids), head, lies), lambda: _read_only(self._embed(modality, ids, head, lies))
        )

    def _embed(self, modality: Modality, ids: Sequence[ItemId], head: int, space: int) -> Vectors:
        if space != head:
            return self.move(modality, self.embed(modality, ids, head), head, space)
        blocks = [ids[start : start + BLOCK] for start in range(0, len(ids), BLOCK)]
        return np.concatenate([self._embedded(modality, block, head) for block in blocks])

    def seconds(self, modality: Modality, ids: Sequence[ItemId], head: int, space: int) -> float:
        """Return how long items take to be read and embedded where nothing but the maps is held yet."""
        fresh = replace(self, _kept=_kept())
        began = time.perf_counter()
        fresh.embed(modality, ids, head, space)
        return time.perf_counter() - began

    def move(self, modality: Modality, rows: Vectors, head: int, space: int) -> Vectors:
        """Return embeddings (N, E) by one head as they lie in the space of another."""
        moved: Vectors = alignment.moved(rows, self.map(modality, head, space)).astype(np.float32)
        return moved

    def left(self, modality: Modality, head: int) -> list[Shard]:
        """Return the vectors by a head of those tasks whose features were removed."""
        if (modality, head) not in self._left:
            workspace = self.embedder.workspace
            backbone = workspace.manifest.backbones[modality].id
            self._left[modality, head] = [
                shards.read(workspace.shards / one.path, one.key, backbone)
                for sealed in workspace.manifest.sealed.values()
                for one in sealed.shards
                if (one.key.modality, one.key.head) == (modality, head)
            ]
        return self._left[modality, head]

    def _embedded(self, modality: Modality, ids: Sequence[ItemId], head: int) -> Vectors:
        """Return embeddings (N, E) from features, or where these were removed from kept vectors."""
        gone = self.store.lacking(ids) if self.embedder.workspace.manifest.sealed else set()
        if not gone:
            return self.embedder.embed(head, modality, self.features(modality, ids))
        rows = np.empty((len(ids), self.embedder.workspace.manifest.width), np.float32)
        here, wanted = np.array([id not in gone for id in ids]), item_ids.encode(ids)
        if here.any():
            left = [id for id in ids if id not in gone]
            rows[here] = self.embedder.embed(head, modality, self.features(modality, left))
        for held in self.left(modality, head):
            place = np.searchsorted(held.ids, wanted).clip(max=len(held.ids) - 1)
            found = ~here & (held.ids[place] == wanted)
            rows[found] = held.vectors[place[found]]
            here |= found
        if not here.all():
            raise UserError(
                f"the features of {int((~here).sum())} {modality} items were removed, and head v{head:04d} cannot "
                "embed them: run `mneme index` on their source again"
            )
        return rows

    def width(self, modality: Modality) -> int:
        """Return the width D of a modality's features."""
        return self.embedder.workspace.manifest.backbones[modality].width

    def map(self, modality: Modality, old: int, new: int) -> alignment.Map:
        """Return the map (E, E) from one version's space to another's."""
        key = (modality, old, new)
        if key not in self._maps:
            before, after = (self.embedder.head(version, modality) for version in (old, new))
            found = alignment.exact(before, after, modality)
            if found is None:
                # an id is a digest, so the first ones are a fair sample
                ids = sorted(self.sample(modality, new))[:SAMPLE]
                if not ids:
                    raise UserError(
                        f"no {modality} features are left to fit a map from head v{old:04d} to v{new:04d} on: take "
                        "matched or no-reindex, or run `mneme index` on a source again"
                    )
                found = alignment.fit(self.embed(modality, ids, old), self.embed(modality, ids, new))
            self._maps[key] = found
        return self._maps[key]


def _read_only(rows: Vectors) -> Vectors:
    rows.flags.writeable = False
    return rows


def _digest(ids: Sequence[ItemId]) -> bytes:
    return blake2b("".join(ids).encode(), digest_size=16).digest()


def reader(embedder: Embedder, store: Store, pairs: Sequence[Pair]) -> EmbeddingCache:
    """Return a reader whose maps are fitted on the training items that their newer version knew."""

    def sample(modality: Modality, version: int) -> list[ItemId]:
        history = embedder.workspace.manifest.history
        known = {lesson.task for lesson in history.lessons if lesson.head <= version}
        trained = [pair for pair in pairs if pair.split == "train"]
        for held in ([pair for pair in trained if pair.task in known], trained, pairs):
            ids = {id for pair in held for id in pair.items.get(modality, ())}
            if ids:
                return sorted(ids)
        return []

    return EmbeddingCache(embedder, store, sample)
