from dataclasses import replace

import pytest

from indexer.evaluation.diagnosis import Diagnosis
from indexer.evaluation.results import Result
from indexer.report.narrative import MeanCause, explanation, headline, mean_causes, share
from judged import known, unknown

CAUSE = Diagnosis("reindex", "text", "image", 3, "sky", {"text": 0.1, "image": 0.2}, 0.3, 0.8, "raw", 0.4)
MEAN = MeanCause("reindex", "text", "image", {"text": 0.25, "image": 0.5}, 0.8, 0.3, "raw", 0.4)


@pytest.mark.parametrize(
    ("value", "written"),
    [(0.39, ".390"), (1.0, "1.000"), (-0.01, "-.010"), (-0.0001, ".000"), (10.05, "10.050"), (None, "-")],
)
def test_a_share_has_three_decimals_and_no_zero_before_them(value: float | None, written: str) -> None:
    assert share(value) == written


def test_the_headline_names_the_policy_that_finds_most_and_the_one_that_lost_most() -> None:
    results = [
        known("no-reindex", 0.5, 0.3),
        known("matched", 0.9, 0.0),
        known("reindex", 0.3, 0.1),
        unknown("reindex", 0.4),
    ]

    assert headline(results).startswith(
        "With the task known, matched forgets nothing (R@10 .900); no-reindex has lost .300 of what it found (.500). "
    )


@pytest.mark.parametrize(
    ("forgetting", "words"),
    [
        (0.005, "matched has lost .005 of what it found (R@10 .900)."),
        (0.004, "matched forgets nothing (R@10 .900)."),
        (-0.004, "matched forgets nothing (R@10 .900)."),
        (-0.005, "matched has gained .005 (R@10 .900)."),
    ],
)
def test_a_change_below_half_a_hundredth_is_not_spoken_of(forgetting: float, words: str) -> None:
    results = [known("matched", 0.9, forgetting), known("reindex", 0.8, -0.1), unknown("reindex", 0.4)]

    assert headline(results).startswith(f"With the task known, {words} ")


@pytest.mark.parametrize(("forgetting", "is_named"), [(0.005, True), (0.004, False)])
def test_the_policy_that_lost_most_is_named_where_that_is_worth_a_word(
    forgetting: float, is_named: bool
) -> None:
    results = [known("matched", 0.9, 0.0), known("reindex", 0.8, forgetting), unknown("matched", 0.4)]

    assert ("reindex" in headline(results)) is is_named


def test_the_headline_names_best_and_worst_merge_where_the_task_is_unknown() -> None:
    results = [
        known("matched", 0.9, 0.0),
        unknown("reindex", 0.6, "raw"),
        unknown("reindex", 0.7, "routed"),
        unknown("matched", 0.8, "routed"),
        unknown("matched", 0.5, "raw"),
    ]

    assert headline(results).endswith(
        "With the task unknown, matched, merged by probability, finds .800; matched, merged by cosine, .500. "
        "Chance is .150."
    )


def test_one_policy_alone_is_not_compared() -> None:
    assert headline([known("matched", 0.9, 0.3), unknown("matched", 0.8)]) == (
        "With the task known, matched has lost .300 of what it found (R@10 .900). "
        "With the task unknown, matched, merged by cosine, finds .800. Chance is .150."
    )


def test_the_headline_leaves_references_out() -> None:
    results = [known("matched", 0.8, 0.0), unknown("matched", 0.7)]
    beside = [replace(known("joint", 0.9, 0.4), seconds=12.0), replace(unknown("joint", 0.1), seconds=12.0)]

    assert headline([*results, *beside]) == headline(results)


def test_after_one_lesson_the_headline_says_that_more_shows_later() -> None:
    results = [known("matched", 0.9, None), replace(unknown("matched", 0.8), forgetting=None)]

    assert headline(results) == (
        "So far R@10 is .900 with the task known. With the task unknown, matched, merged by cosine, finds .800. "
        "Chance is .150. What is forgotten shows after another lesson."
    )


@pytest.mark.parametrize(
    "results",
    [
        [known("matched", None, None), unknown("matched", None)],
        [known("matched", 0.9, 0.0)],
        [unknown("matched", 0.9)],
    ],
)
def test_where_nothing_was_measured_the_headline_says_so(results: list[Result]) -> None:
    assert headline(results) == "No query has a right item in the gallery, so nothing can be said."


def test_causes_are_averaged_over_old_tasks_after_the_last_lesson() -> None:
    other = replace(
        CAUSE,
        task="life",
        drift={"text": 0.3, "image": 0.0},
        alignment=0.5,
        alignment_when_new=0.6,
        overlap=0.0,
    )
    earlier = replace(CAUSE, lesson=2, overlap=1.0)
    newest = replace(CAUSE, task="places", overlap=1.0)

    (mean,) = mean_causes([earlier, CAUSE, other, newest], "places")

    assert (mean.policy, mean.query, mean.target, mean.merge) == ("reindex", "text", "image", "raw")
    assert mean.drift == pytest.approx({"text": 0.2, "image": 0.1})
    assert (mean.alignment, mean.alignment_when_new, mean.overlap) == pytest.approx((0.4, 0.7, 0.2))


def test_causes_are_averaged_for_each_policy_and_direction_of_its_own() -> None:
    causes = [
        CAUSE,
        replace(CAUSE, policy="matched", overlap=0.1),
        replace(CAUSE, query="image", target="text", overlap=0.2),
    ]

    means = mean_causes(causes, "places")

    assert [(mean.policy, mean.query, mean.overlap) for mean in means] == [
        ("reindex", "text", 0.4),
        ("matched", "text", 0.1),
        ("reindex", "image", 0.2),
    ]


def test_nothing_has_become_of_tasks_before_the_first_lesson() -> None:
    assert mean_causes([], "sky") == []


DRIFT = (
    "Drift of items costs .200 with the task known: they moved by 0.50, queries by 0.25, and the cosine of pairs "
    "went from 0.80 to 0.30. Treated by matched, which leaves them where they were, or in training by a method "
    "that guards old tasks."
)
OVERLAP = (
    "Overlap of tasks costs .100 where the task is unknown, merged by cosine. Treated by the routed merge."
)


def test_the_dearer_cause_is_named_first() -> None:
    lost, mixed = known("reindex", 0.5, 0.2), unknown("reindex", 0.4, confusion=0.1)

    assert explanation(MEAN, [lost, mixed]) == f"{DRIFT} {OVERLAP}"
    assert explanation(MEAN, [replace(lost, forgetting=0.05), mixed]).startswith("Overlap of tasks")


@pytest.mark.parametrize(
    ("cost", "words"), [(0.005, OVERLAP.replace(".100", ".005")), (0.004, "Nothing is lost")]
)
def test_a_cause_that_costs_little_is_not_spoken_of(cost: float, words: str) -> None:
    results = [known("reindex", 0.5, 0.0), unknown("reindex", 0.4, confusion=cost)]

    assert explanation(MEAN, results).startswith(words)


def test_forgetting_with_the_task_unknown_is_not_put_down_to_drift() -> None:
    results = [known("reindex", 0.5, 0.0), replace(unknown("reindex", 0.4), forgetting=0.5)]

    assert explanation(MEAN, results) == "Nothing is lost that is worth treating."


@pytest.mark.parametrize(
    ("queries", "items", "words"),
    [
        (0.25, 0.004, "Drift between the heads of queries and items costs .200"),
        (0.005, 0.0, "Drift between the heads of queries and items costs .200"),
        (0.25, 0.005, "Drift of items costs .200"),
        (0.004, 0.0, "Drift of items costs .200"),
    ],
)
def test_items_that_stayed_are_not_blamed(queries: float, items: float, words: str) -> None:
    mean = replace(MEAN, drift={"text": queries, "image": items})

    assert explanation(mean, [known("no-reindex", 0.5, 0.2)]).startswith(words)


def test_queries_that_moved_alone_are_told_apart_from_items() -> None:
    mean = replace(MEAN, drift={"text": 0.25, "image": 0.0})

    assert (
        "queries moved by 0.25, items stayed, and the cosine of pairs went from 0.80 to 0.30."
        in explanation(mean, [known("no-reindex", 0.5, 0.2)])
    )


def test_overlap_by_cosine_is_treated_by_the_routed_merge_which_leaves_less() -> None:
    results = [unknown("reindex", 0.4, "routed", 0.03), unknown("reindex", 0.2, "raw", 0.3)]

    assert explanation(MEAN, results) == (
        "Overlap of tasks costs .300 where the task is unknown, merged by cosine. "
        "Treated by the routed merge: .030 is left."
    )


def test_overlap_that_the_routed_merge_leaves_is_treated_in_training() -> None:
    results = [unknown("reindex", 0.4, "raw", 0.03), unknown("reindex", 0.2, "routed", 0.3)]

    assert explanation(MEAN, results) == (
        "Overlap of tasks costs .300 where the task is unknown, merged by probability. "
        "Treated in training, by negatives of other tasks (crosstask, joint)."
    )
