"""What head versions make of stored items, in their own space or mapped to another's."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
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

MOST_FITTED = 4096
"""Most rows that a map between spaces is fitted on."""

MOST_BYTES = 768 << 20
"""Of features and embeddings that are kept in memory."""

Vectors = NDArray[np.float32]


@dataclass
class EmbeddingCache:
    """Embeddings of stored items, by any head version; where features were removed, by that of their task.

    Attributes:
        fitting_items: the items of a modality that a map to the space of a version is fitted on.
    """

    embedder: Embedder
    store: Store
    fitting_items: Callable[[Modality, int], Sequence[ItemId]]
    _rows: LruCache = field(default_factory=lambda: LruCache(MOST_BYTES, lambda rows: rows.nbytes))
    _maps: dict[tuple[Modality, int, int], alignment.Map] = field(default_factory=dict)
    _sealed: dict[tuple[Modality, int], list[Shard]] = field(default_factory=dict)

    def width(self, modality: Modality) -> int:
        """Return the width D of a modality's features."""
        return self.embedder.workspace.manifest.backbones[modality].width

    def features(self, modality: Modality, ids: Sequence[ItemId]) -> Vectors:
        """Return the frozen features (N, D) of items; read only."""
        backbone = self.embedder.workspace.manifest.backbones[modality].id
        return self._rows.get(
            (modality, _digest(ids)), lambda: _read_only(self.store.features(ids, backbone))
        )

    def embed(
        self, modality: Modality, ids: Sequence[ItemId], head: int, space: int | None = None
    ) -> Vectors:
        """Return the unit embeddings (N, E) of items by a head version; read only.

        Args:
            space: the version in whose space they are to lie; None: the head's own.
        """
        lies = head if space is None else space
        return self._rows.get(
            (modality, _digest(ids), head, lies), lambda: _read_only(self._embed(modality, ids, head, lies))
        )

    def seconds(self, modality: Modality, ids: Sequence[ItemId], head: int, space: int) -> float:
        """Return how long items take to be read, embedded and mapped where only heads and maps are known yet."""
        cold = EmbeddingCache(self.embedder, self.store, self.fitting_items)
        began = time.perf_counter()
        rows = cold.embed(modality, ids, head)
        if space != head:
            self._move(modality, rows, head, space)
        return time.perf_counter() - began

    def map_between(self, modality: Modality, old: int, new: int) -> alignment.Map:
        """Return the map (E, E) from one version's space to another's: exact where there is one, else fitted."""
        key = (modality, old, new)
        if key not in self._maps:
            before, after = (self.embedder.head(version, modality) for version in (old, new))
            exact = alignment.exact(before, after, modality)
            self._maps[key] = self._fit(modality, old, new) if exact is None else exact
        return self._maps[key]

    def _fit(self, modality: Modality, old: int, new: int) -> alignment.Map:
        # an id is a digest, so the first ones are a fair sample
        ids = sorted(self.fitting_items(modality, new))[:MOST_FITTED]
        if not ids:
            raise UserError(
                f"no {modality} features are left to fit a map from head v{old:04d} to v{new:04d} on: take "
                "matched or no-reindex, or run `mneme index` on a source again"
            )
        return alignment.fit(self.embed(modality, ids, old), self.embed(modality, ids, new))

    def _move(self, modality: Modality, rows: Vectors, head: int, space: int) -> Vectors:
        """Return embeddings (N, E) by one head as they lie in the space of another."""
        moved: Vectors = alignment.moved(rows, self.map_between(modality, head, space)).astype(np.float32)
        return moved

    def _embed(self, modality: Modality, ids: Sequence[ItemId], head: int, space: int) -> Vectors:
        if space != head:
            return self._move(modality, self.embed(modality, ids, head), head, space)
        blocks = [ids[start : start + BLOCK] for start in range(0, len(ids), BLOCK)]
        return np.concatenate([self._embed_block(modality, block, head) for block in blocks])

    def _embed_block(self, modality: Modality, ids: Sequence[ItemId], head: int) -> Vectors:
        """Return embeddings (N, E) from features, or where these were removed from the vectors that were kept."""
        gone = self.store.lacking(ids) if self.embedder.workspace.manifest.sealed else set()
        if not gone:
            return self.embedder.embed(head, modality, self.features(modality, ids))
        rows = np.empty((len(ids), self.embedder.workspace.manifest.width), np.float32)
        is_filled, wanted = np.array([id not in gone for id in ids]), item_ids.encode(ids)
        if is_filled.any():
            stored = [id for id in ids if id not in gone]
            rows[is_filled] = self.embedder.embed(head, modality, self.features(modality, stored))
        for shard in self._sealed_shards(modality, head):
            row = np.searchsorted(shard.ids, wanted).clip(max=len(shard.ids) - 1)
            is_here = ~is_filled & (shard.ids[row] == wanted)
            rows[is_here] = shard.vectors[row[is_here]]
            is_filled |= is_here
        if not is_filled.all():
            raise UserError(
                f"the features of {int((~is_filled).sum())} {modality} items were removed, and head v{head:04d} "
                "cannot embed them: run `mneme index` on their source again"
            )
        return rows

    def _sealed_shards(self, modality: Modality, head: int) -> list[Shard]:
        """Return the vectors by a head of those tasks whose features were removed."""
        if (modality, head) not in self._sealed:
            workspace = self.embedder.workspace
            backbone = workspace.manifest.backbones[modality].id
            self._sealed[modality, head] = [
                shards.read(workspace.shard(shard.path), shard.key, backbone)
                for sealed in workspace.manifest.sealed.values()
                for shard in sealed.shards
                if (shard.key.modality, shard.key.head) == (modality, head)
            ]
        return self._sealed[modality, head]


def embedding_cache(embedder: Embedder, store: Store, pairs: Sequence[Pair]) -> EmbeddingCache:
    """Return a cache whose maps are fitted on the training items that their newer version knew.

    Where there are none it takes all training items, and where there are none of these all items.
    """

    def fitting_items(modality: Modality, version: int) -> list[ItemId]:
        history = embedder.workspace.manifest.history
        known = {lesson.task for lesson in history.lessons if lesson.head <= version}
        training = [pair for pair in pairs if pair.split == "train"]
        for candidates in ([pair for pair in training if pair.task in known], training, pairs):
            ids = {id for pair in candidates for id in pair.items.get(modality, ())}
            if ids:
                return sorted(ids)
        return []

    return EmbeddingCache(embedder, store, fitting_items)


def _read_only(rows: Vectors) -> Vectors:
    rows.flags.writeable = False
    return rows


def _digest(ids: Sequence[ItemId]) -> bytes:
    return blake2b("".join(ids).encode(), digest_size=16).digest()
