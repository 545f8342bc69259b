import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from engine.heads.head import Head
from engine.types import HeadForm
from indexer.embeddings import alignment
from indexer.embeddings.alignment import Map

WIDTH = 6


def unit(rows: NDArray[np.floating]) -> NDArray[np.float32]:
    normed: NDArray[np.float32] = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return normed


def cloud(seed: int, rows: int = 60) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(size=(rows, WIDTH))


def rotation(seed: int) -> Map:
    turned: Map = np.linalg.qr(cloud(seed, WIDTH))[0]
    return turned


def head(seed: int, form: HeadForm = "linear", features: int = WIDTH) -> Head:
    made = Head(form, WIDTH, seed=seed)
    made.add_branch("image", features)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed)))
    return made.eval()


# fitted maps


@pytest.mark.parametrize("rows", [60, 7, 4, 3])
def test_a_rotation_is_found_again(rows: int) -> None:
    x, turn = unit(cloud(2, rows)), rotation(1)
    found = alignment.fit(x, unit(x @ turn))
    assert alignment.moved(x, found) == pytest.approx(
        x @ turn, abs=1e-4
    )  # of few rows the least ridge is best
    assert rows < WIDTH or found == pytest.approx(turn, abs=1e-5)


def test_the_rotation_nearest_to_two_clouds_is_found_from_their_products() -> None:
    x, turn = cloud(3), rotation(4)
    found = alignment.orthogonal(x.T @ (x @ turn + 0.01 * cloud(5)))
    assert found @ found.T == pytest.approx(np.eye(WIDTH), abs=1e-12)
    assert found == pytest.approx(turn, abs=0.02)  # noise of 0.01 over 60 rows


def test_ridges_are_those_of_the_normal_equations() -> None:
    x, y = cloud(6), cloud(7)
    gram, cross = x.T @ x, x.T @ y
    spread = np.trace(gram) / WIDTH
    for share, found in zip((0.01, 0.5), alignment.ridges(gram, cross, (0.01, 0.5)), strict=True):
        expected = np.linalg.solve(gram + share * spread * np.eye(WIDTH), cross)
        assert found == pytest.approx(expected, abs=1e-10)


def test_a_stretch_is_found_where_a_rotation_would_not_do() -> None:
    x, stretch = unit(cloud(3, 400)), np.diag([3.0, 2.0, 1.0, 0.5, 0.3, 0.2])
    y = unit(x @ stretch)
    rotated = alignment.moved(x, alignment.orthogonal(x.T.astype(np.float64) @ y.astype(np.float64)))
    fitted = alignment.moved(x, alignment.fit(x, y))
    assert (fitted * y).sum(axis=1).mean() > (rotated * y).sum(axis=1).mean()


def nearness(x: NDArray[np.float32], y: NDArray[np.float32], by: Map) -> float:
    return float((alignment.moved(x, by) * y).sum())


@pytest.mark.parametrize("noise", [0.0, 0.3, 3.0])
@pytest.mark.parametrize("stretch", [1.0, 3.0])
def test_the_map_is_the_one_that_brings_every_fourth_row_nearest_made_of_all_rows(
    noise: float, stretch: float
) -> None:
    x = unit(cloud(8, 80))
    y = unit(x @ rotation(9) @ np.diag([stretch, 1, 1, 1, 1, 1 / stretch]) + noise * cloud(10, 80))
    out = np.arange(80) % 4 == 3

    def maps(x: NDArray[np.float32], y: NDArray[np.float32]) -> list[Map]:
        rows = x.astype(np.float64), y.astype(np.float64)
        gram, cross = rows[0].T @ rows[0], rows[0].T @ rows[1]
        return [alignment.orthogonal(cross), *alignment.ridges(gram, cross, alignment.RIDGES)]

    best = max(range(6), key=lambda n: nearness(x[out], y[out], maps(x[~out], y[~out])[n]))
    assert alignment.fit(x, y) == pytest.approx(maps(x, y)[best], abs=1e-9)


def test_moved_rows_are_of_unit_length_and_zero_stays_zero() -> None:
    assert np.linalg.norm(alignment.moved(unit(cloud(4)), cloud(5, WIDTH)), axis=1) == pytest.approx(1)
    assert np.array_equal(alignment.moved(np.zeros((1, WIDTH)), rotation(1)), np.zeros((1, WIDTH)))


# exact maps


@pytest.mark.parametrize("features", [WIDTH, WIDTH - 2])
def test_the_map_between_linear_heads_is_exact(features: int) -> None:
    old, new, x = head(1, features=features), head(2, features=features), torch.randn(20, features)
    found = alignment.exact(old, new, "image")
    assert found is not None
    with torch.inference_mode():
        before, after = (one({"image": x})["image"].numpy() for one in (old, new))
    assert alignment.moved(before, found) == pytest.approx(after.astype(np.float64), abs=1e-5)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (head(1, "mlp"), head(2)),
        (head(1), head(2, "mlp")),
        (head(1, features=WIDTH + 1), head(2, features=WIDTH + 1)),  # loses directions
        (head(1, features=WIDTH), head(2, features=WIDTH - 1)),
    ],
)
def test_there_is_no_exact_map_between_other_branches(old: Head, new: Head) -> None:
    assert alignment.exact(old, new, "image") is None


@pytest.mark.parametrize(("condition", "is_exact"), [(0.9, True), (1.1, False)])
def test_a_branch_is_inverted_up_to_a_condition_number(condition: float, is_exact: bool) -> None:
    old = head(1)
    with torch.no_grad():
        (weight,) = old.parameters()
        weight.copy_(torch.diag(torch.tensor([1.0] * (WIDTH - 1) + [1 / (condition * alignment.WORST)])))
    assert (alignment.exact(old, head(2), "image") is not None) == is_exact
