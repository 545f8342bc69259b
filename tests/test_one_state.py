"""An answer belongs to one state: beside an `index` that rewrites everything, and after one that was killed."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pyarrow.parquet as pq
import pytest

import apart
import worlds
from engine.ranking.query import Part
from engine.types import AllTasks, PolicyName
from evaluations import evaluated
from indexer.evaluation.protocol import EvalSettings
from indexer.serving import build, export
from indexer.serving.search import Searcher, open_searcher
from indexer.serving.status import status

SETTINGS = EvalSettings(("reindex", "matched"), ("raw",), (1, 5), details=False)
PICTURE = [Part("image", worlds.rows("sky")[0].image)]


def asked(searcher: Searcher) -> object:
    return [
        (hit.text, hit.tasks, hit.score) for hit in searcher.nearest(PICTURE, "text", 90, AllTasks("raw"))
    ]


def searched(root: Path, policy: PolicyName | None = None, at: str | None = None) -> object:
    with open_searcher(root / ".mneme", policy=policy, at=at) as searcher:
        return asked(searcher)


def judged(root: Path) -> object:
    with evaluated(root, SETTINGS) as evaluation:
        return [result.matrix for result in evaluation.results()]


def exported(root: Path) -> object:
    out = root / f"out{len(list(root.glob('out*')))}"
    export.export(root / ".mneme", out)
    return [
        pq.read_table(file).select(["id", "text", "tasks"]).to_pylist()
        for file in sorted(out.glob("*.parquet"))
    ]


def counted(root: Path) -> object:
    return [(shard.task, shard.rows) for shard in status(root / ".mneme").shards]


ANSWERS: dict[str, Callable[[Path], object]] = {
    "query": searched,
    "query --policy": lambda root: searched(root, "reindex"),
    "query --at": lambda root: searched(root, at="1"),
    "export": exported,
    "status": counted,
}


def rewrite(source: Path) -> None:
    """Give every row of a source another text."""
    worlds.save(source, [replace(row, text=f"{row.text} again") for row in worlds.rows(source.stem)])


def index_and_die(root: Path, source: Path) -> None:
    """Index a source until what it holds is stored, and before it is served."""
    with mock.patch.object(build, "commit", side_effect=lambda *given: os._exit(9)):
        worlds.index(root, source)


@pytest.fixture
def taught(tmp_path: Path) -> Path:
    """Return a workspace of two lessons beside their sources."""
    for task in worlds.TASKS[:2]:
        source = worlds.save(tmp_path / f"{task}.npz", worlds.rows(task))
        worlds.learn(tmp_path, task, source)
        worlds.index(tmp_path, source, policy="no-reindex")
    return tmp_path


def test_after_an_index_that_was_killed_every_command_answers_as_before(taught: Path) -> None:
    before = {name: answer(taught) for name, answer in ANSWERS.items()}
    rewrite(taught / "sky.npz")
    assert apart.run(index_and_die, taught, taught / "sky.npz") == 9
    assert {name: answer(taught) for name, answer in ANSWERS.items()} == before
    assert judged(taught)
    worlds.index(taught, taught / "sky.npz")
    assert ANSWERS["query"](taught) != before["query"]


@pytest.mark.parametrize(("policy", "at"), [(None, None), ("reindex", None), (None, "1")])
def test_a_searcher_that_stays_open_answers_as_before_while_everything_is_rewritten(
    taught: Path, policy: PolicyName | None, at: str | None
) -> None:
    with open_searcher(taught / ".mneme", policy=policy, at=at) as searcher:
        before = asked(searcher)
    rewrite(taught / "sky.npz")
    with open_searcher(taught / ".mneme", policy=policy, at=at) as searcher:
        assert apart.run(worlds.index, taught, taught / "sky.npz") == 0
        assert asked(searcher) == before
        searcher.refresh()
        assert asked(searcher) != before


def test_an_evaluation_is_of_the_state_in_which_it_was_opened(taught: Path) -> None:
    before = judged(taught)
    rewrite(taught / "sky.npz")
    with evaluated(taught, SETTINGS) as evaluation:
        assert apart.run(worlds.index, taught, taught / "sky.npz") == 0
        assert [result.matrix for result in evaluation.results()] == before
