from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

import worlds
from engine.errors import UserError
from engine.heads.embedder import Embedder
from engine.storage.store import Store
from engine.types import ItemId, Pair, Split
from indexer.embeddings import alignment, embeddings
from indexer.embeddings.embeddings import EmbeddingCache, embedding_cache


@pytest.fixture
def cache(trained: Path) -> Iterator[EmbeddingCache]:
    workspace = worlds.opened(trained)
    with Store(workspace.store) as store:
        yield embedding_cache(Embedder(workspace), store, store.pairs())


@pytest.fixture
def mlp(tmp_path_factory: pytest.TempPathFactory, trained: Path) -> Iterator[EmbeddingCache]:
    """Yield the cache of a workspace whose heads have no exact map between them."""
    root = tmp_path_factory.mktemp("mlp")
    for task in ("sky", "life"):
        worlds.learn(root, task, trained / f"{task}.npz", form="mlp" if task == "sky" else None)
        worlds.index(root, trained / f"{task}.npz")
    workspace = worlds.opened(root)
    with Store(workspace.store) as store:
        yield embedding_cache(Embedder(workspace), store, store.pairs())


@pytest.fixture
def ids(cache: EmbeddingCache) -> list[ItemId]:
    return sorted({id for pair in cache.store.pairs() for id in pair.items["image"]})[:5]


def test_what_was_embedded_once_is_not_embedded_again(
    cache: EmbeddingCache, ids: list[ItemId], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = cache.embed("image", ids, 1)
    monkeypatch.setattr(Embedder, "embed", lambda *given: pytest.fail("embedded again"))
    assert cache.embed("image", ids, 1) is first


def test_features_are_read_once_for_all_heads(
    cache: EmbeddingCache, ids: list[ItemId], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.embed("image", ids, 1)
    monkeypatch.setattr(Store, "features", lambda *given: pytest.fail("read again"))
    cache.embed("image", ids, 2)


def test_what_is_kept_cannot_be_written_to(cache: EmbeddingCache, ids: list[ItemId]) -> None:
    for rows in (cache.embed("image", ids, 1), cache.features("image", ids)):
        with pytest.raises(ValueError, match="read-only"):
            rows[0, 0] = 1


def test_embeddings_are_what_the_head_makes_of_the_features_in_the_store(
    cache: EmbeddingCache, ids: list[ItemId]
) -> None:
    backbone = cache.embedder.workspace.manifest.backbones["image"]
    features = cache.store.features(ids, backbone.id)
    assert_array_equal(cache.features("image", ids), features)
    assert_array_equal(cache.embed("image", ids, 2), cache.embedder.embed(2, "image", features))
    assert cache.width("image") == backbone.width == features.shape[1]


def test_other_items_heads_and_spaces_are_told_apart(cache: EmbeddingCache, ids: list[ItemId]) -> None:
    whole = cache.embed("image", ids, 1)
    assert np.array_equal(cache.embed("image", ids[:2], 1), whole[:2])
    assert not np.array_equal(cache.embed("image", ids, 2), whole)
    assert not np.array_equal(cache.embed("image", ids, 1, 2), whole)


def test_items_are_embedded_block_by_block_and_none_is_lost(
    cache: EmbeddingCache, ids: list[ItemId], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = [cache.embed("image", [id], 1)[0] for id in ids]
    monkeypatch.setattr(embeddings, "BLOCK", 2)
    assert_allclose(cache.embed("image", ids, 1), expected, atol=1e-6)  # sums in another order


def test_no_more_is_kept_than_the_bound(
    cache: EmbeddingCache, ids: list[ItemId], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embeddings, "MOST_BYTES", 2 * 5 * worlds.WIDTH * 4)
    small = EmbeddingCache(cache.embedder, cache.store, cache.fitting_items)
    first = small.embed("image", ids, 1)
    small.embed("image", ids, 2)
    assert small.embed("image", ids, 1) is not first


def test_how_long_items_take_is_measured_without_what_is_kept(
    cache: EmbeddingCache, ids: list[ItemId], monkeypatch: pytest.MonkeyPatch
) -> None:
    embed, versions = Embedder.embed, []

    def counted(self: Embedder, version: int, modality: str, x: NDArray[np.float32]) -> NDArray[np.float32]:
        versions.append(version)
        return embed(self, version, modality, x)

    monkeypatch.setattr(Embedder, "embed", counted)
    for _ in range(2):
        assert cache.seconds("image", ids, 1, 1) > 0
    assert versions == [1, 1]


def test_how_long_items_take_to_be_mapped_is_measured_too(
    cache: EmbeddingCache, ids: list[ItemId], monkeypatch: pytest.MonkeyPatch
) -> None:
    moved, mapped = alignment.moved, []

    def counted(x: NDArray[np.floating], by: alignment.Map) -> alignment.Map:
        mapped.append(len(x))
        return moved(x, by)

    monkeypatch.setattr(alignment, "moved", counted)
    assert cache.seconds("image", ids, 1, 3) > 0
    cache.seconds("image", ids, 1, 1)
    assert mapped == [5]


# maps between spaces


def test_aligned_items_of_linear_heads_are_those_of_the_newest(
    cache: EmbeddingCache, ids: list[ItemId]
) -> None:
    # the inverse of a float32 matrix of condition below 1e4 is exact to about three digits
    assert_allclose(cache.embed("image", ids, 1, 3), cache.embed("image", ids, 3), atol=1e-4)


def test_between_other_heads_the_map_is_fitted_on_embeddings_of_both(mlp: EmbeddingCache) -> None:
    ids = sorted(mlp.fitting_items("image", 2))
    expected = alignment.fit(mlp.embed("image", ids, 1), mlp.embed("image", ids, 2))
    assert_array_equal(mlp.map_between("image", 1, 2), expected)
    assert mlp.map_between("image", 1, 2) is mlp.map_between("image", 1, 2)


def test_a_map_is_fitted_on_the_first_items_by_id(
    mlp: EmbeddingCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embeddings, "MOST_FITTED", 12)
    ids = sorted(mlp.fitting_items("image", 2))[:12]
    expected = alignment.fit(mlp.embed("image", ids, 1), mlp.embed("image", ids, 2))
    assert_array_equal(mlp.map_between("image", 1, 2), expected)


def test_a_map_is_fitted_on_the_training_items_of_the_lessons_its_newer_version_knew(
    cache: EmbeddingCache,
) -> None:
    def training(*tasks: str) -> set[ItemId]:
        pairs = [p for p in cache.store.pairs() if p.task in tasks and p.split == "train"]
        return {id for pair in pairs for id in pair.items["image"]}

    assert set(cache.fitting_items("image", 1)) == training("sky")
    assert set(cache.fitting_items("image", 2)) == training("sky", "life")
    assert set(cache.fitting_items("image", 3)) == training("sky", "life", "places")


def pair(task: str, split: Split, image: str) -> Pair:
    return Pair(image, {"image": (image * 32,)}, task, split)


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([pair("sky", "train", "a"), pair("life", "train", "b"), pair("sky", "val", "c")], ["a"]),
        ([pair("life", "train", "b"), pair("sky", "val", "c")], ["b"]),
        ([pair("sky", "val", "c"), pair("life", "test", "d")], ["c", "d"]),
        ([], []),
    ],
)
def test_where_these_are_gone_all_training_items_do_and_then_all_items(
    cache: EmbeddingCache, pairs: Sequence[Pair], expected: list[str]
) -> None:
    fitting = embedding_cache(cache.embedder, cache.store, pairs).fitting_items
    assert fitting("image", 1) == [letter * 32 for letter in expected]
    assert fitting("text", 1) == []


def test_without_any_item_a_map_cannot_be_fitted(mlp: EmbeddingCache) -> None:
    empty = embedding_cache(mlp.embedder, mlp.store, [])
    with pytest.raises(UserError, match="no image features are left to fit a map from head v0001 to v0002"):
        empty.map_between("image", 1, 2)
