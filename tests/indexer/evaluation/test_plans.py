import pytest

from engine.history import Arrival, History, Lesson, Reference
from engine.types import PolicyName
from indexer.evaluation import plans
from indexer.evaluation.plans import IndexPolicy, ReferenceHeads, System
from indexer.policies.plan import Placement, Plan
from made_statistics import MadeStatistics
from planar import named

HISTORY = History(
    (Lesson(1, "sky", 1), Lesson(2, "life", 2), Lesson(3, "sky", 3)),
    (Arrival("sea", 0, 0), Arrival("places", 2, 2)),
)
ITEMS = {"sky": "abc", "life": "de", "sea": "fgh", "places": "ij"}
TASKS = list(ITEMS)


STATISTICS = MadeStatistics({task: {named(name): 0.0 for name in names} for task, names in ITEMS.items()})


def heads(plan: Plan) -> dict[str, tuple[int, ...]]:
    """Return which heads embed each task."""
    return {task: tuple(placement.head for placement in placements) for task, placements in plan.items()}


def sizes(plan: Plan) -> dict[str, list[tuple[int, int]]]:
    """Return by which head how many items of each task are embedded."""
    return {
        task: [(p.head, len(ITEMS[task]) if p.items is None else len(p.items)) for p in placements]
        for task, placements in plan.items()
    }


def reference(task: str, after: int, head: int, seconds: float = 1.0, *, alone: bool = False) -> Reference:
    return Reference("method", task, after, head, alone, seconds)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (
            "matched",
            [
                {"sea": (0,), "sky": (1,)},
                {"sea": (0,), "sky": (1,), "life": (2,), "places": (2,)},
                {"sea": (0,), "sky": (3,), "life": (2,), "places": (2,)},
            ],
        ),
        (
            "reindex",
            [
                {"sea": (1,), "sky": (1,)},
                dict.fromkeys(TASKS, (2,)),
                dict.fromkeys(TASKS, (3,)),
            ],
        ),
    ],
)
def test_there_is_a_plan_for_each_lesson_of_the_tasks_known_by_then(
    policy: PolicyName, expected: list[dict[str, tuple[int, ...]]]
) -> None:
    by_lesson = plans.plans(IndexPolicy(policy), HISTORY, STATISTICS, TASKS)
    assert [heads(plan) for plan in by_lesson] == expected


def test_tasks_that_are_not_tested_are_left_out() -> None:
    by_lesson = plans.plans(IndexPolicy("matched"), HISTORY, STATISTICS, ["life", "sea"])
    assert [sorted(plan) for plan in by_lesson] == [["sea"], ["life", "sea"], ["life", "sea"]]


def test_without_lessons_there_is_the_plan_of_the_untrained_head() -> None:
    arrived = History((), (Arrival("sky", 0, 0),))
    assert plans.lesson_numbers(arrived) == [0]
    (plan,) = plans.plans(IndexPolicy("no-reindex"), arrived, STATISTICS, TASKS)
    assert plan == {"sky": (Placement(0, 0, 0),)}


def test_partial_goes_on_from_what_it_had_moved_before_and_spends_its_budget_anew() -> None:
    by_lesson = plans.plans(IndexPolicy("partial", budget=0.25), HISTORY, STATISTICS, TASKS)
    by_newest = [
        sum(count for parts in sizes(plan).values() for head, count in parts if head == newest)
        for newest, plan in enumerate(by_lesson, 1)
    ]
    assert sizes(by_lesson[0]) == {"sea": [(0, 1), (1, 2)], "sky": [(1, 3)]}
    # a quarter of 6, 10 and 10 items, rounded up, and what is new
    assert by_newest == [2 + len("abc"), 3 + len("de") + len("ij"), 3]


def test_the_budget_is_for_partial_alone() -> None:
    matched = [
        plans.plans(IndexPolicy("matched", budget), HISTORY, STATISTICS, TASKS) for budget in (0.0, 0.5)
    ]
    assert matched[0] == matched[1]


def test_later_tasks_are_indexed_by_the_newest_head_there_was() -> None:
    system = IndexPolicy("matched")
    by_lesson = plans.plans(system, HISTORY, STATISTICS, TASKS)
    full = list(plans.with_later_tasks(system, HISTORY, STATISTICS, TASKS, by_lesson))
    assert [heads(plan) for plan in full] == [
        {"sea": (0,), "sky": (1,), "life": (1,)},  # places arrived later, and was never learned
        heads(by_lesson[1]),
        heads(by_lesson[2]),
    ]


def test_what_partial_had_moved_stays_so_beside_later_tasks_and_nothing_more_is_moved() -> None:
    system = IndexPolicy("partial", budget=0.25)
    by_lesson = plans.plans(system, HISTORY, STATISTICS, TASKS)
    first = next(plans.with_later_tasks(system, HISTORY, STATISTICS, TASKS, by_lesson))
    assert first == {**by_lesson[0], "life": (Placement(1, 1, 1),)}


def test_the_newest_head_of_a_method_embeds_all_tasks() -> None:
    joint = ReferenceHeads("joint", (reference("sky", 1, 8), reference("life", 2, 9)))
    by_lesson = plans.plans(joint, HISTORY, STATISTICS, TASKS)
    assert [set(heads(plan).values()) for plan in by_lesson] == [{(8,)}, {(9,)}, {(9,)}]


def test_a_method_without_heads_yet_has_indexed_nothing() -> None:
    late = ReferenceHeads("joint", (reference("sky", 3, 9),))
    assert plans.plans(late, HISTORY, STATISTICS, TASKS)[:2] == [{}, {}]


def test_heads_that_learned_one_task_alone_are_asked_for_that() -> None:
    experts = ReferenceHeads(
        "experts", (reference("sky", 1, 8, alone=True), reference("life", 2, 9, alone=True))
    )
    by_lesson = plans.plans(experts, HISTORY, STATISTICS, TASKS)
    assert [heads(plan) for plan in by_lesson] == [{"sky": (8,)}, *[{"sky": (8,), "life": (9,)}] * 2]


@pytest.mark.parametrize(
    ("system", "seconds"),
    [
        (IndexPolicy("matched"), None),
        (ReferenceHeads("joint", (reference("sky", 1, 8, 2.0), reference("life", 2, 9, 3.5))), 3.5),
        (
            ReferenceHeads(
                "experts",
                (reference("sky", 1, 8, 2.0, alone=True), reference("life", 2, 9, 3.5, alone=True)),
            ),
            5.5,
        ),
    ],
)
def test_the_training_of_the_heads_that_are_asked_counts(system: System, seconds: float | None) -> None:
    last = plans.plans(system, HISTORY, STATISTICS, TASKS)[-1]
    assert plans.seconds(system, last) == seconds
