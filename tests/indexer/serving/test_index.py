from pathlib import Path

import pytest

import worlds
from engine.errors import UserError
from engine.ingest.setup import WorkspaceOptions
from indexer.serving import index as indexing


def test_the_summary_counts_rows_items_and_shards_of_all_sources(trained: Path, tmp_path: Path) -> None:
    summary = worlds.index(tmp_path, trained / "sky.npz", trained / "life.npz")
    assert summary.tasks == ["life", "sky"]
    assert (summary.added, summary.updated, summary.removed, summary.unchanged) == (60, 0, 0, 0)
    assert summary.items == {"image": 59, "text": 60}
    assert (summary.shards_built, summary.skipped) == (4, [])
    assert summary.seconds > 0


def test_a_second_run_finds_all_unchanged(trained: Path, tmp_path: Path) -> None:
    worlds.index(tmp_path, trained / "sky.npz")
    summary = worlds.index(tmp_path, trained / "sky.npz")
    assert (summary.added, summary.unchanged, summary.shards_built) == (0, 30, 0)


def test_rows_that_changed_and_rows_that_are_gone_are_counted(tmp_path: Path) -> None:
    rows = worlds.rows("sky", 6)
    source = worlds.save(tmp_path / "sky.npz", rows)
    worlds.index(tmp_path, source)
    worlds.save(source, [*rows[:2], *rows[3:5]])
    summary = worlds.index(tmp_path, source)
    assert (summary.added, summary.removed, summary.unchanged) == (0, 2, 4)


def test_of_a_source_only_one_task_can_be_indexed(tmp_path: Path) -> None:
    source = worlds.save(tmp_path / "two.npz", [*worlds.rows("sky", 4), *worlds.rows("life", 4)])
    assert worlds.index(tmp_path, source, task="life").tasks == ["life"]


def test_what_landed_before_a_source_failed_is_served(trained: Path, tmp_path: Path) -> None:
    emptied = worlds.save(tmp_path / "life.npz", worlds.rows("life"))
    worlds.index(tmp_path, emptied)
    worlds.save(emptied, worlds.rows("life", 3))
    with pytest.raises(UserError):
        worlds.index(tmp_path, trained / "sky.npz", emptied)
    assert {shard.key.task for shard in worlds.opened(tmp_path).manifest.served.shards} == {"sky", "life"}


def test_progress_is_told_for_every_source(trained: Path, tmp_path: Path) -> None:
    steps = list[tuple[int, int | None]]()
    indexing.index(
        tmp_path / ".mneme",
        [trained / "sky.npz", trained / "life.npz"],
        WorkspaceOptions(),
        progress=lambda done, total: steps.append((done, total)),
    )
    assert steps.count((30, 30)) >= 2


def test_an_index_that_would_drop_most_of_a_source_is_refused_unless_allowed(tmp_path: Path) -> None:
    rows = worlds.rows("sky")
    source = worlds.save(tmp_path / "sky.npz", rows)
    worlds.index(tmp_path, source)
    worlds.save(source, rows[:3])
    with pytest.raises(UserError):
        worlds.index(tmp_path, source)
    summary = indexing.index(tmp_path / ".mneme", [source], WorkspaceOptions(), allow_mass_delete=True)
    assert summary.removed == 27


# a dry run


def test_a_dry_run_counts_what_an_index_would_do_and_writes_nothing(world: Path, tmp_path: Path) -> None:
    more = worlds.save(tmp_path / "more.npz", worlds.rows("sky", 5, start=50))
    before = worlds.bytes_below(world)
    summary = indexing.dry_run(world / ".mneme", [more], WorkspaceOptions())
    assert (summary.added, summary.shards_built, summary.tasks) == (5, 0, ["sky"])
    assert worlds.bytes_below(world) == before


def test_a_dry_run_where_no_workspace_is_makes_none(trained: Path, tmp_path: Path) -> None:
    assert indexing.dry_run(tmp_path / ".mneme", [trained / "sky.npz"], WorkspaceOptions()).added == 30
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_of_one_task_counts_that_alone(tmp_path: Path) -> None:
    source = worlds.save(tmp_path / "two.npz", [*worlds.rows("sky", 4), *worlds.rows("life", 5)])
    assert indexing.dry_run(tmp_path / ".mneme", [source], WorkspaceOptions(), task="life").added == 5


# sources that moved or are no more


def test_a_renamed_source_is_moved_and_nothing_is_built(tmp_path: Path) -> None:
    source = worlds.save(tmp_path / "sky.npz", worlds.rows("sky"))
    worlds.index(tmp_path, source)
    summary = worlds.index(tmp_path, source.rename(tmp_path / "clouds.npz"))
    assert (summary.added, summary.moved, summary.removed, summary.shards_built) == (0, 30, 0, 0)
    assert summary.left == {}


def test_a_source_that_is_no_more_is_dropped_where_that_is_allowed(tmp_path: Path) -> None:
    sky, life = (worlds.save(tmp_path / f"{task}.npz", worlds.rows(task)) for task in ("sky", "life"))
    worlds.index(tmp_path, sky, life)
    sky.unlink()
    with pytest.raises(UserError) as raised:
        worlds.index(tmp_path, life, sky)
    assert str(raised.value) == (
        f"no such file or folder: {sky}, and 30 rows of it are indexed: is a disk not mounted? "
        f"To drop them run again with `allow_mass_delete`, or run `remove source={sky}`"
    )
    root = tmp_path / ".mneme"
    assert indexing.dry_run(root, [life, sky], WorkspaceOptions(), allow_mass_delete=True).removed == 30
    summary = indexing.index(root, [life, sky], WorkspaceOptions(), allow_mass_delete=True)
    assert (summary.removed, summary.unchanged) == (30, 30)
    assert {shard.key.task for shard in worlds.opened(tmp_path).manifest.served.shards} == {"life"}


def test_a_source_that_moved_loses_nothing_where_its_old_place_is_dropped(tmp_path: Path) -> None:
    sky = worlds.save(tmp_path / "sky.npz", worlds.rows("sky"))
    worlds.index(tmp_path, sky)
    clouds = sky.rename(tmp_path / "clouds.npz")
    summary = indexing.index(tmp_path / ".mneme", [sky, clouds], WorkspaceOptions(), allow_mass_delete=True)
    assert (summary.moved, summary.removed, summary.items) == (30, 0, {"image": 30, "text": 30})


def test_a_source_that_never_was_is_an_error_in_any_case(tmp_path: Path) -> None:
    worlds.index(tmp_path, worlds.save(tmp_path / "sky.npz", worlds.rows("sky")))
    with pytest.raises(UserError, match=f"^no such file or folder: {tmp_path}/gone$"):
        indexing.index(tmp_path / ".mneme", [tmp_path / "gone"], WorkspaceOptions(), allow_mass_delete=True)
