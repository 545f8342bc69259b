"""Short phrases asked of the demo's collection, none of them like a caption; they were chosen before any was asked.

Of the demo's own 200 pictures a domain, two are still inferred wrongly, and not surely (.58 and .54 for landscapes):
"a car in the snow" (5 of ten hits are streets) and "a yellow bus at night" (6).
"""

from collections.abc import Iterator

import pytest

from engine.ingest.setup import WorkspaceOptions
from engine.ranking.query import Input
from engine.types import AllTasks, Hit, TrainSettings
from indexer.serving import index as indexing
from indexer.serving.search import InferredTask, LikeliestTask, Searcher, open_searcher
from studies.demo import pictures
from training import lesson as lessons

CLEAR = {
    "a red tram in the rain": "streets",
    "a red tram": "streets",
    "a street": "streets",
    "a green van": "streets",
    "tulips": "bouquets",
    "five roses in a vase": "bouquets",
    "a cup of coffee": "bouquets",
    "sunflowers in a blue jug": "bouquets",
    "a lighthouse": "landscapes",
    "a windmill": "landscapes",
    "a sailboat on the lake": "landscapes",
    "a tent in the desert": "landscapes",
}
CLOSE = {"a car in the snow": "streets", "a yellow bus at night": "streets", "a bakery": "streets"}
"""Half of their words are another domain's; 6 of ten hits are right where this was written."""


@pytest.fixture(scope="module")
def searcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Searcher]:
    """A small collection of the demo, learned as the demo does."""
    folder = tmp_path_factory.mktemp("collection")
    source, root, options = folder / "pictures", folder / ".mneme", WorkspaceOptions(["builtin"])
    pictures.render(source, per_task=60)
    for task in pictures.DOMAINS:
        lessons.learn(root, [source], options, TrainSettings(task=task))
    indexing.index(root, [source], options)
    with open_searcher(root, policy="auto") as opened:
        yield opened


def found(searcher: Searcher, phrase: str) -> list[Hit]:
    return list(searcher.search([Input("text", phrase.encode())], None, 10, AllTasks("routed")).hits)


def inferred(searcher: Searcher, phrase: str) -> InferredTask:
    task = searcher.search([Input("text", phrase.encode())], None, 1, LikeliestTask()).inferred
    assert task is not None
    return task


def of_task(hits: list[Hit], task: str) -> int:
    return sum(hit.task == task for hit in hits)


@pytest.mark.parametrize(("phrase", "task"), CLEAR.items())
def test_a_short_phrase_finds_what_it_names(searcher: Searcher, phrase: str, task: str) -> None:
    assert of_task(found(searcher, phrase), task) > 5


@pytest.mark.parametrize(("phrase", "task"), CLOSE.items())
def test_a_phrase_that_leans_both_ways_finds_some_of_what_it_names(
    searcher: Searcher, phrase: str, task: str
) -> None:
    assert of_task(found(searcher, phrase), task) >= 4


@pytest.mark.parametrize(("phrase", "task"), {**CLEAR, **CLOSE}.items())
def test_the_task_that_a_short_phrase_names_is_inferred(searcher: Searcher, phrase: str, task: str) -> None:
    assert inferred(searcher, phrase).task == task


@pytest.mark.parametrize("phrase", CLOSE)
def test_of_a_phrase_that_leans_both_ways_no_task_is_certain(searcher: Searcher, phrase: str) -> None:
    assert inferred(searcher, phrase).probability < 0.9


def test_captions_are_told_apart_as_well_as_ever(searcher: Searcher) -> None:
    caption = "a red bus passes a bakery with a red striped awning at midday, in the rain"
    assert inferred(searcher, caption).probability > 0.98
