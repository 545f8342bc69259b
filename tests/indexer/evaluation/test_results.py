from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest

import evaluations
import worlds
from engine.history import History, Lesson, Reference
from engine.types import AllTasks, Pair
from evaluations import USUAL, evaluated
from indexer.embeddings.embeddings import EmbeddingCache
from indexer.evaluation.embedded import Galleries, Queries
from indexer.evaluation.plans import IndexPolicy, ReferenceHeads
from indexer.evaluation.protocol import EvalSettings, OwnTask, eval_set
from indexer.evaluation.results import Result, compared, results
from indexer.evaluation.runs import IndexState, Trial
from indexer.policies.plan import Placement, Plan
from judged import RESULT
from leaning import leaning
from planar import Plane, named

REINDEX, STALE = IndexPolicy("reindex"), IndexPolicy("no-reindex")
DEGREES = {"a": 0, "b": 30, "c": 12, "d": 70, "q": 5, "r": 20, "s": 40}
"""Alone every query has its own picture nearest; among all, c is nearer to r, and b is nearer to s."""

PAIRS = [
    Pair("p0", {"image": (named("a"),), "text": (named("q"),)}, "sky", "test"),
    Pair("p1", {"image": (named("b"),), "text": (named("r"),)}, "sky", "test"),
    Pair("p2", {"image": (named("c"),), "text": (named("s"),)}, "life", "test"),
    Pair("p3", {"image": (named("d"),)}, "life", "test"),
    Pair("p4", {"text": (named("q"),)}, "life", "train"),
]


def state(lesson: int, plan: Plan) -> IndexState:
    towards_life = leaning({"sky": 0, "life": 99})
    return IndexState(lesson, plan, lambda task, placement: 1.0, {"text": towards_life})


def every(*tasks: str, head: int) -> Plan:
    return {task: (Placement(head, head, head),) for task in tasks}


@pytest.fixture
def trial() -> Trial:
    """Two lessons in the plane; the untrained head puts s beside d, and the stale index asks sky by a later head."""
    embeddings = cast(EmbeddingCache, Plane(DEGREES, {"s": 75}))
    tested = eval_set(PAIRS, ["sky", "life"], ("text", "image"), EvalSettings())
    stale = {**every("life", head=2), "sky": (Placement(1, 1, 2),)}
    return Trial(
        eval_set=tested,
        history=History((Lesson(1, "sky", 1), Lesson(2, "life", 2))),
        trained=True,
        queries=Queries("text", tested.queries, embeddings),
        galleries=Galleries(("text", "image"), tested.galleries, embeddings, tested.qrels),
        states={
            "reindex": [state(1, every("sky", head=1)), state(2, every("life", "sky", head=2))],
            "no-reindex": [state(1, every("sky", head=1)), state(2, stale)],
        },
        full={"reindex": [state(1, every("life", "sky", head=1)), state(2, every("life", "sky", head=2))]},
    )


def of_reindex(trial: Trial, k: int, *, details: bool = True) -> tuple[Result, Result]:
    """Return the results at one K with the task known, and unknown, merged by cosine."""
    settings = EvalSettings(merges=["raw"], ks=[k], details=details)
    known, unknown = results(trial, REINDEX, settings)
    return known, unknown


def test_there_is_one_result_for_the_task_known_and_for_each_merge_at_each_k(trial: Trial) -> None:
    yielded = results(trial, REINDEX, EvalSettings(merges=["raw", "routed"], ks=[1, 2]))
    assert [(r.merge, r.task_known, r.k) for r in yielded] == [
        (None, True, 1),
        (None, True, 2),
        ("raw", False, 1),
        ("raw", False, 2),
        ("routed", False, 1),
        ("routed", False, 2),
    ]


def test_a_result_says_what_it_is_of(trial: Trial) -> None:
    known, _ = of_reindex(trial, 1)
    assert (known.policy, known.query, known.target) == ("reindex", "text", "image")
    assert (known.trained, known.seconds) == (True, None)
    assert (known.queries, known.seen) == ([2, 1], [1, 0])


def test_the_matrix_has_a_row_for_each_lesson_and_nothing_for_tasks_to_come(trial: Trial) -> None:
    known, unknown = of_reindex(trial, 1)
    assert known.matrix == [[1.0, None], [1.0, 1.0]]
    assert unknown.matrix == [[1.0, None], [0.5, 0.0]]


def test_a_routed_matrix_is_that_of_the_routed_ranking(trial: Trial) -> None:
    _, routed = results(trial, REINDEX, EvalSettings(merges=["routed"], ks=[2]))
    assert routed.matrix == [[1.0, None], [0.0, 1.0]]


def test_the_averages_are_those_of_the_matrix(trial: Trial) -> None:
    known, unknown = of_reindex(trial, 1)
    assert (known.final, known.forgetting, known.bwt, known.plasticity) == (1.0, 0.0, 0.0, 1.0)
    assert (unknown.final, unknown.forgetting, unknown.bwt, unknown.plasticity) == (0.25, 0.5, -0.5, 0.5)


def test_ranks_and_gains_are_of_the_last_row_and_stop_at_k(trial: Trial) -> None:
    _, at_1 = of_reindex(trial, 1)
    _, at_2 = of_reindex(trial, 2)
    second = 1 / np.log2(3)
    assert (at_1.ranks, at_2.ranks) == ([[1, 0], [0]], [[1, 2], [2]])
    assert [at_1.mrr, at_2.mrr] == pytest.approx([0.25, (0.75 + 0.5) / 2])
    assert at_2.ndcg == pytest.approx(((1 + second) / 2 + second) / 2)


def test_gains_and_chance_are_measured_by_what_is_searched() -> None:
    twice = [*PAIRS, Pair("p5", {"image": (named("c"),), "text": (named("r"),)}, "life", "val")]
    embeddings = cast(EmbeddingCache, Plane(DEGREES))
    tested = eval_set(twice, ["sky", "life"], ("text", "image"), EvalSettings())
    states = [state(1, every("life", "sky", head=1))]
    galleries = Galleries(("text", "image"), tested.galleries, embeddings, tested.qrels)
    queries = Queries("text", tested.queries, embeddings)
    history = History((Lesson(1, "sky", 1),))
    trial = Trial(tested, history, False, queries, galleries, {"reindex": states}, {"reindex": states})
    known, unknown = of_reindex(trial, 2)
    second, both = 1 / np.log2(3), 1 + 1 / np.log2(3)
    # r has c for right, too, where all tasks are searched: it stands first there, then b
    assert known.ndcg == pytest.approx((1 + 1) / 2)
    assert unknown.ndcg == pytest.approx(((1 + both / both) / 2 + second) / 2)
    assert known.chance == [1.0, 1.0]
    assert unknown.chance == pytest.approx([(2 / 4 + (1 - 2 * 1 / (4 * 3))) / 2, 2 / 4])


def test_chance_of_a_known_task_is_that_of_its_own_gallery(trial: Trial) -> None:
    known, unknown = of_reindex(trial, 1)
    assert (known.chance, unknown.chance) == ([0.5, 0.5], [0.25, 0.25])


def test_confusion_is_what_is_lost_by_not_knowing_the_task(trial: Trial) -> None:
    known, unknown = of_reindex(trial, 1)
    assert (known.confusion, unknown.confusion) == (None, (0.5 + 1.0) / 2)


def test_future_cells_are_of_tasks_to_come_as_if_indexed_already(trial: Trial) -> None:
    known, unknown = of_reindex(trial, 1)
    assert (known.future, unknown.future) == ([[None, 1.0], [None, None]], None)


def test_zero_shot_is_what_the_untrained_head_finds_and_transfer_is_measured_from_there(trial: Trial) -> None:
    known, unknown = of_reindex(trial, 1)
    assert (known.zero_shot, unknown.zero_shot) == ([1.0, 0.0], None)
    assert (known.forward_transfer, unknown.forward_transfer) == (1.0, None)


def test_on_the_final_gallery_what_new_items_push_away_is_not_forgotten(trial: Trial) -> None:
    known, unknown = of_reindex(trial, 1)
    assert unknown.forgetting == 0.5
    assert (known.final_gallery_forgetting, unknown.final_gallery_forgetting) == (None, 0.0)


def test_without_details_there_is_none_of_what_takes_longer(trial: Trial) -> None:
    for result in of_reindex(trial, 1, details=False):
        assert (result.zero_shot, result.future, result.forward_transfer) == (None,) * 3
        assert result.final_gallery_forgetting is None
    assert of_reindex(trial, 1, details=False)[1].confusion == 0.75


def test_the_training_of_a_reference_is_told(trial: Trial) -> None:
    heads = (Reference("reindex", "life", 2, 2, False, 12.5), Reference("reindex", "sky", 1, 1, False, 3.0))
    yielded = results(trial, ReferenceHeads("reindex", heads), EvalSettings(ks=[1], details=False))
    assert {result.seconds for result in yielded} == {12.5}


def test_two_systems_are_compared_task_by_task_after_the_last_lesson(trial: Trial) -> None:
    (comparison,) = compared(trial, [REINDEX, STALE], OwnTask(), [1])
    assert (comparison.first, comparison.second, comparison.merge, comparison.task_known, comparison.k) == (
        "reindex",
        "no-reindex",
        None,
        True,
        1,
    )
    assert (comparison.query, comparison.target) == ("text", "image")
    # the stale index gives q another picture of sky, one of its two queries; life is the same
    assert comparison.difference == pytest.approx((0.5 + 0.0) / 2)
    assert comparison.low <= comparison.difference <= comparison.high
    (swapped,) = compared(trial, [STALE, REINDEX], OwnTask(), [1])
    assert swapped.difference == -comparison.difference


def test_systems_are_compared_at_every_k_and_merge_by_merge(trial: Trial) -> None:
    comparisons = list(compared(trial, [REINDEX, STALE], AllTasks("raw"), [1, 4]))
    assert [(c.k, c.merge, c.task_known) for c in comparisons] == [(1, "raw", False), (4, "raw", False)]
    assert comparisons[1].difference == 0


def test_what_has_no_task_in_common_is_not_compared(trial: Trial) -> None:
    trial.states["no-reindex"][-1].plan.clear()  # type: ignore[attr-defined]
    assert list(compared(trial, [REINDEX, STALE], OwnTask(), [1])) == []


# of a workspace


@pytest.fixture(scope="session")
def usual(trained: Path) -> list[Result]:
    return evaluations.results(trained)


def test_what_was_not_learned_yet_is_null_and_all_else_a_number(usual: list[Result]) -> None:
    holes = {tuple(tuple(value is None for value in row) for row in r.matrix) for r in usual}
    assert holes == {((False, True, True), (False, False, True), (False, False, False))}


def test_matched_forgets_nothing_where_the_task_is_known(usual: list[Result]) -> None:
    assert {r.forgetting for r in usual if r.policy == "matched" and r.task_known} == {0.0}


def test_all_policies_agree_on_the_task_learned_last(usual: list[Result]) -> None:
    met = {(r.query, r.k, r.matrix[2][2]) for r in usual if r.task_known}
    assert len(met) == 2 * 3


def test_all_policies_agree_after_the_first_lesson(usual: list[Result]) -> None:
    met = {(r.query, r.k, r.matrix[0][0]) for r in usual if r.task_known}
    assert len(met) == 2 * 3


def test_recall_grows_with_k(usual: list[Result]) -> None:
    curves: dict[object, list[float]] = {}
    for r in usual:
        curves.setdefault((r.policy, r.query, r.merge), []).append(r.final or 0.0)
    assert all(curve == sorted(curve) for curve in curves.values())


def test_a_known_task_is_never_harder_than_an_unknown_one(usual: list[Result]) -> None:
    known = {(r.policy, r.query, r.k): r.final for r in usual if r.task_known}
    unknown = {(r.policy, r.query, r.k): r.final for r in usual if not r.task_known}
    assert all((known[key] or 0) >= (unknown[key] or 0) for key in known)


def test_future_cells_are_where_the_matrix_has_none(usual: list[Result]) -> None:
    for r in usual:
        for now, later in zip(r.matrix, r.future or [], strict=False):
            assert [value is None for value in now] == [value is not None for value in later]


def test_reciprocal_rank_and_gain_lie_between_chance_and_recall(usual: list[Result]) -> None:
    for r in usual:
        assert 0 <= (r.mrr or 0) <= (r.ndcg or 0) <= (r.final or 0)


def test_a_k_beyond_the_gallery_finds_everything(trained: Path) -> None:
    assert {r.final for r in evaluations.results(trained, EvalSettings(ks=[500]))} == {1.0}


def test_a_label_makes_more_right_than_a_pair(trained: Path) -> None:
    by_pair = evaluations.results(trained, EvalSettings(ks=[1], gallery="all"))
    by_label = evaluations.results(trained, EvalSettings(ks=[1], gallery="all", relevance="label"))
    gains = [(b.final or 0) - (a.final or 0) for a, b in zip(by_pair, by_label, strict=True)]
    assert min(gains) >= 0
    assert max(gains) > 0


def test_where_no_query_has_anything_right_all_is_null(trained: Path) -> None:
    yielded = evaluations.results(trained, EvalSettings(ks=[1], gallery="train"))
    assert {(tuple(r.queries), tuple(r.chance), r.final) for r in yielded} == {((0, 0, 0), (None,) * 3, None)}


def test_unlabelled_pairs_give_nulls_and_no_crash(tmp_path: Path) -> None:
    path, rows = tmp_path / "sky.npz", worlds.rows("sky", 12)
    np.savez(path, image=np.stack([r.image for r in rows]), text=[r.text for r in rows], split=["test"] * 12)
    worlds.index(tmp_path, path)
    assert {r.final for r in evaluations.results(tmp_path, EvalSettings(relevance="label"))} == {None}


def test_zero_shot_is_what_an_index_that_never_learned_finds(trained: Path, tmp_path: Path) -> None:
    for task in worlds.TASKS:
        worlds.index(tmp_path, trained / f"{task}.npz")
    with evaluated(tmp_path, USUAL) as evaluation:
        order = evaluation.tasks
        untrained = {(r.query, r.k): r.matrix[0] for r in evaluation.results() if r.task_known}
    for r in evaluations.results(trained):
        if r.task_known:
            assert r.zero_shot == [untrained[r.query, r.k][order.index(task)] for task in worlds.TASKS]


def test_chance_is_averaged_over_the_tasks_that_have_queries() -> None:
    assert replace(RESULT, chance=[0.1, None, 0.3]).mean_chance == pytest.approx(0.2)
