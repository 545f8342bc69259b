import numpy as np
import pytest

from indexer.shards import exact


def unit(rows: int, seed: int) -> "np.typing.NDArray[np.float32]":
    x = np.random.default_rng(seed).normal(size=(rows, 16)).astype(np.float32)
    found: np.typing.NDArray[np.float32] = x / np.linalg.norm(x, axis=1, keepdims=True)
    return found


@pytest.mark.parametrize("numbers", [1, 64, 1 << 23])
@pytest.mark.parametrize("rows", [5, 400])
def test_cosines_are_those_of_every_row_by_itself(
    rows: int, numbers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exact, "BLOCK_NUMBERS", numbers)
    vectors, queries = unit(rows, 0), unit(9, 1)
    wanted = np.random.default_rng(2).integers(0, rows, (9, 4))
    slow = [[float(vectors[row].astype(float) @ queries[q]) for row in wanted[q]] for q in range(9)]
    assert exact.cosines(vectors, queries, wanted) == pytest.approx(np.array(slow), abs=1e-15)
