"""A shard searched: a proposer names candidates in float32, their cosines in float64 decide.

So one query or many, BLAS or not, CPU or GPU give the same ids in the same order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from engine import ids as item_ids
from engine.errors import UserError
from engine.ids import Ids
from engine.ranking.fusion import DECIMALS, Candidates, Numbers, Scores, log_partition
from engine.types import ItemId, ShardKey

MARGIN = 8
"""Candidates beyond k that are asked for."""

SLACK = 4e-6
"""Twice the most that a proposed score may stray from the exact one; in float32 it is below 1e-6 at E = 512."""

SAMPLE = 512
"""Items that stand for all others in a shard's partition; a shard of no more than these is exact."""

QUERY_BLOCK = 8192
"""Queries whose cosines with the sample are held at a time."""

BLOCK_NUMBERS = 1 << 23
"""Numbers that the exact products may hold at a time (64 MiB)."""

FEW = 2
"""So few queries for each thread are faster a vector at a time than by blocks in BLAS (benchmarks.queries)."""

FEW_THREADS = 2
"""More threads were not measured: there BLAS multiplies all blocks."""

Vectors = NDArray[np.float32]
Rows = NDArray[np.int64]


class Proposer(Protocol):
    """Whatever finds near vectors fast."""

    def propose(self, queries: Vectors, n: int) -> tuple[Vectors, Rows]:
        """Return the scores (Q, n) and rows (Q, n) of the n vectors nearest to each query (Q, E), best first.

        Args:
            n: 1 to N. No row is proposed twice for a query, and no score strays by more than half of SLACK.
        """


@dataclass(frozen=True)
class Flat:
    """Inner products of queries with all vectors (N, E), in the memory or the file that these lie in."""

    vectors: Vectors

    def propose(self, queries: Vectors, n: int) -> tuple[Vectors, Rows]:
        """Return the scores (Q, n) and rows (Q, n) of the n nearest vectors to each query (Q, E), best first."""
        faiss, queries = load_faiss(), np.ascontiguousarray(queries)
        assert queries.shape[1] == self.vectors.shape[1]  # FAISS would read past the end
        scores, rows = np.empty((len(queries), n), np.float32), np.empty((len(queries), n), np.int64)
        threads = faiss.omp_get_max_threads()
        few = len(queries) <= FEW * threads <= FEW * FEW_THREADS
        faiss.knn_inner_product(
            faiss.swig_ptr(queries),
            faiss.swig_ptr(self.vectors),
            self.vectors.shape[1],
            len(queries),
            len(self.vectors),
            n,
            faiss.swig_ptr(scores),
            faiss.swig_ptr(rows),
            # with a selector FAISS goes vector by vector in this call; its threshold would set that for all threads
            faiss.IDSelectorAll() if few else None,
        )
        return scores, rows


@dataclass(frozen=True)
class Shard:
    """The embeddings of one task and modality by one head, in the order of item ids.

    Attributes:
        ids: item ids (N,), or numbers that stand in their order.
        vectors: unit rows (N, E), read only.
    """

    key: ShardKey
    ids: Ids | Numbers
    vectors: Vectors
    proposer: Proposer

    def search(self, queries: Vectors, k: int) -> Candidates:
        """Return the k best items for each query (Q, E), ties ordered by item id."""
        n = len(self.ids)
        k, width = min(k, n), min(k + MARGIN, n)
        rows = np.empty((len(queries), k), np.int64)
        scores = np.empty(rows.shape, np.float64)
        open_queries = np.arange(len(queries))
        while len(open_queries):
            near, proposed = self.proposer.propose(queries[open_queries], width)
            # else a row that was not proposed may tie with the k-th
            settled = (near[:, -1] < near[:, k - 1] - SLACK) | (width == n)
            done = open_queries[settled]
            scores[done], rows[done] = self._best(queries[done], proposed[settled], k)
            open_queries, width = open_queries[~settled], min(n, 4 * width)
        return Candidates(scores, self.ids[rows])

    def log_partition(self, queries: Vectors, tau: float, best: Scores) -> Scores:
        """Return log of the sum over all items of exp(cosine / tau), for each query (Q, E): (Q,).

        Args:
            best: the cosines of the nearest items (Q, n), as the search found them.
        """
        # an id is a digest, so the first ones are a fair sample
        sample, log_z = self.vectors[:SAMPLE].astype(np.float64), np.empty(len(queries))
        for start in range(0, len(queries), QUERY_BLOCK):
            block = slice(start, start + QUERY_BLOCK)
            sampled = queries[block].astype(np.float64) @ sample.T
            log_z[block] = log_partition(len(self.ids), best[block], sampled, tau)
        return log_z

    def _best(self, queries: Vectors, proposed: Rows, k: int) -> tuple[Scores, Rows]:
        """Return the exact cosines (Q, k) and rows (Q, k) of the k best of the proposed rows (Q, n)."""
        exact = cosines(self.vectors, queries, proposed)
        # rows stand in the order of item ids, so a smaller row is a smaller id
        order = np.lexsort((proposed, -exact.round(DECIMALS)), axis=1)[:, :k]
        return np.take_along_axis(exact, order, 1), np.take_along_axis(proposed, order, 1)


def cosines(vectors: Vectors, queries: Vectors, rows: Rows) -> Scores:
    """Return the exact cosines (Q, n) of queries (Q, E) with those of the vectors (N, E) that rows (Q, n) name."""
    exact = np.empty(rows.shape, np.float64)
    at_once = max(1, BLOCK_NUMBERS // vectors.shape[1])
    step = max(1, at_once // max(1, rows.shape[1]))
    for start in range(0, len(rows), step):
        block = slice(start, start + step)
        block_queries = queries[block].astype(np.float64)
        for left in range(0, rows.shape[1], at_once):
            part = slice(left, left + at_once)
            candidates = vectors[rows[block, part]].astype(np.float64)
            # not by BLAS, whose last digits depend on how many queries there are
            exact[block, part] = np.einsum("qe,qne->qn", block_queries, candidates)
    return exact.clip(-1, 1)  # rows are of length 1 to seven digits only


def build_shard(key: ShardKey, ids: Sequence[ItemId], vectors: Vectors) -> Shard:
    """Return a shard of embeddings (N, E), given in the order of their ids and not to be changed afterwards."""
    if not np.isfinite(vectors).all():
        raise UserError(f"head v{key.head:04d} gives no finite embeddings for {key.task} {key.modality}")
    unit = np.ascontiguousarray(vectors).view()
    unit.flags.writeable = False
    return Shard(key, item_ids.encode(ids), unit, Flat(unit))


def load_faiss() -> Any:
    """Import FAISS, set to multiply blocks by BLAS whenever it may choose."""
    try:
        import faiss
    except ModuleNotFoundError:
        raise UserError("no FAISS installed: pip install 'mneme[cpu]' or 'mneme[gpu]'") from None
    # left to itself, it compares 8 to 249 queries a vector at a time, which is 16 times slower
    faiss.cvar.distance_compute_blas_threshold = 1
    return faiss
