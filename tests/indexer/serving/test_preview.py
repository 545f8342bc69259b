from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

import worlds
from engine.ids import decode
from engine.ranking.query import Part
from engine.types import AllTasks, KnownTask, MergeName
from indexer.embeddings.embeddings import EmbeddingCache
from indexer.evaluation.runs import retrieve
from indexer.serving import preview, reindex
from indexer.serving.preview import DirectionChange, ReindexPreview
from indexer.serving.search import open_searcher
from indexer.serving.wanted import ServingRequest, planner_of
from indexer.shards import files as shards

ACROSS = (("image", "text"), ("text", "image"))


def previewed(root: Path, request: ServingRequest) -> ReindexPreview:
    return preview.preview(root / ".mneme", request)


def size(root: Path) -> int:
    """Return how many bytes the vectors and ids of all shards take."""
    return sum(shards.read_facts(file.parent).bytes for file in root.rglob("shard.json"))


def test_a_preview_writes_nothing(world: Path) -> None:
    before = worlds.bytes_below(world)
    previewed(world, ServingRequest("reindex"))
    assert worlds.bytes_below(world) == before


def test_it_counts_what_the_reindex_then_embeds(world: Path) -> None:
    expected, before = previewed(world, ServingRequest("reindex")), size(world)
    headers = 4 * 2 * 128  # of the vectors and ids of each new shard
    assert expected.items == 2 * 2 * 30
    assert reindex.reindex(world / ".mneme", ServingRequest("reindex")).shards_built == 4
    assert expected.bytes == size(world) - before - headers


def test_what_exists_costs_nothing(world: Path) -> None:
    expected = previewed(world, ServingRequest("matched"))
    assert (expected.items, expected.bytes, expected.seconds) == (0, 0, 0.0)


def test_it_names_the_policies_that_would_be_served(world: Path) -> None:
    reindex.reindex(world / ".mneme", ServingRequest(None, {"text-image": "matched"}))
    expected = previewed(world, ServingRequest(None, {"image-text": "aligned"}))
    assert expected.policy == "no-reindex"
    assert expected.policies == {"text-image": "matched", "image-text": "aligned"}


def test_seconds_are_those_of_a_sample_times_how_many_there_are(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = list[int]()

    def timed(self: EmbeddingCache, modality: str, ids: Sequence[str], head: int, space: int) -> float:
        samples.append(len(ids))
        return 0.5 if modality == "image" else 2.0

    monkeypatch.setattr(EmbeddingCache, "seconds", timed)
    monkeypatch.setattr(preview, "BLOCK", 10)
    # two shards of 30 items of each modality, of which 10 were timed
    assert previewed(world, ServingRequest("reindex")).seconds == pytest.approx(2 * 3 * (0.5 + 2.0))
    assert samples == [10] * 4


def test_a_small_shard_is_timed_as_a_whole(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EmbeddingCache, "seconds", lambda self, modality, ids, head, space: len(ids))
    assert previewed(world, ServingRequest("reindex")).seconds == 4 * 30


def test_it_says_the_recall_of_validation_pairs_now_and_then(world: Path) -> None:
    expected = previewed(world, ServingRequest("reindex")).recall
    assert {(one.query, one.target, one.task, one.task_known) for one in expected} == {
        (*direction, task, known) for direction in ACROSS for task in worlds.TASKS for known in (True, False)
    }
    assert {one.queries for one in expected} == {3}
    assert all(one.now == one.then for one in expected if one.task == "places" and one.task_known)


def test_what_stays_recalls_as_before(world: Path) -> None:
    expected = previewed(world, ServingRequest("no-reindex"))
    assert all(one.now == one.then for one in expected.recall)
    assert expected.overlap == []


def test_recall_then_is_recall_now_after_the_reindex(world: Path) -> None:
    then = [one.then for one in previewed(world, ServingRequest("reindex")).recall]
    now = [one.now for one in previewed(world, ServingRequest("reindex")).recall]
    reindex.reindex(world / ".mneme", ServingRequest("reindex"))
    assert [one.now for one in previewed(world, ServingRequest("reindex")).recall] == then
    assert then != now


def test_a_task_that_is_not_served_yet_has_no_recall_to_compare(world: Path) -> None:
    source = worlds.save(
        world / "late.npz", [replace(row, task="late") for row in worlds.rows("sky", start=30)]
    )
    worlds.learn(world, "late", source)
    tasks = {change.task for change in previewed(world, ServingRequest("reindex")).recall}
    assert tasks == {*worlds.TASKS}


def without_validation_pairs(root: Path) -> Path:
    for task in ("sky", "life"):
        rows = [row for row in worlds.rows(task) if row.split == "train"]
        source = worlds.save(root / f"{task}.npz", rows)
        worlds.learn(root, task, source)
        worlds.index(root, source)
    return root


def test_without_validation_pairs_it_says_how_alike_rankings_would_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = without_validation_pairs(tmp_path)
    expected = previewed(root, ServingRequest("reindex"))
    assert expected.recall == []
    assert {(one.query, one.target, one.task, one.queries) for one in expected.overlap} == {
        (*direction, task, 21) for direction in ACROSS for task in ("sky", "life")
    }
    alike = {(one.query, one.task): (one.overlap, one.rbo) for one in expected.overlap}
    assert alike["text", "life"] == pytest.approx((1, 1))
    assert 0 < alike["text", "sky"][0] < 1
    monkeypatch.setattr(preview, "SAMPLES", 5)
    assert {one.queries for one in previewed(root, ServingRequest("reindex")).overlap} == {5}


def test_auto_explains_its_choices(world: Path) -> None:
    choices = previewed(world, ServingRequest("auto")).choices
    assert [choice.task for choice in choices] == [*worlds.TASKS] * 2
    assert {(choice.task, choice.own) for choice in choices} == {("sky", 1), ("life", 2), ("places", 3)}
    assert all(choice.queries == 3 for choice in choices)


def test_auto_in_one_direction_explains_that_alone(world: Path) -> None:
    expected = previewed(world, ServingRequest(None, {"text-image": "auto"}))
    assert [choice.task for choice in expected.choices] == [*worlds.TASKS]
    assert previewed(world, ServingRequest(None, {"text-text": "auto"})).choices == []


@pytest.mark.parametrize("merge", [None, "raw", "routed"])
def test_what_partial_serves_is_judged_as_search_finds_it(world: Path, merge: MergeName | None) -> None:
    reindex.reindex(world / ".mneme", ServingRequest("partial", budget=0.3))
    with open_searcher(world / ".mneme") as searcher:
        workspace, store = searcher.snapshot.workspace, searcher.store
        planner = planner_of(workspace, store, ServingRequest(), "cpu")
        change = DirectionChange(workspace, planner, ("text", "image"), {})
        now, backbone = change.now(), workspace.manifest.backbones["text"].id
        for task in worlds.TASKS:
            scope = AllTasks(merge) if merge else KnownTask(task)
            run = retrieve(change.state(now), change.queries, change.galleries, scope).of_task(task)
            ranked = change.eval_set.qrels.ids[run.items]
            for id, ids in zip(decode(run.queries), ranked, strict=True):
                part = Part("text", store.features([id], backbone)[0])
                hits = searcher.nearest([part], "image", 10, scope)
                assert [hit.id for hit in hits] == [id.decode() for id in ids]
    assert any(len(placements) > 1 for placements in now.values())
