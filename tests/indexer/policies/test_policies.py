from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.history import Arrival, History, Lesson, Reference, up_to
from engine.types import ItemId, PolicyName
from indexer.policies.policies import POLICIES, Placement, Plan, choice, referenced

STREAM = History((Lesson(1, "sky", 1), Lesson(2, "life", 2), Lesson(3, "places", 3)))
TWICE = History((Lesson(1, "sky", 1), Lesson(2, "life", 2), Lesson(3, "sky", 3)))
LATE = History((Lesson(1, "sky", 1), Lesson(2, "life", 2)), (Arrival("places", 1, 1),))


@dataclass
class Told:
    """Facts that a test makes up; what it does not name is as if nothing had been measured.

    Attributes:
        drifts: how far each item of a task has moved, from any old version to the newest.
        likelihoods: of each task's validation queries, by version.
    """

    drifts: Mapping[str, Mapping[ItemId, float]] = field(default_factory=dict)
    likelihoods: Mapping[str, Mapping[int, Sequence[float]]] = field(default_factory=dict)
    now: Mapping[str, Mapping[int, Sequence[ItemId]]] = field(default_factory=dict)
    budget: float = 0.0

    def placed(self, task: str, own: int) -> Mapping[int, Sequence[ItemId]]:
        return self.now.get(task, {own: sorted(self.drifts.get(task, {}))})

    def drift(self, task: str, old: int, new: int, items: Sequence[ItemId]) -> NDArray[np.float64]:
        return np.array([self.drifts[task][item] for item in items])

    def likelihood(self, task: str, version: int) -> NDArray[np.float64]:
        return np.array(self.likelihoods.get(task, {}).get(version, ()), np.float64)


def planned(policy: PolicyName, history: History, facts: Told | None = None) -> Plan:
    return POLICIES[policy](history, facts or Told())


def test_reindex_embeds_every_task_and_query_by_the_newest_head() -> None:
    assert planned("reindex", STREAM) == dict.fromkeys(("sky", "life", "places"), (Placement(3, 3, 3),))


def test_no_reindex_leaves_tasks_as_they_were_and_asks_with_the_newest_head() -> None:
    assert planned("no-reindex", STREAM) == {
        "sky": (Placement(1, 1, 3),),
        "life": (Placement(2, 2, 3),),
        "places": (Placement(3, 3, 3),),
    }


def test_matched_asks_each_task_with_the_head_that_embedded_it() -> None:
    assert planned("matched", STREAM) == {
        "sky": (Placement(1, 1, 1),),
        "life": (Placement(2, 2, 2),),
        "places": (Placement(3, 3, 3),),
    }


@pytest.mark.parametrize("policy", ["no-reindex", "matched"])
def test_a_task_learned_twice_counts_with_its_last_lesson(policy: PolicyName) -> None:
    assert planned(policy, TWICE)["sky"][0].head == 3


SETTLED = [policy for policy in POLICIES if policy != "partial"]
"""Those that say how a task is kept even where nothing of it is there."""


@pytest.mark.parametrize("policy", SETTLED)
def test_before_any_lesson_everything_is_embedded_by_the_untrained_head(policy: PolicyName) -> None:
    assert planned(policy, History((), (Arrival("sky", 0, 0),))) == {"sky": (Placement(0, 0, 0),)}


@pytest.mark.parametrize("policy", POLICIES)
def test_without_tasks_there_is_no_plan(policy: PolicyName) -> None:
    assert planned(policy, History()) == {}


@pytest.mark.parametrize("policy", SETTLED)
def test_all_policies_agree_after_one_lesson(policy: PolicyName) -> None:
    assert planned(policy, up_to(STREAM, 1)) == {"sky": (Placement(1, 1, 1),)}


def test_an_untrained_task_keeps_the_head_it_arrived_with() -> None:
    assert planned("matched", LATE)["places"] == (Placement(1, 1, 1),)


def test_a_lesson_counts_more_than_an_earlier_arrival() -> None:
    learned = History((*LATE.lessons, Lesson(3, "places", 3)), LATE.arrivals)
    assert planned("matched", learned)["places"] == (Placement(3, 3, 3),)


def test_aligned_maps_every_task_to_the_newest_space_and_asks_there() -> None:
    assert planned("aligned", STREAM) == {
        "sky": (Placement(1, 3, 3),),
        "life": (Placement(2, 3, 3),),
        "places": (Placement(3, 3, 3),),
    }


# partial

DRIFTED = {"sky": {"a": 0.1, "b": 0.9, "c": 0.5}, "life": {"d": 0.6, "e": 0.2}, "places": {"f": 0.0}}


def heads(plan: Plan) -> dict[str, int]:
    """Return which head embeds each item."""
    every = {task: sorted(items) for task, items in DRIFTED.items()}
    return {
        item: one.head
        for task, there in plan.items()
        for one in there
        for item in (every[task] if one.items is None else one.items)
    }


def test_partial_embeds_those_again_that_drifted_most() -> None:
    found = heads(planned("partial", STREAM, Told(DRIFTED, budget=0.5)))
    assert found == {"a": 1, "b": 3, "c": 3, "d": 3, "e": 2, "f": 3}


def test_partial_asks_everything_with_the_newest_head() -> None:
    plan = planned("partial", STREAM, Told(DRIFTED, budget=0.5))
    assert {one.queries for there in plan.values() for one in there} == {3}


def test_partial_without_a_budget_leaves_everything_where_it_is() -> None:
    assert planned("partial", STREAM, Told(DRIFTED)) == planned("no-reindex", STREAM)


def test_partial_with_the_whole_budget_is_reindex() -> None:
    assert planned("partial", STREAM, Told(DRIFTED, budget=1.0)) == planned("reindex", STREAM)


def test_partial_goes_on_from_what_was_moved_before() -> None:
    first = planned("partial", STREAM, Told(DRIFTED, budget=0.3))
    now = {
        task: {one.head: one.items or sorted(DRIFTED[task]) for one in there} for task, there in first.items()
    }
    second = planned("partial", STREAM, Told(DRIFTED, now=now, budget=0.3))
    assert heads(second) == heads(planned("partial", STREAM, Told(DRIFTED, budget=0.6)))


def test_partial_with_seven_in_a_hundred_moves_seven_of_a_hundred() -> None:
    drifts = {"sky": {f"{n:03}": n / 100 for n in range(100)}}
    found = planned("partial", STREAM, Told(drifts, budget=0.07))["sky"]
    assert {one.head: len(one.items or ()) for one in found} == {1: 93, 3: 7}


def test_partial_with_a_budget_for_one_item_moves_one() -> None:
    found = heads(planned("partial", STREAM, Told(DRIFTED, budget=0.01)))
    assert [item for item, head in found.items() if head == 3] == ["b", "f"]


# auto

NOISE = [0.0, 0.1, -0.1, 0.05, -0.05]


def likely(**means: float) -> Mapping[int, Sequence[float]]:
    """Return five queries' log-likelihood under each version, v1 named v1."""
    return {0: [-9.0] * 5, **{int(name[1:]): [mean + e for e in NOISE] for name, mean in means.items()}}


def test_auto_takes_the_likeliest_version() -> None:
    facts = Told(likelihoods={"sky": likely(v1=-3.0, v2=-2.0, v3=-2.5)})
    assert planned("auto", STREAM, facts)["sky"] == (Placement(2, 2, 2),)


def test_auto_keeps_the_tasks_own_version_where_another_is_likelier_by_noise_alone() -> None:
    noisy = {0: [-9.0] * 4, 1: [-3.0, -3.0, -3.0, -3.0], 2: [-2.0, -3.9, -2.2, -3.7], 3: [-9.0] * 4}
    assert planned("auto", STREAM, Told(likelihoods={"sky": noisy}))["sky"] == (Placement(1, 1, 1),)


def test_auto_takes_the_newest_of_those_that_may_be_the_likeliest() -> None:
    best, near = [-2.0, -2.0, -2.0, -2.0], [-1.0, -2.9, -1.2, -3.1]
    told = {0: [-9.0] * 4, 1: [-3.0] * 4, 2: best, 3: near}
    assert planned("auto", STREAM, Told(likelihoods={"sky": told}))["sky"] == (Placement(3, 3, 3),)


def test_auto_without_validation_pairs_keeps_the_own_version_and_says_so() -> None:
    found = choice(STREAM, Told(), "life")
    assert (found.version, found.own, found.queries) == (2, 2, 0)


def test_auto_says_what_its_choice_gains() -> None:
    found = choice(STREAM, Told(likelihoods={"sky": likely(v1=-3.0, v2=-2.0, v3=-2.5)}), "sky")
    assert (found.version, found.own, found.queries) == (2, 1, 5)
    assert found.gain == pytest.approx(1.0)
    assert found.error == pytest.approx(0.0)


# references


def beside(*heads: tuple[str, int, int], alone: bool = False) -> list[Reference]:
    return [Reference("joint", task, after, head, alone, 1.0) for task, after, head in heads]


def test_a_reference_embeds_every_task_once_its_lessons_are_there() -> None:
    assert referenced(up_to(STREAM, 1), beside(("life", 2, 9))) == {}
    assert {there[0].head for there in referenced(STREAM, beside(("life", 2, 9))).values()} == {9}


def test_the_newest_reference_counts() -> None:
    found = referenced(STREAM, beside(("sky", 1, 8), ("life", 2, 9)))
    assert set(found.values()) == {(Placement(9, 9, 9),)}


def test_references_of_one_task_each_are_asked_for_that() -> None:
    found = referenced(STREAM, beside(("sky", 3, 8), ("life", 3, 9), alone=True))
    assert found == {"sky": (Placement(8, 8, 8),), "life": (Placement(9, 9, 9),)}
