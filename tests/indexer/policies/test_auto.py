from collections.abc import Mapping, Sequence

import pytest

from engine.history import History
from indexer.policies.auto import auto, choose
from indexer.policies.plan import Indexed, Placement
from made_statistics import STREAM, TWICE, MadeStatistics

FAR = [-9.0] * 4
"""The log-likelihood of four queries under a head that knows nothing of them."""

SWING = [0.1, -0.1, 0.1, -0.1]
"""Four gains of mean 0, whose mean has a standard error of 0.1 / sqrt(3) = 0.0577."""

ERROR = 0.1 / 3**0.5


def above(base: float, gain: float) -> list[float]:
    return [base + gain + swing for swing in SWING]


def chosen(log_p: Mapping[int, Sequence[float]], history: History = STREAM) -> int:
    """Return the version that is taken for sky, whose own is 1."""
    return choose(history, MadeStatistics(log_p={"sky": {0: FAR, **log_p}}), "sky").version


def test_the_likeliest_version_is_taken() -> None:
    assert chosen({1: [-3.0] * 4, 2: [-2.0] * 4, 3: [-2.5] * 4}) == 2


@pytest.mark.parametrize(("errors", "version"), [(0.9, 1), (1.1, 2), (1.9, 2)])
def test_another_version_is_taken_if_it_gains_more_than_a_standard_error(errors: float, version: int) -> None:
    assert chosen({1: [-3.0] * 4, 2: above(-3.0, errors * ERROR), 3: FAR}) == version


@pytest.mark.parametrize(("errors", "version"), [(0.9, 3), (1.1, 2), (1.9, 2)])
def test_the_newest_version_within_a_standard_error_of_the_likeliest_is_taken(
    errors: float, version: int
) -> None:
    assert chosen({1: [-3.0] * 4, 2: [-2.0] * 4, 3: above(-2.0, -errors * ERROR)}) == version


def test_gains_are_paired_query_by_query() -> None:
    base = [-3.0, -5.0, -7.0, -1.0]
    assert chosen({1: base, 2: [query + 0.1 for query in base], 3: FAR}) == 2


def test_of_versions_that_are_as_likely_the_newest_is_taken() -> None:
    assert chosen({1: [-3.0] * 4, 2: [-2.0] * 4, 3: [-2.0] * 4}) == 3


def test_an_older_version_than_the_tasks_own_can_be_taken() -> None:
    log_p = {"sky": {0: [-1.0] * 4, 1: FAR, 2: FAR, 3: [-2.0] * 4}}
    assert choose(TWICE, MadeStatistics(log_p=log_p), "sky").version == 0


@pytest.mark.parametrize(("queries", "version"), [(0, 1), (1, 1), (2, 2)])
def test_with_fewer_than_two_queries_the_own_version_is_kept(queries: int, version: int) -> None:
    log_p = {0: [-9.0] * queries, 1: [-3.0] * queries, 2: [-2.0] * queries, 3: [-9.0] * queries}
    choice = choose(STREAM, MadeStatistics(log_p={"sky": log_p}), "sky")
    assert (choice.version, choice.own, choice.queries) == (version, 1, queries)
    assert (choice.gain, choice.error) == (version - 1.0, 0.0)


def test_a_choice_says_what_it_gains_over_the_own_version_and_how_surely() -> None:
    log_p = {"sky": {0: FAR, 1: [-3.0] * 4, 2: above(-3.0, 1.0), 3: FAR}}
    choice = choose(STREAM, MadeStatistics(log_p=log_p), "sky")
    assert (choice.task, choice.version, choice.own, choice.queries) == ("sky", 2, 1, 4)
    assert choice.gain == pytest.approx(1.0)
    assert choice.error == pytest.approx(ERROR)


def test_each_task_is_embedded_and_searched_by_the_version_taken_for_it() -> None:
    log_p = {"sky": {0: FAR, 1: [-3.0] * 4, 2: [-2.0] * 4, 3: FAR}}
    assert auto(STREAM, MadeStatistics(log_p=log_p), Indexed()) == {
        "sky": (Placement(2, 2, 2),),
        "life": (Placement(2, 2, 2),),
        "places": (Placement(3, 3, 3),),
    }
