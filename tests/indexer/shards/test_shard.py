import sys
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

from engine.errors import UserError
from engine.ranking import fusion
from indexer.shards import shard as shards
from indexer.shards.shard import Flat, build_shard, cosines, load_faiss
from unit_rows import KEY, E, Vectors, crowded, ids, shard_of, unit


def brute(vectors: Vectors, query: Vectors, k: int) -> list[bytes]:
    """Rank every row in float64, ties by id."""
    scores = [round(float(query.astype(np.float64) @ row.astype(np.float64)), 9) for row in vectors]
    order = sorted(range(len(vectors)), key=lambda n: (-scores[n], n))
    return [ids(len(vectors))[n].encode() for n in order[:k]]


@pytest.mark.parametrize("k", [1, 3, 10, 41, 199, 200, 500])
def test_search_equals_brute_force(k: int) -> None:
    vectors = crowded()
    candidates = shard_of(vectors).search(unit(1, 9), k)
    assert candidates.ids[0].tolist() == brute(vectors, unit(1, 9)[0], k)


def test_search_for_a_row_that_stands_40_times_lists_its_copies_by_id() -> None:
    vectors = crowded()
    candidates = shard_of(vectors).search(vectors[:1], 10)
    assert candidates.ids[0].tolist() == brute(vectors, vectors[0], 10)


@dataclass
class Scripted:
    """A proposer of given scores (N,) whatever the query: the largest row first among ties.

    Attributes:
        asked: how many rows (n) it was asked for, call by call.
    """

    scores: NDArray[np.floating]
    asked: list[int] = field(default_factory=list)

    def propose(self, queries: Vectors, n: int) -> tuple[Vectors, NDArray[np.int64]]:
        self.asked.append(n)
        order = np.lexsort((-np.arange(len(self.scores)), -self.scores))[:n]
        scores = self.scores[order].astype(np.float32)
        return np.tile(scores, (len(queries), 1)), np.tile(order, (len(queries), 1))


@pytest.mark.parametrize("k", [1, 5, 32, 60])
def test_ties_beyond_the_margin_are_all_proposed_before_any_is_chosen(k: int) -> None:
    vectors = crowded()
    proposer = Scripted((vectors @ vectors[0]).round(6))
    candidates = replace(shard_of(vectors), proposer=proposer).search(vectors[:1], k)
    assert candidates.ids[0].tolist() == brute(vectors, vectors[0], k)


def angled(exact: list[float]) -> Vectors:
    """Return unit rows (N, 2) of these cosines with the first axis."""
    across = np.array(exact)
    return np.stack([across, np.sqrt(1 - across**2)], axis=1).astype(np.float32)


def test_a_proposer_that_strays_by_nearly_half_the_slack_changes_no_ranking() -> None:
    exact = [0.5, 0.5 - 1e-7, *[0.5 - 3.7e-6] * 8, *[0.4] * 30]
    strayed = np.array([0.5 - 1.9e-6, 0.5 + 1.8e-6, *[0.5 - 1.8e-6] * 8, *[0.4] * 30])
    shard = replace(shard_of(angled(exact)), proposer=Scripted(strayed))
    candidates = shard.search(np.array([[1, 0]], np.float32), 1)
    assert candidates.ids[0].tolist() == [ids(1)[0].encode()]


@pytest.mark.parametrize(("total", "asked"), [(100, 13), (9, 9)])
def test_where_nothing_ties_a_proposer_is_asked_once_for_few_beyond_k(total: int, asked: int) -> None:
    exact = np.linspace(0.9, 0.1, total)
    proposer = Scripted(exact)
    shard = replace(shard_of(angled(exact.tolist())), proposer=proposer)
    shard.search(np.array([[1, 0]], np.float32), 5)
    assert proposer.asked == [asked]


def test_only_queries_whose_ties_are_open_are_asked_again() -> None:
    vectors = crowded()
    shard, queries = shard_of(vectors), np.concatenate([unit(3, 9), vectors[:1]])
    alone = [shard.search(query[None], 5) for query in queries]
    assert_array_equal(shard.search(queries, 5).ids, np.concatenate([found.ids for found in alone]))


def test_rows_that_differ_in_the_seventh_digit_are_told_apart() -> None:
    vectors = np.repeat(unit(1), 60, axis=0)
    vectors[50, 0] += np.float32(2e-7) * np.sign(vectors[50, 0])
    candidates = shard_of(vectors).search(vectors[50:51], 60)
    assert candidates.ids[0].tolist() == brute(vectors, vectors[50], 60)


def test_rows_whose_cosines_differ_by_the_order_of_a_sum_only_are_ties() -> None:
    draw = np.random.default_rng(0)
    vectors = draw.permuted(np.repeat(unit(1), 50, axis=0), axis=1)
    query = np.full((1, E), E**-0.5, np.float32)
    assert shard_of(vectors).search(query, 50).ids[0].tolist() == [id.encode() for id in ids(50)]


def test_a_query_of_zeros_lists_items_by_id() -> None:
    candidates = shard_of(unit(50)).search(np.zeros((1, E), np.float32), 5)
    assert candidates.ids[0].tolist() == [id.encode() for id in ids(5)]


def test_a_batch_of_queries_answers_as_each_alone() -> None:
    shard, queries = shard_of(crowded()), unit(60, 4)
    together = shard.search(queries, 7)
    alone = [shard.search(query[None], 7) for query in queries]
    assert_array_equal(together.ids, np.concatenate([one.ids for one in alone]))
    assert_array_equal(together.scores, np.concatenate([one.scores for one in alone]))


def test_queries_that_lie_apart_in_memory_are_answered_as_others() -> None:
    shard, queries = shard_of(crowded()), unit(6, 4)
    assert_array_equal(shard.search(queries[::2], 7).ids, shard.search(queries[::2].copy(), 7).ids)


def test_more_than_there_is_gives_every_row_once() -> None:
    candidates = shard_of(unit(4)).search(unit(2, 1), 10)
    assert [sorted(row) for row in candidates.ids.tolist()] == [[id.encode() for id in ids(4)]] * 2


def test_scores_fall_from_left_to_right() -> None:
    candidates = shard_of(crowded()).search(unit(5, 2), 30)
    assert (np.diff(candidates.scores.round(9), axis=1) <= 0).all()


def test_a_score_is_the_cosine() -> None:
    vectors, queries = unit(9), unit(3, 1)
    candidates = shard_of(vectors).search(queries, 9)
    exact = queries.astype(np.float64) @ vectors.astype(np.float64).T
    np.testing.assert_allclose(candidates.scores, -np.sort(-exact, axis=1), atol=1e-12)


def test_a_score_never_leaves_minus_1_to_1() -> None:
    vectors = np.concatenate([unit(40, 5), -unit(40, 5)])
    candidates = shard_of(vectors).search(vectors, 80)
    assert (np.abs(candidates.scores) <= 1).all()


def test_no_queries_have_no_answers() -> None:
    assert shard_of(unit(4)).search(np.zeros((0, E), np.float32), 3).ids.shape == (0, 3)


def test_embeddings_that_are_no_numbers_are_refused() -> None:
    vectors = unit(4)
    vectors[2, 3] = np.nan
    with pytest.raises(UserError, match=r"^head v0002 gives no finite embeddings for sky image$"):
        shard_of(vectors)


def test_the_vectors_of_a_shard_cannot_be_written_to() -> None:
    with pytest.raises(ValueError, match="read-only"):
        shard_of(unit(9)).vectors[0] = 1.0


@pytest.mark.parametrize("numbers", [1, 64, 1 << 23])
@pytest.mark.parametrize("rows", [5, 400])
def test_cosines_are_those_of_every_row_by_itself(
    rows: int, numbers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "BLOCK_NUMBERS", numbers)
    vectors, queries = unit(rows, 0), unit(9, 1)
    wanted = np.random.default_rng(2).integers(0, rows, (9, 4))
    slow = [[float(vectors[row].astype(float) @ queries[q]) for row in wanted[q]] for q in range(9)]
    # a sum of 16 products near 1 errs by a few units of 1e-16
    assert cosines(vectors, queries, wanted) == pytest.approx(np.array(slow), abs=1e-15)


@pytest.mark.parametrize("candidates", [4, 40])
def test_cosines_hold_few_numbers_at_a_time(candidates: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, multiply = list[int](), np.einsum

    def spied(pattern: str, queries: NDArray[np.float64], rows: NDArray[np.float64]) -> NDArray[np.float64]:
        sizes.append(rows.size)
        product: NDArray[np.float64] = multiply(pattern, queries, rows)
        return product

    monkeypatch.setattr(shards, "BLOCK_NUMBERS", 20 * E)
    monkeypatch.setattr(np, "einsum", spied)
    cosines(unit(50), unit(9, 1), np.random.default_rng(2).integers(0, 50, (9, candidates)))
    assert max(sizes) == 20 * E


# the partition


@pytest.mark.parametrize("rows", [1, 7, 512])
def test_the_log_partition_of_a_small_shard_is_exact(rows: int) -> None:
    shard, queries = shard_of(unit(rows)), unit(5)
    log_z = shard.log_partition(queries, 0.1, shard.search(queries, 10).scores)
    exact = np.log(np.exp(queries.astype(np.float64) @ shard.vectors.T.astype(np.float64) / 0.1).sum(axis=1))
    assert log_z == pytest.approx(exact, abs=1e-6)


@pytest.mark.parametrize("block", [2, 8192])
def test_the_log_partition_of_a_large_shard_is_that_of_the_best_and_of_the_first_512(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "QUERY_BLOCK", block)
    shard, queries = shard_of(unit(700)), unit(5, 1)
    best = shard.search(queries, 10).scores
    sampled = queries.astype(np.float64) @ shard.vectors[:512].T.astype(np.float64)
    expected = fusion.log_partition(700, best, sampled, 0.1)
    # BLAS may add the products of fewer queries in another order
    assert shard.log_partition(queries, 0.1, best) == pytest.approx(expected, abs=1e-12)


def test_a_shard_is_of_the_key_and_ids_it_is_built_of() -> None:
    shard = build_shard(KEY, ids(3), unit(3))
    assert (shard.key, shard.ids.tolist()) == (KEY, [id.encode() for id in ids(3)])


# vectors that are all compared


@pytest.mark.parametrize("queries", [1, 2, 3, 20])
@pytest.mark.parametrize("n", [1, 18, 150, 300])
def test_the_nearest_vectors_are_proposed_best_first(queries: int, n: int) -> None:
    vectors, asked = unit(300), unit(queries, 1)
    scores, rows = Flat(vectors).propose(asked, n)
    exact = asked @ vectors.T
    assert_array_equal(rows, np.argsort(-exact, axis=1)[:, :n])
    # float32 sums of 16 products of at most 1
    np.testing.assert_allclose(scores, np.take_along_axis(exact, rows, 1), atol=1e-6)


@dataclass
class Spied:
    """FAISS's search, noting whether it was handed a selector, without which it multiplies by BLAS."""

    search: Any
    selected: list[bool] = field(default_factory=list)

    def __call__(self, *arguments: Any) -> None:
        self.selected.append(arguments[-1] is not None)
        self.search(*arguments)


@pytest.mark.parametrize(
    ("queries", "threads", "selected"),
    [(1, 1, True), (2, 1, True), (3, 1, False), (1, 2, True), (4, 2, True), (5, 2, False), (1, 3, False)],
)
def test_two_queries_a_thread_on_few_threads_go_vector_by_vector(
    queries: int, threads: int, selected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    faiss = load_faiss()
    spied = Spied(faiss.knn_inner_product)
    monkeypatch.setattr(faiss, "knn_inner_product", spied)
    monkeypatch.setattr(faiss, "omp_get_max_threads", lambda: threads)
    Flat(unit(30)).propose(unit(queries, 1), 4)
    assert spied.selected == [selected]


def test_faiss_multiplies_by_blas_where_it_may_choose() -> None:
    faiss = load_faiss()
    faiss.cvar.distance_compute_blas_threshold = 20
    assert load_faiss().cvar.distance_compute_blas_threshold == 1


def test_queries_of_another_width_are_never_handed_to_faiss() -> None:
    with pytest.raises(AssertionError):
        Flat(unit(30)).propose(unit(4)[:, : E - 1], 3)


def test_without_faiss_one_line_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(
        UserError, match=r"^no FAISS installed: pip install 'mneme\[cpu\]' or 'mneme\[gpu\]'$"
    ):
        load_faiss()
