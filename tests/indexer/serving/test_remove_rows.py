import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

import apart
import worlds
from commands import Run, colours, is_one_line
from engine.errors import UserError
from engine.ids import item_id
from engine.ranking.query import Part
from engine.storage.changes import Writer
from engine.storage.manifest import Served
from engine.storage.selection import Selection
from engine.types import AllTasks, MethodName, PolicyName
from indexer.report import text
from indexer.routing import slda
from indexer.serving import reindex, remove
from indexer.serving.remove import Origin, RowRemoval
from indexer.serving.search import open_searcher
from indexer.serving.wanted import ServingRequest
from indexer.shards import files as shards

PICTURE = item_id("image", worlds.rows("sky")[1].image.tobytes())
SHARED = item_id("image", worlds.rows("sky")[0].image.tobytes())


def drop(root: Path, what: str = "", *, task: str | None = None, source: Path | None = None) -> RowRemoval:
    return remove.remove_rows(root / ".mneme", Selection(what, task, source))


def served_ids(root: Path, state: Served | None = None) -> dict[tuple[str, str], set[str]]:
    """Return which items the served shards hold, by task and modality."""
    workspace = worlds.opened(root)
    held: dict[tuple[str, str], set[str]] = {}
    for shard in (state or workspace.manifest.served).shards:
        ids = {id.decode() for id in shards.read_ids(workspace.shards / shard.path, shard.key)}
        held.setdefault((shard.key.task, shard.key.modality), set()).update(ids)
    return held


def named_on_disk(root: Path) -> set[str]:
    """Return the items that any shard or router folder names."""
    workspace = worlds.opened(root)
    named = {id.decode() for file in workspace.shards.glob("*/*/*/ids.npy") for id in np.load(file)}
    for folder in workspace.routers.glob("*"):
        named |= {id.decode() for ids in slda.read_sums(folder)[1].values() for id in ids}
    return named


def stored_ids(root: Path) -> set[str]:
    with worlds.stored(root) as store:
        return {id for row in store.rows() for ids in row.items.values() for id in ids}


def found(root: Path) -> list[str]:
    """Return all pictures that are found for one, by cosine."""
    with open_searcher(root / ".mneme") as searcher:
        (asked,) = (row.image for row in worlds.rows("life", 1, start=3))
        hits = searcher.nearest([Part("image", asked)], "image", 200, AllTasks("raw"))
        return [hit.id for hit in hits]


def test_a_row_goes_with_the_items_that_no_other_names(world: Path) -> None:
    done = drop(world, PICTURE)
    assert (done.rows, done.items, done.tasks, done.emptied) == (1, 2, ["sky"], [])
    with worlds.stored(world) as store:
        assert store.item(PICTURE) is None
        assert store.lacking([PICTURE]) == {PICTURE}


def test_the_bytes_told_are_those_of_the_features(world: Path) -> None:
    with worlds.stored(world) as store:
        (row,) = (row for row in store.rows() if PICTURE in row.items.get("image", ()))
        (words,) = row.items["text"]
        width = worlds.opened(world).manifest.backbones["text"]
        assert store.has_features(words, width.id)
    assert drop(world, PICTURE).bytes == (28 + 4 * worlds.WIDTH) + (28 + 4 * width.width)


def test_an_item_that_another_row_names_stays_there(world: Path) -> None:
    done = drop(world, SHARED, task="sky")
    assert (done.rows, done.items) == (1, 1)
    assert SHARED not in served_ids(world)["sky", "image"]
    assert SHARED in served_ids(world)["life", "image"]


def test_no_shard_and_no_router_on_the_disk_names_what_was_removed(world: Path) -> None:
    drop(world, PICTURE)
    assert PICTURE not in named_on_disk(world)


def test_nothing_finds_what_was_removed(world: Path) -> None:
    before = found(world)
    drop(world, PICTURE)
    assert found(world) == [id for id in before if id != PICTURE]


def test_shards_of_other_tasks_stay_as_they_were(world: Path) -> None:
    before = {s.key: s.path for s in worlds.opened(world).manifest.served.shards if s.key.task != "sky"}
    drop(world, PICTURE)
    after = {s.key: s.path for s in worlds.opened(world).manifest.served.shards if s.key.task != "sky"}
    assert before == after


def test_the_router_is_as_if_the_item_had_never_been(world: Path, tmp_path: Path) -> None:
    drop(world, PICTURE)
    bare = tmp_path / "bare"
    bare.mkdir()
    rows = [row for row in worlds.rows("sky") if row.id != "sky1"]
    life = worlds.rows("life")
    life[0] = replace(life[0], image=worlds.rows("sky")[0].image)
    worlds.index(
        bare,
        worlds.save(bare / "sky.npz", rows),
        worlds.save(bare / "life.npz", life),
        worlds.save(bare / "places.npz", worlds.rows("places")),
    )
    for modality in ("image", "text"):
        learned, expected = (router(root, modality) for root in (world, bare))
        sums, wanted = (slda.read_sums(path)[0] for path in (learned, expected))
        assert sums.counts == wanted.counts
        assert_allclose(sums.squares, wanted.squares, atol=1e-9)
        for task, total in wanted.totals.items():
            assert_allclose(sums.totals[task], total, atol=1e-9)
        now, then = (slda.read(path) for path in (learned, expected))
        assert now.shrinkage == then.shrinkage
        order = [then.tasks.index(task) for task in now.tasks]
        assert now.temperature == pytest.approx(then.temperature, abs=1e-6)
        assert_allclose(now.means, then.means[:, order], atol=1e-9)
        assert_allclose(now.weights, then.weights[:, order], atol=1e-9)


def router(root: Path, modality: str) -> Path:
    workspace = worlds.opened(root)
    return workspace.routers / workspace.manifest.served.routers[modality]


def test_a_task_whose_last_row_goes_is_served_no_more_and_keeps_its_lesson(world: Path) -> None:
    done = drop(world, task="life")
    assert (done.rows, done.emptied) == (30, ["life"])
    manifest = worlds.opened(world).manifest
    assert {shard.key.task for shard in manifest.served.shards} == {"sky", "places"}
    assert [lesson.task for lesson in manifest.history.lessons] == ["sky", "life", "places"]


@pytest.mark.parametrize("policy", ["reindex", "no-reindex", "matched", "aligned", "partial", "auto"])
def test_every_policy_serves_without_a_task_that_was_removed(world: Path, policy: PolicyName) -> None:
    drop(world, task="sky")
    reindex.reindex(world / ".mneme", ServingRequest(policy, budget=0.5))
    assert set(found(world)) == {id for ids in held_pictures(world).values() for id in ids}
    assert ("sky", "image") not in served_ids(world)


def held_pictures(root: Path) -> dict[tuple[str, str], set[str]]:
    return {group: ids for group, ids in served_ids(root).items() if group[1] == "image"}


@pytest.mark.parametrize("command", ["evaluate", "status", "reindex --dry-run", "query --at life -k 3"])
def test_every_command_works_without_a_task_that_was_removed(world: Path, run: Run, command: str) -> None:
    drop(world, task="sky")
    name, *options = command.split()
    asked = ["--text", "a sun and a moon", "--to", "image"] if name == "query" else []
    assert run(name, *asked, *options, "-w", world).status == 0


def test_where_all_is_removed_nothing_is_served(world: Path) -> None:
    for task in worlds.TASKS:
        drop(world, task=task)
    assert worlds.opened(world).manifest.served.shards == ()
    assert named_on_disk(world) == set()
    with pytest.raises(UserError, match="nothing is stored yet"):
        drop(world, task="sky")


def test_a_task_that_was_never_taught_and_holds_nothing_is_forgotten(tmp_path: Path) -> None:
    worlds.index(tmp_path, worlds.save(tmp_path / "sky.npz", worlds.rows("sky")))
    drop(tmp_path, task="sky")
    assert worlds.opened(tmp_path).manifest.history.arrivals == ()


def test_the_rows_of_a_source_that_is_no_more_can_be_removed(tmp_path: Path) -> None:
    source = worlds.save(tmp_path / "sky.npz", worlds.rows("sky"))
    worlds.index(tmp_path, source, worlds.save(tmp_path / "life.npz", worlds.rows("life")))
    source.unlink()
    done = drop(tmp_path, source=source)
    assert (done.rows, done.emptied, done.present) == (30, ["sky"], 0)


def test_what_the_next_index_would_bring_back_is_counted(tmp_path: Path) -> None:
    source = worlds.save(tmp_path / "sky.npz", worlds.rows("sky"))
    worlds.index(tmp_path, source)
    done = drop(tmp_path, task="sky")
    assert (done.present, done.origins) == (30, [Origin(str(source), "", 30)])
    assert worlds.index(tmp_path, source).added == 30


def test_what_a_rollback_returns_to_is_without_what_was_removed(world: Path) -> None:
    reindex.reindex(world / ".mneme", ServingRequest("reindex"))
    before = worlds.opened(world).manifest.previous
    assert before is not None
    held = served_ids(world, before)
    drop(world, PICTURE)
    reindex.rollback(world / ".mneme")
    held["sky", "image"].remove(PICTURE)
    words = item_id("text", worlds.rows("sky")[1].text.encode())
    held["sky", "text"].remove(words)
    assert served_ids(world) == held
    assert PICTURE not in found(world)


def test_what_a_rollback_returns_to_is_without_a_task_that_was_removed(world: Path) -> None:
    reindex.reindex(world / ".mneme", ServingRequest("reindex"))
    drop(world, task="sky")
    reindex.rollback(world / ".mneme")
    assert {task for task, _ in served_ids(world)} == {"life", "places"}
    assert set(found(world)) == set().union(*held_pictures(world).values())


def test_where_all_is_removed_there_is_nothing_to_return_to(world: Path) -> None:
    reindex.reindex(world / ".mneme", ServingRequest("reindex"))
    for task in worlds.TASKS:
        drop(world, task=task)
    with pytest.raises(UserError, match="nothing to return to"):
        reindex.rollback(world / ".mneme")


def test_before_any_index_removing_serves_nothing(trained: Path, tmp_path: Path) -> None:
    worlds.learn(tmp_path, "sky", trained / "sky.npz")
    assert drop(tmp_path, PICTURE).rows == 1
    assert worlds.opened(tmp_path).manifest.served.shards == ()


# features that were removed before


@pytest.fixture
def sealed(world: Path) -> Path:
    reindex.reindex(world / ".mneme", ServingRequest("matched"))
    remove.remove_features(world / ".mneme", "sky")
    return world


def test_a_row_whose_features_were_removed_goes_and_the_sums_are_told(sealed: Path) -> None:
    done = drop(sealed, PICTURE)
    assert (done.items, done.bytes, done.in_sums) == (2, 0, ["sky"])
    assert PICTURE not in served_ids(sealed)["sky", "image"]
    assert PICTURE not in found(sealed)


def test_a_task_whose_features_were_removed_goes_whole(sealed: Path) -> None:
    done = drop(sealed, task="sky")
    assert (done.emptied, done.in_sums) == (["sky"], [])
    assert worlds.opened(sealed).manifest.sealed == {}
    assert named_on_disk(sealed) <= stored_ids(sealed)


# kills


def die(*given: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def remove_and_die(root: Path, owner: type, name: str) -> None:
    setattr(owner, name, die)
    drop(root, PICTURE)


@pytest.mark.parametrize(("owner", "name"), [(Writer, "drop_unused"), (Path, "rename"), (Path, "replace")])
def test_a_removal_that_is_killed_is_done_or_not_and_the_next_index_completes_it(
    world: Path, trained: Path, owner: type, name: str
) -> None:
    before = found(world)
    assert apart.run(remove_and_die, world, owner, name) == -signal.SIGKILL
    is_done = PICTURE not in stored_ids(world)
    assert is_done == (owner is Path)
    without = [id for id in before if id != PICTURE]
    assert found(world) == before
    worlds.index(world, trained / "places.npz")
    assert found(world) == (without if is_done else before)
    assert (PICTURE in served_ids(world)["sky", "image"]) == (not is_done)


def test_a_removal_that_failed_halfway_is_completed_by_the_same_removal(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = replace(remove.dry_run(world / ".mneme", Selection(task="sky")), seconds=0.0)
    with monkeypatch.context() as broken:
        broken.setattr(remove, "serve", lambda *given, **named: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            drop(world, task="sky")
    assert replace(remove.dry_run(world / ".mneme", Selection(task="sky")), seconds=0.0) == expected
    assert replace(drop(world, task="sky"), seconds=0.0, dry_run=True) == expected
    assert "sky" not in {task for task, _ in served_ids(world)}
    with pytest.raises(UserError, match="no rows of task 'sky'"):
        drop(world, task="sky")


# lessons afterwards


@pytest.mark.parametrize(
    "method", ["replay", "crosstask", "gem", "agem", "der", "derpp", "co2l", "cila", "dns-exact", "ewc"]
)
@pytest.mark.parametrize("remove_from", ["one", "all"])
def test_a_memory_of_what_was_removed_does_not_stop_a_lesson(
    trained: Path, tmp_path: Path, method: MethodName, remove_from: str
) -> None:
    worlds.learn(tmp_path, "sky", trained / "sky.npz", method=method, epochs=1)
    worlds.index(tmp_path, trained / "sky.npz")
    drop(tmp_path, PICTURE) if remove_from == "one" else drop(tmp_path, task="sky")
    learned = worlds.learn(tmp_path, "life", trained / "life.npz", method=method, epochs=1)
    assert np.isfinite(learned.epochs[-1].loss)


def test_rows_of_many_sources_are_told_the_first_commands() -> None:
    origins = [Origin(f"/s {number}", "life", 1) for number in range(7)]
    (told,) = RowRemoval(9, 9, 0, ["life"], [], 7, [], 0.0, dry_run=True, origins=origins).notes
    assert str(told) == (
        "what 7 of these rows were read from is still there: `index '/s 0' task=life`, `index '/s 1' task=life`, "
        "`index '/s 2' task=life`, `index '/s 3' task=life`, `index '/s 4' task=life` and so on for 2 more "
        "bring them back"
    )


# the command


def test_the_command_prints_one_object(world: Path, run: Run) -> None:
    told = run("remove", PICTURE, "-w", world, "--json")
    assert {"format", "rows", "items", "bytes", "tasks", "seconds", "dry_run"} <= set(told.json)
    assert (told.json["rows"], told.json["tasks"], told.json["dry_run"]) == (1, ["sky"], False)


def test_a_dry_run_tells_what_a_removal_does_and_writes_nothing(world: Path, run: Run) -> None:
    before = worlds.bytes_below(world)
    foreseen = run("remove", "--task", "life", "--dry-run", "-w", world, "--json").json
    assert worlds.bytes_below(world) == before
    done = run("remove", "--task", "life", "-w", world, "--json").json
    assert foreseen == done | {"dry_run": True, "seconds": foreseen["seconds"]}


def test_the_report_of_rows_reads_well() -> None:
    done = RowRemoval(31, 58, 2_500_000, ["life", "sky"], ["life"], 0, [], 0.31, dry_run=False)
    said = "31 rows of life (all), sky and 58 items with 2.5 MB of features removed in 0.3 s"
    assert text.rows_removed(done) == said
    foreseen = replace(done, dry_run=True)
    assert text.rows_removed(foreseen) == said.replace("removed", "would be removed")


def test_a_file_is_removed_by_its_path(run: Run, tmp_path: Path) -> None:
    colours(tmp_path / "pictures", "red", "green", "blue")
    run("index", "pictures", "--backbone", "builtin")
    (tmp_path / "pictures/red.png").unlink()
    told = run("remove", "pictures/red.png")
    assert told.out.startswith("1 row of pictures and 2 items with 0.0 MB of features removed in ")
    assert (told.status, told.err) == (0, "")
    paths = run("query", "pictures/green.png", "--to", "image", "--paths").out
    assert "red.png" not in paths


def test_that_files_are_still_there_is_said(run: Run, tmp_path: Path) -> None:
    colours(tmp_path / "pictures", "red", "green", "blue")
    run("index", "pictures", "--backbone", "builtin")
    (tmp_path / "pictures/red.png").unlink()
    assert run("remove", "pictures").err == (
        f"note: what 2 of these rows were read from is still there: `mneme index {tmp_path / 'pictures'}` "
        "brings them back\n"
    )


def test_rows_under_another_task_than_their_sources_are_told_the_command_that_brings_them_back(
    run: Run, tmp_path: Path
) -> None:
    colours(tmp_path / "pictures", "red", "green", "blue")
    run("index", "pictures", "--backbone", "builtin")
    run("index", "pictures", "--task", "family")
    assert run("remove", "--task", "family").err == (
        f"note: what these 3 rows were read from is still there: `mneme index {tmp_path / 'pictures'} "
        "--task family` brings them back\n"
    )
    assert run("index", tmp_path / "pictures", "--task", "family", "--json").json["added"] == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "say what is to go: an item's id, a file or folder, --task T or --source S"),
        (["--features"], "say whose features are to go: --task T"),
        (["--features", "--task", "sky", "--dry-run"], "--features goes with --task T alone"),
        (["--features", "--task", "sky", "a.png"], "--features goes with --task T alone"),
    ],
)
def test_what_cannot_be_meant_is_refused(run: Run, arguments: list[str], message: str) -> None:
    assert is_one_line(run("remove", *arguments), 1, message)


def test_what_is_not_there_is_one_line(world: Path, run: Run) -> None:
    assert is_one_line(
        run("remove", "--task", "sea", "-w", world),
        1,
        "no rows of task 'sea'; tasks are: life, places, sky",
    )
