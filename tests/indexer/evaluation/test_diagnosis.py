from pathlib import Path
from typing import cast

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from engine.history import History, Lesson
from engine.types import Pair
from evaluations import tried
from indexer.embeddings.embeddings import EmbeddingCache
from indexer.evaluation import diagnosis
from indexer.evaluation.diagnosis import Diagnosis, diagnoses, positives
from indexer.evaluation.embedded import Galleries, Queries
from indexer.evaluation.protocol import EvalSettings, eval_set
from indexer.evaluation.runs import IndexState, Trial
from indexer.policies.plan import Placement
from planar import Plane, ids, named

SETTINGS = EvalSettings(policies=("reindex", "no-reindex", "matched"), merges=("raw",), details=False)
DEGREES = {"a": 0, "b": 60, "c": 25, "q": 10, "r": 80, "s": 20}
PAIRS = [
    Pair("p0", {"image": (named("a"),), "text": (named("q"),)}, "sky", "test"),
    Pair("p1", {"image": (named("b"),), "text": (named("r"),)}, "sky", "test"),
    Pair("p2", {"image": (named("c"),), "text": (named("s"),)}, "life", "test"),
]


def cosine(degrees: float) -> float:
    return float(np.cos(np.radians(degrees)))


def planar(sky: tuple[Placement, ...], *others: str) -> Trial:
    """Return a trial of two lessons, after which sky is placed so; each head turns by 90 degrees.

    Args:
        others: tasks without pairs, which were placed before.
    """
    embeddings = cast(EmbeddingCache, Plane(DEGREES))
    tested = eval_set(PAIRS, [*others, "sky", "life"], ("text", "image"), EvalSettings())
    plan = {**dict.fromkeys(others, (Placement(1, 1, 1),)), "sky": sky, "life": (Placement(2, 2, 2),)}
    return Trial(
        eval_set=tested,
        history=History((Lesson(1, "sky", 1), Lesson(2, "life", 2))),
        trained=True,
        queries=Queries("text", tested.queries, embeddings),
        galleries=Galleries(("text", "image"), tested.galleries, embeddings, tested.qrels),
        states={"matched": [IndexState(2, plan, lambda task, placement: 1.0, {})]},
        full={},
    )


def of_sky(sky: tuple[Placement, ...]) -> Diagnosis:
    diagnosis_of_sky, _ = diagnoses(planar(sky), "matched", "raw")
    return diagnosis_of_sky


def test_drift_is_one_less_the_cosine_to_where_the_own_lesson_put_queries_and_items() -> None:
    diagnosed = of_sky((Placement(2, 2, 3),))
    assert diagnosed.drift == pytest.approx({"text": 1 - cosine(180), "image": 1 - cosine(90)})


def test_alignment_is_the_mean_cosine_of_positive_pairs_now_and_when_the_task_was_new() -> None:
    diagnosed = of_sky((Placement(2, 2, 1),))
    when_new = [cosine(10 - 0), cosine(80 - 60)]
    now = [cosine(10 + 90 - 180), cosine(80 + 90 - 60 - 180)]
    assert diagnosed.alignment_when_new == pytest.approx(np.mean(when_new))
    assert diagnosed.alignment == pytest.approx(np.mean(now))


def test_the_parts_of_a_task_are_looked_at_together() -> None:
    parts = (Placement(1, 1, 1, (named("b"),)), Placement(2, 2, 1, (named("a"),)))
    diagnosed = of_sky(parts)
    assert diagnosed.drift["image"] == pytest.approx((0 + (1 - cosine(90))) / 2)
    assert diagnosed.alignment == pytest.approx((cosine(10 + 90 - 180) + cosine(20)) / 2)


def test_overlap_is_the_share_of_other_tasks_items_in_the_first_places() -> None:
    assert of_sky((Placement(1, 1, 1),)).overlap == pytest.approx(1 / 3)


def test_the_first_ten_places_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    assert diagnosis.TOP == 10
    monkeypatch.setattr(diagnosis, "TOP", 1)
    assert of_sky((Placement(1, 1, 1),)).overlap == 0
    assert of_sky((Placement(1, 1, 2),)).overlap == 1


def test_a_diagnosis_says_what_it_is_of() -> None:
    diagnosed = of_sky((Placement(1, 1, 1),))
    assert (diagnosed.policy, diagnosed.query, diagnosed.target, diagnosed.merge) == (
        "matched",
        "text",
        "image",
        "raw",
    )
    assert (diagnosed.lesson, diagnosed.task) == (2, "sky")


def test_positives_are_the_places_of_a_pair_s_items_and_no_more_than_are_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    several = [
        Pair("p0", {"image": (named("c"), named("a")), "text": (named("r"),)}, "sky", "test"),
        Pair("p1", {"image": (named("b"),), "text": (named("q"), named("x"))}, "sky", "train"),
    ]
    tested = eval_set(several, ["sky"], ("text", "image"), EvalSettings(gallery="all"))
    tested.queries["sky"] = ids("qr")
    assert positives(tested, "sky").tolist() == [[0, 1], [1, 2], [1, 0]]
    monkeypatch.setattr(diagnosis, "MOST", 2)
    assert positives(tested, "sky").tolist() == [[0, 1], [1, 2]]


def test_a_task_without_positive_pairs_has_no_places() -> None:
    tested = eval_set(PAIRS, ["sky", "places"], ("text", "image"), EvalSettings())
    assert_array_equal(positives(tested, "places"), np.zeros((0, 2)))


def test_a_task_without_positive_pairs_is_not_diagnosed(trained: Path) -> None:
    settings = EvalSettings(gallery="train", relevance="label", details=False)  # right by label, in no pair
    with tried(trained, settings) as trial:
        assert list(diagnoses(trial, "matched", "raw")) == []


def test_tasks_after_one_without_pairs_are_diagnosed_all_the_same() -> None:
    trial = planar((Placement(1, 1, 1),), "places")
    assert [diagnosed.task for diagnosed in diagnoses(trial, "matched", "raw")] == ["sky", "life"]


def test_every_task_is_diagnosed_from_its_own_lesson_on(trained: Path) -> None:
    with tried(trained, SETTINGS) as trial:
        by_lesson = list(diagnoses(trial, "reindex", "raw"))
    assert [(d.lesson, d.task) for d in by_lesson] == [
        (1, "sky"),
        (2, "sky"),
        (2, "life"),
        (3, "sky"),
        (3, "life"),
        (3, "places"),
    ]


def test_under_matched_nothing_has_moved_and_under_no_reindex_the_items_have_not(trained: Path) -> None:
    with tried(trained, SETTINGS) as trial:
        drifts = {
            policy: next(d.drift for d in diagnoses(trial, policy, "raw") if (d.lesson, d.task) == (3, "sky"))
            for policy in SETTINGS.policies
        }
    assert drifts["matched"] == pytest.approx({"text": 0, "image": 0}, abs=1e-6)
    assert drifts["no-reindex"]["image"] == pytest.approx(0, abs=1e-6)
    assert drifts["no-reindex"]["text"] == drifts["reindex"]["text"] > 0.01
    assert drifts["reindex"]["image"] > 0.01
