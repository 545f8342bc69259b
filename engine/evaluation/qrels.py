"""What was retrieved for queries, and which of it is right: what shares a pair with the query, or a label."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from engine.ids import Ids
from engine.ranking.fusion import Numbers, Scores
from engine.types import ItemId, Modality, Pair, Relevance

BLOCK = 1024
"""Queries whose shared tags with a whole gallery are held at a time."""


@dataclass(frozen=True)
class Run:
    """What was retrieved for Q queries (a run, in TREC's sense): the K best items for each, best first.

    Attributes:
        queries: item ids (Q,).
        tasks: the names of all tasks that ask or are searched; the two fields below count in this order.
        task: the number of each query's own task (Q,).
        source: the number of the task (Q, K) whose shard offered each item.
        items: item ids (Q, K), or their numbers in the qrels, which are quicker to merge.
        scores: cosines (Q, K), -inf where nothing more was retrieved; the other fields mean nothing there.
        log_p: log p(item | q) (Q, K), by which the run is ordered; None where it is by cosine.
    """

    queries: Ids
    tasks: Sequence[str]
    task: NDArray[np.intp]
    source: NDArray[np.intp]
    items: Ids | Numbers
    scores: Scores
    log_p: Scores | None = None

    @property
    def retrieved(self) -> NDArray[np.bool_]:
        """Which places (Q, K) hold an item."""
        return np.isfinite(self.scores)

    @property
    def from_other_tasks(self) -> NDArray[np.bool_]:
        """Which places (Q, K) hold an item that another task's shard offered."""
        others: NDArray[np.bool_] = self.source != self.task[:, None]
        return others & self.retrieved

    def by_task(self) -> dict[str, "Run"]:
        """Return the run of each task that has queries in it."""
        return {self.tasks[number]: self.of_task(self.tasks[number]) for number in np.unique(self.task)}

    def of_task(self, task: str) -> "Run":
        """Return the run of those queries that belong to one task."""
        rows = self.task == self.tasks.index(task)
        return replace(
            self,
            queries=self.queries[rows],
            task=self.task[rows],
            source=self.source[rows],
            items=self.items[rows],
            scores=self.scores[rows],
            log_p=None if self.log_p is None else self.log_p[rows],
        )


@dataclass(frozen=True)
class Qrels:
    """Relevance judgements (TREC's qrels): each item has tags, and items that share a tag are right for each other.

    A tag is a pair or a label. An item's number is its row.

    Attributes:
        ids: all items, sorted (N,).
        tags: 1 where an item has a tag, else 0 (N, tags).
    """

    ids: Ids
    tags: "sparse.csr_array[np.int32]"

    def judge(self, run: Run) -> NDArray[np.bool_]:
        """Say which retrieved items are right (Q, K); where nothing was retrieved, nothing is."""
        return self.right(run.queries, run.items) & run.retrieved

    def right(self, queries: Ids, items: Ids | Numbers) -> NDArray[np.bool_]:
        """Say of K items for each query (Q,), as ids or as numbers (Q, K), which are right (Q, K)."""
        query_tags = self.tags[np.repeat(self.numbers(queries), items.shape[1])]
        shared = query_tags.multiply(self.tags[self.numbers(items.reshape(-1))]).sum(axis=1)
        return np.asarray(shared > 0).reshape(items.shape)

    def count(self, queries: Ids, gallery: Ids) -> NDArray[np.int64]:
        """Return how many items of the gallery (N,) are right for each query (Q,)."""
        counts = [shared.sum(axis=1) for shared in self._shared(queries, gallery)]
        return np.concatenate([np.zeros(0, np.int64), *counts]).astype(np.int64)

    def matches(self, queries: Ids, gallery: Ids) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return the places (M,) in queries and (M,) in the gallery of every two that are right for each other."""
        rows, columns = [np.zeros(0, np.intp)], [np.zeros(0, np.intp)]
        for block, shared in enumerate(self._shared(queries, gallery)):
            in_block, in_gallery = shared.nonzero()
            rows.append(block * BLOCK + in_block)
            columns.append(in_gallery)
        return np.concatenate(rows), np.concatenate(columns)

    def _shared(self, queries: Ids, gallery: Ids) -> "Iterator[sparse.csr_array[np.bool_]]":
        """Yield whether queries and gallery share a tag (BLOCK, N), a block of queries at a time."""
        gallery_tags = self.tags[self.numbers(gallery)].T.tocsr()
        query_tags = self.tags[self.numbers(queries)]
        for start in range(0, query_tags.shape[0], BLOCK):
            yield (query_tags[start : start + BLOCK] @ gallery_tags) > 0

    def numbers(self, items: Ids | Numbers) -> Numbers:
        """Return the numbers of items, which are in the order of their ids; numbers come back as they are."""
        return items.astype(np.int64) if items.dtype.kind == "i" else np.searchsorted(self.ids, items)


def qrels_of(pairs: Sequence[Pair], relevance: Relevance, modalities: Sequence[Modality]) -> Qrels:
    """Return the judgements that follow from pairs, of whatever task and split.

    Args:
        relevance: pair: items of one pair are right for each other; label: items whose pairs share a label.
        modalities: only the items of these modalities.
    """
    column: dict[str, int] = {}
    tagged: list[tuple[ItemId, int]] = []
    for pair in pairs:
        tags = (pair.key,) if relevance == "pair" else pair.labels
        columns = [column.setdefault(tag, len(column)) for tag in tags]
        items = [id for modality in modalities for id in pair.items.get(modality, ())]
        tagged += [(id, number) for id in items for number in columns]
    ids = np.array(
        sorted({id for pair in pairs for m in modalities for id in pair.items.get(m, ())}), np.bytes_
    )
    rows = np.searchsorted(ids, np.array([id for id, _ in tagged], np.bytes_))
    places = (rows, np.array([number for _, number in tagged], np.intp))
    return Qrels(ids, sparse.csr_array((np.ones(len(tagged), np.int32), places), (len(ids), len(column))))
