import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

import worlds
from engine.errors import UserError
from engine.heads.embedder import Embedder
from engine.history import Arrival
from engine.ranking.query import Part
from engine.storage.workspace import Workspace
from engine.types import PolicyName, ShardKey
from indexer.serving import build, reindex, remove
from indexer.serving.search import open_searcher
from indexer.serving.wanted import ServingRequest
from indexer.shards import files as shards


def served(root: Path) -> dict[tuple[str, str], tuple[int, str]]:
    """Return head and path of each served shard."""
    return {
        (shard.key.task, shard.key.modality): (shard.key.head, shard.path)
        for shard in worlds.opened(root).manifest.served.shards
    }


def folders(root: Path) -> set[str]:
    every = root / ".mneme/shards"
    return {str(folder.relative_to(every)) for folder in every.glob("*/*/*")}


def vectors(root: Path, task: str, modality: str) -> NDArray[np.float32]:
    """Return what a served shard holds."""
    head, path = served(root)[task, modality]
    backbone = worlds.opened(root).manifest.backbones[modality].id
    shard = shards.read(worlds.opened(root).shard(path), ShardKey(task, modality, head, head), backbone)
    return shard.vectors.copy()


def embedded(root: Path, task: str, modality: str, head: int) -> NDArray[np.float32]:
    """Return what a head makes of a task's items, from the features in the store."""
    workspace = worlds.opened(root)
    with worlds.stored(root) as store:
        ids = sorted({id for row in store.rows() if row.task == task for id in row.items[modality]})
        return np.concatenate(list(Embedder(workspace).blocks(store, head, modality, ids)))


def test_the_second_run_builds_nothing(world: Path, trained: Path) -> None:
    assert worlds.index(world, trained / "places.npz").shards_built == 0


def test_the_second_run_changes_no_file(world: Path, trained: Path) -> None:
    before = worlds.bytes_below(world / ".mneme/shards") | {
        "": (world / ".mneme/workspace.json").read_bytes()
    }
    worlds.index(world, trained / "places.npz")
    after = worlds.bytes_below(world / ".mneme/shards") | {"": (world / ".mneme/workspace.json").read_bytes()}
    assert after == before


def test_each_task_is_embedded_by_the_head_of_its_lesson(world: Path) -> None:
    assert {task: head for (task, _), (head, _) in served(world).items()} == {
        "sky": 1,
        "life": 2,
        "places": 3,
    }


@pytest.mark.parametrize(("task", "head"), [("sky", 1), ("life", 2), ("places", 3)])
def test_a_shard_holds_what_its_head_makes_of_the_features(world: Path, task: str, head: int) -> None:
    assert_array_equal(vectors(world, task, "image"), embedded(world, task, "image", head))


def test_items_that_come_after_a_lesson_are_embedded_by_its_head(world: Path, tmp_path: Path) -> None:
    more = worlds.save(tmp_path / "more.npz", worlds.rows("sky", 5, start=50))
    assert worlds.index(world, more).shards_built == 2
    assert served(world)["sky", "image"][0] == 1
    assert_array_equal(vectors(world, "sky", "image"), embedded(world, "sky", "image", 1))
    assert len(vectors(world, "sky", "image")) == 35


def test_a_replaced_shard_stays_until_the_next_write(world: Path, tmp_path: Path) -> None:
    replaced = served(world)["sky", "image"][1]
    worlds.index(world, worlds.save(tmp_path / "more.npz", worlds.rows("sky", 5, start=50)))
    assert replaced in folders(world)


def test_a_replaced_shard_goes_with_the_next_write(world: Path, tmp_path: Path) -> None:
    more = worlds.save(tmp_path / "more.npz", worlds.rows("sky", 5, start=50))
    replaced = served(world)["sky", "image"][1]
    worlds.index(world, more)
    worlds.index(world, more)
    assert replaced not in folders(world)
    assert folders(world) == {path for _, path in served(world).values()}


def test_an_untrained_task_arrives_with_the_newest_head(trained: Path, tmp_path: Path) -> None:
    worlds.learn(tmp_path, "sky", trained / "sky.npz")
    worlds.index(tmp_path, trained / "life.npz")
    assert served(tmp_path)["life", "text"][0] == 1


def test_before_any_lesson_the_untrained_head_embeds(trained: Path, tmp_path: Path) -> None:
    worlds.index(tmp_path, trained / "sky.npz")
    assert served(tmp_path)["sky", "image"][0] == 0


def test_an_arrived_task_keeps_its_head_while_others_are_learned(trained: Path, tmp_path: Path) -> None:
    worlds.index(tmp_path, trained / "life.npz")
    worlds.learn(tmp_path, "sky", trained / "sky.npz")
    worlds.index(tmp_path, trained / "sky.npz")
    assert (served(tmp_path)["life", "image"][0], served(tmp_path)["sky", "image"][0]) == (0, 1)


def test_an_arrived_task_that_is_learned_moves_to_its_lessons_head(trained: Path, tmp_path: Path) -> None:
    worlds.index(tmp_path, trained / "sky.npz")
    worlds.learn(tmp_path, "sky")
    worlds.index(tmp_path, trained / "sky.npz")
    assert served(tmp_path)["sky", "image"][0] == 1


def test_a_modality_the_head_lacks_is_embedded_by_the_untrained_branch(trained: Path, tmp_path: Path) -> None:
    late = tmp_path / "late.npz"
    np.savez(late, depth=np.eye(8, dtype=np.float32), task=["sky"] * 8)
    worlds.learn(tmp_path, "sky", trained / "sky.npz")
    worlds.index(tmp_path, trained / "sky.npz", late)
    assert_array_equal(np.sort(vectors(tmp_path, "sky", "depth"), axis=0), np.sort(np.eye(8), axis=0))


def test_a_removed_tasks_shards_are_served_no_more(trained: Path, tmp_path: Path) -> None:
    rows = [*worlds.rows("sky"), *worlds.rows("life", 5)]
    source = worlds.save(tmp_path / "two.npz", rows)
    worlds.index(tmp_path, source)
    worlds.save(source, rows[:30])
    worlds.index(tmp_path, source)
    assert {task for task, _ in served(tmp_path)} == {"sky"}


def test_a_removed_tasks_shards_leave_the_disk_with_the_next_write(tmp_path: Path) -> None:
    rows = [*worlds.rows("sky"), *worlds.rows("life", 5)]
    source = worlds.save(tmp_path / "two.npz", rows)
    worlds.index(tmp_path, source)
    worlds.save(source, rows[:30])
    worlds.index(tmp_path, source)
    worlds.index(tmp_path, source)
    assert {folder.partition("/")[0] for folder in folders(tmp_path)} == {"sky"}


def test_a_task_that_was_removed_and_comes_back_is_searched_again(tmp_path: Path) -> None:
    rows = [*worlds.rows("sky"), *worlds.rows("life", 5)]
    source = worlds.save(tmp_path / "two.npz", rows)
    worlds.index(tmp_path, source)
    worlds.save(source, rows[:30])
    worlds.index(tmp_path, source)
    worlds.save(source, rows)
    worlds.index(tmp_path, source)
    assert {task for task, _ in served(tmp_path)} == {"sky", "life"}


@pytest.mark.parametrize(("policy", "built"), [("reindex", 4), ("matched", 0), ("no-reindex", 0)])
def test_a_policy_builds_what_is_missing_only(
    world: Path, trained: Path, policy: PolicyName, built: int
) -> None:
    assert worlds.index(world, trained / "sky.npz", policy=policy).shards_built == built


def test_reindex_embeds_every_task_by_the_newest_head(world: Path, trained: Path) -> None:
    worlds.index(world, trained / "sky.npz", policy="reindex")
    assert {head for head, _ in served(world).values()} == {3}
    assert_array_equal(vectors(world, "sky", "text"), embedded(world, "sky", "text", 3))


def test_a_policy_once_chosen_stays(world: Path, trained: Path) -> None:
    worlds.index(world, trained / "sky.npz", policy="reindex")
    worlds.index(world, trained / "sky.npz")
    assert worlds.opened(world).manifest.served.policy == "reindex"


def test_a_shard_folder_that_was_deleted_is_built_again(world: Path, trained: Path) -> None:
    shutil.rmtree(world / ".mneme/shards" / served(world)["sky", "image"][1])
    assert worlds.index(world, trained / "sky.npz").shards_built == 1


def test_what_a_crash_left_behind_is_swept_away(world: Path, trained: Path) -> None:
    orphan = world / ".mneme/shards/sky/image/v0009-00000000"
    orphan.mkdir()
    (orphan / "shard.json").write_text("half")
    worlds.index(world, trained / "sky.npz")
    assert not orphan.exists()


def test_a_task_may_be_named_like_a_path(tmp_path: Path) -> None:
    rows = [replace(row, task="../../outside") for row in worlds.rows("sky", 4)]
    worlds.index(tmp_path / "in", worlds.save(tmp_path / "odd.npz", rows))
    shard, _ = worlds.opened(tmp_path / "in").manifest.served.shards
    assert shard.path.startswith("%2E%2E%2F%2E%2E%2Foutside/image/")
    assert {path.name for path in tmp_path.iterdir()} == {"in", "odd.npz"}


def router_folders(root: Path) -> set[str]:
    return {path.name for path in (root / ".mneme/router").iterdir()}


def test_a_replaced_router_goes_with_the_next_write_but_one(world: Path, tmp_path: Path) -> None:
    old = set(worlds.opened(world).manifest.served.routers.values())
    more = worlds.save(tmp_path / "more.npz", worlds.rows("sky", 10, start=50))
    worlds.index(world, more)
    new = set(worlds.opened(world).manifest.served.routers.values())
    assert not old & new
    assert router_folders(world) == old | new
    worlds.index(world, more)
    assert router_folders(world) == new


def test_what_a_rollback_would_bring_back_stays(world: Path, trained: Path) -> None:
    old = served(world)
    reindex.reindex(world / ".mneme", ServingRequest("reindex"))
    for _ in range(2):
        worlds.index(world, trained / "places.npz")
    assert {path for _, path in old.values()} <= folders(world)
    assert worlds.opened(world).manifest.previous is not None


def test_what_stands_in_for_removed_features_stays(world: Path, trained: Path) -> None:
    remove.remove_features(world / ".mneme", "sky")
    sealed = worlds.opened(world).manifest.sealed["sky"]
    for _ in range(2):
        reindex.reindex(world / ".mneme", ServingRequest("aligned"))
        build.drop_unnamed(worlds.opened(world))
    assert {shard.path for shard in sealed.shards} <= folders(world)
    assert set(sealed.sums.values()) <= router_folders(world)


def test_an_index_keeps_what_a_rollback_would_bring_back_and_a_reindex_does_not(
    world: Path, trained: Path
) -> None:
    first = worlds.opened(world).manifest.served
    reindex.reindex(world / ".mneme", ServingRequest("reindex"))
    second = worlds.opened(world).manifest.served
    worlds.index(world, trained / "places.npz")
    assert worlds.opened(world).manifest.previous == first
    reindex.reindex(world / ".mneme", ServingRequest("matched"))
    assert worlds.opened(world).manifest.previous == second


def test_the_manifest_names_every_lesson_and_every_task_that_arrived(trained: Path, tmp_path: Path) -> None:
    worlds.learn(tmp_path, "sky", trained / "sky.npz")
    worlds.index(tmp_path, trained / "life.npz")
    manifest = worlds.opened(tmp_path).manifest
    assert manifest.served.lessons == 1
    assert manifest.history.arrivals == (Arrival("life", 1, 1),)


def test_where_nothing_changed_the_manifest_is_not_written_again(
    world: Path, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Workspace, "with_manifest", lambda *given: pytest.fail("written again"))
    worlds.index(world, trained / "places.npz")


def test_a_task_that_is_sealed_keeps_its_shards_sums_and_temperatures(world: Path) -> None:
    own = {path for (task, _), (_, path) in served(world).items() if task == "sky"}
    remove.remove_features(world / ".mneme", "sky")
    sealed = worlds.opened(world).manifest.sealed["sky"]
    assert {shard.path for shard in sealed.shards} == own
    assert set(sealed.sums) == {"image", "text"}
    assert {(one.head, one.space, one.queries) for one in sealed.temperatures} == {
        *((1, 1, version) for version in (0, 1, 2, 3)),
        (1, 3, 3),
    }


def test_a_task_that_is_sealed_keeps_the_shards_of_its_own_head(world: Path) -> None:
    reindex.reindex(world / ".mneme", ServingRequest("aligned"))
    remove.remove_features(world / ".mneme", "sky")
    kept = worlds.opened(world).manifest.sealed["sky"].shards
    assert {shard.key.space for shard in kept} == {1}
    assert {shard.path for shard in kept} <= folders(world)


def test_the_temperatures_of_a_sealed_task_stay_as_they_were_first(world: Path, tmp_path: Path) -> None:
    remove.remove_features(world / ".mneme", "sky")
    first = worlds.opened(world).manifest.sealed["sky"]
    worlds.index(world, worlds.save(tmp_path / "more.npz", worlds.rows("sky", 10, start=50)))
    remove.remove_features(world / ".mneme", "sky")
    second = worlds.opened(world).manifest.sealed["sky"]
    assert second.temperatures == first.temperatures
    assert second.sums != first.sums


def test_only_folders_that_are_called_like_shards_and_routers_are_dropped(world: Path) -> None:
    root = world / ".mneme"
    for path in ("shards/sky/image/v0009-00000000", "router/image-00000000"):
        (root / path).mkdir()
    for path in ("shards/sky/image/notes", "shards/my/own/folder", "router/mine"):
        (root / path).mkdir(parents=True)
    build.drop_unnamed(worlds.opened(world))
    assert not (root / "shards/sky/image/v0009-00000000").exists()
    assert not (root / "router/image-00000000").exists()
    assert all(
        (root / path).is_dir() for path in ("shards/sky/image/notes", "shards/my/own/folder", "router/mine")
    )


@pytest.mark.parametrize("place", ["shards/x", "router/x", "heads/x", "x"])
def test_folders_outside_a_workspace_are_safe_from_links_in_it(
    world: Path, tmp_path: Path, place: str
) -> None:
    (tmp_path / "home/a/b").mkdir(parents=True)
    (world / ".mneme" / place).symlink_to(tmp_path / "home")
    with pytest.raises(UserError, match=f"{place} is a link"):
        worlds.index(world, world / "sky.npz")
    assert (tmp_path / "home/a/b").is_dir()


def test_a_shard_behind_a_link_is_not_served(world: Path, tmp_path: Path) -> None:
    (world / ".mneme/shards/sky").rename(tmp_path / "sky")
    (world / ".mneme/shards/sky").symlink_to(tmp_path / "sky")
    with pytest.raises(UserError, match="sky is a link"):
        vectors(world, "sky", "image")


def test_what_was_read_and_not_yet_served_changes_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = worlds.rows("sky", 12)
    source = worlds.save(tmp_path / "sky.npz", rows)
    worlds.learn(tmp_path, "sky", source)
    worlds.index(tmp_path, source)
    before = texts(tmp_path)
    worlds.save(source, [*(replace(row, text=f"{row.text} again") for row in rows[:4]), *rows[4:]])
    with monkeypatch.context() as kill:
        kill.setattr(build, "commit", lambda *given: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            worlds.index(tmp_path, source)
    assert texts(tmp_path) == before
    worlds.index(tmp_path, source)
    assert {text for text, _ in before} - {text for text, _ in texts(tmp_path)} == {r.text for r in rows[:4]}


def texts(root: Path) -> list[tuple[str | None, tuple[str, ...]]]:
    """Return the text and the tasks of every text that a search gives."""
    with open_searcher(root / ".mneme") as searcher:
        picture = Part("image", worlds.rows("sky")[0].image)
        hits = searcher.nearest([picture], "text", 90, searcher.all_tasks())
    return [(hit.text, hit.tasks) for hit in hits]
