"""Unit vectors, their ids and a shard of them, for the tests of shards."""

import numpy as np
from numpy.typing import NDArray

from engine.types import ItemId, ShardKey
from indexer.shards.shard import Shard, build_shard

KEY = ShardKey("sky", "image", 2, 2)
E = 16

Vectors = NDArray[np.float32]


def unit(count: int, seed: int = 0) -> Vectors:
    """Return random unit rows (count, E)."""
    rows = np.random.default_rng(seed).normal(size=(count, E))
    units: Vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return units


def crowded() -> Vectors:
    """Return rows among which one stands 40 times, more often than a proposer is asked beyond k."""
    rows = unit(200, 3)
    rows[5:200:5] = rows[0]
    return rows


def ids(count: int) -> list[ItemId]:
    """Return ids in ascending order."""
    return [f"{n:032x}" for n in range(count)]


def shard_of(vectors: Vectors) -> Shard:
    """Return a shard of rows (N, E) whose ids ascend."""
    return build_shard(KEY, ids(len(vectors)), vectors)
