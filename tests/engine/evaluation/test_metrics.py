from itertools import combinations
from math import comb

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.errors import InvalidSetting
from engine.evaluation import metrics

LEARNED: metrics.Matrix = [[0.5, None], [0.4, 0.6]]
"""The test vector of METHODS.md, section 15, where what was not learned yet has no score."""


def drawn_chance(relevant: int, gallery: int, k: int) -> float:
    """Return the share of all draws of k items that hold one of the relevant ones."""
    draws = list(combinations(range(gallery), k))
    return sum(min(draw) < relevant for draw in draws) / len(draws)


def test_recall_is_the_share_of_queries_with_a_right_item_among_the_first() -> None:
    right = np.array([[False, True, False], [False, False, True], [True, True, True], [False, False, False]])
    assert [metrics.recall(right, k) for k in (1, 2, 3, 10)] == [0.25, 0.5, 0.75, 0.75]


@pytest.mark.parametrize(
    ("relevant", "gallery", "k"), [(1, 7, 1), (2, 7, 3), (3, 6, 2), (5, 6, 2), (1, 6, 6)]
)
def test_chance_is_that_of_every_possible_draw(relevant: int, gallery: int, k: int) -> None:
    expected = drawn_chance(relevant, gallery, k)
    assert metrics.chance(np.array([relevant]), gallery, k) == pytest.approx(expected)


def test_chance_is_averaged_over_queries() -> None:
    expected = np.mean([1 - comb(20 - r, 5) / comb(20, 5) for r in (0, 1, 4, 16)])
    assert metrics.chance(np.array([0, 1, 4, 16]), 20, 5) == pytest.approx(expected)


def test_more_draws_than_items_find_everything() -> None:
    assert metrics.chance(np.array([1, 0]), 5, 10) == 0.5


def test_chance_is_exact_in_a_large_gallery() -> None:
    assert metrics.chance(np.array([1]), 1_000_000, 10) == pytest.approx(1e-5)


def test_backward_transfer_of_the_test_vector() -> None:
    assert metrics.bwt(LEARNED) == pytest.approx(-0.1)


def test_forgetting_of_the_test_vector() -> None:
    assert metrics.forgetting(LEARNED) == pytest.approx(0.1)


def test_the_final_figure_is_the_mean_of_the_last_row() -> None:
    assert metrics.final([[0.5, None, None], [0.4, 0.6, None]]) == pytest.approx(0.5)


def test_forgetting_is_measured_from_the_best() -> None:
    matrix: metrics.Matrix = [[0.5, None, None], [0.7, 0.6, None], [0.4, 0.6, 0.9]]
    assert metrics.forgetting(matrix) == pytest.approx((0.3 + 0.0) / 2)


def test_backward_transfer_is_measured_from_the_first() -> None:
    matrix: metrics.Matrix = [[0.5, None, None], [0.7, 0.6, None], [0.4, 0.6, 0.9]]
    assert metrics.bwt(matrix) == pytest.approx((-0.1 + 0.0) / 2)


def test_a_task_that_gained_since_its_best_is_forgotten_less_than_nothing() -> None:
    assert metrics.forgetting([[0.4, None], [0.6, 0.5]]) == pytest.approx(-0.2)


def test_forgetting_is_never_below_what_backward_transfer_says() -> None:
    matrix: list[list[float]] = np.random.default_rng(0).random((5, 5)).tolist()
    learned: metrics.Matrix = [
        [value if j <= i else None for j, value in enumerate(row)] for i, row in enumerate(matrix)
    ]
    forgotten, moved = metrics.forgetting(learned), metrics.bwt(learned)
    assert forgotten is not None
    assert moved is not None
    assert forgotten >= -moved


def test_the_last_task_says_nothing_of_forgetting() -> None:
    assert metrics.forgetting([[0.5, None], [0.5, 0.0]]) == 0


def test_after_one_lesson_nothing_can_have_been_forgotten() -> None:
    assert (metrics.forgetting([[0.5]]), metrics.bwt([[0.5]])) == (None, None)


def test_a_task_without_queries_counts_nowhere() -> None:
    matrix: metrics.Matrix = [[None, 0.5, None], [None, 0.4, 0.6]]
    assert metrics.final(matrix) == pytest.approx(0.5)
    assert metrics.forgetting(matrix) == pytest.approx(0.1)
    assert metrics.bwt(matrix) == pytest.approx(-0.1)


def test_where_no_task_has_queries_there_is_no_figure() -> None:
    matrix: metrics.Matrix = [[None, None], [None, None]]
    assert (metrics.final(matrix), metrics.forgetting(matrix), metrics.bwt(matrix)) == (None, None, None)


def test_plasticity_is_the_mean_of_what_tasks_scored_when_they_were_new() -> None:
    assert metrics.plasticity([[0.5, None, None], [0.7, 0.6, None], [0.4, 0.6, 0.9]]) == pytest.approx(
        2.0 / 3
    )


def test_plasticity_leaves_out_a_task_without_queries() -> None:
    assert metrics.plasticity([[0.5, None], [0.4, None]]) == 0.5


def test_nothing_scored_has_no_plasticity() -> None:
    assert metrics.plasticity([[None]]) is None


# ranks


def hits(*rows: list[int]) -> NDArray[np.bool_]:
    return np.array(rows, bool)


def test_the_reciprocal_rank_is_one_over_the_first_right_place() -> None:
    right = hits([0, 1, 1], [1, 0, 0], [0, 0, 0], [0, 0, 1])
    assert metrics.reciprocal_rank(right, 3) == pytest.approx((1 / 2 + 1 + 0 + 1 / 3) / 4)
    assert metrics.reciprocal_rank(right, 2) == pytest.approx((1 / 2 + 1 + 0 + 0) / 4)


def test_ndcg_of_a_perfect_order_is_one() -> None:
    assert metrics.ndcg(hits([1, 1, 0], [1, 0, 0]), np.array([2, 1]), 3) == pytest.approx(1)


def test_ndcg_discounts_by_the_logarithm_of_the_rank() -> None:
    best = 1 + 1 / np.log2(3)
    assert metrics.ndcg(hits([0, 1, 1]), np.array([2]), 3) == pytest.approx((1 / np.log2(3) + 1 / 2) / best)


def test_ndcg_with_more_right_items_than_places_can_still_be_one() -> None:
    assert metrics.ndcg(hits([1, 1]), np.array([9]), 2) == pytest.approx(1)


def test_equal_rankings_overlap_wholly_and_disjoint_ones_not_at_all() -> None:
    ranking, disjoint = np.array([[b"a", b"b"]]), np.array([[b"c", b"d"]])
    assert metrics.overlap(ranking, ranking) == (1, 1)
    assert metrics.overlap(ranking, disjoint) == (0, 0)


def test_rank_biased_overlap_minds_the_top_more() -> None:
    base = np.array([[b"a", b"b", b"c"]])
    top, bottom = np.array([[b"x", b"b", b"c"]]), np.array([[b"a", b"b", b"x"]])
    assert metrics.overlap(base, top)[0] == metrics.overlap(base, bottom)[0]
    assert metrics.overlap(base, top)[1] < metrics.overlap(base, bottom)[1]
    expected = np.average([0, 1 / 2, 2 / 3], weights=[1, 0.9, 0.81])
    assert metrics.overlap(base, top)[1] == pytest.approx(expected)


def test_forward_transfer_is_the_last_score_before_learning_over_the_untrained_one() -> None:
    future: metrics.Matrix = [[None, 0.3, 0.2], [None, None, 0.5], [None, None, None]]
    assert metrics.forward_transfer([0.1, 0.2, 0.1], future) == pytest.approx((0.1 + 0.4) / 2)
    assert metrics.forward_transfer([0.1], [[None]]) is None


def test_a_paired_interval_holds_the_true_difference_and_shrinks_with_queries() -> None:
    generator = np.random.default_rng(0)

    def interval(queries: int) -> tuple[float, float, float]:
        first, second = generator.random((2, queries)) < np.array([[0.6], [0.4]])
        return metrics.paired([first], [second])

    (_, low, high), (_, least, most) = interval(50), interval(5000)
    assert least < 0.2 < most
    assert most - least < (high - low) / 5


def test_a_paired_interval_of_equal_results_is_nothing() -> None:
    same = np.array([True, False, True])
    assert metrics.paired([same, same], [same, same]) == (0, 0, 0)


def test_a_paired_difference_weighs_every_group_the_same() -> None:
    won, lost = np.array([True] * 90), np.array([False] * 90)
    difference, *_ = metrics.paired([won, np.array([False])], [lost, np.array([False])])
    assert difference == pytest.approx(0.5)


def test_a_paired_interval_over_seeds_is_as_wide_as_the_seeds_differ() -> None:
    won, lost = np.ones((5, 200), bool), np.zeros((5, 200), bool)
    won[3:] = False  # two seeds of five find nothing more
    difference, low, high = metrics.paired([won], [lost])
    assert difference == pytest.approx(0.6)
    assert low == pytest.approx(0.2)
    assert high == 1


def test_a_query_drawn_is_drawn_in_every_seed() -> None:
    hard = np.arange(40) < 20
    difference, low, high = metrics.paired([np.tile(hard, (3, 1))], [np.zeros((3, 40), bool)])
    alone = metrics.paired([hard], [np.zeros(40, bool)])
    assert (difference, low, high) == pytest.approx(alone, abs=0.03)


def test_a_paired_interval_leaves_out_a_fortieth_on_each_side() -> None:
    # the width strays by 1.5 % over draws of 4000; an interval of 90 % would be 16 % narrower
    won = np.arange(10_000) % 2 == 0
    difference, low, high = metrics.paired([won], [np.zeros(10_000, bool)])
    deviation = np.sqrt(0.25 / 10_000)
    assert difference == 0.5
    assert (high - low) / deviation == pytest.approx(2 * 1.96, rel=0.05)


def test_a_measure_is_found_by_its_name() -> None:
    right = hits([0, 1], [0, 0])
    assert {name: measure(right, 2) for name, measure in metrics.METRICS.items()} == {
        "recall": 0.5,
        "mrr": 0.25,
    }


def test_a_query_succeeds_that_has_a_right_item_among_its_first() -> None:
    assert metrics.success(hits([0, 1, 0], [0, 0, 1]), 2).tolist() == [True, False]


def test_the_first_right_rank_counts_from_one() -> None:
    assert metrics.first_right(hits([0, 1, 1], [1, 0, 0], [0, 0, 0])).tolist() == [2, 1, 0]


@pytest.mark.parametrize(("given", "ks"), [("10,1,5", [1, 5, 10]), ("5,5", [5]), (" 3 ", [3])])
def test_ks_are_parsed_in_order_and_once(given: str, ks: list[int]) -> None:
    assert metrics.parse_ks(given) == ks


@pytest.mark.parametrize("given", ["", "0", "1,-5", "a", "1,,2", "1.5"])
def test_ks_that_are_no_numbers_from_1_are_refused(given: str) -> None:
    with pytest.raises(InvalidSetting, match=r"^`k` takes numbers from 1, comma-separated, not "):
        metrics.parse_ks(given)
