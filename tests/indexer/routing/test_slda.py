import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from clouds import TASKS, WIDTH, drawn, of_all, summed
from engine.errors import UserError, Vanished
from engine.ids import Ids
from engine.storage import files
from indexer.routing import slda
from indexer.routing.fitting import discriminant
from indexer.routing.slda import Router, averaged, untaught


def plane(
    typical: float = np.inf, temperature: float = 1.0, leeway: float = 0.0, doubt: float = 0.0
) -> Router:
    """Return a router of two tasks whose means are one unit to the right and one up, as distances go."""
    return Router(
        ("sky", "life"),
        np.eye(2),
        np.eye(2, dtype=np.float32),
        np.eye(2),
        typical,
        1.0,
        temperature,
        leeway,
        doubt,
    )


def row(*x: float) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.array([x], np.float32)


def odds(router: Router, *x: float) -> float:
    """Return log p(sky | x) - log p(life | x)."""
    log_p = router.log_p(row(*x), ("sky", "life"))[0]
    return float(log_p[0] - log_p[1])


def test_probabilities_sum_to_one_over_any_choice_of_tasks() -> None:
    router = discriminant(of_all(8), 1.0)
    for tasks in (TASKS, ("life", "sky"), ("sky", "new"), ("new", "other")):
        assert np.exp(router.log_p(drawn("sky", 6), tasks)).sum(axis=1) == pytest.approx(1)


def test_a_task_without_rows_has_the_average_probability() -> None:
    assert np.exp(discriminant(of_all(8), 1.0).log_p(drawn("sky", 6), (*TASKS, "new")))[
        :, 3
    ] == pytest.approx(0.25)


def test_a_router_that_knows_no_task_finds_all_as_likely() -> None:
    assert np.exp(untaught(WIDTH).log_p(drawn("sky", 3), TASKS)) == pytest.approx(1 / 3)


def test_the_tasks_a_router_knows_share_what_the_others_leave_them() -> None:
    # 3 to 1 for sky, of the half that two of four tasks have
    p = np.exp(plane().log_p(row(np.log(3.0), 0), ("new", "life", "sky", "other")))
    assert p[0] == pytest.approx([0.25, 0.125, 0.375, 0.25])


def test_routers_agree_on_the_geometric_mean_of_their_probabilities() -> None:
    p = [np.array([[0.8, 0.2]]), np.array([[0.5, 0.5]])]
    mean = np.sqrt(p[0] * p[1])
    assert np.exp(averaged([np.log(one) for one in p])) == pytest.approx(mean / mean.sum())


# how sure it is


def test_evidence_is_half_the_difference_of_squared_distances_by_the_temperature() -> None:
    near, far = 1**2 + 0.5**2, 2**2 + 0.5**2  # of (2, 0.5)
    assert odds(plane(), 2, 0.5) == pytest.approx((far - near) / 2)
    assert odds(plane(temperature=3), 2, 0.5) == pytest.approx((far - near) / 6)


def test_with_heavy_tails_evidence_is_the_logarithm_of_distances() -> None:
    near, far = 1**2 + 0.5**2, 2**2 + 0.5**2
    assert odds(plane(typical=4), 2, 0.5) == pytest.approx(4 * np.log((4 + far) / (4 + near)))


def test_the_further_a_query_is_the_less_is_made_of_it() -> None:
    router = plane(typical=2)
    away = [odds(router, 2 + 0.5 * 1, 0.5 * 1), odds(router, 40, 38), odds(router, 400, 398)]
    # as far nearer to sky each time
    assert odds(plane(), 40, 38) == pytest.approx(odds(plane(), 400, 398)) == pytest.approx(2)
    assert away[0] > 10 * away[1] > 50 * away[2] > 0


def test_some_doubt_stays_however_clear_a_query_is() -> None:
    p = np.exp(plane(doubt=0.1).log_p(row(99, 0), ("sky", "life")))
    assert p[0] == pytest.approx([0.95, 0.05])


def test_a_query_may_be_more_or_less_typical_of_its_task() -> None:
    # by the covariance I + leeway delta delta^T, delta from (.5, .5) to the mean
    router, x = plane(leeway=0.4), np.array([3.0, 0.2])
    deltas = np.array([[0.5, -0.5], [-0.5, 0.5]])
    covariances = [np.eye(2) + 0.4 * np.outer(delta, delta) for delta in deltas]
    d = [(x - m) @ np.linalg.inv(c) @ (x - m) for m, c in zip(np.eye(2), covariances, strict=True)]
    assert odds(router, *x) == pytest.approx((d[1] - d[0]) / 2)


def test_evidence_is_told_for_the_tasks_that_are_asked_for() -> None:
    router = discriminant(of_all(8), 1.0)
    x = drawn("sky", 4)
    assert router.evidence(x, ["places", "sky"]) == pytest.approx(router.evidence(x, TASKS)[:, [2, 0]])


# on disk

ITEMS: dict[str, Ids] = {
    task: np.array([f"{n:032x}" for n in range(start, end)], "S32")
    for task, start, end in (("sky", 0, 4), ("life", 4, 6))
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return where the router of two tasks lies."""
    sums = summed(("sky", drawn("sky", 4)), ("life", drawn("life", 2)))
    slda.write(tmp_path / "router", discriminant(sums, 10.0, 3.0), sums, ITEMS)
    return tmp_path / "router"


def test_a_router_comes_back_from_disk_as_it_was(folder: Path) -> None:
    again = slda.read(folder)
    once = discriminant(summed(("sky", drawn("sky", 4)), ("life", drawn("life", 2))), 10.0, 3.0)
    assert list(again.tasks) == list(once.tasks)
    assert np.array_equal(again.weights, once.weights)
    assert np.array_equal(again.means, once.means)
    assert np.array_equal(again.precision, once.precision)
    assert [again.typical, again.shrinkage, again.temperature] == [once.typical, 10.0, 3.0]
    assert [again.leeway, again.doubt] == [once.leeway, once.doubt]


def to_format_1(folder: Path) -> tuple[Path, np.ndarray[tuple[int], np.dtype[np.float64]]]:
    """Rewrite a router as the first format had it; return its folder and the bias that it holds."""
    tensors = safetensors.numpy.load((folder / "router.safetensors").read_bytes())
    bias = -0.5 * (tensors.pop("means") * tensors["weights"]).sum(axis=0)
    del tensors["precision"]
    data = safetensors.numpy.save({**tensors, "bias": bias})
    facts = json.loads((folder / "router.json").read_text())
    kept = {name: facts[name] for name in ("tasks", "known")}
    checksums = {"router.safetensors": files.checksum(data)}
    (folder / "router.safetensors").write_bytes(data)
    (folder / "router.json").write_text(json.dumps({**kept, "format": 1, "checksums": checksums}))
    return folder, bias


def test_a_router_of_format_1_answers_as_it_did(folder: Path) -> None:
    weights = slda.read(folder).weights
    old, bias = to_format_1(folder)
    x = drawn("life", 5, seed=2)
    logits = x @ weights + bias
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    assert slda.read(old).log_p(x, ("sky", "life")) == pytest.approx(log_p)
    assert slda.read(old).shrinkage == 1.0


def test_the_sums_of_a_router_of_format_1_are_read(folder: Path) -> None:
    before, _ = slda.read_sums(folder)
    sums, items = slda.read_sums(to_format_1(folder)[0])
    assert (sums.counts, len(items["sky"])) == (before.counts, 4)
    assert np.array_equal(sums.squares, before.squares)


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
    with pytest.raises(UserError, match=r"router\.safetensors is damaged: it is missing"):
        slda.read(folder)


def test_a_router_that_is_gone_says_so(tmp_path: Path) -> None:
    with pytest.raises(Vanished, match="is gone: "):
        slda.read(tmp_path / "image-00000000")
