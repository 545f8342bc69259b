import numpy as np
import pytest
from numpy.typing import NDArray

from indexer.routing.slda import Sums, discriminant, fit

WIDTH = 5
TASKS = ("sky", "life", "places")


def drawn(task: str, rows: int, seed: int = 0) -> NDArray[np.float32]:
    """Return features of a task: a cloud around a place of its own."""
    generator = np.random.default_rng([seed, TASKS.index(task)])
    found: NDArray[np.float32] = (
        generator.normal(size=(rows, WIDTH)) + 3 * np.eye(WIDTH)[TASKS.index(task)]
    ).astype(np.float32)
    return found


def summed(*batches: tuple[str, NDArray[np.float32]]) -> Sums:
    sums = Sums(WIDTH)
    for task, features in batches:
        sums.add(task, features)
    return sums


def batch_fit(x: dict[str, NDArray[np.float32]], shrinkage: float) -> tuple[NDArray[np.float64], ...]:
    """Return W and b by the textbook: means and the pooled covariance of all rows at once."""
    rows = {task: f.astype(np.float64) for task, f in x.items()}
    centred = np.concatenate([f - f.mean(axis=0) for f in rows.values()])
    pooled = centred.T @ centred / len(centred)
    pooled += shrinkage * np.diag(pooled).mean() * np.eye(WIDTH)
    means = np.stack([f.mean(axis=0) for f in rows.values()], axis=1)
    weights = np.linalg.inv(pooled) @ means
    return weights, -0.5 * np.einsum("dt,dt->t", means, weights)


@pytest.mark.parametrize("shrinkage", [0.01, 1.0])
def test_streamed_sums_give_what_all_rows_at_once_give_in_any_order(shrinkage: float) -> None:
    x = {task: drawn(task, 9) for task in TASKS}
    parts = [(task, x[task][start : start + 3]) for start in (6, 0, 3) for task in reversed(TASKS)]
    router = discriminant(summed(*parts), shrinkage)
    weights, bias = batch_fit(x, shrinkage)
    order = [router.tasks.index(task) for task in TASKS]
    assert router.weights[:, order] == pytest.approx(weights, abs=1e-10)
    assert router.bias[order] == pytest.approx(bias, abs=1e-10)


def test_joined_sums_are_those_of_all_rows() -> None:
    sums = summed(("sky", drawn("sky", 8)), ("life", drawn("life", 8)))
    sums.join(summed(("sky", drawn("sky", 4, seed=1)), ("places", drawn("places", 8))))
    parts = [(task, drawn(task, 8)) for task in TASKS]
    once = summed(*parts, ("sky", drawn("sky", 4, seed=1)))
    assert sums.counts == once.counts
    assert discriminant(sums, 1.0).weights == pytest.approx(discriminant(once, 1.0).weights, abs=1e-10)


def test_a_task_without_rows_is_not_known() -> None:
    sums = summed(("sky", drawn("sky", 8)), ("life", drawn("life", 0)))
    assert list(discriminant(sums, 1.0).tasks) == ["sky"]


def test_rows_are_taken_for_the_task_they_lie_with() -> None:
    router = discriminant(summed(*((task, drawn(task, 40)) for task in TASKS)), 0.1)
    for number, task in enumerate(TASKS):
        log_p = router.log_p(drawn(task, 20, seed=7), TASKS)
        assert (log_p.argmax(axis=1) == number).mean() > 0.8


def test_probabilities_sum_to_one_over_any_choice_of_tasks() -> None:
    router = discriminant(summed(*((task, drawn(task, 8)) for task in TASKS)), 1.0)
    for asked in (TASKS, ("life", "sky"), ("sky", "new"), ("new", "other")):
        assert np.exp(router.log_p(drawn("sky", 6), asked)).sum(axis=1) == pytest.approx(1)


def test_a_task_without_rows_has_the_average_probability() -> None:
    router = discriminant(summed(*((task, drawn(task, 8)) for task in TASKS)), 1.0)
    assert np.exp(router.log_p(drawn("sky", 6), (*TASKS, "new")))[:, 3] == pytest.approx(0.25)


def test_without_any_rows_every_task_is_as_likely() -> None:
    router = discriminant(Sums(WIDTH), 1.0)
    assert np.exp(router.log_p(drawn("sky", 3), TASKS)) == pytest.approx(1 / 3)


def test_equal_rows_give_no_division_by_zero() -> None:
    router = discriminant(summed(("sky", np.ones((3, WIDTH), np.float32))), 1.0)
    assert np.isfinite(router.weights).all()


def test_the_shrinkage_is_the_one_that_validation_items_find_likeliest() -> None:
    sums = summed(*((task, drawn(task, 4)) for task in TASKS))
    shown = {task: drawn(task, 30, seed=3) for task in TASKS}

    def likelihood(shrinkage: float) -> float:
        router = discriminant(sums, shrinkage)
        return float(
            np.mean([router.log_p(x, TASKS)[:, number].mean() for number, (_, x) in enumerate(shown.items())])
        )

    chosen = fit(sums, shown)
    best = max((0.01, 0.1, 1.0, 10.0, 100.0), key=likelihood)
    assert chosen.weights == pytest.approx(discriminant(sums, best).weights)


def test_without_validation_items_the_shrinkage_is_one() -> None:
    sums = summed(*((task, drawn(task, 4)) for task in TASKS))
    assert fit(sums, {}).weights == pytest.approx(discriminant(sums, 1.0).weights)
