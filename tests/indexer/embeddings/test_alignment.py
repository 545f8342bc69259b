import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from engine.heads.head import Head
from engine.types import HeadForm
from indexer.embeddings import alignment

WIDTH = 6


def unit(rows: NDArray[np.floating]) -> NDArray[np.float32]:
    found: NDArray[np.float32] = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return found


def cloud(seed: int, rows: int = 60) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(size=(rows, WIDTH))


def head(seed: int, form: HeadForm = "linear", features: int = WIDTH) -> Head:
    made = Head(form, WIDTH, seed=seed)
    made.add_branch("image", features)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed)))
    return made.eval()


def test_a_rotation_is_found_again() -> None:
    turned = np.linalg.qr(cloud(1, WIDTH))[0]
    x = unit(cloud(2))
    assert alignment.fit(x, unit(x @ turned)) == pytest.approx(turned, abs=1e-5)


def test_a_stretch_is_found_where_a_rotation_would_not_do() -> None:
    x, stretch = unit(cloud(3, 400)), np.diag([3.0, 2.0, 1.0, 0.5, 0.3, 0.2])
    y = unit(x @ stretch)
    rotated = alignment.moved(x, alignment.orthogonal(x.T.astype(np.float64) @ y.astype(np.float64)))
    fitted = alignment.moved(x, alignment.fit(x, y))
    assert (fitted * y).sum(axis=1).mean() > (rotated * y).sum(axis=1).mean()


def test_moved_rows_are_of_unit_length() -> None:
    assert np.linalg.norm(alignment.moved(unit(cloud(4)), cloud(5, WIDTH)), axis=1) == pytest.approx(1)


def test_the_map_between_linear_heads_is_exact() -> None:
    old, new, x = head(1), head(2), torch.randn(20, WIDTH)
    found = alignment.exact(old, new, "image")
    assert found is not None
    with torch.inference_mode():
        before, after = (one({"image": x})["image"].numpy() for one in (old, new))
    assert alignment.moved(before, found) == pytest.approx(after.astype(np.float64), abs=1e-5)


def test_there_is_no_exact_map_from_an_mlp_or_from_what_has_lost_directions() -> None:
    assert alignment.exact(head(1, "mlp"), head(2), "image") is None
    assert alignment.exact(head(1, features=9), head(2, features=9), "image") is None


def test_there_is_no_exact_map_from_a_branch_that_cannot_be_inverted() -> None:
    flat = head(1)
    with torch.no_grad():
        (weight,) = flat.parameters()
        weight[0] = weight[1]
    assert alignment.exact(flat, head(2), "image") is None
