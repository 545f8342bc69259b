from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import worlds
from engine.errors import UserError
from engine.ranking.query import Part
from engine.storage.manifest import Sealed
from engine.types import AllTasks, KnownTask, PolicyName, Scope
from indexer.routing import slda
from indexer.serving import planned_snapshot, reindex, remove
from indexer.serving.planned_snapshot import PlannedSnapshot, lesson_number, plan_snapshot
from indexer.serving.search import open_searcher
from indexer.serving.wanted import ServingRequest

POLICIES: Sequence[PolicyName] = ("reindex", "no-reindex", "matched", "aligned", "auto")
RAW = AllTasks("raw")
Hits = list[list[tuple[str, float]]]


def hits(root: Path, policy: PolicyName | None = None, at: str | None = None, scope: Scope = RAW) -> Hits:
    """Return what is found for five pictures."""
    with open_searcher(root / ".mneme", policy=policy, at=at) as searcher:
        queries = [[Part("image", row.image)] for row in worlds.rows("sky", 5)]
        return [[(h.id, h.score) for h in searcher.nearest(parts, "text", 90, scope)] for parts in queries]


def refusal(root: Path, policy: PolicyName | None = None, lessons: int | None = None) -> str:
    with worlds.stored(root) as store, pytest.raises(UserError) as caught:
        plan_snapshot(worlds.opened(root), store, "cpu", policy=policy, lessons=lessons)
    return str(caught.value)


# under another policy


@pytest.mark.parametrize("scope", [RAW, AllTasks("routed"), KnownTask("sky")])
@pytest.mark.parametrize("policy", POLICIES)
def test_a_policy_finds_what_a_workspace_of_that_policy_finds(
    trained: Path, world: Path, policy: PolicyName, scope: Scope
) -> None:
    worlds.index(world, trained / "sky.npz", policy=policy)
    assert hits(trained, policy, scope=scope) == hits(world, scope=scope)


def test_policies_find_other_things(trained: Path) -> None:
    assert hits(trained, "reindex") != hits(trained, "no-reindex")


def test_a_policy_for_a_query_counts_in_every_direction(trained: Path, world: Path) -> None:
    request = ServingRequest("matched", {"image-text": "reindex", "text-image": "aligned"})
    reindex.reindex(world / ".mneme", request)
    assert hits(world, "no-reindex") == hits(trained, "no-reindex")


def test_nothing_is_written(world: Path) -> None:
    before = worlds.bytes_below(world)
    hits(world, "reindex")
    hits(world, at="1")
    assert worlds.bytes_below(world) == before


def test_shards_that_are_on_disk_are_read_and_not_made(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = hits(trained, "matched")
    monkeypatch.setattr(planned_snapshot, "build_shard", lambda *given: pytest.fail("made again"))
    assert hits(trained, "matched") == expected


@pytest.mark.parametrize("policy", POLICIES)
def test_training_changes_nothing_until_the_next_index(world: Path, policy: PolicyName) -> None:
    before = hits(world, policy)
    worlds.learn(world, "sky")
    assert hits(world, policy) == before


def test_what_training_found_gone_is_searched_until_the_next_index(trained: Path, tmp_path: Path) -> None:
    source = worlds.save(tmp_path / "sky.npz", worlds.rows("sky", 12))
    worlds.learn(tmp_path, "sky", source)
    worlds.index(tmp_path, source)
    worlds.learn(tmp_path, "life", trained / "life.npz")
    worlds.index(tmp_path, trained / "life.npz")
    worlds.save(source, worlds.rows("sky", 11))
    worlds.learn(tmp_path, "sky", source)
    assert len(hits(tmp_path, "reindex", scope=KnownTask("sky"))[0]) == 12
    worlds.index(tmp_path, source)
    assert len(hits(tmp_path, "reindex", scope=KnownTask("sky"))[0]) == 11


def test_an_unknown_policy_is_refused(trained: Path) -> None:
    assert refusal(trained, "best").startswith("no policy 'best'; policies are: reindex,")  # type: ignore[arg-type]


# after an earlier lesson


def planned(root: Path, **given: object) -> PlannedSnapshot:
    """Return a snapshot whose store is not to be read."""
    with worlds.stored(root) as store:
        return plan_snapshot(worlds.opened(root), store, "cpu", **given)  # type: ignore[arg-type]


def test_only_the_tasks_of_then_are_there(trained: Path) -> None:
    assert planned(trained, lessons=2).tasks == ["sky", "life"]
    assert planned(trained, policy="matched").tasks == ["sky", "life", "places"]


def test_an_earlier_lesson_finds_what_was_found_then(trained: Path, tmp_path: Path) -> None:
    worlds.learn(tmp_path, "sky", trained / "sky.npz", epochs=6)
    worlds.index(tmp_path, trained / "sky.npz")
    then = hits(tmp_path)
    worlds.learn(tmp_path, "sky")
    worlds.index(tmp_path, trained / "sky.npz")
    assert hits(tmp_path, at="1") == then
    assert hits(tmp_path, at="2") == hits(tmp_path) != then


def test_each_direction_has_the_policy_that_it_is_served_under(world: Path) -> None:
    reindex.reindex(world / ".mneme", ServingRequest("no-reindex", {"image-text": "matched"}))
    with worlds.stored(world) as store:
        snapshot = plan_snapshot(worlds.opened(world), store, "cpu", lessons=2)
        queries = {
            direction: [lookup.queries for lookup in snapshot.lookups(*direction)]
            for direction in (("image", "text"), ("text", "image"))
        }
    assert queries == {("image", "text"): [1, 2], ("text", "image"): [2, 2]}


def test_an_earlier_lesson_can_be_asked_under_another_policy(trained: Path) -> None:
    with worlds.stored(trained) as store:
        snapshot = plan_snapshot(worlds.opened(trained), store, "cpu", lessons=2, policy="reindex")
        lookups = snapshot.lookups("text", "image")
        assert [(one.key.task, one.key.head, one.queries) for one in lookups] == [
            ("sky", 2, 2),
            ("life", 2, 2),
        ]
        assert [len(one.open().ids) for one in lookups] == [30, 30]


def test_of_a_partial_index_the_heads_of_then_embed_all_items(world: Path) -> None:
    reindex.reindex(world / ".mneme", ServingRequest("partial", budget=0.3))
    with worlds.stored(world) as store:
        lookups = plan_snapshot(worlds.opened(world), store, "cpu", lessons=2).lookups("text", "image")
        assert [(one.key.task, one.key.head, one.key.part, len(one.open().ids)) for one in lookups] == [
            ("sky", 1, "", 30),
            ("life", 2, "", 30),
        ]


@pytest.mark.parametrize("lessons", [0, 4])
def test_a_lesson_that_is_not_served_is_refused_with_those_there_are(trained: Path, lessons: int) -> None:
    assert refusal(trained, lessons=lessons) == (
        f"no lesson {lessons} in what is served; lessons are: 1 to 3"
    )


def test_before_a_lesson_is_indexed_there_is_none(trained: Path, tmp_path: Path) -> None:
    worlds.learn(tmp_path, "sky", trained / "sky.npz")
    assert refusal(tmp_path, lessons=1) == "no lesson 1 in what is served; lessons are: none"


@pytest.mark.parametrize(("name", "number"), [("1", 1), ("3", 3), ("life", 2)])
def test_a_lesson_is_named_by_its_number_or_its_task(trained: Path, name: str, number: int) -> None:
    assert lesson_number(worlds.opened(trained), name) == number


def test_a_task_names_its_last_lesson(world: Path) -> None:
    worlds.learn(world, "sky")
    assert lesson_number(worlds.opened(world), "sky") == 4


def test_a_lesson_that_was_never_given_is_refused_with_those_there_are(trained: Path, tmp_path: Path) -> None:
    for root, known in ((trained, "1 (sky), 2 (life), 3 (places)"), (tmp_path, "none")):
        if root == tmp_path:
            worlds.index(root, trained / "sky.npz")
        with pytest.raises(UserError) as caught:
            lesson_number(worlds.opened(root), "9")
        assert str(caught.value) == f"no lesson '9'; lessons are: {known}"


# routers


def test_under_another_policy_the_router_is_the_one_that_is_served(trained: Path) -> None:
    workspace = worlds.opened(trained)
    expected = slda.read(workspace.routers / workspace.manifest.served.routers["image"])
    assert np.array_equal(planned(trained, policy="matched").router("image").weights, expected.weights)


def test_the_router_of_an_earlier_lesson_knows_the_tasks_of_then(trained: Path) -> None:
    with worlds.stored(trained) as store:
        router = plan_snapshot(worlds.opened(trained), store, "cpu", lessons=2).router("image")
    assert list(router.tasks) == ["sky", "life"]


def test_lessons_have_their_say_in_a_plan_if_there_are_any(trained: Path, tmp_path: Path) -> None:
    assert planned(trained, lessons=1).is_trained
    worlds.index(tmp_path, trained / "sky.npz")
    assert not planned(tmp_path, policy="matched").is_trained


# a task whose features were removed


def test_the_items_of_such_a_task_are_still_planned_for(world: Path) -> None:
    before = hits(world, "matched")
    remove.remove_features(world / ".mneme", "sky")
    after = hits(world, "matched")
    assert [[id for id, _ in result] for result in after] == [[id for id, _ in result] for result in before]


def test_a_policy_that_needs_its_features_is_refused(world: Path) -> None:
    remove.remove_features(world / ".mneme", "sky")
    assert "policy reindex needs the features of task 'sky'" in refusal(world, "reindex")


def test_with_its_features_back_such_a_policy_is_taken(world: Path) -> None:
    workspace = worlds.opened(world)
    back = replace(workspace, manifest=replace(workspace.manifest, sealed={"sky": Sealed()}))
    with worlds.stored(world) as store:
        assert plan_snapshot(back, store, "cpu", policy="reindex").policies.general == "reindex"
