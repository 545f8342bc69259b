from collections.abc import Mapping, Sequence

import pytest

from engine.types import ItemId
from indexer.policies.partial import partial
from indexer.policies.plan import Indexed, ItemsByHead, Plan
from indexer.policies.policies import no_reindex, reindex
from made_statistics import STREAM, MadeStatistics

DRIFTS = {"sky": {"a": 0.1, "b": 0.9, "c": 0.5}, "life": {"d": 0.6, "e": 0.2}, "places": {"f": 0.0}}
Drifts = Mapping[str, Mapping[ItemId, float]]


def planned(
    drifts: Drifts = DRIFTS, *, budget: float = 0.0, by_head: Mapping[str, ItemsByHead] | None = None
) -> Plan:
    return partial(STREAM, MadeStatistics(drifts), Indexed(by_head or {}, budget))


def items_by_head(plan: Plan, drifts: Drifts = DRIFTS) -> dict[str, dict[int, Sequence[ItemId]]]:
    """Return which items each head embeds, task by task."""
    return {
        task: {
            placement.head: sorted(drifts[task]) if placement.items is None else placement.items
            for placement in placements
        }
        for task, placements in plan.items()
    }


def heads(plan: Plan) -> dict[ItemId, int]:
    """Return which head embeds each item."""
    return {
        item: head
        for by_head in items_by_head(plan).values()
        for head, items in by_head.items()
        for item in items
    }


def test_those_that_drifted_most_are_embedded_again() -> None:
    assert heads(planned(budget=0.5)) == {"a": 1, "b": 3, "c": 3, "d": 3, "e": 2, "f": 3}


def test_every_shard_is_searched_with_the_newest_head_in_the_space_of_its_own() -> None:
    placements = [placement for placements in planned(budget=0.5).values() for placement in placements]
    assert {placement.queries for placement in placements} == {3}
    assert [placement.head for placement in placements] == [placement.space for placement in placements]


def test_a_task_of_two_parts_says_which_items_each_holds_and_one_of_one_part_does_not() -> None:
    parts = {task: [placement.items for placement in there] for task, there in planned(budget=0.5).items()}
    assert parts == {"sky": [("a",), ("b", "c")], "life": [("e",), ("d",)], "places": [None]}


def test_without_a_budget_everything_stays_where_it_is() -> None:
    statistics = MadeStatistics(DRIFTS)
    assert planned() == no_reindex(STREAM, statistics, Indexed())


def test_the_whole_budget_is_reindex() -> None:
    assert planned(budget=1.0) == reindex(STREAM, MadeStatistics(DRIFTS), Indexed())


def test_it_goes_on_from_what_was_moved_before() -> None:
    first = items_by_head(planned(budget=0.3))
    assert heads(planned(budget=0.3, by_head=first)) == heads(planned(budget=0.6))


def test_items_that_no_version_embeds_yet_are_the_tasks_own() -> None:
    assert heads(planned(by_head={"sky": {3: ["a"]}}))["b"] == 1
    assert heads(planned(by_head={"sky": {1: ["b"], 3: ["a"]}}))["c"] == 1


def test_items_that_are_gone_are_nowhere_and_count_for_no_budget() -> None:
    plan = planned(budget=1 / 6, by_head={"sky": {3: ["gone", "lost"], 1: ["a", "b", "c"]}})
    assert heads(plan) == {"a": 1, "b": 3, "c": 1, "d": 2, "e": 2, "f": 3}


@pytest.mark.parametrize(("percent", "moved"), [(7, 7), (14, 14), (29, 29), (55, 55), (57, 57)])
def test_so_many_in_a_hundred_are_so_many_of_a_hundred(percent: int, moved: int) -> None:
    drifts = {"sky": {f"{n:03}": n / 100 for n in range(100)}}
    by_head = items_by_head(planned(drifts, budget=percent / 100), drifts)["sky"]
    assert {head: len(items) for head, items in by_head.items()} == {1: 100 - moved, 3: moved}


def test_a_budget_for_less_than_one_item_moves_one() -> None:
    assert [item for item, head in heads(planned(budget=0.01)).items() if head == 3] == ["b", "f"]


def test_what_drifts_as_far_is_taken_by_task_and_item() -> None:
    alike = {"sky": {"b": 0.5, "a": 0.5}, "life": {"d": 0.5, "c": 0.5}, "places": {}}
    moved = items_by_head(planned(alike, budget=0.75), alike)
    assert {task: by_head.get(3) for task, by_head in moved.items()} == {
        "sky": ("a",),
        "life": ["c", "d"],
        "places": None,
    }
