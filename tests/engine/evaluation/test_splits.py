from engine.evaluation.splits import distinct, grouped, items_of, of_task
from engine.types import Pair

A, B, C = "a" * 32, "b" * 32, "c" * 32
SECOND = Pair("second", {"image": (B,), "text": (C, A)}, "sky", "train")
FIRST = Pair("first", {"image": (B, A)}, "sky", "train")
TESTED = Pair("tested", {"image": (C,)}, "sky", "test")
OTHER = Pair("other", {"image": (A,)}, "life", "train")
GROUPS = grouped([TESTED, SECOND, FIRST, OTHER])


def test_pairs_stand_by_task_and_split_in_the_order_they_came_in() -> None:
    assert GROUPS == {
        ("sky", "test"): [TESTED],
        ("sky", "train"): [SECOND, FIRST],
        ("life", "train"): [OTHER],
    }


def test_a_task_s_pairs_are_those_of_every_split_and_of_no_other_task() -> None:
    assert of_task(GROUPS, "sky") == [SECOND, FIRST, TESTED]


def test_a_task_without_pairs_has_none() -> None:
    assert of_task(GROUPS, "places") == []


def test_items_are_those_of_one_split_and_modality_each_once_and_sorted() -> None:
    assert items_of(GROUPS, "sky", "train", "image").tolist() == [A.encode(), B.encode()]
    assert items_of(GROUPS, "sky", "train", "text").tolist() == [A.encode(), C.encode()]


def test_a_split_without_pairs_has_no_items() -> None:
    assert items_of(GROUPS, "life", "test", "image").tolist() == []


def test_pairs_without_the_modality_bring_no_items() -> None:
    assert distinct([OTHER, FIRST], "text").tolist() == []
