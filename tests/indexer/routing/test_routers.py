from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import worlds
from engine.evaluation.splits import Groups, grouped, items_of
from engine.heads.embedder import Embedder
from engine.storage import files
from engine.storage.store import Store
from engine.storage.workspace import readable_pairs
from engine.types import Modality, Split
from indexer.embeddings.embeddings import EmbeddingCache, embedding_cache
from indexer.routing import routers, slda
from indexer.routing.fitting import USUAL, Flatness, discriminant
from indexer.routing.slda import Router
from indexer.routing.sums import Sums
from indexer.serving import remove


def folder(root: Path, modality: Modality = "image") -> Path:
    """Return where the router that is served lies."""
    workspace = worlds.opened(root)
    return workspace.routers / workspace.manifest.served.routers[modality]


def afresh(root: Path, modality: Modality = "image") -> Sums:
    """Return the sums over the training items of all tasks, made at once."""
    workspace = worlds.opened(root)
    with worlds.stored(root) as store:
        pairs = store.pairs()
        sums = Sums(worlds.WIDTH)
        embeddings = embedding_cache(Embedder(workspace), store, pairs)
        for task in worlds.TASKS:
            routers.add(sums, embeddings, task, modality, items_of(grouped(pairs), task, "train", modality))
    return sums


def test_sums_that_grew_task_by_task_are_those_of_all_at_once(trained: Path) -> None:
    grown, items = slda.read_sums(folder(trained))
    once = afresh(trained)
    assert grown.counts == once.counts == dict.fromkeys(worlds.TASKS, 21)
    assert grown.squares == pytest.approx(once.squares, abs=1e-9)
    assert all(grown.totals[task] == pytest.approx(once.totals[task], abs=1e-9) for task in worlds.TASKS)
    assert {task: len(ids) for task, ids in items.items()} == grown.counts


def test_rows_that_are_gone_leave_no_trace_in_the_sums(tmp_path: Path) -> None:
    source = worlds.save(tmp_path / "sky.npz", worlds.rows("sky"))
    worlds.index(tmp_path, source)
    worlds.save(source, worlds.rows("sky", 20))
    worlds.index(tmp_path, source)
    left, items = slda.read_sums(folder(tmp_path))
    assert left.counts == {"sky": 14}
    assert left.squares == pytest.approx(afresh(tmp_path).squares, abs=1e-9)
    assert len(items["sky"]) == 14


def test_the_second_index_makes_no_router(trained: Path, tmp_path: Path) -> None:
    root = worlds.copied(trained, tmp_path)
    before = worlds.opened(root).manifest.served.routers
    worlds.index(root, trained / "places.npz")
    assert worlds.opened(root).manifest.served.routers == before
    assert sorted(path.name for path in (root / ".mneme/router").iterdir()) == sorted(before.values())


def embedding(root: Path, store: Store) -> tuple[EmbeddingCache, Groups]:
    pairs = readable_pairs(worlds.opened(root).manifest, store)
    return embedding_cache(Embedder(worlds.opened(root)), store, pairs), grouped(pairs)


def learned(root: Path, stages: Sequence[Sequence[str]]) -> list[Router]:
    with worlds.stored(root) as store:
        return list(routers.learn(*embedding(root, store), "image", stages))


def assert_same(router: Router, other: Router) -> None:
    assert (list(router.tasks), router.shrinkage) == (list(other.tasks), other.shrinkage)
    # sums in float64, added in another order
    assert router.weights == pytest.approx(other.weights, rel=1e-6)
    assert router.typical == pytest.approx(other.typical, rel=1e-6)
    assert router.temperature == pytest.approx(other.temperature, rel=1e-3)


def test_a_router_learned_stage_by_stage_is_at_each_what_it_is_learned_at_once(trained: Path) -> None:
    stages = [["sky"], ["sky", "life"], ["life", "sky", "places"]]
    for router, stage in zip(learned(trained, stages), stages, strict=True):
        (once,) = learned(trained, [stage])
        assert set(router.tasks) == set(stage)
        order = [list(once.tasks).index(task) for task in router.tasks]
        assert router.weights == pytest.approx(once.weights[:, order], rel=1e-6)


def test_the_router_that_is_served_is_the_one_that_is_learned_of_all_tasks(trained: Path) -> None:
    (router,) = learned(trained, [worlds.TASKS])
    assert_same(router, slda.read(folder(trained)))


def test_a_router_learns_from_training_items_alone_and_validation_items_choose(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = dict[str, int]()
    shown = dict[str, int]()

    def fitted(
        sums: Sums, validation: Mapping[str, NDArray[np.float32]], fallback: Flatness = USUAL
    ) -> Router:
        taken.update(sums.counts)
        shown.update({task: len(x) for task, x in validation.items()})
        return discriminant(sums, fallback.shrinkage)

    monkeypatch.setattr(routers, "fit", fitted)
    learned(trained, [["sky", "life"]])
    assert taken == {"sky": 21, "life": 21}
    assert shown == {"sky": 3, "life": 3}
    monkeypatch.setattr(routers, "MOST_VALIDATION", 2)
    learned(trained, [["sky", "life"]])
    assert shown == {"sky": 2, "life": 2}


def test_a_modality_without_training_items_has_no_router(tmp_path: Path) -> None:
    rows = [replace(row, split="test") for row in worlds.rows("sky", 6)]
    worlds.index(tmp_path, worlds.save(tmp_path / "sky.npz", rows))
    assert worlds.opened(tmp_path).manifest.served.routers == {}


@pytest.mark.parametrize("split", ["train", "val"])
def test_other_items_that_it_learns_from_or_is_chosen_by_make_another_router(
    trained: Path, tmp_path: Path, split: Split
) -> None:
    root = worlds.copied(trained, tmp_path)
    before = folder(root)
    rows = [replace(row, split=split) for row in worlds.rows("sky", 2, start=50)]
    worlds.index(root, worlds.save(tmp_path / "more.npz", rows))
    assert folder(root) != before


def test_test_items_make_no_other_router(trained: Path, tmp_path: Path) -> None:
    root = worlds.copied(trained, tmp_path)
    before = folder(root)
    rows = [replace(row, split="test") for row in worlds.rows("sky", 2, start=50)]
    worlds.index(root, worlds.save(tmp_path / "more.npz", rows))
    assert folder(root) == before


def test_new_items_are_added_to_the_sums_without_reading_the_old_again(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = worlds.copied(trained, tmp_path)
    counts = list[int]()
    add = Sums.add

    def counted(self: Sums, task: str, features: NDArray[np.float32]) -> None:
        counts.append(len(features))
        add(self, task, features)

    monkeypatch.setattr(Sums, "add", counted)
    rows = [replace(row, split="train") for row in worlds.rows("sky", 4, start=50)]
    worlds.index(root, worlds.save(tmp_path / "more.npz", rows))
    assert counts == [4, 4]


def test_without_validation_items_a_router_stays_as_flat_as_it_was(tmp_path: Path) -> None:
    rows = worlds.rows("sky")
    source = worlds.save(tmp_path / "sky.npz", rows)
    worlds.index(tmp_path, source)
    path = folder(tmp_path) / "router.json"
    facts = files.read_json(path)
    path.write_bytes(files.to_sealed_json({**facts, "shrinkage": 7.0, "temperature": 3.0}))
    worlds.save(source, [row for row in rows if row.split == "train"])
    worlds.index(tmp_path, source)
    router = slda.read(folder(tmp_path))
    assert (router.shrinkage, router.temperature) == (7.0, 3.0)


def test_features_are_summed_block_by_block_and_none_is_lost(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = afresh(trained)
    monkeypatch.setattr(routers, "BLOCK", 8)
    again = afresh(trained)
    assert again.counts == once.counts
    assert again.squares == pytest.approx(once.squares, abs=1e-9)


# a task whose features were removed


def test_what_is_kept_of_a_task_are_the_sums_over_its_training_items(trained: Path, tmp_path: Path) -> None:
    root = worlds.copied(trained, tmp_path)
    with worlds.stored(root) as store:
        embeddings, groups = embedding(root, store)
        folders = routers.seal(worlds.opened(root), embeddings, groups, "sky")
    sums, items = slda.read_sums(worlds.opened(root).routers / folders["image"])
    once = afresh(root)
    assert sums.counts == {"sky": 21}
    assert sums.totals["sky"] == pytest.approx(once.totals["sky"], abs=1e-9)
    assert len(items["sky"]) == 21
    assert set(folders) == {"image", "text"}


def test_a_task_without_training_items_leaves_no_sums(tmp_path: Path) -> None:
    rows = [replace(row, split="test") for row in worlds.rows("sky", 6)]
    worlds.index(tmp_path, worlds.save(tmp_path / "sky.npz", rows))
    with worlds.stored(tmp_path) as store:
        embeddings, groups = embedding(tmp_path, store)
        assert routers.seal(worlds.opened(tmp_path), embeddings, groups, "sky") == {}


def test_with_kept_sums_a_router_is_learned_as_if_the_features_were_there(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        routers, "fit", lambda sums, *rest: discriminant(sums, 1.0)
    )  # validation items went too
    root, stages = worlds.copied(trained, tmp_path), [["sky"], worlds.TASKS]
    remove.remove_features(root / ".mneme", "sky")
    for router, other in zip(learned(root, stages), learned(trained, stages), strict=True):
        assert_same(router, other)


def test_sums_are_kept_of_removed_features_alone(trained: Path, tmp_path: Path) -> None:
    root = worlds.copied(trained, tmp_path)
    remove.remove_features(root / ".mneme", "sky")
    sums, items = routers.kept_sums(worlds.opened(root), "sky", "image")
    assert (sums.counts, len(items)) == ({"sky": 21}, 21)
    sums, items = routers.kept_sums(worlds.opened(root), "life", "image")
    assert (sums.counts, len(items), sums.width) == ({}, 0, worlds.WIDTH)


def test_validation_items_that_went_with_the_features_make_no_other_router(
    trained: Path, tmp_path: Path
) -> None:
    root = worlds.copied(trained, tmp_path)
    remove.remove_features(root / ".mneme", "sky")
    before = folder(root)
    worlds.index(root, trained / "places.npz")
    assert folder(root) == before


def test_kept_sums_are_joined_where_a_router_is_learned_anew(trained: Path, tmp_path: Path) -> None:
    root = worlds.copied(trained, tmp_path)
    remove.remove_features(root / ".mneme", "sky")
    source = worlds.save(tmp_path / "more.npz", worlds.rows("places", start=40))
    worlds.index(root, source)
    worlds.save(source, worlds.rows("places", 25, start=45))
    worlds.index(root, source)
    sums, _ = slda.read_sums(folder(root))
    assert sums.counts["sky"] == 21
    assert sums.totals["sky"] == pytest.approx(slda.read_sums(folder(trained))[0].totals["sky"], abs=1e-9)
