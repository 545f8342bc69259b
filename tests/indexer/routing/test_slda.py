import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.errors import UserError, Vanished
from engine.ids import Ids
from indexer.routing import slda
from indexer.routing.slda import Router, Sums, averaged, discriminant, fit

WIDTH = 5
TASKS = ("sky", "life", "places")


def drawn(task: str, rows: int, seed: int = 0) -> NDArray[np.float32]:
    """Return features of a task: a cloud around a place of its own."""
    generator = np.random.default_rng([seed, TASKS.index(task)])
    features: NDArray[np.float32] = (
        generator.normal(size=(rows, WIDTH)) + 3 * np.eye(WIDTH)[TASKS.index(task)]
    ).astype(np.float32)
    return features


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
    for tasks in (TASKS, ("life", "sky"), ("sky", "new"), ("new", "other")):
        assert np.exp(router.log_p(drawn("sky", 6), tasks)).sum(axis=1) == pytest.approx(1)


def test_a_task_without_rows_has_the_average_probability() -> None:
    router = discriminant(summed(*((task, drawn(task, 8)) for task in TASKS)), 1.0)
    assert np.exp(router.log_p(drawn("sky", 6), (*TASKS, "new")))[:, 3] == pytest.approx(0.25)


def test_without_any_rows_every_task_is_as_likely() -> None:
    router = discriminant(Sums(WIDTH), 1.0)
    assert np.exp(router.log_p(drawn("sky", 3), TASKS)) == pytest.approx(1 / 3)


def test_equal_rows_give_no_division_by_zero() -> None:
    router = discriminant(summed(("sky", np.ones((3, WIDTH), np.float32))), 1.0)
    assert np.isfinite(router.weights).all()


def test_log_p_is_the_softmax_of_the_logits_of_the_tasks_that_are_asked_for() -> None:
    router = Router(("sky", "life", "places"), np.eye(3), np.array([0.0, 1.0, 5.0]))
    x = np.array([[2.0, 0.5, 9.0]], np.float32)
    logits = np.array([1.5, 2.0])
    assert router.log_p(x, ("life", "sky"))[0] == pytest.approx(logits - np.log(np.exp(logits).sum()))


def test_the_tasks_a_router_knows_share_what_the_others_leave_them() -> None:
    router = Router(("sky", "life"), np.eye(2), np.zeros(2))
    p = np.exp(router.log_p(np.array([[np.log(3.0), 0.0]], np.float32), ("new", "life", "sky", "other")))
    assert p[0] == pytest.approx([0.25, 0.125, 0.375, 0.25])


def test_routers_agree_on_the_geometric_mean_of_their_probabilities() -> None:
    p = [np.array([[0.8, 0.2]]), np.array([[0.5, 0.5]])]
    mean = np.sqrt(p[0] * p[1])
    assert np.exp(averaged([np.log(one) for one in p])) == pytest.approx(mean / mean.sum())


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
    assert chosen.shrinkage == best
    assert chosen.weights == pytest.approx(discriminant(sums, best).weights)


@pytest.mark.parametrize("skewed", [0.01, 100.0])
def test_every_shrinkage_can_be_the_likeliest(skewed: float) -> None:
    # the rows that were learned want the sharpest router, their opposites the flattest
    sums = summed(*((task, drawn(task, 40)) for task in TASKS))
    shown = {task: drawn(task, 40) * (1 if skewed < 1 else -1) for task in TASKS}
    assert fit(sums, shown).shrinkage == skewed


def test_validation_items_count_alike_whatever_their_task() -> None:
    sums = summed(*((task, drawn(task, 6)) for task in TASKS))
    shown = {"sky": drawn("sky", 30, seed=3), "life": -drawn("life", 2, seed=3)}

    def mean(shrinkage: float) -> float:
        router = discriminant(sums, shrinkage)
        columns = {task: list(router.tasks).index(task) for task in shown}
        return float(
            np.mean(np.concatenate([router.log_p(x, TASKS)[:, columns[t]] for t, x in shown.items()]))
        )

    assert fit(sums, shown).shrinkage == max(slda.SHRINKAGES, key=mean)


def test_validation_items_of_a_task_without_training_items_have_no_say() -> None:
    sums = summed(("sky", drawn("sky", 4)), ("life", drawn("life", 4)))
    shown = {"sky": drawn("sky", 9, seed=3), "life": drawn("life", 9, seed=3)}
    assert fit(sums, {**shown, "places": drawn("places", 9)}).shrinkage == fit(sums, shown).shrinkage


def test_without_validation_items_the_shrinkage_is_one() -> None:
    sums = summed(*((task, drawn(task, 4)) for task in TASKS))
    assert fit(sums, {}).weights == pytest.approx(discriminant(sums, 1.0).weights)
    assert fit(sums, {"sky": drawn("sky", 0)}, usual=10.0).shrinkage == 10.0


# on disk

ITEMS: dict[str, Ids] = {
    task: np.array([f"{n:032x}" for n in range(start, end)], "S32")
    for task, start, end in (("sky", 0, 4), ("life", 4, 6))
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return where the router of two tasks lies."""
    sums = summed(("sky", drawn("sky", 4)), ("life", drawn("life", 2)))
    slda.write(tmp_path / "router", discriminant(sums, 10.0), sums, ITEMS)
    return tmp_path / "router"


def test_a_router_comes_back_from_disk_as_it_was(folder: Path) -> None:
    again = slda.read(folder)
    once = discriminant(summed(("sky", drawn("sky", 4)), ("life", drawn("life", 2))), 10.0)
    assert list(again.tasks) == list(once.tasks)
    assert np.array_equal(again.weights, once.weights)
    assert np.array_equal(again.bias, once.bias)
    assert again.shrinkage == once.shrinkage


def test_a_router_of_before_shrinkages_were_chosen_has_the_one_of_then(folder: Path) -> None:
    facts = json.loads((folder / "router.json").read_text())
    del facts["shrinkage"]
    (folder / "router.json").write_text(json.dumps(facts))
    assert slda.read(folder).shrinkage == 1.0


def test_its_sums_and_their_items_come_back_as_they_were(folder: Path) -> None:
    sums, items = slda.read_sums(folder)
    once = summed(("sky", drawn("sky", 4)), ("life", drawn("life", 2)))
    assert sums.counts == once.counts
    assert np.array_equal(sums.squares, once.squares)
    assert all(np.array_equal(sums.totals[task], total) for task, total in once.totals.items())
    assert {task: ids.tolist() for task, ids in items.items()} == {
        task: ids.tolist() for task, ids in ITEMS.items()
    }


def test_sums_that_were_read_can_grow(folder: Path) -> None:
    sums, _ = slda.read_sums(folder)
    sums.add("sky", drawn("sky", 3, seed=1))
    assert sums.counts["sky"] == 7


def test_a_changed_router_is_one_line(folder: Path) -> None:
    path = folder / "router.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(UserError, match="is damaged: its checksum does not hold"):
        slda.read(folder)


def test_a_router_without_its_tensors_is_one_line(folder: Path) -> None:
    (folder / "router.safetensors").unlink()
    with pytest.raises(UserError, match=r"is damaged: .*router\.safetensors cannot be read"):
        slda.read(folder)


def test_a_router_that_is_gone_says_so(tmp_path: Path) -> None:
    with pytest.raises(Vanished, match="is gone: run `mneme index`"):
        slda.read(tmp_path / "image-00000000")
