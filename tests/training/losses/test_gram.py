import math
from collections.abc import Callable
from functools import partial
from itertools import permutations

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from batches import (
    THREE,
    are_strangers,
    at_cosine,
    batch_of,
    double,
    equal,
    gradient_by,
    learned,
    messy,
    orthonormal,
    rows_of,
    unit,
)
from engine.errors import UserError
from engine.types import Modality
from training.batch import Batch, Embeddings
from training.losses.gram import gram, volume


def products(z: Embeddings) -> Tensor:
    x = torch.stack(list(z.values()), dim=1)
    return x @ x.mT


def test_the_volume_of_equal_vectors_is_0() -> None:
    assert float(volume(products(equal()))) == pytest.approx(0.0, abs=2e-3)


def test_the_volume_of_two_equal_vectors_is_softened_to_the_root_of_2e_6() -> None:
    z = {m: equal()[m] for m in ("image", "text")}
    assert float(volume(products(z))) == pytest.approx(math.sqrt(2e-6), rel=1e-5)


def test_no_volume_is_below_1e_4() -> None:
    assert float(volume(products(equal()))) == pytest.approx(1e-4)


def test_the_volume_of_orthonormal_vectors_is_1() -> None:
    assert float(volume(products(orthonormal()))) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("c", [0.6, -0.6])
def test_the_volume_of_two_vectors_is_the_sine_of_their_angle_whatever_its_sign(c: float) -> None:
    assert float(volume(products(at_cosine(c)))) == pytest.approx(0.8, abs=1e-5)


def test_two_equal_vectors_and_an_orthogonal_one_have_no_volume() -> None:
    z = {**orthonormal(), "audio": orthonormal()["text"]}
    assert float(volume(products(z))) == pytest.approx(0.0, abs=2e-3)


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_the_order_of_vectors_does_not_change_their_volume(order: tuple[int, ...]) -> None:
    g = products(double(unit(4, 5, 0, THREE)))
    assert_close(volume(g[:, order][:, :, order]), volume(g))


def slow_gram(
    z: Embeddings, batch: Batch, anchor: Modality = "text", temperature: float = 0.07, smoothing: float = 0.1
) -> Tensor:
    """Return the loss row by row, by the determinant of what each row holds."""
    others = [m for m in sorted(z) if m != anchor]
    rows = [i for i in range(len(batch)) if batch.present[anchor][i]]
    rows = [i for i in rows if any(bool(batch.present[m][i]) for m in others)]

    def spanned(i: int, j: int) -> Tensor:
        x = torch.stack([z[anchor][i], *(z[m][j] for m in others if batch.present[m][j])])
        squared: Tensor = torch.linalg.det(x @ x.T)
        return squared.sqrt() / -temperature

    total = torch.zeros(len(batch)).double()
    for i in rows:
        candidates = [i, *(j for j in rows if j != i and are_strangers(batch, i, j))]
        for scores in ([spanned(i, j) for j in candidates], [spanned(j, i) for j in candidates]):
            log_p = torch.stack(scores).log_softmax(0)
            total[i] -= ((1 - smoothing) * log_p[0] + smoothing * log_p.mean()) / 2
    return total


def test_gram_agrees_with_determinants() -> None:
    z = double(unit(5, 6, 0, THREE))
    assert_close(gram(z, batch_of(z)), slow_gram(z, batch_of(z)), rtol=1e-4, atol=1e-4)


def test_gram_agrees_with_determinants_in_a_messy_batch() -> None:
    z, batch = messy(THREE)
    expected = slow_gram(double(z), batch)
    assert expected[2] == 0
    assert expected[0] > 0
    assert_close(gram(double(z), batch), expected, rtol=1e-4, atol=1e-4)


def test_gram_has_the_gradient_of_determinants() -> None:
    z = double(unit(4, 6, 0, THREE))
    leaves = learned(z)
    slow = slow_gram(leaves, batch_of(z)).sum()
    expected = torch.stack(torch.autograd.grad(slow, list(leaves.values())))
    gradient = gradient_by(z, lambda y: gram(y, batch_of(z)))
    assert_close(gradient, expected, rtol=1e-3, atol=1e-3)


def test_gram_anchors_on_the_modality_it_is_told_to() -> None:
    z = double(unit(5, 6, 0, THREE))
    values = gram(z, batch_of(z), anchor="image", temperature=0.3, smoothing=0.0)
    assert_close(values, slow_gram(z, batch_of(z), "image", 0.3, 0.0), rtol=1e-4, atol=1e-4)


def test_rows_that_share_an_item_of_any_modality_are_no_negatives_in_gram() -> None:
    z = unit(2, 5, 0, THREE)
    batch = batch_of(z)
    batch.item["audio"][1] = batch.item["audio"][0]
    assert_close(gram(z, batch), torch.zeros(2))


def test_a_row_that_lacks_the_anchor_is_in_no_term_of_gram() -> None:
    z = unit(4, 5, 0, THREE)
    rest = rows_of(z, [0, 1, 3])
    values = gram(z, batch_of(z, text=[2]))
    assert_close(values[[0, 1, 3]], gram(rest, batch_of(rest)))


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (partial(gram, temperature=0.0), "temperature must be above 0, not 0.0"),
        (partial(gram, smoothing=1.0), "gram.smoothing must be from 0 to below 1, not 1.0"),
        (partial(gram, smoothing=-0.1), "gram.smoothing must be from 0 to below 1, not -0.1"),
        (partial(gram, anchor="depth"), "no modality 'depth' to anchor on; the pairs hold: image, text"),
    ],
)
def test_gram_refuses_what_it_cannot_use(loss: Callable[..., Tensor], message: str) -> None:
    z = unit()
    with pytest.raises(UserError, match=f"^{message}$"):
        loss(z, batch_of(z))
