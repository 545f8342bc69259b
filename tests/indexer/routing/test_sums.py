import numpy as np
import pytest

from clouds import TASKS, WIDTH, drawn, of_all, summed
from indexer.routing.sums import Sums


def test_sums_over_parts_give_the_moments_of_all_rows_in_any_order() -> None:
    x = {task: drawn(task, 9) for task in TASKS}
    parts = [(task, x[task][start : start + 3]) for start in (6, 0, 3) for task in reversed(TASKS)]
    moments = summed(*parts).moments()
    assert moments is not None
    rows = {task: x[task].astype(np.float64) for task in moments.tasks}
    centred = np.concatenate([f - f.mean(axis=0) for f in rows.values()])
    assert moments.means == pytest.approx(
        np.stack([f.mean(axis=0) for f in rows.values()], axis=1), abs=1e-10
    )
    assert moments.within == pytest.approx(centred.T @ centred / len(centred), abs=1e-10)


def test_joined_sums_are_those_of_all_rows() -> None:
    sums = summed(("sky", drawn("sky", 8)), ("life", drawn("life", 8)))
    sums.join(summed(("sky", drawn("sky", 4, seed=1)), ("places", drawn("places", 8))))
    once = of_all(8)
    once.add("sky", drawn("sky", 4, seed=1))
    assert sums.counts == once.counts
    assert sums.squares == pytest.approx(once.squares, abs=1e-10)
    assert all(sums.totals[task] == pytest.approx(once.totals[task], abs=1e-10) for task in TASKS)


def test_a_task_without_rows_has_no_moments() -> None:
    moments = summed(("sky", drawn("sky", 8)), ("life", drawn("life", 0))).moments()
    assert moments is not None
    assert moments.tasks == ["sky"]


def test_without_any_rows_there_are_no_moments() -> None:
    assert Sums(WIDTH).moments() is None
