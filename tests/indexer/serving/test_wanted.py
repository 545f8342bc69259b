import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

import worlds
from engine.errors import UserError
from engine.history import Arrival, History, Lesson
from engine.storage.manifest import BackboneRecord, Sealed, Served
from engine.types import Pair, PolicyName, ShardKey
from indexer.policies.planner import DirectionPolicies, Planner
from indexer.serving import reindex, remove, wanted
from indexer.serving.wanted import ServingRequest, Wanted, wanted_shard

NOTHING = ServingRequest()


@contextmanager
def planner(root: Path, request: ServingRequest) -> Iterator[Planner]:
    with worlds.stored(root) as store:
        yield wanted.planner_of(worlds.opened(root), store, request, "cpu")


def planned(root: Path, request: ServingRequest) -> Wanted:
    with planner(root, request) as opened:
        return wanted.plan(opened, request)


def missing(root: Path, request: ServingRequest) -> list[ShardKey]:
    shards = wanted.difference(planned(root, request), worlds.opened(root).shards)
    return [shard.key for shard in shards]


# what is wanted


def test_what_is_served_is_what_is_wanted_by_default(trained: Path) -> None:
    served, state = worlds.opened(trained).manifest.served, planned(trained, NOTHING)
    assert wanted.served_shards(state.shards) == served.shards
    assert state.directions() == served.directions
    assert (state.policies.general, state.policies.own, state.sealed) == ("no-reindex", {}, {})


def test_directions_go_from_every_modality_that_can_be_encoded_to_every_one_that_is_held(
    tmp_path: Path,
) -> None:
    (tmp_path / "words.csv").write_text("text\none\ntwo\n")
    worlds.index(tmp_path, tmp_path / "words.csv")
    assert list(planned(tmp_path, NOTHING).routes) == [
        (query, "text") for query in sorted(worlds.opened(tmp_path).manifest.backbones)
    ]


def test_a_direction_with_a_policy_of_its_own_is_planned_by_it(trained: Path) -> None:
    state = planned(trained, ServingRequest("matched", {"text-image": "reindex"}))
    heads = {
        (one.query, one.target): [state.shards[lookup.shard].key.head for lookup in one.lookups]
        for one in state.directions()
    }
    assert heads["text", "image"] == [3, 3, 3]
    assert heads["image", "text"] == heads["image", "image"] == [1, 2, 3]
    policies = {(one.query, one.target): one.policy for one in state.directions()}
    assert (policies["text", "image"], policies["image", "text"]) == ("reindex", "matched")


def test_a_shard_that_several_directions_search_is_wanted_once(trained: Path) -> None:
    keys = [shard.key for shard in planned(trained, NOTHING).shards]
    assert len(keys) == len(set(keys)) == 6


def test_a_shard_of_a_part_holds_its_items_and_any_other_all_of_the_task(trained: Path) -> None:
    request = ServingRequest("partial", budget=0.1)
    state = planned(trained, request)
    with planner(trained, request) as opened:
        members = opened.members
    parts = [shard for shard in state.shards if shard.key.part]
    wholes = [shard for shard in state.shards if not shard.key.part]
    assert parts
    assert all(list(shard.ids) == members[shard.key.task, shard.key.modality] for shard in wholes)
    for task, modality in {(shard.key.task, shard.key.modality) for shard in parts}:
        ids = [id for shard in parts for id in shard.ids if shard.key.task == task]
        assert len(ids) == len(set(ids))
        assert set(members[task, modality]) <= set(ids)


def test_a_task_that_is_to_be_sealed_wants_what_its_own_head_makes_of_it(trained: Path) -> None:
    state = planned(trained, ServingRequest(sealing="life"))
    assert {task: [shard.key for shard in kept] for task, kept in state.sealed.items()} == {
        "life": [ShardKey("life", modality, 2, 2) for modality in ("image", "text")]
    }
    assert [len(shard.ids) for shard in state.sealed["life"]] == [30, 30]


def test_tasks_that_are_sealed_already_stay_so(trained: Path) -> None:
    request = ServingRequest("matched", sealing="life")
    with worlds.stored(trained) as store:
        workspace = worlds.opened(trained)
        sealed = replace(workspace, manifest=replace(workspace.manifest, sealed={"sky": Sealed()}))
        state = wanted.plan(wanted.planner_of(sealed, store, request, "cpu"), request)
    assert list(state.sealed) == ["sky", "life"]


# what is missing


def test_nothing_is_missing_of_what_is_served(trained: Path) -> None:
    assert missing(trained, NOTHING) == []


def test_what_another_policy_wants_and_nothing_holds_is_missing(trained: Path) -> None:
    assert missing(trained, ServingRequest("reindex")) == [
        ShardKey(task, modality, 3, 3) for modality in ("image", "text") for task in ("sky", "life")
    ]


def test_a_folder_that_was_deleted_is_missing(world: Path) -> None:
    shard = worlds.opened(world).manifest.served.shards[2]
    shutil.rmtree(worlds.opened(world).shards / shard.path)
    assert missing(world, NOTHING) == [shard.key]


def test_what_a_sealed_task_is_to_keep_is_missing_where_it_is_not_served(world: Path) -> None:
    reindex.reindex(world / ".mneme", ServingRequest("aligned"))
    reindex.reindex(world / ".mneme", ServingRequest("aligned"))
    shutil.rmtree(worlds.opened(world).shards / "sky/image")
    assert ShardKey("sky", "image", 1, 1) in missing(world, ServingRequest("aligned", sealing="sky"))


# folders

KEY, IDS, ENCODER = ShardKey("a/b", "image", 1, 2), ["0" * 32, "1" * 32], BackboneRecord("fake", "fake-1", 8)


def test_a_folder_is_named_by_task_modality_head_and_content() -> None:
    shard = wanted_shard(KEY, IDS, ENCODER)
    assert shard.path == f"a%2Fb/image/v0001-{shard.digest[:8]}"


def test_other_content_has_another_folder() -> None:
    shards = [
        wanted_shard(KEY, IDS, ENCODER),
        wanted_shard(KEY, IDS[:1], ENCODER),
        wanted_shard(replace(KEY, space=1), IDS, ENCODER),
        wanted_shard(KEY, IDS, replace(ENCODER, id="fake-2")),
    ]
    assert len({shard.path for shard in shards}) == 4


# policies


@pytest.mark.parametrize(
    ("request_", "general", "own"),
    [
        (ServingRequest(), "matched", {"text-image": "auto"}),
        (ServingRequest("reindex"), "reindex", {}),
        (
            ServingRequest(None, {"image-text": "aligned"}),
            "matched",
            {"text-image": "auto", "image-text": "aligned"},
        ),
        (ServingRequest(None, {"text-image": "aligned"}), "matched", {"text-image": "aligned"}),
        (ServingRequest("reindex", {"image-text": "aligned"}), "reindex", {"image-text": "aligned"}),
    ],
)
def test_a_policy_for_all_directions_forgets_those_of_single_ones(
    request_: ServingRequest, general: PolicyName, own: Mapping[str, PolicyName]
) -> None:
    served = Served("matched", policies={"text-image": "auto"}, chosen=True)
    assert wanted.policies_of(served, request_, "auto") == DirectionPolicies(general, own)


def test_where_nobody_chose_a_policy_the_default_is_served() -> None:
    served = Served("matched", policies={"text-image": "aligned"})
    expected = DirectionPolicies("auto", {"text-image": "aligned"})
    assert wanted.policies_of(served, ServingRequest(), "auto") == expected


@pytest.mark.parametrize(("pairs", "policy"), [(199, "matched"), (200, "auto")])
def test_a_new_workspace_serves_auto_where_a_task_has_20_validation_pairs_else_matched(
    tmp_path: Path, pairs: int, policy: PolicyName
) -> None:
    source = worlds.save(tmp_path / "sky.npz", worlds.rows("sky", pairs))  # each tenth is for validation
    worlds.learn(tmp_path, "sky", source, epochs=1)
    worlds.index(tmp_path, source)
    assert worlds.opened(tmp_path).manifest.served.policy == policy


def test_the_policy_of_a_direction_is_its_own_or_the_general_one() -> None:
    policies = DirectionPolicies("matched", {"text-image": "auto"})
    assert (policies.of("text", "image"), policies.of("image", "text")) == ("auto", "matched")
    assert policies.named == ["matched", "auto"]


@pytest.mark.parametrize("policy", ["reindex", "partial", "auto"])
def test_where_features_were_removed_policies_that_need_them_are_refused(
    trained: Path, policy: PolicyName
) -> None:
    workspace = worlds.opened(trained)
    wanted.refuse(workspace, ["matched", policy])
    sealed = replace(workspace, manifest=replace(workspace.manifest, sealed={"sky": Sealed()}))
    wanted.refuse(sealed, ["matched", "no-reindex", "aligned"])
    with pytest.raises(
        UserError, match=f"policy {policy} needs the features of task 'sky', which were removed"
    ):
        wanted.refuse(sealed, ["matched", policy])


# what is there


def test_members_are_the_distinct_items_of_each_task_and_modality_sorted() -> None:
    pairs = [
        Pair("1", {"image": ("b",), "text": ("d", "c")}, "sky", "train"),
        Pair("2", {"image": ("b",), "text": ()}, "sky", "test"),
        Pair("3", {"image": ("b", "a"), "sound": ()}, "life", "val"),
    ]
    assert wanted.members_of(pairs) == {
        ("sky", "image"): ["b"],
        ("sky", "text"): ["c", "d"],
        ("life", "image"): ["a", "b"],
    }


def test_items_are_told_by_the_head_that_embeds_them(world: Path) -> None:
    reindex.reindex(world / ".mneme", ServingRequest("partial", budget=0.1))
    by_head = wanted.served_items(worlds.opened(world))
    assert sum(len(items[3]) for (task, _), items in by_head.items() if 3 in items and task != "places") == 18
    assert all(sum(map(len, items.values())) == 30 for items in by_head.values())
    assert set(by_head["places", "image"]) == {3}


def test_where_directions_differ_the_first_one_says_which_head_embeds_an_item(world: Path) -> None:
    reindex.reindex(world / ".mneme", ServingRequest("matched", {"text-image": "reindex"}))
    assert set(wanted.served_items(worlds.opened(world))["sky", "image"]) == {1}
    reindex.reindex(world / ".mneme", ServingRequest("matched", {"image-image": "reindex"}))
    assert set(wanted.served_items(worlds.opened(world))["sky", "image"]) == {3}


def test_only_partial_reads_what_each_head_embeds(trained: Path) -> None:
    with planner(trained, ServingRequest("matched")) as opened:
        assert opened.by_head == {}
    with planner(trained, ServingRequest(None, {"text-image": "partial"})) as opened:
        assert opened.by_head == wanted.served_items(worlds.opened(trained))


def test_tasks_that_are_indexed_for_the_first_time_arrive_with_the_newest_head() -> None:
    history = History((Lesson(1, "sky", 4),), (Arrival("life", 0, 0),))
    noted = wanted.with_arrivals(history, ["sky", "life", "b", "a"])
    assert noted == replace(history, arrivals=(Arrival("life", 0, 0), Arrival("a", 1, 4), Arrival("b", 1, 4)))


def test_a_planner_knows_what_arrives_and_what_can_no_longer_be_read(world: Path, tmp_path: Path) -> None:
    remove.remove_features(world / ".mneme", "sky")
    with planner(world, NOTHING) as opened:
        assert {pair.task for pair in opened.pairs if "text" in pair.items} == {"life", "places"}
        assert len(opened.members["sky", "text"]) == 30
        assert list(opened.sealed) == ["sky"]


def test_a_task_whose_features_all_came_back_is_sealed_no_more(trained: Path) -> None:
    workspace = worlds.opened(trained)
    sealed = replace(workspace, manifest=replace(workspace.manifest, sealed={"sky": Sealed()}))
    with worlds.stored(trained) as store:
        assert wanted.current(sealed, store).manifest.sealed == {}
