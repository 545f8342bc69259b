from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import worlds
from engine.types import PolicyName, Relevance
from evaluations import SETTINGS, direction, evaluated
from indexer.evaluation.evaluate import Evaluation
from indexer.evaluation.protocol import EvalSettings
from indexer.report import regressions
from indexer.report.regressions import Regression

ALL = replace(SETTINGS, policies=("reindex", "matched"), ks=(100,), gallery="all")


def of(root: Path, k: int, settings: EvalSettings = ALL, policy: PolicyName = "reindex") -> list[Regression]:
    with evaluated(root, settings) as opened:
        return regressions.regressions(direction(opened), policy, k)


def ranked(opened: Evaluation, task: str, head: int) -> dict[str, list[str]]:
    """Return a task's gallery in the order in which each of its queries ranks it, a head embedding both."""
    text_to_image = direction(opened)
    items = text_to_image.galleries.items(task)
    scores = (
        text_to_image.queries.embed(task, head).astype(np.float64)
        @ text_to_image.galleries.embed(task, head).T
    )
    queries = [id.decode() for id in text_to_image.eval_set.queries[task]]
    return {
        query: [items[place] for place in np.argsort(-row, kind="stable")]
        for query, row in zip(queries, scores, strict=True)
    }


def slow(root: Path, task: str, relevance: Relevance) -> dict[str, tuple[int, int, str, str, str]]:
    """Return each query's ranks, its best right item and first hits when its task was taught and now, by sorting."""
    with evaluated(root, ALL) as opened:
        own = {lesson.task: lesson.head for lesson in opened.history.lessons}
        then, now = ranked(opened, task, own[task]), ranked(opened, task, own["places"])
        tags = {
            id: {pair.key} if relevance == "pair" else {*pair.labels}
            for pair in opened.pairs
            if pair.task == task
            for ids in pair.items.values()
            for id in ids
        }
    answers = {}
    for query, before in then.items():
        right = [[bool(tags[query] & tags[id]) for id in order] for order in (before, now[query])]
        was, is_now = (line.index(True) for line in right)
        answers[query] = (was + 1, is_now + 1, before[was], before[0], now[query][0])
    return answers


@pytest.mark.parametrize("relevance", ["pair", "label"])
def test_regressions_are_the_queries_whose_first_right_item_fell_worst_first(
    trained: Path, relevance: Relevance
) -> None:
    expected = {
        query: ranks
        for task in ("sky", "life")
        for query, ranks in slow(trained, task, relevance).items()
        if ranks[1] > ranks[0]
    }

    fallen = of(trained, 100, replace(ALL, relevance=relevance))

    assert expected
    assert {r.asked: (r.before, r.after, r.right, r.top_before, r.top_after) for r in fallen} == expected
    assert [r.after - r.before for r in fallen] == sorted(
        (b - a for a, b, *_ in expected.values()), reverse=True
    )
    assert {(r.query, r.target, r.policy) for r in fallen} == {("text", "image", "reindex")}


def test_what_was_not_found_among_the_first_k_cannot_be_forgotten(trained: Path) -> None:
    every = of(trained, 100)
    deepest = max(r.before for r in every)

    assert of(trained, deepest) == every
    assert of(trained, deepest - 1) == [r for r in every if r.before < deepest]


def test_shards_that_are_left_alone_and_asked_as_before_forget_nothing(trained: Path) -> None:
    assert of(trained, 100, policy="matched") == []


def test_queries_are_looked_at_block_by_block(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = of(trained, 100)

    monkeypatch.setattr(regressions, "BLOCK", 4)

    assert of(trained, 100) == at_once


def test_of_many_queries_the_first_are_looked_at(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    every = of(trained, 100)
    with evaluated(trained, ALL) as opened:
        first = {id.decode() for ids in direction(opened).eval_set.queries.values() for id in ids[:3]}

    monkeypatch.setattr(regressions, "MOST", 3)

    assert of(trained, 100) == [r for r in every if r.asked in first] != every


def test_a_task_that_was_never_learned_is_compared_with_its_arrival(tmp_path: Path) -> None:
    sky, life, places = (worlds.save(tmp_path / f"{task}.npz", worlds.rows(task)) for task in worlds.TASKS)
    worlds.learn(tmp_path, "sky", sky, epochs=4)
    worlds.index(tmp_path, sky, life)
    worlds.learn(tmp_path, "places", places, epochs=8)
    worlds.index(tmp_path, places)

    assert "life" in {r.task for r in of(tmp_path, 100)}
