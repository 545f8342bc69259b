from collections.abc import Mapping

import numpy as np
import pytest
from numpy.typing import NDArray

from clouds import TASKS, WIDTH, drawn, of_all, summed
from indexer.routing import fitting
from indexer.routing.fitting import Flatness, discriminant, fit
from indexer.routing.slda import USUAL_TEMPERATURE, Router
from indexer.routing.sums import Sums

Validation = Mapping[str, NDArray[np.float32]]


def shown(rows: int, seed: int = 3) -> Validation:
    return {task: drawn(task, rows, seed) for task in TASKS}


def noisy(rows: int) -> Validation:
    """Return items of which every third says another task than its own."""
    x = shown(rows)
    return {
        task: np.concatenate([x[task], drawn(other, rows // 2, 5)])
        for task, other in zip(TASKS, TASKS[1:] + TASKS[:1], strict=True)
    }


def likelihood(router: Router, validation: Validation) -> float:
    """Return the mean log p(task | x) of items, all alike."""
    of_tasks = [router.log_p(x, TASKS)[:, TASKS.index(task)] for task, x in validation.items()]
    return float(np.mean(np.concatenate(of_tasks)))


@pytest.mark.parametrize("shrinkage", [0.01, 1.0])
def test_distances_are_by_the_pooled_covariance_and_what_all_tasks_share(shrinkage: float) -> None:
    rows = {task: drawn(task, 9).astype(np.float64) for task in TASKS}
    centred = np.concatenate([f - f.mean(axis=0) for f in rows.values()])
    pooled = centred.T @ centred / len(centred)
    means = np.stack([f.mean(axis=0) for f in rows.values()], axis=1)
    shared = means.mean(axis=1)
    ridge = shrinkage * np.diag(pooled).mean() * np.eye(WIDTH)
    precision = np.linalg.inv(pooled + ridge + np.outer(shared, shared))
    router = discriminant(of_all(9), shrinkage)
    assert router.precision == pytest.approx(precision, abs=1e-6)
    assert router.weights == pytest.approx(precision @ means, abs=1e-10)
    assert router.typical == pytest.approx(np.einsum("nd,de,ne->n", centred, precision, centred).mean())


def test_rows_are_taken_for_the_task_they_lie_with() -> None:
    router = discriminant(of_all(40), 0.1)
    right = [router.log_p(drawn(task, 20, seed=7), TASKS).argmax(axis=1) == n for n, task in enumerate(TASKS)]
    assert np.mean(right, axis=1) == pytest.approx(1, abs=0.2)


def test_what_all_tasks_share_is_hardly_evidence() -> None:
    # life has more of it than sky, as longer captions have more small words
    shared, own = np.array([0, 0, 0, 0, 9.0]), np.eye(WIDTH)[:2] * 3
    generator = np.random.default_rng(0)
    clouds = {
        task: (generator.normal(size=(60, WIDTH)) + own[n] + shared * (1 + 0.3 * n)).astype(np.float32)
        for n, task in enumerate(("sky", "life"))
    }
    router = discriminant(summed(*clouds.items()), 0.1)
    short = (own[1] + shared * 0.2).astype(np.float32)
    assert router.log_p(short[None], ("sky", "life"))[0].argmax() == 1


def test_equal_rows_give_no_division_by_zero() -> None:
    router = discriminant(summed(("sky", np.ones((3, WIDTH), np.float32))), 1.0)
    assert np.isfinite(router.weights).all()
    assert np.isfinite(router.evidence(np.ones((1, WIDTH), np.float32), ["sky"])).all()


def test_without_any_rows_every_task_is_as_likely() -> None:
    router = discriminant(Sums(WIDTH), 10.0, 3.0)
    assert np.exp(router.log_p(drawn("sky", 3), TASKS)) == pytest.approx(1 / 3)
    assert (router.shrinkage, router.temperature) == (10.0, 3.0)


@pytest.mark.parametrize("validation", [shown(30), noisy(60)])
def test_the_temperature_is_the_likeliest_less_what_it_is_away_from_the_usual(validation: Validation) -> None:
    sums, count = of_all(40), sum(map(len, validation.values()))
    fitted = fit(sums, validation)

    def worth(temperature: float) -> float:
        away = np.log(temperature / USUAL_TEMPERATURE) / 0.5
        found = likelihood(discriminant(sums, fitted.shrinkage, temperature), validation)
        return float(count * found - 0.5 * away**2)

    best = max(np.geomspace(0.1, 100, 400), key=worth)
    assert fitted.temperature == pytest.approx(best, rel=0.03)


def test_a_router_that_errs_more_than_it_says_is_flattened() -> None:
    assert (
        fit(of_all(40), noisy(60)).temperature
        > 1.1 * USUAL_TEMPERATURE
        > fit(of_all(40), shown(60)).temperature
    )


def test_items_that_any_router_tells_apart_leave_it_as_usual() -> None:
    far = {task: drawn(task, 40) + 40 * np.eye(WIDTH, dtype=np.float32)[n] for n, task in enumerate(TASKS)}
    router = fit(summed(*far.items()), far)
    assert router.shrinkage == 1.0
    # by likelihood alone it would be the coldest there is
    assert router.temperature > 0.8 * USUAL_TEMPERATURE


def valley() -> Validation:
    """Return two tasks side by side along a narrow valley, told apart by where they are across it."""
    generator = np.random.default_rng(0)
    along, means = np.array([0.05, 5.0, 1, 1, 1]), {"sky": 0.0, "life": 0.3}
    clouds = {
        task: generator.normal(size=(200, WIDTH)) * along + x * np.eye(WIDTH)[0] for task, x in means.items()
    }
    return {task: x.astype(np.float32) for task, x in clouds.items()}


def test_directions_that_vary_little_count_where_validation_items_say_so() -> None:
    assert fit(summed(*valley().items()), valley()).shrinkage == 0.01


def test_a_covariance_of_few_rows_is_shrunk_where_validation_items_say_so() -> None:
    assert fit(of_all(3, seed=2), shown(400, seed=9)).shrinkage == 10.0


def test_validation_items_count_alike_whatever_their_task() -> None:
    sums = of_all(6)
    few = {"sky": drawn("sky", 30, seed=3), "life": -drawn("life", 2, seed=3)}
    fitted = fit(sums, few)
    others = [
        discriminant(sums, fitted.shrinkage, fitted.temperature * factor) for factor in (0.5, 0.8, 1.25, 2)
    ]
    assert likelihood(fitted, few) > max(likelihood(other, few) for other in others) - 0.02


def test_validation_items_of_a_task_without_training_items_have_no_say() -> None:
    sums = summed(("sky", drawn("sky", 4)), ("life", drawn("life", 4)))
    known = {task: drawn(task, 9, seed=3) for task in ("sky", "life")}
    fitted, other = fit(sums, known), fit(sums, {**known, "places": drawn("places", 9)})
    assert (fitted.shrinkage, fitted.temperature) == (other.shrinkage, other.temperature)


def test_without_validation_items_a_router_is_as_usual_or_as_it_was() -> None:
    sums = of_all(4)
    assert fit(sums, {}).weights == pytest.approx(discriminant(sums, 1.0).weights)
    router = fit(sums, {"sky": drawn("sky", 0)}, fallback=Flatness(10.0, 7.0))
    assert (router.shrinkage, router.temperature) == (10.0, 7.0)


def test_a_single_task_leaves_nothing_to_choose() -> None:
    sums = summed(("sky", drawn("sky", 8)))
    router = fit(sums, {"sky": drawn("sky", 4, seed=3)}, fallback=Flatness(10.0, 7.0))
    assert Flatness(router.shrinkage, router.temperature) == fitting.USUAL
