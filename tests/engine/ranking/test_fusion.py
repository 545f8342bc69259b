from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.ranking.fusion import (
    BEST,
    DECIMALS,
    NO_SCORE,
    Candidates,
    Odds,
    Scores,
    ShardQuery,
    TaskPosterior,
    hits,
    log_partition,
    merge,
    rank,
)
from engine.storage.rows import StoredRow
from engine.storage.store import Store
from engine.types import Hit, Item, ShardKey

QUERIES = 6


def part(scores: list[list[float]], ids: list[list[str]]) -> Candidates:
    return Candidates(np.array(scores, np.float64), np.array(ids).astype(np.bytes_))


def random_parts(seed: int, *, missing: float) -> list[Candidates]:
    """Return three shards of few items and few scores, so that many repeat, best first."""
    generator = np.random.default_rng(seed)
    parts = []
    for width in (5, 1, 8):
        numbers = np.argsort(generator.random((QUERIES, 12)), axis=1)[:, :width]
        scores = generator.integers(-4, 5, numbers.shape) / 4
        absent = generator.random(numbers.shape) < missing
        scores = np.where(absent, NO_SCORE, scores)
        ids = np.where(absent, b"", np.char.add(b"item", numbers.astype(np.bytes_)))
        parts.append(Candidates(scores, ids))
    return parts


def slowly(parts: list[Candidates], query: int, k: int) -> list[tuple[float, bytes, int]]:
    """Rank one query: each item once with its best score, of its first part; ties by item id."""
    best: dict[bytes, tuple[float, int]] = {}
    for number, candidates in enumerate(parts):
        for score, id in zip(candidates.scores[query], candidates.ids[query], strict=True):
            if score > NO_SCORE and (id not in best or round(score, DECIMALS) > best[id][0]):
                best[id] = (round(float(score), DECIMALS), number)
    ranked = sorted((-score, id, number) for id, (score, number) in best.items())
    return [(-score, id, number) for score, id, number in ranked[:k]]


def ranked(parts: list[Candidates], query: int, k: int) -> list[tuple[float, bytes, int]]:
    ranking = merge(parts, k)
    rows = zip(ranking.scores[query], ranking.ids[query], ranking.part[query], strict=True)
    return [(float(score), bytes(id), int(number)) for score, id, number in rows if score > NO_SCORE]


@pytest.mark.parametrize("k", [1, 3, 100])
@pytest.mark.parametrize("missing", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_raw_ranks_as_a_slow_loop_does(seed: int, missing: float, k: int) -> None:
    parts = random_parts(seed, missing=missing)
    assert [ranked(parts, q, k) for q in range(QUERIES)] == [slowly(parts, q, k) for q in range(QUERIES)]


def test_an_item_of_two_shards_is_listed_once_with_its_best_score() -> None:
    parts = [part([[0.5, 0.4]], [["a", "b"]]), part([[0.9, 0.1]], [["b", "a"]])]
    assert ranked(parts, 0, 10) == [(0.9, b"b", 1), (0.5, b"a", 0)]


def test_ties_are_ordered_by_item_id_whatever_the_shard() -> None:
    parts = [part([[0.5, 0.5]], [["d", "b"]]), part([[0.5, 0.5]], [["c", "a"]])]
    assert [id for _, id, _ in ranked(parts, 0, 10)] == [b"a", b"b", b"c", b"d"]


def test_scores_that_differ_by_rounding_are_ties() -> None:
    parts = [part([[0.5 + 1e-12]], [["b"]]), part([[0.5]], [["a"]])]
    assert [id for _, id, _ in ranked(parts, 0, 10)] == [b"a", b"b"]


def test_the_order_of_the_shards_changes_no_ranking() -> None:
    parts = random_parts(0, missing=0.2)
    forward, backward = merge(parts, 10), merge(parts[::-1], 10)
    assert np.array_equal(forward.scores, backward.scores)
    assert np.array_equal(forward.ids[forward.scores > NO_SCORE], backward.ids[backward.scores > NO_SCORE])


def test_places_without_a_candidate_come_last() -> None:
    parts = [part([[NO_SCORE, NO_SCORE]], [["", ""]]), part([[-1.0]], [["a"]])]
    assert merge(parts, 3).scores.tolist() == [[-1.0, NO_SCORE, NO_SCORE]]


def test_a_ranking_is_never_longer_than_asked() -> None:
    assert merge(random_parts(0, missing=0.0), 4).ids.shape == (QUERIES, 4)


# by probability


def odds(parts: list[Candidates], tau: float = 0.1, shift: float = 0.0) -> list[Odds]:
    return [Odds(tau, np.full(len(candidates.scores), shift)) for candidates in parts]


def test_equal_odds_rank_as_cosine_does() -> None:
    parts = random_parts(1, missing=0.2)
    plain, routed = merge(parts, 10), merge(parts, 10, odds(parts, shift=-3.0))
    assert np.array_equal(plain.scores, routed.scores)
    assert np.array_equal(plain.part, routed.part)


def test_one_part_ranks_as_cosine_does_whatever_its_odds() -> None:
    parts = random_parts(2, missing=0.0)[:1]
    assert np.array_equal(merge(parts, 9).ids, merge(parts, 9, [Odds(0.3, np.arange(6.0))]).ids)


def test_log_p_is_the_cosine_over_tau_and_shifted() -> None:
    ranking = merge([part([[0.5, 0.2]], [["a", "b"]])], 2, [Odds(0.1, np.array([-7.0]))])
    assert ranking.log_p is not None
    assert ranking.log_p.tolist() == [pytest.approx([-2.0, -5.0])]


def test_the_likelier_shard_comes_first_whatever_its_cosines() -> None:
    parts = [part([[0.9]], [["a"]]), part([[0.1]], [["b"]])]
    ranking = merge(parts, 2, [Odds(0.1, np.array([-20.0])), Odds(0.1, np.array([0.0]))])
    assert ranking.ids.tolist() == [[b"b", b"a"]]
    assert ranking.scores.tolist() == [[0.1, 0.9]]


def test_an_item_of_two_shards_counts_with_its_likeliest() -> None:
    parts = [part([[0.9]], [["a"]]), part([[0.1]], [["a"]])]
    ranking = merge(parts, 2, [Odds(0.1, np.array([-20.0])), Odds(0.1, np.array([0.0]))])
    assert ranking.scores.tolist() == [[0.1, NO_SCORE]]


def test_a_constant_added_to_all_cosines_of_a_shard_changes_no_ranking() -> None:
    rows = np.random.default_rng(0).normal(size=(2, 20, 4)).astype(np.float32) / 4
    queries = np.random.default_rng(1).normal(size=(QUERIES, 4)).astype(np.float32) / 4
    names = np.char.add("item", np.arange(40).reshape(2, 20).astype(str)).astype(np.bytes_)

    def ranking(added: float) -> list[list[bytes]]:
        parts, shifts = [], []
        for number in range(2):
            cosines = (queries @ rows[number].T).astype(np.float64) + added * number
            order = np.argsort(-cosines, axis=1)
            parts.append(Candidates(np.take_along_axis(cosines, order, 1), names[number][order]))
            log_z = np.log(np.exp(cosines / 0.1).sum(axis=1))
            shifts.append(Odds(0.1, -log_z))
        ids: list[list[bytes]] = merge(parts, 40, shifts).ids.tolist()
        return ids

    assert ranking(0.0) == ranking(0.7)


def partition(cosines: NDArray[np.float64], sample: int, tau: float = 0.07) -> NDArray[np.float64]:
    """Return the log partition of cosines (Q, N) by their ten best and the first so many."""
    best = -np.sort(-cosines, axis=1)[:, :BEST]
    return log_partition(cosines.shape[1], best, cosines[:, :sample], tau)


def test_the_log_partition_of_a_sample_of_all_is_exact() -> None:
    cosines = np.random.default_rng(0).uniform(-1, 1, (QUERIES, 40))
    assert partition(cosines, 40) == pytest.approx(np.log(np.exp(cosines / 0.07).sum(axis=1)), abs=1e-12)


@pytest.mark.parametrize("matching", [0.0, 0.02, 0.3])
def test_the_log_partition_is_near_the_exact_one_however_cosines_are_distributed(matching: float) -> None:
    draw = np.random.default_rng(0)
    cosines = draw.normal(0, 0.1, (50, 20_000)) + 0.5 * (draw.random((50, 20_000)) < matching)
    error = partition(cosines, 512) - np.log(np.exp(cosines / 0.07).sum(axis=1))
    normal = np.log(20_000) + cosines.mean(axis=1) / 0.07 + cosines.var(axis=1) / (2 * 0.07**2)
    closed = normal - np.log(np.exp(cosines / 0.07).sum(axis=1))
    assert np.sqrt((error**2).mean()) < 0.5
    assert matching == 0 or np.abs(closed).mean() > 3 * np.abs(error).mean()


def test_the_best_items_count_as_they_are_though_no_sample_holds_them() -> None:
    cosines = np.full((1, 1000), -0.2)
    cosines[0, -1] = 0.9
    expected = np.log(np.exp(cosines / 0.07).sum(axis=1))
    assert partition(cosines, 100) == pytest.approx(expected, abs=1e-9)


def test_the_log_partition_of_items_that_are_all_alike_needs_no_sample_of_the_others() -> None:
    assert partition(np.full((2, 1000), 0.8), 100, 0.5) == pytest.approx([np.log(1000) + 0.8 / 0.5] * 2)


def test_a_sharp_temperature_does_not_overflow() -> None:
    assert partition(np.full((1, 30), 1.0), 30, 1e-4) == pytest.approx([np.log(30) + 1e4])


def test_items_below_the_best_by_more_than_rounding_count_among_the_others() -> None:
    below = np.array([[0.5 - 5e-8, -1.0]])
    expected = 0.5 / 1e-7 + np.log(1 + 999 * np.exp(-0.5) / 2)
    assert log_partition(1000, np.array([[0.5]]), below, 1e-7) == pytest.approx([expected], abs=1e-6)


def test_the_worst_of_the_best_counts_once_though_the_sample_has_it_a_rounding_lower() -> None:
    sample = np.array([[0.5 - 1e-12, 0.5 - 1e-7]])
    expected = 0.5 / 1e-7 + np.log(1 + 999 * np.exp(-1))
    assert log_partition(1000, np.array([[0.5]]), sample, 1e-7) == pytest.approx([expected], abs=1e-6)


# shards that are searched


A, B, C = (f"{number:032x}" for number in range(3))


@dataclass
class FakeShard:
    """A shard that always offers the same; it keeps how many were wanted and how many it was told of.

    Attributes:
        log_z: its partition at a temperature of 1; at others as many times as much.
    """

    key: ShardKey
    scores: Sequence[float]
    ids: Sequence[str]
    log_z: float = 0.0
    wanted: int = 0
    best: int = 0

    def search(self, queries: NDArray[np.float32], k: int) -> Candidates:
        self.wanted = k
        ids = np.array([self.ids[:k]]).astype(np.bytes_)
        return Candidates(np.array([self.scores[:k]], np.float64), ids)

    def log_partition(self, queries: NDArray[np.float32], tau: float, best: Scores) -> Scores:
        self.best = best.shape[1]
        return np.array([self.log_z / tau])


def shard(
    task: str, scores: Sequence[float], ids: Sequence[str], *, log_z: float = 0.0, head: int = 0
) -> FakeShard:
    return FakeShard(ShardKey(task, "image", head, head), scores, ids, log_z)


def query(searched: FakeShard, tau: float = 0.1) -> ShardQuery:
    return ShardQuery(searched, np.zeros((1, 4), np.float32), tau)


def posterior(**log_p: float) -> TaskPosterior:
    return TaskPosterior(list(log_p), np.array([list(log_p.values())]))


# ranking


def test_a_shard_is_searched_for_as_many_as_are_wanted() -> None:
    searched = shard("sky", [0.9, 0.8, 0.7], [A, B, C])
    ranking = rank([query(searched)], 2)
    assert searched.wanted == 2
    assert ranking.ids.tolist() == [[A.encode(), B.encode()]]
    assert ranking.log_p is None


def test_by_probability_a_shard_is_searched_for_what_its_partition_needs() -> None:
    long, short = shard("sky", [0.9] * 20, [f"{n:032x}" for n in range(20)]), shard("sky", [0.9], [A])
    rank([query(long), query(short)], 2, posterior(sky=0.0))
    rank([query(long)], BEST + 5, posterior(sky=0.0))
    assert (short.wanted, long.wanted, long.best) == (BEST, BEST + 5, BEST)


def test_log_p_is_log_p_of_the_task_and_of_the_item_in_it() -> None:
    shards = [shard("sky", [0.5], [A], log_z=0.3), shard("life", [0.4], [B], log_z=0.7)]
    ranking = rank([query(shards[0], 0.1), query(shards[1], 0.2)], 5, posterior(life=-2.0, sky=-1.0))
    assert ranking.ids.tolist() == [[A.encode(), B.encode()]]
    assert ranking.log_p is not None
    assert ranking.log_p.tolist() == [pytest.approx([(0.5 - 0.3) / 0.1 - 1, (0.4 - 0.7) / 0.2 - 2])]


def test_two_shards_of_one_task_share_its_probability() -> None:
    shards = [shard("sky", [0.5], [A], log_z=0.3), shard("sky", [0.4], [B], log_z=0.4)]
    ranking = rank([query(one) for one in shards], 5, posterior(sky=-1.0))
    log_z = np.log(np.exp(3) + np.exp(4))
    assert ranking.log_p is not None
    assert ranking.log_p.tolist() == [pytest.approx([5 - log_z - 1, 4 - log_z - 1])]


# hits


def put(store: Store, id: str, *tasks: str, path: str | None = None, text: str | None = None) -> None:
    files = {"image": path} if path else {}
    with store.writing() as txn:
        txn.put_item(Item(id, "image", text=text))
        for task in tasks:
            txn.put_row(StoredRow("/s", id, task, True, "train", (), {"image": (id,)}, files))


def hits_of(store: Store, *shards: FakeShard, min_score: float = -1.0) -> list[Hit]:
    queries = [query(one) for one in shards]
    return list(hits(rank(queries, 5), queries, store, min_score=min_score))


def test_a_hit_says_where_it_was_found(store: Store) -> None:
    put(store, A, "sky", path="/a.jpg")
    put(store, B, "life", "sky", text="b")
    shards = [shard("sky", [0.5], [A], head=1), shard("life", [0.75], [B], head=2)]
    assert hits_of(store, *shards) == [
        Hit(1, 0.75, B, "image", "life", ("life", "sky"), None, "b", 2),
        Hit(2, 0.5, A, "image", "sky", ("sky",), "/a.jpg", None, 1, paths=("/a.jpg",)),
    ]


@pytest.mark.parametrize(("least", "ids"), [(0.25, [A, B]), (0.3, [A]), (0.6, [])])
def test_hits_of_a_cosine_below_the_least_are_left_out(store: Store, least: float, ids: list[str]) -> None:
    put(store, A, "sky")
    put(store, B, "sky")
    assert [hit.id for hit in hits_of(store, shard("sky", [0.5, 0.25], [A, B]), min_score=least)] == ids


def test_places_without_a_candidate_are_no_hits(store: Store) -> None:
    assert hits_of(store, shard("sky", [NO_SCORE], [""]), min_score=NO_SCORE) == []


def test_an_item_that_was_removed_since_the_shard_was_built_is_no_hit(store: Store) -> None:
    put(store, B, "sky")
    (hit,) = hits_of(store, shard("sky", [0.9, 0.5], [A, B]))
    assert (hit.id, hit.rank) == (B, 1)


def test_a_hit_by_probability_says_how_likely_it_is_and_one_by_cosine_does_not(store: Store) -> None:
    put(store, A, "sky")
    put(store, B, "sky")
    queries = [query(shard("sky", [0.5, 0.4], [A, B], log_z=0.3))]
    likely = list(hits(rank(queries, 5, posterior(sky=-1.0)), queries, store))
    assert [hit.log_p for hit in likely] == pytest.approx([5 - 3 - 1, 4 - 3 - 1])
    assert [hit.score for hit in likely] == [0.5, 0.4]
    assert [hit.log_p for hit in hits(rank(queries, 5), queries, store)] == [None, None]
