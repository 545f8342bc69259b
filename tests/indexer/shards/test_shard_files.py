import gc
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

from engine.errors import UserError
from engine.storage import files
from engine.types import ShardKey
from indexer.routing import routers
from indexer.shards import files as shards
from indexer.shards import flat
from indexer.shards.files import Shard

KEY = ShardKey("sky", "image", 2, 2)
E = 16
GPU = pytest.mark.skipif(flat.gpus() == 0, reason="this FAISS sees no GPU")


def unit(count: int, seed: int = 0, width: int = E) -> NDArray[np.float32]:
    rows = np.random.default_rng(seed).normal(size=(count, width))
    units: NDArray[np.float32] = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return units


def ids(count: int) -> list[str]:
    return [f"{n:032x}" for n in range(count)]


def make(vectors: NDArray[np.float32]) -> Shard:
    return shards.build(KEY, ids(len(vectors)), vectors)


def brute(vectors: NDArray[np.float32], query: NDArray[np.float32], k: int) -> list[bytes]:
    """Rank every row in float64, ties by id."""
    scores = [round(float(query.astype(np.float64) @ row.astype(np.float64)), 9) for row in vectors]
    order = sorted(range(len(vectors)), key=lambda n: (-scores[n], n))
    return [ids(len(vectors))[n].encode() for n in order[:k]]


def crowded() -> NDArray[np.float32]:
    """Return rows among which one stands 40 times, more often than FAISS is asked beyond k."""
    rows = unit(200, 3)
    rows[5:200:5] = rows[0]
    return rows


@pytest.mark.parametrize("k", [1, 3, 10, 41, 199, 200, 500])
def test_search_equals_brute_force(k: int) -> None:
    vectors = crowded()
    found = make(vectors).search(unit(1, 9), k)
    assert found.ids[0].tolist() == brute(vectors, unit(1, 9)[0], k)


def test_search_for_a_row_that_stands_40_times_lists_its_copies_by_id() -> None:
    vectors = crowded()
    found = make(vectors).search(vectors[:1], 10)
    assert found.ids[0].tolist() == brute(vectors, vectors[0], 10)


@dataclass
class Backwards:
    """What stands for an index that proposes the largest row first among ties, and float32 noise among near ties."""

    vectors: NDArray[np.float32]

    def search(self, queries: NDArray[np.float32], width: int) -> tuple[Any, Any]:
        scores = (queries @ self.vectors.T).round(6)
        order = np.lexsort((-np.arange(len(self.vectors))[None] + 0 * scores, -scores), axis=1)[:, :width]
        return np.take_along_axis(scores, order, 1).astype(np.float32), order


@pytest.mark.parametrize("k", [1, 5, 32, 60])
def test_ties_beyond_the_margin_are_all_proposed_before_any_is_chosen(k: int) -> None:
    vectors = crowded()
    found = replace(make(vectors), index=Backwards(vectors)).search(vectors[:1], k)
    assert found.ids[0].tolist() == brute(vectors, vectors[0], k)


def test_rows_that_differ_in_the_seventh_digit_are_told_apart() -> None:
    vectors = np.repeat(unit(1), 60, axis=0)
    vectors[50, 0] += np.float32(2e-7) * np.sign(vectors[50, 0])
    found = make(vectors).search(vectors[50:51], 60)
    assert found.ids[0].tolist() == brute(vectors, vectors[50], 60)


def test_a_query_of_zeros_lists_items_by_id() -> None:
    found = make(unit(50)).search(np.zeros((1, E), np.float32), 5)
    assert found.ids[0].tolist() == [id.encode() for id in ids(5)]


def test_a_batch_of_queries_answers_as_each_alone() -> None:
    one, queries = make(crowded()), unit(60, 4)
    together = one.search(queries, 7)
    alone = [one.search(query[None], 7) for query in queries]
    assert_array_equal(together.ids, np.concatenate([found.ids for found in alone]))
    assert_array_equal(together.scores, np.concatenate([found.scores for found in alone]))


def test_more_than_there_is_gives_every_row_once() -> None:
    found = make(unit(4)).search(unit(2, 1), 10)
    assert [sorted(row) for row in found.ids.tolist()] == [[id.encode() for id in ids(4)]] * 2


def test_scores_fall_from_left_to_right() -> None:
    found = make(crowded()).search(unit(5, 2), 30)
    assert (np.diff(found.scores.round(9), axis=1) <= 0).all()


def test_a_score_is_the_cosine() -> None:
    vectors, queries = unit(9), unit(3, 1)
    found = make(vectors).search(queries, 9)
    exact = queries.astype(np.float64) @ vectors.astype(np.float64).T
    np.testing.assert_allclose(found.scores, -np.sort(-exact, axis=1), atol=1e-12)


def test_a_score_never_leaves_minus_1_to_1() -> None:
    vectors = np.concatenate([unit(40, 5), -unit(40, 5)])
    found = make(vectors).search(vectors, 80)
    assert (np.abs(found.scores) <= 1).all()


def test_no_queries_have_no_answers() -> None:
    assert make(unit(4)).search(np.zeros((0, E), np.float32), 3).ids.shape == (0, 3)


def test_embeddings_that_are_no_numbers_are_refused() -> None:
    vectors = unit(4)
    vectors[2, 3] = np.nan
    with pytest.raises(UserError, match=r"^head v0002 gives no finite embeddings for sky image$"):
        make(vectors)


def written(folder: Path, vectors: NDArray[np.float32]) -> Path:
    shards.write(make(vectors), folder / "v0000-00000000", backbone="fake-1", digest="0" * 32)
    return folder / "v0000-00000000"


def test_a_shard_comes_back_from_disk_as_it_was(tmp_path: Path) -> None:
    vectors = crowded()
    back = shards.read(written(tmp_path, vectors), KEY, "fake-1")
    assert back.key == KEY
    assert_array_equal(back.ids, make(vectors).ids)
    assert_array_equal(back.vectors, vectors)


def test_a_shard_from_disk_answers_as_the_one_in_memory(tmp_path: Path) -> None:
    vectors = crowded()
    back = shards.read(written(tmp_path, vectors), KEY, "fake-1").search(unit(9, 1), 12)
    assert_array_equal(back.ids, make(vectors).search(unit(9, 1), 12).ids)


def test_writing_says_how_many_bytes_the_data_takes(tmp_path: Path) -> None:
    size = shards.write(make(unit(9)), tmp_path / "one", backbone="fake-1", digest="0" * 32)
    files = [tmp_path / "one" / name for name in ("vectors.faiss", "stats.safetensors")]
    assert size == sum(file.stat().st_size for file in files)


def test_a_shard_records_backbone_digest_and_rows(tmp_path: Path) -> None:
    facts = shards.read_facts(written(tmp_path, unit(9)))
    assert (facts["backbone"], facts["digest"], facts["rows"], facts["head"]) == ("fake-1", "0" * 32, 9, 2)


@pytest.mark.parametrize("rows", [1, 7, shards.SAMPLE])
def test_the_log_partition_of_a_small_shard_is_exact(rows: int) -> None:
    vectors, queries = unit(rows), unit(5)
    made = shards.build(KEY, [f"{n:032x}" for n in range(rows)], vectors)
    found = made.log_partition(queries, 0.1, made.search(queries, 10).scores)
    slow = np.log(np.exp(queries.astype(np.float64) @ vectors.T.astype(np.float64) / 0.1).sum(axis=1))
    assert found == pytest.approx(slow, abs=1e-6)


@pytest.mark.parametrize(
    "other", [replace(KEY, task="life"), replace(KEY, modality="text"), replace(KEY, head=1)]
)
def test_a_shard_that_is_another_than_the_manifest_says_is_refused(tmp_path: Path, other: ShardKey) -> None:
    folder = written(tmp_path, unit(4))
    with pytest.raises(UserError, match="holds another shard than the manifest says; delete that"):
        shards.read(folder, other, "fake-1")


def test_a_shard_of_another_backbone_is_refused(tmp_path: Path) -> None:
    folder = written(tmp_path, unit(4))
    with pytest.raises(UserError, match="holds another shard than the manifest says"):
        shards.read(folder, KEY, "fake-2")


def test_a_shard_of_other_items_than_its_name_says_is_refused(tmp_path: Path) -> None:
    folder = written(tmp_path, unit(4)).rename(tmp_path / "v0000-11111111")
    with pytest.raises(UserError, match="holds another shard than the manifest says"):
        shards.read(folder, KEY, "fake-1")


def test_a_shard_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    facts = written(tmp_path, unit(4)) / "shard.json"
    facts.write_text(json.dumps({**json.loads(facts.read_text()), "format": 3}))
    with pytest.raises(UserError, match=r"has a newer format; this mneme reads up to 2: upgrade mneme$"):
        shards.read(facts.parent, KEY, "fake-1")


def test_a_shard_of_the_first_format_is_read(tmp_path: Path) -> None:
    vectors = unit(4)
    folder = written(tmp_path, vectors)
    held = safetensors.numpy.load((folder / "stats.safetensors").read_bytes())
    stats = safetensors.numpy.save(
        {**held, "mean": vectors.mean(0), "covariance": np.cov(vectors.T, bias=True)}
    )
    facts = json.loads((folder / "shard.json").read_text())
    size = len(stats) + (folder / "vectors.faiss").stat().st_size
    checksums = {**facts["checksums"], "stats.safetensors": files.checksum(stats)}
    (folder / "stats.safetensors").write_bytes(stats)
    (folder / "shard.json").write_text(
        json.dumps({**facts, "format": 1, "bytes": size, "checksums": checksums})
    )
    assert np.array_equal(shards.read(folder, KEY, "fake-1").vectors, vectors)


def test_a_shard_with_anothers_vectors_is_damaged(tmp_path: Path) -> None:
    many, few = written(tmp_path / "a", unit(9)), written(tmp_path / "b", unit(4))
    (few / "vectors.faiss").replace(many / "vectors.faiss")
    with pytest.raises(UserError, match=r"is damaged"):
        shards.read(many, KEY, "fake-1")


def test_a_shard_whose_folder_has_vanished_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r" is gone: run `mneme index` on the source again$"):
        shards.read(tmp_path / "gone", KEY, "fake-1")


@pytest.mark.parametrize("name", ["vectors.faiss", "stats.safetensors"])
@pytest.mark.parametrize("kept", [0, 30, 200])
def test_a_truncated_shard_is_one_line(tmp_path: Path, name: str, kept: int) -> None:
    folder = written(tmp_path, unit(40))
    (folder / name).write_bytes((folder / name).read_bytes()[:kept])
    with pytest.raises(UserError, match="is damaged"):
        shards.read(folder, KEY, "fake-1")


def test_without_faiss_one_line_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(
        UserError, match=r"^no FAISS installed: pip install 'mneme\[cpu\]' or 'mneme\[gpu\]'$"
    ):
        flat.load_faiss()


@dataclass
class Copy:
    """What stands for a copy of an index on the GPU; it answers wrongly to show that it was asked."""

    rows: int = 0

    def search(self, queries: NDArray[np.float32], width: int) -> tuple[Any, Any]:
        rows = np.tile(np.arange(width), (len(queries), 1))
        return -rows.astype(np.float32), rows


def test_the_gpu_proposes_where_there_is_a_copy() -> None:
    found = replace(make(unit(50)), gpu=Copy()).search(unit(1, 7), 1)
    assert found.ids[0, 0] in {id.encode() for id in ids(shards.MARGIN + 1)}


def test_the_cpu_proposes_what_a_gpu_cannot_return_at_once() -> None:
    vectors = unit(shards.GPU_MOST + 40)
    k = shards.GPU_MOST + 10
    found = replace(make(vectors), gpu=Copy()).search(unit(1, 7), k)
    assert_array_equal(found.ids, make(vectors).search(unit(1, 7), k).ids)


@pytest.mark.parametrize("mapped", [True, False])
def test_the_memory_that_vectors_lie_in_lives_as_long_as_they_are_held(tmp_path: Path, mapped: bool) -> None:
    rows = unit(5000)
    held = shards.read(written(tmp_path, rows), KEY, "fake-1") if mapped else make(rows.copy())
    part = held.vectors[1000:]
    del held
    gc.collect()
    other = [make(unit(5000, seed)) for seed in range(1, 4)]  # which would take the memory that was freed
    assert_array_equal(part, rows[1000:])
    assert len(other) == 3


def test_the_vectors_of_a_shard_cannot_be_written_to(tmp_path: Path) -> None:
    for held in (make(unit(9)), shards.read(written(tmp_path, unit(9)), KEY, "fake-1")):
        with pytest.raises(ValueError, match="read-only"):
            held.vectors[0] = 1.0


def test_a_router_of_a_newer_format_is_refused_though_shards_have_that_format(tmp_path: Path) -> None:
    (tmp_path / "router.json").write_text(json.dumps({"format": 2}))
    with pytest.raises(UserError, match=r"has a newer format; this mneme reads up to 1"):
        routers.read(tmp_path)


@GPU
def test_the_gpu_answers_as_the_cpu_does() -> None:
    one, queries = make(crowded()), unit(60, 4)
    assert_array_equal(shards.to_gpu(one).search(queries, 12).ids, one.search(queries, 12).ids)


@GPU
def test_a_mapped_shard_survives_its_move_to_the_gpu(tmp_path: Path) -> None:
    moved = shards.to_gpu(shards.read(written(tmp_path, crowded()), KEY, "fake-1"))
    assert_array_equal(moved.search(unit(9, 1), 12).ids, make(crowded()).search(unit(9, 1), 12).ids)
