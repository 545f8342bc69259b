import numpy as np
import pytest

from engine.types import AllTasks, Gallery, Pair, Relevance, Split
from indexer.evaluation.protocol import EvalSet, EvalSettings, OwnTask, eval_set

A, B, C, D = (letter * 32 for letter in "abcd")
T, U, V, W = (letter * 32 for letter in "tuvw")
PAIRS = [
    Pair("p0", {"image": (A,), "text": (T,)}, "sky", "test", ("sun",)),
    Pair("p1", {"image": (B,), "text": (U,)}, "sky", "train", ("sun",)),
    Pair("p2", {"image": (C,), "text": (V, T)}, "life", "test", ("dog",)),
    Pair("p3", {"image": (D,), "text": (V,)}, "life", "train", ("sun",)),
    Pair("p4", {"image": (C,), "text": (W,)}, "life", "val"),
]


def built(gallery: Gallery = "test", relevance: Relevance = "pair", split: Split = "test") -> EvalSet:
    settings = EvalSettings(gallery=gallery, relevance=relevance, split=split)
    return eval_set(PAIRS, ["life", "sky"], ("text", "image"), settings)


def named(eval_set: EvalSet, task: str) -> tuple[list[str], list[str]]:
    """Return the first letters of a task's queries and of its gallery."""
    both = (eval_set.queries[task], eval_set.galleries[task])
    queries, gallery = (["".join(id.decode()[:1] for id in ids)] for ids in both)
    return queries, gallery


def test_the_usual_settings_are_those_of_the_manual() -> None:
    usual = EvalSettings()
    assert (usual.policies, usual.merges, usual.ks) == (
        ("reindex", "no-reindex", "matched"),
        ("raw",),
        (1, 5, 10),
    )
    assert (usual.split, usual.gallery, usual.relevance) == ("test", "test", "pair")
    assert (usual.budget, usual.details) == (0.1, True)


def test_the_task_is_known_first_and_then_unknown_by_every_merge() -> None:
    conditions = EvalSettings(merges=("routed", "raw")).conditions
    assert conditions == [OwnTask(), AllTasks("routed"), AllTasks("raw")]


def test_queries_and_gallery_are_the_items_of_their_splits_task_by_task() -> None:
    tested = built()
    assert tested.tasks == ["life", "sky"]
    assert (named(tested, "life"), named(tested, "sky")) == ((["tv"], ["c"]), (["t"], ["a"]))


def test_the_whole_gallery_is_of_every_split() -> None:
    assert named(built("all"), "life") == (["tv"], ["cd"])


def test_queries_come_from_the_split_that_is_asked_for() -> None:
    assert named(built("all", split="val"), "life") == (["w"], ["cd"])


def test_queries_with_nothing_right_in_their_gallery_are_dropped() -> None:
    assert named(built("train"), "sky") == ([""], ["b"])


def test_labels_let_another_split_s_items_be_right() -> None:
    assert named(built("train", "label"), "sky") == (["t"], ["b"])


def test_queries_that_stand_in_train_pairs_of_any_task_too_are_counted() -> None:
    assert built().seen == {"life": 1, "sky": 0}


def test_what_is_right_is_counted_in_the_galleries_that_are_searched() -> None:
    tested = built("all")
    assert tested.relevant("life", ["life"]).tolist() == [1, 2]
    assert tested.relevant("life", ["life", "sky"]).tolist() == [2, 2]


def test_chance_is_that_of_the_galleries_that_are_searched() -> None:
    tested = built("all")
    assert tested.chance("sky", ["sky"], 1) == pytest.approx(1 / 2)
    assert tested.chance("sky", ["life", "sky"], 1) == pytest.approx(2 / 4)
    assert tested.chance("life", ["life", "sky"], 2) == pytest.approx(1 - (2 * 1) / (4 * 3))


def test_an_item_of_two_tasks_stands_in_their_gallery_once() -> None:
    twin = Pair("p5", {"image": (A,), "text": (W,)}, "life", "test")
    tested = eval_set([*PAIRS, twin], ["life", "sky"], ("text", "image"), EvalSettings())
    assert tested.relevant("life", ["life", "sky"]).tolist() == [2, 1, 2]
    assert tested.chance("life", ["life", "sky"], 1) == pytest.approx((1 + 1 / 2 + 1) / 3)


def test_a_task_without_queries_has_no_chance() -> None:
    assert built("train").chance("sky", ["sky"], 1) is None


def test_both_sides_of_a_direction_may_be_asked() -> None:
    tested = eval_set(PAIRS, ["sky"], ("image", "text"), EvalSettings())
    assert (tested.query, tested.target) == ("image", "text")
    assert np.array_equal(tested.queries["sky"], [A.encode()])
