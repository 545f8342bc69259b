"""Which items are right for which queries: those that share a pair with them, or a label."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from engine.ids import Ids
from engine.ranking.fusion import Numbers
from engine.types import ItemId, Modality, Pair, Relevance

BLOCK = 1024


@dataclass(frozen=True)
class Qrels:
    """The tags of every item, a tag being a pair or a label: what shares a tag is right.

    Attributes:
        ids: all items, sorted (N,).
        tags: 0 or 1 (N, tags).
    """

    ids: Ids
    tags: "sparse.csr_array[np.int32]"

    def right(self, queries: Ids, found: Ids | Numbers) -> NDArray[np.bool_]:
        """Say for queries (Q,) and what was found for them (Q, K), as ids or their numbers, which is right."""
        asked = np.repeat(self.rows(queries), found.shape[1])
        shared = self.tags[asked].multiply(self.tags[self.rows(found.reshape(-1))]).sum(axis=1)
        return np.asarray(shared > 0).reshape(found.shape)

    def count(self, queries: Ids, gallery: Ids) -> NDArray[np.int64]:
        """Return how many items of the gallery (N,) are right for each query (Q,)."""
        counts = [shared.sum(axis=1) for shared in self._shared(queries, gallery)]
        return np.concatenate([np.zeros(0, np.int64), *counts]).astype(np.int64)

    def matches(self, queries: Ids, gallery: Ids) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return the places (M,) in queries and (M,) in the gallery of every two that are right for each other."""
        rows, columns = [np.zeros(0, np.intp)], [np.zeros(0, np.intp)]
        for block, shared in enumerate(self._shared(queries, gallery)):
            there = shared.nonzero()
            rows.append(block * BLOCK + there[0])
            columns.append(there[1])
        return np.concatenate(rows), np.concatenate(columns)

    def _shared(self, queries: Ids, gallery: Ids) -> "Iterator[sparse.csr_array[np.bool_]]":
        """Yield whether queries and gallery share a tag (BLOCK, N), a block of queries at a time."""
        held = self.tags[self.rows(gallery)].T.tocsr()
        asked = self.tags[self.rows(queries)]
        for start in range(0, asked.shape[0], BLOCK):
            yield (asked[start : start + BLOCK] @ held) > 0

    def rows(self, ids: Ids | Numbers) -> Numbers:
        """Return the numbers of ids, which stand in their order; numbers are their own."""
        return ids.astype(np.int64) if ids.dtype.kind == "i" else np.searchsorted(self.ids, ids)


def judge(pairs: Sequence[Pair], relevance: Relevance, modalities: Sequence[Modality]) -> Qrels:
    """Learn from all pairs, of whatever task and split, what is right for what.

    Args:
        relevance: pair: right where one pair holds both; label: where their pairs share a label.
        modalities: only the items of these modalities.
    """
    named: dict[str, int] = {}
    stood: list[tuple[ItemId, int]] = []
    for pair in pairs:
        tags = (pair.key,) if relevance == "pair" else pair.labels
        numbers = [named.setdefault(tag, len(named)) for tag in tags]
        items = [id for modality in modalities for id in pair.items.get(modality, ())]
        stood += [(id, number) for id in items for number in numbers]
    every = sorted({id for pair in pairs for m in modalities for id in pair.items.get(m, ())})
    ids = np.array(every, np.bytes_)
    rows = np.searchsorted(ids, np.array([id for id, _ in stood], np.bytes_))
    columns = np.array([number for _, number in stood], np.intp)
    tags_of = sparse.csr_array((np.ones(len(stood), np.int32), (rows, columns)), (len(ids), len(named)))
    return Qrels(ids, tags_of)
