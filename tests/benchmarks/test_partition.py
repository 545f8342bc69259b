import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks import partition
from engine.types import ShardKey
from indexer.shards.shard import build_shard


def unit(count: int, seed: int) -> NDArray[np.float32]:
    rows = np.random.default_rng(seed).normal(size=(count, 16))
    units: NDArray[np.float32] = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return units


def test_each_partition_is_another_estimate_of_the_exact_one() -> None:
    vectors, queries = unit(1000, 0), unit(4, 1)
    shard = build_shard(ShardKey("sky", "image", 1, 1), [f"{n:032x}" for n in range(1000)], vectors)
    best, by_name = shard.search(queries, 10).scores, {}
    for name, patched in partition.PARTITIONS.items():
        with patched:
            by_name[name] = shard.log_partition(queries, 0.2, best)
    cosines = queries.astype(np.float64) @ vectors.T.astype(np.float64)
    exact = np.log(np.exp(cosines / 0.2).sum(axis=1))
    assert by_name["exact"] == pytest.approx(exact, abs=1e-9)
    assert by_name["normal"] == pytest.approx(exact, abs=0.1)
    assert by_name["sample"] == pytest.approx(exact, abs=0.5)
    assert len({tuple(values) for values in by_name.values()}) == 4
