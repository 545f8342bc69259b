from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

import worlds
from engine.heads.embedder import Embedder
from engine.storage.store import Store
from engine.types import ItemId
from indexer.embeddings.embeddings import EmbeddingCache, reader


@pytest.fixture
def read(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddingCache]:
    workspace = worlds.opened(worlds.trained(tmp_path_factory.getbasetemp()))
    with Store(workspace.store) as store:
        yield reader(Embedder(workspace), store, store.pairs())


@pytest.fixture
def ids(read: EmbeddingCache) -> list[ItemId]:
    return sorted({id for pair in read.store.pairs() for id in pair.items["image"]})[:5]


def test_what_was_embedded_once_is_not_embedded_again(
    read: EmbeddingCache, ids: list[ItemId], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = read.embed("image", ids, 1)
    monkeypatch.setattr(Embedder, "embed", lambda *given: pytest.fail("embedded again"))
    assert read.embed("image", ids, 1) is first


def test_what_is_held_cannot_be_written_to(read: EmbeddingCache, ids: list[ItemId]) -> None:
    with pytest.raises(ValueError, match="read-only"):
        read.embed("image", ids, 1)[0, 0] = 1


def test_other_items_heads_and_spaces_are_told_apart(read: EmbeddingCache, ids: list[ItemId]) -> None:
    whole = read.embed("image", ids, 1)
    assert np.array_equal(read.embed("image", ids[:2], 1), whole[:2])
    assert not np.array_equal(read.embed("image", ids, 2), whole)
    assert not np.array_equal(read.embed("image", ids, 1, 2), whole)


def test_how_long_items_take_is_measured_without_what_is_held(
    read: EmbeddingCache, ids: list[ItemId], monkeypatch: pytest.MonkeyPatch
) -> None:
    embed, asked = Embedder.embed, []

    def counted(self: Embedder, version: int, modality: str, x: NDArray[np.float32]) -> NDArray[np.float32]:
        asked.append(version)
        return embed(self, version, modality, x)

    monkeypatch.setattr(Embedder, "embed", counted)
    for _ in range(2):
        assert read.seconds("image", ids, 1, 1) > 0
    assert asked == [1, 1]
