import pytest

from engine.types import Arrival, History, Lesson, PolicyName
from indexer.policy import POLICIES, Placement, newest_head, up_to

STREAM = History((Lesson(1, "sky", 1), Lesson(2, "life", 2), Lesson(3, "places", 3)))
TWICE = History((Lesson(1, "sky", 1), Lesson(2, "life", 2), Lesson(3, "sky", 3)))
LATE = History((Lesson(1, "sky", 1), Lesson(2, "life", 2)), (Arrival("places", 1, 1),))


def test_reindex_embeds_every_task_and_query_by_the_newest_head() -> None:
    assert POLICIES["reindex"](STREAM) == dict.fromkeys(("sky", "life", "places"), Placement(3, 3))


def test_no_reindex_leaves_tasks_as_they_were_and_asks_with_the_newest_head() -> None:
    assert POLICIES["no-reindex"](STREAM) == {
        "sky": Placement(1, 3),
        "life": Placement(2, 3),
        "places": Placement(3, 3),
    }


def test_matched_asks_each_task_with_the_head_that_embedded_it() -> None:
    assert POLICIES["matched"](STREAM) == {
        "sky": Placement(1, 1),
        "life": Placement(2, 2),
        "places": Placement(3, 3),
    }


@pytest.mark.parametrize("policy", ["no-reindex", "matched"])
def test_a_task_learned_twice_counts_with_its_last_lesson(policy: PolicyName) -> None:
    assert POLICIES[policy](TWICE)["sky"].items == 3


@pytest.mark.parametrize("policy", POLICIES)
def test_before_any_lesson_everything_is_embedded_by_the_untrained_head(policy: PolicyName) -> None:
    assert POLICIES[policy](History((), (Arrival("sky", 0, 0),))) == {"sky": Placement(0, 0)}


@pytest.mark.parametrize("policy", POLICIES)
def test_without_tasks_there_is_no_plan(policy: PolicyName) -> None:
    assert POLICIES[policy](History()) == {}


@pytest.mark.parametrize("policy", POLICIES)
def test_all_policies_agree_after_one_lesson(policy: PolicyName) -> None:
    assert POLICIES[policy](up_to(STREAM, 1)) == {"sky": Placement(1, 1)}


def test_an_untrained_task_keeps_the_head_it_arrived_with() -> None:
    assert POLICIES["matched"](LATE)["places"] == Placement(1, 1)


def test_a_lesson_counts_more_than_an_earlier_arrival() -> None:
    learned = History((*LATE.lessons, Lesson(3, "places", 3)), LATE.arrivals)
    assert POLICIES["matched"](learned)["places"] == Placement(3, 3)


def test_a_history_up_to_a_lesson_holds_no_later_lesson() -> None:
    assert up_to(STREAM, 2).lessons == STREAM.lessons[:2]


def test_a_task_that_arrived_after_a_lesson_is_there_from_that_lesson_on() -> None:
    assert [len(up_to(LATE, number).arrivals) for number in (0, 1, 2)] == [0, 1, 1]


def test_the_newest_head_is_that_of_the_last_lesson() -> None:
    assert (newest_head(History()), newest_head(TWICE)) == (0, 3)
