from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from engine.evaluation import qrels
from engine.evaluation.qrels import Qrels, Run, qrels_of
from engine.ids import Ids
from engine.ranking.fusion import NO_SCORE
from engine.types import Pair

MODALITIES = ("image", "text")
PAIRS = [
    Pair("p0", {"image": ("i0",), "text": ("t0", "t1")}, "sky", "test", ("bird",)),
    Pair("p1", {"image": ("i1",), "text": ("t2",)}, "sky", "test", ("dog",)),
    Pair("p2", {"image": ("i2",), "text": ("t0",)}, "life", "train", ("dog", "tree")),
    Pair("p3", {"image": ("i3",)}, "life", "train"),
    Pair("p4", {"audio": ("a0",), "text": ("t3",)}, "life", "train", ("bird",)),
]


def ids(*names: str) -> Ids:
    return np.array(names, "S32")


def right(judgements: Qrels, query: str, *items: str) -> list[bool]:
    return list(judgements.right(ids(query), ids(*items)[None])[0])


BY_PAIR = qrels_of(PAIRS, "pair", MODALITIES)
BY_LABEL = qrels_of(PAIRS, "label", MODALITIES)


def test_a_pair_makes_its_items_right_for_each_other() -> None:
    assert right(BY_PAIR, "t1", "i0", "i1", "i2", "i3") == [True, False, False, False]


def test_a_text_of_two_pairs_is_right_for_the_pictures_of_both() -> None:
    assert right(BY_PAIR, "t0", "i0", "i1", "i2") == [True, False, True]


def test_any_of_the_captions_is_right_for_a_picture() -> None:
    assert right(BY_PAIR, "i0", "t0", "t1", "t2") == [True, True, False]


def test_pairs_of_another_task_and_split_count() -> None:
    assert right(BY_PAIR, "i2", "t0") == [True]


def test_a_shared_label_makes_right() -> None:
    assert right(BY_LABEL, "t2", "i0", "i1", "i2") == [False, True, True]


def test_an_unlabelled_item_is_right_for_nothing() -> None:
    assert right(BY_LABEL, "i3", "t0", "t2", "t3") == [False, False, False]


def test_a_text_has_the_labels_of_all_its_pairs() -> None:
    assert right(BY_LABEL, "t0", "i0", "i1", "i2") == [True, True, True]


def test_every_query_of_a_batch_is_judged_by_itself() -> None:
    right = BY_PAIR.right(ids("t1", "t2"), np.stack([ids("i0", "i1"), ids("i0", "i1")]))
    assert_array_equal(right, [[True, False], [False, True]])


def test_the_right_items_of_a_gallery_are_counted() -> None:
    assert BY_PAIR.count(ids("t0", "t1", "t2"), ids("i0", "i2", "i3")).tolist() == [2, 1, 0]


def test_queries_stand_beside_what_is_right_for_them_across_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qrels, "BLOCK", 2)
    queries, gallery = ids("t2", "t3", "t0", "t1"), ids("i2", "i0")
    rows, columns = BY_PAIR.matches(queries, gallery)
    matches = sorted(zip(queries[rows].tolist(), gallery[columns].tolist(), strict=True))
    assert matches == [(b"t0", b"i0"), (b"t0", b"i2"), (b"t1", b"i0")]


def test_an_item_that_shares_two_labels_counts_once() -> None:
    twice = [
        Pair("p0", {"image": ("i0",)}, "sky", "test", ("dog", "tree")),
        Pair("p1", {"text": ("t0",)}, "sky", "test", ("tree", "dog")),
    ]
    assert qrels_of(twice, "label", MODALITIES).count(ids("t0"), ids("i0")).tolist() == [1]


def test_a_label_given_twice_counts_once() -> None:
    twice = [Pair("p0", {"image": ("i0",), "text": ("t0",)}, "sky", "test", ("dog", "dog"))]
    assert right(qrels_of(twice, "label", MODALITIES), "t0", "i0") == [True]


def test_no_queries_are_counted_as_none() -> None:
    assert BY_PAIR.count(ids(), ids("i0")).shape == (0,)


def test_an_empty_gallery_holds_nothing_right() -> None:
    assert BY_PAIR.count(ids("t0"), ids()).tolist() == [0]


def test_without_any_label_nothing_is_right() -> None:
    bare = [Pair("p0", {"image": ("i0",), "text": ("t0",)}, "sky", "test")]
    assert qrels_of(bare, "label", MODALITIES).count(ids("t0"), ids("i0")).tolist() == [0]


def test_items_are_numbered_in_the_order_of_their_ids() -> None:
    assert BY_PAIR.numbers(ids("t3", "i0", "i3")).tolist() == [7, 0, 3]


def test_numbers_stand_for_their_items() -> None:
    items = BY_PAIR.numbers(ids("i0", "i1", "i2"))
    assert BY_PAIR.right(ids("t0"), items[None]).tolist() == [[True, False, True]]


RUN = Run(
    queries=ids("t0", "t1", "t2"),
    tasks=["sky", "life"],
    task=np.array([0, 0, 1]),
    source=np.array([[0, 1, 0], [1, 0, 1], [1, 1, 0]]),
    items=np.stack([ids("i0", "i1", "i2"), ids("i1", "i0", "i0"), ids("i1", "i1", "i2")]),
    scores=np.array([[0.9, 0.8, 0.7], [0.9, 0.8, NO_SCORE], [0.9, NO_SCORE, NO_SCORE]]),
)


def test_a_run_is_judged_place_by_place_and_nothing_is_right_where_nothing_was_retrieved() -> None:
    assert BY_PAIR.judge(RUN).tolist() == [[True, False, True], [False, True, False], [True, False, False]]


def test_what_another_task_s_shard_offered_is_told_and_an_empty_place_is_not_counted() -> None:
    assert RUN.from_other_tasks.tolist() == [[False, True, False], [True, False, False], [False] * 3]


def test_the_run_of_one_task_holds_its_queries_alone() -> None:
    of_life, of_sky = RUN.of_task("life"), replace(RUN, log_p=-RUN.scores).of_task("sky")
    assert of_life.queries.tolist() == [b"t2"]
    assert (of_life.items[0, 0], of_life.source.tolist(), of_life.log_p) == (b"i1", [[1, 1, 0]], None)
    assert of_sky.log_p is not None
    assert_array_equal(of_sky.log_p, -RUN.scores[:2])
    assert of_sky.task.tolist() == [0, 0]


def test_every_task_that_has_queries_in_a_run_has_its_part_of_it() -> None:
    run = replace(RUN, tasks=["sea", "sky", "life"], task=np.array([1, 1, 2]))
    assert {task: part.queries.tolist() for task, part in run.by_task().items()} == {
        "sky": [b"t0", b"t1"],
        "life": [b"t2"],
    }
