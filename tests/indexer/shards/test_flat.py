import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from engine.errors import UserError
from indexer.shards import flat
from indexer.shards.flat import Flat, GpuFlat
from unit_rows import E, Vectors, unit


@pytest.mark.parametrize("queries", [1, 2, 3, 20])
@pytest.mark.parametrize("n", [1, 18, 150, 300])
def test_the_nearest_vectors_are_proposed_best_first(queries: int, n: int) -> None:
    vectors, asked = unit(300), unit(queries, 1)
    scores, rows = Flat(vectors).propose(asked, n)
    exact = asked @ vectors.T
    assert_array_equal(rows, np.argsort(-exact, axis=1)[:, :n])
    # float32 sums of 16 products of at most 1
    np.testing.assert_allclose(scores, np.take_along_axis(exact, rows, 1), atol=1e-6)


@dataclass
class Spied:
    """FAISS's search, noting whether it was handed a selector, without which it multiplies by BLAS."""

    search: Any
    selected: list[bool] = field(default_factory=list)

    def __call__(self, *arguments: Any) -> None:
        self.selected.append(arguments[-1] is not None)
        self.search(*arguments)


@pytest.mark.parametrize(
    ("queries", "threads", "selected"), [(1, 1, True), (2, 2, True), (3, 1, False), (1, 3, False)]
)
def test_one_or_two_queries_on_as_few_threads_go_vector_by_vector(
    queries: int, threads: int, selected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    faiss = flat.load_faiss()
    spied = Spied(faiss.knn_inner_product)
    monkeypatch.setattr(faiss, "knn_inner_product", spied)
    monkeypatch.setattr(faiss, "omp_get_max_threads", lambda: threads)
    Flat(unit(30)).propose(unit(queries, 1), 4)
    assert spied.selected == [selected]


def test_faiss_multiplies_by_blas_where_it_may_choose() -> None:
    faiss = flat.load_faiss()
    faiss.cvar.distance_compute_blas_threshold = 20
    assert flat.load_faiss().cvar.distance_compute_blas_threshold == 1


def test_queries_of_another_width_are_never_handed_to_faiss() -> None:
    with pytest.raises(AssertionError):
        Flat(unit(30)).propose(unit(4)[:, : E - 1], 3)


def test_without_faiss_one_line_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(
        UserError, match=r"^no FAISS installed: pip install 'mneme\[cpu\]' or 'mneme\[gpu\]'$"
    ):
        flat.load_faiss()


def test_the_vectors_of_an_index_are_read_as_they_were_added(tmp_path: Path) -> None:
    faiss, vectors = flat.load_faiss(), unit(30)
    index = faiss.IndexFlatIP(E)
    index.add(vectors)
    faiss.write_index(index, str(tmp_path / "vectors.faiss"))
    assert_array_equal(flat.read_index(tmp_path / "vectors.faiss"), vectors)


# on a GPU


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
    faiss, to_gpu = flat.load_faiss(), ToGpu()
    monkeypatch.setattr(flat, "_gpu_resources", Resources)
    monkeypatch.setattr(faiss, "index_cpu_to_gpu", to_gpu, raising=False)
    proposer, queries = flat.on_gpu(unit(30)), unit(5, 9)
    assert_array_equal(proposer.propose(queries, 4)[1], Flat(unit(30)).propose(queries, 4)[1])
    assert_array_equal(proposer.cpu.vectors, unit(30))
    assert to_gpu.copies[0][1] == 0


def test_all_copies_on_a_gpu_share_256_mib_of_scratch_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flat.load_faiss(), "StandardGpuResources", Resources, raising=False)
    flat._gpu_resources.cache_clear()
    first, second = flat._gpu_resources(), flat._gpu_resources()
    flat._gpu_resources.cache_clear()
    assert first is second
    assert first.made == [256 << 20]
