"""A workspace of format 3, with shards of format 2, that the release of its time made: read, searched, indexed on.

`fixtures/workspace-3.tar.xz` was made at commit 4def264: for sky and then life, six rows of `worlds.rows(task, 6,
start=4)` as a features file of `image` and `depth = image[:, ::-1] ** 2`, `worlds.learn` of 6 epochs and
`worlds.index`; then `worlds.index` once more, which drops what nothing names. `recorded.json` in it holds what
`Index.search` found then: depths nearest to unit vectors of image features, four hits of (id, score) each.
"""

import json
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import worlds
from engine.ranking.query import Part
from engine.types import Hit, KnownTask, MergeName
from indexer.serving.reindex import reindex, rollback
from indexer.serving.search import open_searcher
from indexer.serving.status import status
from indexer.serving.wanted import ServingRequest
from indexer.shards import files as shards

ARCHIVE = Path(__file__).parent / "fixtures/workspace-3.tar.xz"


@dataclass(frozen=True)
class Recorded:
    """A search at the time: along which axis of image features, where, and its hits."""

    query: int
    task: str
    merge: MergeName | None
    hits: list[tuple[str, float]]


@pytest.fixture
def old(tmp_path: Path) -> Path:
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


def recorded(root: Path) -> list[Recorded]:
    return [Recorded(**search) for search in json.loads((root / ".mneme/recorded.json").read_text())]


def search(root: Path, axis: int, task: str, merge: MergeName | None = None) -> list[Hit]:
    part = Part("image", np.eye(8, dtype=np.float32)[axis])
    with open_searcher(root / ".mneme") as searcher:
        scope = searcher.all_tasks(merge) if task == "all" else KnownTask(task)
        return searcher.nearest([part], "depth", 4, scope)


def assert_answers_as_recorded(root: Path, searches: list[Recorded]) -> None:
    then = [hit for search in searches for hit in search.hits]
    now = [hit for past in searches for hit in search(root, past.query, past.task, past.merge)]
    assert [hit.id for hit in now] == [id for id, _ in then]
    # a query's embedding is float32, whose last digit differs by processor
    assert [hit.score for hit in now] == pytest.approx([score for _, score in then], abs=1e-6)


def add_places(root: Path) -> None:
    image = np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)
    np.savez(root / "places.npz", image=image, depth=image[:, ::-1] ** 2, task=["places"] * 5)
    worlds.index(root, root / "places.npz")


def formats(root: Path) -> list[int]:
    workspace = worlds.opened(root)
    folders = [workspace.shards / shard.path for shard in workspace.manifest.served.shards]
    return [shards.read_facts(folder).format for folder in folders]


def test_the_archive_is_small() -> None:
    assert ARCHIVE.stat().st_size <= 10_000


def test_an_old_workspace_is_read(old: Path) -> None:
    content = status(old / ".mneme")
    items = {"image": 6, "depth": 6}
    assert {row.task: (row.head, row.items) for row in content.tasks} == {
        "sky": (1, items),
        "life": (2, items),
    }
    assert [shard.rows for shard in content.shards] == [6] * 4


def test_an_old_workspace_answers_as_it_did(old: Path) -> None:
    assert formats(old) == [2] * 4
    assert_answers_as_recorded(old, recorded(old))


def test_an_old_workspace_is_indexed_further_and_its_old_tasks_answer_as_they_did(old: Path) -> None:
    add_places(old)
    assert sorted(formats(old)) == [2] * 4 + [3] * 2
    assert_answers_as_recorded(old, [search for search in recorded(old) if search.task != "all"])
    assert {hit.task for hit in search(old, 0, "places")} == {"places"}


def test_a_reindex_of_an_old_workspace_is_rolled_back(old: Path) -> None:
    assert reindex(old / ".mneme", ServingRequest("reindex")).shards_built == 2
    assert sorted(formats(old)) == [2, 2, 3, 3]
    assert rollback(old / ".mneme").policy == "no-reindex"
    assert formats(old) == [2] * 4
    assert_answers_as_recorded(old, recorded(old))
