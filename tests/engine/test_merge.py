import numpy as np
import pytest

from engine.merge import DECIMALS, MERGES, NO_SCORE, Candidates, raw

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
    for number, one in enumerate(parts):
        for score, id in zip(one.scores[query], one.ids[query], strict=True):
            if score > NO_SCORE and (id not in best or round(score, DECIMALS) > best[id][0]):
                best[id] = (round(float(score), DECIMALS), number)
    ranked = sorted((-score, id, number) for id, (score, number) in best.items())
    return [(-score, id, number) for score, id, number in ranked[:k]]


def ranked(parts: list[Candidates], query: int, k: int) -> list[tuple[float, bytes, int]]:
    found = raw(parts, k)
    rows = zip(found.scores[query], found.ids[query], found.part[query], strict=True)
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
    forward, backward = raw(parts, 10), raw(parts[::-1], 10)
    assert np.array_equal(forward.scores, backward.scores)
    assert np.array_equal(forward.ids[forward.scores > NO_SCORE], backward.ids[backward.scores > NO_SCORE])


def test_places_without_a_candidate_come_last() -> None:
    parts = [part([[NO_SCORE, NO_SCORE]], [["", ""]]), part([[-1.0]], [["a"]])]
    assert raw(parts, 3).scores.tolist() == [[-1.0, NO_SCORE, NO_SCORE]]


def test_a_ranking_is_never_longer_than_asked() -> None:
    assert raw(random_parts(0, missing=0.0), 4).ids.shape == (QUERIES, 4)


def test_the_raw_merge_has_its_name() -> None:
    assert MERGES["raw"] is raw
