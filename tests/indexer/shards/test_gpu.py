from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from indexer.shards import gpu
from indexer.shards.gpu import GpuFlat, to_gpu
from indexer.shards.shard import Flat, load_faiss
from unit_rows import Vectors, crowded, shard_of, unit


@dataclass
class Wrong:
    """What stands for an index on the GPU; it answers wrongly to show that it was asked."""

    def search(self, queries: Vectors, n: int) -> tuple[Any, Any]:
        rows = np.tile(np.arange(n), (len(queries), 1))
        return -rows.astype(np.float32), rows


@pytest.mark.parametrize(("n", "asked"), [(1, True), (2048, True), (2049, False)])
def test_the_gpu_proposes_what_it_can_return_at_once_and_the_cpu_the_rest(n: int, asked: bool) -> None:
    vectors = unit(2100)
    _, rows = GpuFlat(Wrong(), Flat(vectors)).propose(unit(1, 7), n)
    assert (rows[0].tolist() == list(range(n))) == asked


@dataclass
class Resources:
    """What stands for FAISS's scratch memory on a GPU."""

    made: list[int] = field(default_factory=list)

    def setTempMemory(self, count: int) -> None:
        self.made.append(count)


@dataclass
class ToGpu:
    """What stands for FAISS's copying to a GPU; the copy stays where it was."""

    copies: list[tuple[Resources, int]] = field(default_factory=list)

    def __call__(self, resources: Resources, device: int, index: Any) -> Any:
        self.copies.append((resources, device))
        return index


def test_a_copy_on_the_first_gpu_is_of_the_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    faiss, to_gpu = load_faiss(), ToGpu()
    monkeypatch.setattr(gpu, "_gpu_resources", Resources)
    monkeypatch.setattr(faiss, "index_cpu_to_gpu", to_gpu, raising=False)
    proposer, queries = gpu.on_gpu(unit(30)), unit(5, 9)
    assert_array_equal(proposer.propose(queries, 4)[1], Flat(unit(30)).propose(queries, 4)[1])
    assert_array_equal(proposer.cpu.vectors, unit(30))
    assert to_gpu.copies[0][1] == 0


def test_all_copies_on_a_gpu_share_256_mib_of_scratch_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_faiss(), "StandardGpuResources", Resources, raising=False)
    gpu._gpu_resources.cache_clear()
    first, second = gpu._gpu_resources(), gpu._gpu_resources()
    gpu._gpu_resources.cache_clear()
    assert first is second
    assert first.made == [256 << 20]


def test_a_shard_on_the_gpu_is_the_same_but_for_who_proposes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "on_gpu", lambda vectors: GpuFlat(Wrong(), Flat(vectors)))
    shard = shard_of(unit(9))
    moved = to_gpu(shard)
    assert moved == replace(shard, proposer=moved.proposer)
    assert isinstance(moved.proposer, GpuFlat)


@pytest.mark.skipif(gpu.gpus() == 0, reason="this FAISS sees no GPU")
def test_the_gpu_answers_as_the_cpu_does() -> None:
    shard, queries = shard_of(crowded()), unit(60, 4)
    assert_array_equal(to_gpu(shard).search(queries, 12).ids, shard.search(queries, 12).ids)
