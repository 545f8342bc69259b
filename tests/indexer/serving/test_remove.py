from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

import worlds
from commands import Run
from engine.errors import UserError
from engine.heads.embedder import Embedder
from engine.ranking.query import Part
from engine.storage import files
from engine.storage.changes import Writer
from engine.storage.manifest import Served, ServedDirection
from engine.types import Hit, Modality, PolicyName
from indexer.report import text
from indexer.routing import routers, slda
from indexer.routing.fitting import discriminant
from indexer.serving import build, preview, reindex, remove, search
from indexer.serving.remove import RemovalSummary
from indexer.serving.wanted import ServingRequest, planner_of
from indexer.shards import files as shards

GONE = (
    "policy reindex needs the features of task 'sky', which were removed: take matched, no-reindex or aligned"
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a workspace of three learned tasks, of small features alone; a picture stands in sky and in life."""
    root = tmp_path_factory.mktemp("trained")
    life = worlds.rows("life")
    life[0] = replace(life[0], image=worlds.rows("sky")[0].image)
    for task, held in (("sky", worlds.rows("sky")), ("life", life), ("places", worlds.rows("places"))):
        source = save(root / f"{task}.npz", held)
        worlds.learn(root, task, source)
        worlds.index(root, source)
    return root


@pytest.fixture(scope="module")
def removal(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RemovalSummary]:
    root = worlds.copied(trained, tmp_path_factory.mktemp("removed"))
    return root, drop(root)


@pytest.fixture(scope="module")
def removed(removal: tuple[Path, RemovalSummary]) -> Path:
    """Return a world without the features of sky; to be read only."""
    return removal[0]


@pytest.fixture(scope="module")
def late(removed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a world where five pairs of sky came after its features had gone; to be read only."""
    root = worlds.copied(removed, tmp_path_factory.mktemp("late"))
    worlds.index(root, save(root / "more.npz", worlds.rows("sky", 5, start=50)))
    return root


@pytest.fixture(scope="module")
def back(removed: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a world where the features of sky came back; to be read only."""
    root = worlds.copied(removed, tmp_path_factory.mktemp("back"))
    worlds.index(root, trained / "sky.npz")
    return root


@pytest.fixture(scope="module")
def half(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a world where a removal stopped before the first feature went; to be read only."""
    root = worlds.copied(trained, tmp_path_factory.mktemp("half"))
    with pytest.MonkeyPatch.context() as broken:
        broken.setattr(Writer, "drop_features", lambda *given: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            drop(root)
    return root


@pytest.fixture
def sealed(removed: Path, tmp_path: Path) -> Path:
    return worlds.copied(removed, tmp_path / "sealed")


def save(path: Path, rows: Sequence[worlds.Row]) -> Path:
    """Write rows as a features file of pictures and sounds, which are noisy pictures turned round."""
    noise = [np.random.default_rng([ord(letter) for letter in row.id]).normal(0, 0.3, 8) for row in rows]
    image = np.stack([row.image for row in rows])
    np.savez(
        path,
        image=image,
        sound=(image[:, ::-1] + noise).astype(np.float32),
        id=[row.id for row in rows],
        task=[row.task for row in rows],
        split=[row.split for row in rows],
    )
    return path


def drop(root: Path, task: str = "sky") -> RemovalSummary:
    return remove.remove_features(root / ".mneme", task)


def to(root: Path, policy: PolicyName, **directions: PolicyName) -> None:
    policies = {name.replace("_", "-"): own for name, own in directions.items()}
    reindex.reindex(root / ".mneme", ServingRequest(policy, policies))


def answers(root: Path, policy: PolicyName | None = None, at: str | None = None) -> list[list[Hit]]:
    """Return what is found for three pictures of sky, cosines to six digits."""
    with search.open_searcher(root / ".mneme", policy=policy, at=at) as searcher:
        queries = [[Part("image", worlds.rows("sky")[n].image)] for n in range(3)]
        results = [searcher.nearest(parts, "sound", 20, searcher.all_tasks()) for parts in queries]
    return [
        [replace(hit, score=round(hit.score, 6), log_p=round(hit.log_p or 0, 4)) for hit in hits]
        for hits in results
    ]


def without_features(root: Path, task: str) -> tuple[int, int]:
    """Return how many items of a task have no features, and how many there are."""
    with worlds.stored(root) as store:
        ids = {id for row in store.rows() if row.task == task for held in row.items.values() for id in held}
        return len(store.lacking(ids)), len(ids)


def vectors(root: Path, modality: Modality = "image") -> dict[str, NDArray[np.float32]]:
    """Return what the served shard of sky holds, by item."""
    workspace = worlds.opened(root)
    (served,) = (
        shard
        for shard in workspace.manifest.served.shards
        if (shard.key.task, shard.key.modality) == ("sky", modality)
    )
    backbone = workspace.manifest.backbones[modality].id
    shard = shards.read(workspace.shards / served.path, served.key, backbone)
    return dict(zip([id.decode() for id in shard.ids], shard.vectors.copy(), strict=True))


def taus(served: Served, task: str = "sky") -> Mapping[tuple[str, str], float]:
    """Return the temperatures of a task in the directions between modalities."""

    def tau(direction: ServedDirection) -> float:
        (of_task,) = (one.tau for one in direction.lookups if served.shards[one.shard].key.task == task)
        return of_task

    across = [direction for direction in served.directions if direction.query != direction.target]
    return {(direction.query, direction.target): tau(direction) for direction in across}


def sums(root: Path, task: str = "sky") -> tuple[int, NDArray[np.float64]]:
    """Return count and total of a task's pictures in the router that is served."""
    of_all, _ = slda.read_sums(router(root))
    return of_all.counts[task], of_all.totals[task]


def router(root: Path) -> Path:
    """Return where the router of pictures lies that is served."""
    workspace = worlds.opened(root)
    return workspace.routers / workspace.manifest.served.routers["image"]


def serve(root: Path, policy: PolicyName, **directions: PolicyName) -> None:
    """Write into the manifest under which policy is served."""
    workspace = worlds.opened(root)
    policies = {name.replace("_", "-"): own for name, own in directions.items()}
    served = replace(workspace.manifest.served, policy=policy, policies=policies, chosen=True)
    workspace.with_manifest(replace(workspace.manifest, served=served))


def test_the_features_go_and_those_of_other_tasks_stay(sealed: Path) -> None:
    assert without_features(sealed, "sky") == (59, 60)
    assert without_features(sealed, "life") == (0, 60)


@pytest.mark.parametrize("policy", [None, "matched", "aligned"])
def test_a_task_without_features_is_found_as_before(
    removed: Path, trained: Path, policy: PolicyName | None
) -> None:
    assert answers(removed, policy) == answers(trained, policy)


def test_a_past_state_is_found_as_before(
    removed: Path, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # validation items, which choose how flat a router is that is learned of a past state, went with the features
    monkeypatch.setattr(routers, "fit", lambda sums, *rest: discriminant(sums, 1.0))
    assert answers(removed, at="life") == answers(trained, at="life")


@pytest.mark.parametrize("policy", ["reindex", "partial", "auto"])
def test_a_policy_that_needs_features_is_refused(sealed: Path, policy: PolicyName) -> None:
    with pytest.raises(UserError) as caught:
        to(sealed, policy)
    assert (
        str(caught.value)
        == GONE.replace("reindex", policy, 1) + ", or run `mneme index` on the task's source again"
    )


def test_such_a_policy_for_one_direction_is_refused(sealed: Path) -> None:
    with pytest.raises(UserError, match="policy auto needs the features of task 'sky'"):
        to(sealed, "matched", image_sound="auto")


def test_a_query_under_such_a_policy_is_refused(sealed: Path) -> None:
    with pytest.raises(UserError, match=GONE):
        answers(sealed, "reindex")


def test_a_dry_run_of_such_a_policy_is_refused(sealed: Path) -> None:
    with pytest.raises(UserError, match=GONE):
        preview.preview(sealed / ".mneme", ServingRequest("reindex"))


def test_an_index_under_such_a_policy_is_refused(sealed: Path, trained: Path) -> None:
    with pytest.raises(UserError, match=GONE):
        worlds.index(sealed, trained / "places.npz", policy="reindex")


def test_a_dry_run_tells_nothing_of_a_task_that_cannot_be_tested(sealed: Path) -> None:
    expected = preview.preview(sealed / ".mneme", ServingRequest("aligned"))
    assert {one.task for one in expected.recall} == {"life", "places"}
    assert expected.items == 120


@pytest.mark.parametrize("policy", ["reindex", "partial", "auto"])
def test_features_that_a_served_policy_needs_later_stay(world: Path, policy: PolicyName) -> None:
    serve(world, policy)
    with pytest.raises(UserError) as caught:
        drop(world)
    assert str(caught.value) == (
        f"policy {policy}, which is served, needs the features of task 'sky' later: first run `reindex "
        "policy` with matched, no-reindex or aligned"
    )
    assert without_features(world, "sky") == (0, 60)


def test_features_that_the_policy_of_one_direction_needs_later_stay(world: Path) -> None:
    serve(world, "matched", image_sound="auto")
    with pytest.raises(UserError, match="policy auto, which is served for image-sound, needs"):
        drop(world)


def test_a_task_that_is_not_indexed_is_refused(world: Path) -> None:
    with pytest.raises(UserError, match="no task 'sea' in the index; tasks are: sky, life, places"):
        drop(world, "sea")


def test_before_any_index_nothing_is_removed(trained: Path, tmp_path: Path) -> None:
    worlds.learn(tmp_path, "sky", trained / "sky.npz")
    with pytest.raises(UserError, match="nothing is indexed yet: run `mneme index SOURCE`"):
        drop(tmp_path)


def test_the_next_index_changes_nothing(sealed: Path, trained: Path) -> None:
    before = worlds.opened(sealed)
    assert worlds.index(sealed, trained / "places.npz").shards_built == 0
    assert worlds.opened(sealed) == before


def test_the_task_itself_cannot_be_learned(sealed: Path) -> None:
    with pytest.raises(UserError) as caught:
        worlds.learn(sealed, "sky")
    assert str(caught.value) == (
        "the features of task 'sky' were removed: give its source, `train SOURCE task=sky`"
    )


def test_the_task_itself_can_be_learned_with_its_source(sealed: Path, trained: Path) -> None:
    worlds.learn(sealed, "sky", trained / "sky.npz")
    worlds.index(sealed, trained / "places.npz")
    assert worlds.opened(sealed).manifest.sealed == {}


def test_joint_training_leaves_it_out_and_says_so(sealed: Path) -> None:
    assert worlds.learn(sealed, "life", method="joint").lost == ["sky"]


def test_crosstask_finds_no_negatives_where_only_it_came_before(trained: Path, tmp_path: Path) -> None:
    worlds.learn(tmp_path, "sky", trained / "sky.npz")
    worlds.index(tmp_path, trained / "sky.npz")
    drop(tmp_path)
    crossed = worlds.learn(tmp_path, "life", trained / "life.npz", method="crosstask")
    assert crossed.lost == []


def test_half_a_source_brings_half_the_features_back_and_the_rest_stays_searchable(
    sealed: Path, trained: Path, tmp_path: Path
) -> None:
    worlds.index(sealed, save(tmp_path / "half.npz", worlds.rows("sky", 15)))
    assert without_features(sealed, "sky")[0] == 30
    assert list(worlds.opened(sealed).manifest.sealed) == ["sky"]
    found, expected = ([[hit.id for hit in hits] for hits in answers(r)] for r in (sealed, trained))
    assert found == expected


def test_a_task_whose_rows_are_gone_leaves_nothing(trained: Path, tmp_path: Path) -> None:
    rows = [*worlds.rows("sky"), *worlds.rows("life", 5)]
    source = save(tmp_path / "two.npz", rows)
    worlds.index(tmp_path, source)
    drop(tmp_path, "life")
    save(source, rows[:30])
    for _ in range(2):
        worlds.index(tmp_path, source)
    assert worlds.opened(tmp_path).manifest.sealed == {}
    assert not [
        *(tmp_path / ".mneme/router").glob("sealed-*"),
        *(tmp_path / ".mneme/shards").glob("life/*/*"),
    ]


def test_a_head_that_never_embedded_it_is_one_line(sealed: Path, removed: Path) -> None:
    workspace = worlds.opened(sealed)
    with worlds.stored(sealed) as store:
        planner = planner_of(workspace, store, ServingRequest(), "cpu")
        with pytest.raises(
            UserError, match="the features of 29 image items were removed, and head v0002 cannot"
        ):
            planner.embeddings.embed("image", planner.members["sky", "image"], 2)


def test_the_command_prints_one_object(world: Path, run: Run) -> None:
    told = run("remove", "--features", "--task", "sky", "-w", world, "--json").json
    assert set(told) == {"format", "task", "items", "kept", "bytes", "seconds"}


def test_status_says_which_tasks_have_features(sealed: Path, run: Run) -> None:
    told = run("status", "-w", sealed, "--json").json
    assert {task["task"]: task["features"] for task in told["tasks"]} == {
        "sky": False,
        "life": True,
        "places": True,
    }


def test_the_report_counts_what_went_and_what_other_tasks_keep(removal: tuple[Path, RemovalSummary]) -> None:
    _, done = removal
    assert (done.task, done.items, done.kept, done.bytes) == ("sky", 59, 1, 59 * (28 + 4 * 8))


def test_the_report_reads_well() -> None:
    said = text.removed(RemovalSummary("sky", 59, 1, 2_000_000, 0.31))
    assert said == "features of 59 items of sky removed (2.0 MB), 1 kept for other tasks in 0.3 s"


def test_an_item_of_two_tasks_loses_its_features_with_the_second(sealed: Path) -> None:
    assert drop(sealed, "life").items == 60
    assert without_features(sealed, "sky") == (60, 60)
    with pytest.raises(UserError, match="no features of task 'sky' are stored: they were removed before"):
        drop(sealed)


def test_a_task_that_shares_all_its_items_loses_nothing(tmp_path: Path) -> None:
    rows = worlds.rows("sky", 6)
    one = save(tmp_path / "one.npz", rows)
    other = save(tmp_path / "other.npz", [replace(row, task="life") for row in rows])
    worlds.index(tmp_path, one, other)
    with pytest.raises(UserError, match="all items of task 'sky' with features stand in other tasks too"):
        drop(tmp_path)


def test_a_reindex_serves_mapped_vectors_and_a_rollback_returns(sealed: Path, trained: Path) -> None:
    before = answers(sealed)
    to(sealed, "aligned")
    assert answers(sealed) == answers(trained, "aligned")
    reindex.rollback(sealed / ".mneme")
    assert answers(sealed) == before


def test_the_vectors_outlive_policies_that_serve_others(sealed: Path, trained: Path) -> None:
    before = vectors(sealed)
    for _ in range(2):
        to(sealed, "aligned")
    build.drop_unnamed(worlds.opened(sealed))
    to(sealed, "matched")
    assert_array_equal(list(vectors(sealed).values()), list(before.values()))
    assert answers(sealed) == answers(trained, "matched")


def test_a_rollback_to_such_a_policy_is_refused(sealed: Path) -> None:
    workspace = worlds.opened(sealed)
    previous = replace(workspace.manifest.served, policy="reindex")
    workspace.with_manifest(replace(workspace.manifest, previous=previous))
    with pytest.raises(UserError, match=GONE):
        reindex.rollback(sealed / ".mneme")


def test_a_lesson_of_another_task_leaves_its_vectors_and_its_last_temperatures(
    sealed: Path, trained: Path
) -> None:
    before, old = taus(worlds.opened(sealed).manifest.served), vectors(sealed)
    worlds.learn(sealed, "life")
    worlds.index(sealed, trained / "life.npz")
    now = worlds.opened(sealed).manifest.served
    assert {(shard.key.task, shard.key.head) for shard in now.shards} == {
        ("sky", 1),
        ("life", 4),
        ("places", 3),
    }
    assert {lookup.queries for direction in now.directions for lookup in direction.lookups} == {1, 3, 4}
    assert taus(now) == before
    assert_array_equal(list(vectors(sealed).values()), list(old.values()))


def test_late_validation_pairs_do_not_move_a_temperature(sealed: Path, tmp_path: Path) -> None:
    before = taus(worlds.opened(sealed).manifest.served)
    worlds.index(sealed, save(tmp_path / "late.npz", worlds.rows("sky", 60, start=100)))
    assert taus(worlds.opened(sealed).manifest.served) == before


def test_the_sums_of_removed_features_outlive_a_router_made_anew(sealed: Path) -> None:
    count, total = sums(sealed)
    source = save(sealed / "places.npz", worlds.rows("places", start=40))
    worlds.index(sealed, source)
    save(source, worlds.rows("places", 25, start=45))
    worlds.index(sealed, source)
    assert sums(sealed)[0] == count == 21
    assert sums(sealed)[1] == pytest.approx(total, abs=1e-9)


def test_a_router_without_validation_items_keeps_its_shrinkage(tmp_path: Path) -> None:
    worlds.index(tmp_path, save(tmp_path / "sky.npz", worlds.rows("sky")))
    drop(tmp_path)
    path = router(tmp_path) / "router.json"
    facts = files.read_json(path)
    path.write_bytes(files.to_sealed_json({**facts, "shrinkage": 7.0}))
    worlds.index(tmp_path, save(tmp_path / "more.npz", worlds.rows("sky", 5, start=50)))
    assert router(tmp_path) != path.parent
    assert slda.read(router(tmp_path)).shrinkage == 7


def test_late_items_count_beside_the_kept_sums(removed: Path, late: Path) -> None:
    fresh = np.sum([row.image for row in worlds.rows("sky", 5, start=50)], axis=0)
    assert sums(late)[0] == 21 + 5
    assert sums(late)[1] == pytest.approx(sums(removed)[1] + fresh, abs=1e-4)


def test_features_removed_twice_leave_the_sums_of_both_times(late: Path, tmp_path: Path) -> None:
    root = worlds.copied(late, tmp_path)
    assert drop(root).items == 10
    assert sums(root)[0] == 21 + 5
    assert sums(root)[1] == pytest.approx(sums(late)[1], abs=1e-9)
    assert vectors(root).keys() == vectors(late).keys()


def test_late_items_stand_beside_the_old_vectors(removed: Path, late: Path) -> None:
    old, now = vectors(removed), vectors(late)
    assert len(now) == len(old) + 5
    assert all(now[id] == pytest.approx(row, abs=1e-6) for id, row in old.items())


def test_late_items_are_embedded_by_the_tasks_head(removed: Path, late: Path) -> None:
    old = vectors(removed)
    fresh = {id: row for id, row in vectors(late).items() if id not in old}
    with worlds.stored(late) as store:
        (expected,) = Embedder(worlds.opened(late)).blocks(store, 1, "image", list(fresh))
    assert np.stack(list(fresh.values())) == pytest.approx(expected, abs=1e-6)


def test_indexing_its_source_brings_the_features_back(back: Path) -> None:
    assert without_features(back, "sky") == (0, 60)
    assert worlds.opened(back).manifest.sealed == {}


def test_with_its_features_back_it_is_as_if_they_had_never_gone(back: Path, trained: Path) -> None:
    assert answers(back, "reindex") == answers(trained, "reindex")


def test_an_evaluation_leaves_it_out_with_a_note(removed: Path, run: Run) -> None:
    told = run("evaluate", "-w", removed, "--policy", "matched", "--merge", "raw", "--k", "5", "--json")
    assert told.err == "note: left out, since their features were removed: sky\n"
    assert told.json["tasks"] == ["life", "places"]
    assert {len(row) for result in told.json["results"] for row in result["matrix"]} == {2}
    assert all(result["final"] is not None for result in told.json["results"])


def test_a_removal_that_stops_half_way_changes_no_answer(half: Path, trained: Path) -> None:
    assert list(worlds.opened(half).manifest.sealed) == ["sky"]
    assert without_features(half, "sky") == (0, 60)
    assert answers(half) == answers(trained)


def test_a_removal_that_stopped_half_way_is_finished_by_the_next(half: Path, tmp_path: Path) -> None:
    root = worlds.copied(half, tmp_path)
    assert drop(root).items == 59
    assert answers(root) == answers(half)
