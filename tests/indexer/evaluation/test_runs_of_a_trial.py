from typing import cast

import pytest

from engine.history import History, Lesson
from engine.types import AllTasks, Pair
from indexer.embeddings.embeddings import EmbeddingCache
from indexer.evaluation.embedded import Galleries, Queries
from indexer.evaluation.protocol import EvalSettings, OwnTask, eval_set
from indexer.evaluation.runs import IndexState, Trial, judge_all, retrieve_all
from indexer.policies.plan import Placement
from planar import Plane, letters, named

DEGREES = {"a": 0, "b": 20, "q": 15, "r": 25}
PAIRS = [
    Pair("p0", {"image": (named("a"),), "text": (named("q"),)}, "sky", "test"),
    Pair("p1", {"image": (named("b"),), "text": (named("r"),)}, "life", "test"),
]
TASKS = ["sky", "life", "places"]
STATE = IndexState(1, {task: (Placement(1, 1, 1),) for task in TASKS}, lambda task, placement: 1.0, {})


@pytest.fixture
def trial() -> Trial:
    """One picture and one query a task, of which sky's is nearer to the picture of life; places holds nothing."""
    embeddings = cast(EmbeddingCache, Plane(DEGREES))
    tested = eval_set(PAIRS, TASKS, ("text", "image"), EvalSettings())
    return Trial(
        eval_set=tested,
        history=History((Lesson(1, "sky", 1),)),
        trained=True,
        queries=Queries("text", tested.queries, embeddings),
        galleries=Galleries(("text", "image"), tested.galleries, embeddings, tested.qrels),
        states={},
        full={},
    )


def test_a_trial_has_the_direction_of_what_it_is_tested_on(trial: Trial) -> None:
    assert (trial.query, trial.target) == ("text", "image")


def test_each_query_looks_in_its_own_task_where_that_is_known(trial: Trial) -> None:
    judged = judge_all(trial, STATE, OwnTask())
    assert {task: of_task.right.tolist() for task, of_task in judged.items()} == {
        "sky": [[True]],
        "life": [[True]],
    }


def test_each_query_looks_in_all_tasks_where_its_own_is_not_known(trial: Trial) -> None:
    judged = judge_all(trial, STATE, AllTasks("raw"))
    assert {task: of_task.right.tolist() for task, of_task in judged.items()} == {
        "sky": [[False, True]],
        "life": [[True, False]],
    }


@pytest.mark.parametrize(
    ("condition", "expected"),
    [(OwnTask(), {"sky": "a", "life": "b"}), (AllTasks("raw"), {"sky": "ba", "life": "ba"})],
)
def test_every_task_that_asks_has_a_run_of_its_own(
    trial: Trial, condition: OwnTask | AllTasks, expected: dict[str, str]
) -> None:
    runs = retrieve_all(trial, STATE, condition)
    ids = trial.eval_set.qrels.ids
    assert {task: letters(ids[run.items[0]]) for task, run in runs.items()} == expected
    assert {task: letters(run.queries) for task, run in runs.items()} == {"sky": "q", "life": "r"}


def test_where_no_task_asks_there_is_no_run(trial: Trial) -> None:
    nothing = IndexState(1, {"places": (Placement(1, 1, 1),)}, STATE.temperature, {})
    for condition in (OwnTask(), AllTasks("raw")):
        assert retrieve_all(trial, nothing, condition) == {}
        assert judge_all(trial, nothing, condition) == {}
