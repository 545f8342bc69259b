import pytest

from engine.errors import UserError
from engine.history import Arrival, History, Reference, up_to
from engine.types import PolicyName
from indexer.policies.plan import Indexed, Placement, Plan
from indexer.policies.policies import NEED_FEATURES, POLICIES, parse_policies, parse_policy, referenced
from made_statistics import LATE, STREAM, TWICE, MadeStatistics


def planned(policy: PolicyName, history: History) -> Plan:
    return POLICIES[policy](history, MadeStatistics(), Indexed())


def test_reindex_embeds_every_task_and_query_by_the_newest_head() -> None:
    assert planned("reindex", STREAM) == dict.fromkeys(("sky", "life", "places"), (Placement(3, 3, 3),))


def test_no_reindex_leaves_tasks_as_they_were_and_searches_with_the_newest_head() -> None:
    assert planned("no-reindex", STREAM) == {
        "sky": (Placement(1, 1, 3),),
        "life": (Placement(2, 2, 3),),
        "places": (Placement(3, 3, 3),),
    }


def test_matched_searches_each_task_with_the_head_that_embedded_it() -> None:
    assert planned("matched", STREAM) == {
        "sky": (Placement(1, 1, 1),),
        "life": (Placement(2, 2, 2),),
        "places": (Placement(3, 3, 3),),
    }


def test_aligned_maps_every_task_to_the_newest_space_and_searches_there() -> None:
    assert planned("aligned", STREAM) == {
        "sky": (Placement(1, 3, 3),),
        "life": (Placement(2, 3, 3),),
        "places": (Placement(3, 3, 3),),
    }


@pytest.mark.parametrize("policy", ["no-reindex", "matched"])
def test_a_task_learned_twice_counts_with_its_last_lesson(policy: PolicyName) -> None:
    assert planned(policy, TWICE)["sky"][0].head == 3


SETTLED = [policy for policy in POLICIES if policy != "partial"]
"""Those that say how a task is embedded even where it has no items."""


@pytest.mark.parametrize("policy", SETTLED)
def test_before_any_lesson_everything_is_embedded_by_the_untrained_head(policy: PolicyName) -> None:
    assert planned(policy, History((), (Arrival("sky", 0, 0),))) == {"sky": (Placement(0, 0, 0),)}


@pytest.mark.parametrize("policy", list(POLICIES))
def test_without_tasks_there_is_nothing_to_plan(policy: PolicyName) -> None:
    assert planned(policy, History()) == {}


@pytest.mark.parametrize("policy", SETTLED)
def test_all_policies_agree_after_one_lesson(policy: PolicyName) -> None:
    assert planned(policy, up_to(STREAM, 1)) == {"sky": (Placement(1, 1, 1),)}


def test_an_untrained_task_keeps_the_head_it_arrived_with() -> None:
    assert planned("matched", LATE)["places"] == (Placement(1, 1, 1),)


def test_features_are_needed_by_the_policies_that_embed_again_or_measure() -> None:
    assert {"matched", "no-reindex", "aligned"} == set(POLICIES) - NEED_FEATURES


# references


def beside(*heads: tuple[str, int, int], alone: bool = False) -> list[Reference]:
    return [Reference("joint", task, after, head, alone, 1.0) for task, after, head in heads]


def test_a_reference_embeds_every_task_once_its_lessons_are_there() -> None:
    assert referenced(up_to(STREAM, 1), beside(("life", 2, 9))) == {}
    assert {placements[0].head for placements in referenced(STREAM, beside(("life", 2, 9))).values()} == {9}


def test_the_newest_reference_counts() -> None:
    plan = referenced(STREAM, beside(("sky", 1, 8), ("life", 2, 9)))
    assert plan == dict.fromkeys(("sky", "life", "places"), (Placement(9, 9, 9),))


def test_references_of_one_task_each_are_searched_for_that() -> None:
    plan = referenced(STREAM, beside(("sky", 3, 8), ("life", 3, 9), alone=True))
    assert plan == {"sky": (Placement(8, 8, 8),), "life": (Placement(9, 9, 9),)}


# names


def test_policies_are_each_named_once_and_in_one_order() -> None:
    assert parse_policies(["matched", "reindex", "matched"]) == ["reindex", "matched"]


def test_an_unknown_policy_is_refused_with_those_there_are() -> None:
    message = "no policy 'best'; policies are: reindex, no-reindex, matched, aligned, partial, auto"
    with pytest.raises(UserError) as caught:
        parse_policies(["matched", "best", "worst"])
    assert str(caught.value) == message
    assert parse_policy("auto") == "auto"
