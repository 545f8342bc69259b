import math
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import cast

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.testing import assert_close

from batches import THREE, are_strangers, batch_of, eye, is_negative, learned, messy, rows_of, unit
from engine.errors import UserError
from engine.heads.head import Head
from engine.types import Modality
from training.batch import Batch, Embeddings
from training.losses.anchored import Anchor, Choice, Flow, centrobind, fabind, noised


def slow_terms(
    a: Tensor, b: Tensor, rows: list[int], apart: Callable[[int, int], bool], temperature: float
) -> dict[int, float]:
    """Return both cross-entropies of each of some rows, with its negatives among them."""
    values = {}
    for i in rows:
        candidates = [j for j in rows if j == i or apart(i, j)]
        ways = [[float(a[i] @ b[j]) for j in candidates], [float(a[j] @ b[i]) for j in candidates]]
        own = float(a[i] @ b[i])
        values[i] = sum(math.log(sum(math.exp((s - own) / temperature) for s in way)) for way in ways)
    return values


def slow_fabind(z: Embeddings, batch: Batch, anchor: Modality, temperature: float) -> Tensor:
    total = torch.zeros(len(batch))
    for m in set(z) - {anchor}:
        rows = [i for i in range(len(batch)) if batch.present[m][i] and batch.present[anchor][i]]

        def apart(i: int, j: int, m: Modality = m) -> bool:
            return is_negative(batch, anchor, m, i, j)

        for i, value in slow_terms(z[anchor], z[m], rows, apart, temperature).items():
            total[i] += value
    return total


def slow_centrobind(z: Embeddings, batch: Batch, shares: dict[Modality, float], temperature: float) -> Tensor:
    present = [[m for m in z if batch.present[m][i]] for i in range(len(batch))]
    mass = [sum(shares[m] for m in ms) if len(ms) > 1 else 0.0 for ms in present]
    size = len(batch)
    centre = [
        sum((shares[m] * z[m][i] for m in present[i]), torch.zeros(4)) / (mass[i] or 1) for i in range(size)
    ]
    total = torch.zeros(size)
    for m in z:
        rows = [i for i in range(size) if m in present[i] and mass[i] > 0]

        def apart(i: int, j: int) -> bool:
            return are_strangers(batch, i, j)

        for i, value in slow_terms(torch.stack(centre), z[m], rows, apart, temperature).items():
            total[i] += value
    return total


def centre_cost(centre: Tensor, z: Embeddings, temperature: float = 0.07) -> Tensor:
    """Return the loss towards given anchors in a batch without duplicates or absent items."""
    own = torch.arange(len(centre))
    total = torch.zeros(len(centre))
    for x in z.values():
        scores = centre @ x.T / temperature
        total = total + cross_entropy(scores, own, reduction="none")
        total = total + cross_entropy(scores.T, own, reduction="none")
    return total


def test_fabind_of_two_matching_unit_vectors_is_0_626523_at_temperature_1() -> None:
    z = eye()
    assert_close(fabind(z, batch_of(z), temperature=1.0), torch.full((2,), 0.626523))


def test_fabind_agrees_with_a_slow_loop_over_a_messy_batch() -> None:
    z, batch = messy(THREE)
    expected = slow_fabind(z, batch, "text", 0.3)
    assert_close(fabind(z, batch, temperature=0.3), expected, rtol=1e-5, atol=1e-5)


def test_fabind_anchors_on_the_modality_it_is_told_to() -> None:
    z, batch = messy(THREE)
    expected = slow_fabind(z, batch, "image", 0.3)
    assert_close(fabind(z, batch, temperature=0.3, anchor="image"), expected, rtol=1e-5, atol=1e-5)


def test_fabind_without_text_anchors_on_the_first_modality_by_name() -> None:
    z = unit(5, 4, 0, ("image", "depth", "audio"))
    assert_close(fabind(z, batch_of(z)), fabind(z, batch_of(z), anchor="audio"))


def test_the_anchor_of_fabind_has_no_gradient() -> None:
    z = learned(unit(4, 5, 0, THREE))
    torch.autograd.backward(fabind(z, batch_of(z)).sum())
    assert z["text"].grad is None
    assert z["image"].grad is not None


def test_fabind_is_the_sum_over_the_modalities_beside_the_anchor() -> None:
    z = unit(4, 5, 0, THREE)
    parts = [fabind({m: z[m], "text": z["text"]}, batch_of(z)) for m in ("audio", "image")]
    assert_close(fabind(z, batch_of(z)), parts[0] + parts[1])


def test_a_row_that_lacks_a_modality_is_in_no_term_of_it() -> None:
    z = unit(4, 5, 0)
    rest = rows_of(z, [0, 1, 3])
    assert_close(fabind(z, batch_of(z, image=[2]))[[0, 1, 3]], fabind(rest, batch_of(rest)))


def test_fabind_refuses_an_anchor_that_the_pairs_lack() -> None:
    z = unit()
    with pytest.raises(UserError, match=r"^no modality 'depth' to anchor on; the pairs hold: image, text$"):
        fabind(z, batch_of(z), anchor="depth")


def test_fabind_refuses_a_temperature_of_0() -> None:
    z = unit()
    with pytest.raises(UserError, match=r"^temperature must be above 0, not 0.0$"):
        fabind(z, batch_of(z), temperature=0.0)


def test_centrobind_of_two_matching_unit_vectors_is_1_253047_at_temperature_1() -> None:
    z = eye()
    assert_close(centrobind(z, batch_of(z), temperature=1.0), torch.full((2,), 1.253047))


def test_centrobind_of_opposite_vectors_is_4_log_2() -> None:
    z = {"image": torch.eye(2), "text": -torch.eye(2)}
    assert_close(centrobind(z, batch_of(z), temperature=1.0), torch.full((2,), 2.772589))


def test_the_anchor_of_an_orthogonal_pair_is_half_as_long_as_its_cosines_say() -> None:
    z = {"image": torch.eye(4)[:2], "text": torch.eye(4)[2:]}
    own, other = 0.5, 0.0
    expected = 4 * math.log(1 + math.exp(other - own))
    assert_close(centrobind(z, batch_of(z), temperature=1.0), torch.full((2,), expected))


def test_the_normalised_anchor_of_an_orthogonal_pair_has_the_cosine_0_7071() -> None:
    z = {"image": torch.eye(4)[:2], "text": torch.eye(4)[2:]}
    values = centrobind(z, batch_of(z), temperature=1.0, normalise="yes")
    assert_close(values, torch.full((2,), 4 * math.log(1 + math.exp(-math.sqrt(0.5)))))


def test_centrobind_agrees_with_a_slow_loop_over_a_messy_batch() -> None:
    z, batch = messy(THREE)
    expected = slow_centrobind(z, batch, dict.fromkeys(THREE, 1.0), 0.3)
    assert_close(centrobind(z, batch, temperature=0.3), expected, rtol=1e-5, atol=1e-5)


def test_weighted_centrobind_agrees_with_a_slow_loop_over_a_messy_batch() -> None:
    z, batch = messy(THREE)
    expected = slow_centrobind(z, batch, {"audio": 1.0, "image": 0.2, "text": 3.0}, 0.3)
    values = centrobind(z, batch, temperature=0.3, anchor="weighted", weights="image=0.2, text=3")
    assert_close(values, expected, rtol=1e-5, atol=1e-5)


def test_a_row_whose_modalities_all_weigh_0_is_in_no_term() -> None:
    z, batch = messy(THREE)
    expected = slow_centrobind(z, batch, {"audio": 0.0, "image": 1.0, "text": 0.0}, 0.3)
    values = centrobind(z, batch, temperature=0.3, anchor="weighted", weights="audio=0,text=0")
    assert expected[6] == 0
    assert_close(values, expected, rtol=1e-5, atol=1e-5)


def test_rows_that_share_an_item_of_one_modality_are_negatives_in_no_term() -> None:
    z = unit(2, 5, 0, THREE)
    batch = batch_of(z)
    batch.item["audio"][1] = batch.item["audio"][0]
    assert_close(centrobind(z, batch), torch.zeros(2))


def test_a_median_of_three_modalities_is_the_middle_coordinate() -> None:
    z = unit(5, 4, 0, THREE)
    middle = torch.stack(list(z.values())).median(0).values
    assert_close(centrobind(z, batch_of(z), anchor="median"), centre_cost(middle, z))


def test_a_median_of_four_modalities_is_the_mean_of_the_two_middles() -> None:
    z = unit(5, 4, 0, ("a", "b", "c", "d"))
    middles = torch.stack(list(z.values())).sort(0).values[1:3].mean(0)
    assert_close(centrobind(z, batch_of(z), anchor="median"), centre_cost(middles, z))


def test_a_row_that_lacks_one_of_three_has_the_mean_of_the_others_as_its_median() -> None:
    z = unit(5, 4, 0, THREE)
    centre = torch.stack(list(z.values())).median(0).values
    centre[0] = (z["image"][0] + z["text"][0]) / 2
    expected = centre_cost(centre, {m: z[m] for m in ("image", "text")})
    expected[1:] += centre_cost(centre[1:], {"audio": z["audio"][1:]})
    assert_close(centrobind(z, batch_of(z, audio=[0]), anchor="median"), expected)


def seeded(batch: Batch, seed: int) -> Batch:
    return replace(batch, seed=seed)


def drawn(z: Embeddings, batch: Batch) -> set[Modality]:
    """Return which modalities fifty seeds draw, known from the costs towards each."""
    names = set()
    for seed in range(50):
        values = centrobind(z, seeded(batch, seed), anchor="random")
        names |= {m for m in z if torch.allclose(values, centre_cost(z[m], z), atol=1e-4)}
    return names


def test_a_random_anchor_is_each_of_the_modalities_in_turn() -> None:
    z = unit(5, 4, 0, THREE)
    assert drawn(z, batch_of(z)) == set(THREE)


def test_one_seed_draws_one_anchor() -> None:
    z = unit(5, 4, 0, THREE)
    batch = seeded(batch_of(z), 7)
    assert_close(centrobind(z, batch, anchor="random"), centrobind(z, batch, anchor="random"))


@pytest.mark.parametrize("seed", range(10))
def test_a_modality_that_few_rows_hold_is_no_random_anchor(seed: int) -> None:
    z = unit(5, 4, 0, THREE)
    batch = seeded(batch_of(z, audio=[0, 1, 2]), seed)
    assert (centrobind(z, batch, anchor="random") > 0).all()


def test_a_random_anchor_is_drawn_where_no_modality_is_held_by_half_of_the_rows() -> None:
    z = unit(3, 5, 0, "abcdef")
    batch = batch_of(z, a=[1, 2], b=[1, 2], c=[0, 2], d=[0, 2], e=[0, 1], f=[0, 1])
    assert_close(centrobind(z, batch, anchor="random"), torch.zeros(3))


def test_a_row_without_the_random_anchor_has_the_value_0() -> None:
    z = unit(4, 5, 0, THREE)
    values = [centrobind(z, seeded(batch_of(z, audio=[0]), n), anchor="random")[0] for n in range(20)]
    assert min(values) == 0
    assert max(values) > 0


def gradients(z: Embeddings, loss: Callable[[Embeddings], Tensor]) -> dict[Modality, Tensor | None]:
    leaves = learned(z)
    gradients = torch.autograd.grad(loss(leaves).sum(), list(leaves.values()), allow_unused=True)
    return dict(zip(leaves, gradients, strict=True))


def mean(z: Embeddings) -> Tensor:
    return torch.stack(list(z.values())).mean(0)


def test_a_stopped_anchor_carries_no_gradient() -> None:
    z = unit(4, 5, 0, THREE)
    by_modality = gradients(z, lambda y: centrobind(y, batch_of(z)))
    assert_close(by_modality, gradients(z, lambda y: centre_cost(mean(z), y)), rtol=1e-4, atol=1e-5)


def test_an_anchor_that_flows_carries_its_gradient() -> None:
    z = unit(4, 5, 0, THREE)
    by_modality = gradients(z, lambda y: centrobind(y, batch_of(z), gradient="flows"))
    assert_close(by_modality, gradients(z, lambda y: centre_cost(mean(y), y)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("gradient", ["stopped", "flows"])
def test_a_random_anchor_is_trained_by_its_own_term(gradient: Flow) -> None:
    z = unit(4, 5, 0, THREE)
    values = gradients(z, lambda y: centrobind(y, batch_of(z), anchor="random", gradient=gradient))
    assert all(g is not None for g in values.values())


@pytest.mark.parametrize("gradient", ["stopped", "flows"])
def test_without_intra_learning_the_random_anchor_stands_still(gradient: Flow) -> None:
    z = unit(4, 5, 0, THREE)
    values = gradients(
        z, lambda y: centrobind(y, batch_of(z), anchor="random", gradient=gradient, intra="no")
    )
    assert sum(g is None for g in values.values()) == 1


def test_intra_learning_changes_gradients_not_values() -> None:
    z = unit(4, 5, 0, THREE)
    values = [centrobind(z, batch_of(z), anchor="random", intra=choice) for choice in ("yes", "no")]
    assert_close(values[0], values[1])


@pytest.mark.parametrize("anchor", ["mean", "weighted", "median", "random"])
@pytest.mark.parametrize("normalise", ["no", "yes"])
def test_the_gradient_of_every_anchor_is_finite_where_vectors_cancel(
    anchor: Anchor, normalise: Choice
) -> None:
    z = {"image": torch.eye(3), "text": -torch.eye(3)}
    bound = partial(centrobind, batch=batch_of(z), anchor=anchor, normalise=normalise, gradient="flows")
    assert all(g is not None and g.abs().max() < 1e5 for g in gradients(z, bound).values())


def test_the_gradient_of_a_normalised_anchor_stays_small_where_its_vectors_cancel() -> None:
    z = {"audio": unit(3, 3)["image"], "image": torch.eye(3), "text": -torch.eye(3)}
    bound = partial(centrobind, anchor="weighted", weights="audio=0", normalise="yes", gradient="flows")
    by_modality = gradients(z, lambda y: bound(y, batch_of(z)))
    assert all(g is not None and g.abs().max() < 1e5 for g in by_modality.values())


def test_the_renamed_modalities_cost_the_same() -> None:
    z = unit(4, 5, 0, THREE)
    renamed = {"text": z["audio"], "audio": z["image"], "image": z["text"]}
    assert_close(centrobind(renamed, batch_of(renamed)), centrobind(z, batch_of(z)))


def test_augmented_views_make_the_anchor_and_nothing_else() -> None:
    z, views = unit(4, 5, 0, THREE), unit(4, 5, 1, THREE)
    values = centrobind(z, batch_of(z), lambda batch, noise: views, noise=0.1)
    assert_close(values, centre_cost(mean(views), z))


def test_the_views_are_asked_for_with_the_noise() -> None:
    z = unit(4, 5, 0, THREE)
    noises: list[float] = []

    def again(batch: Batch, noise: float) -> Embeddings:
        noises.append(noise)
        return z

    centrobind(z, batch_of(z), again, noise=0.25)
    assert noises == [0.25]


@pytest.mark.parametrize("intra", ["yes", "no"])
def test_a_random_anchor_is_made_of_the_views_whatever_its_intra_learning(intra: Choice) -> None:
    z, views = unit(4, 5, 0, THREE), unit(4, 5, 1, THREE)
    values = centrobind(z, batch_of(z), lambda batch, noise: views, anchor="random", intra=intra, noise=0.1)
    assert any(torch.allclose(values, centre_cost(views[m], z)) for m in THREE)


def test_without_intra_learning_the_view_of_the_random_anchor_stands_still() -> None:
    z, views = unit(4, 5, 0, THREE), learned(unit(4, 5, 1, THREE))
    bound = partial(centrobind, anchor="random", intra="no", gradient="flows", noise=0.1)
    value = bound(learned(z), batch_of(z), lambda batch, noise: views).sum()
    reached = torch.autograd.grad(value, list(views.values()), allow_unused=True)
    assert all(g is None for g in reached)


def test_with_noise_a_row_of_one_modality_is_bound_to_its_own_view() -> None:
    z, views = unit(3, 5, 0), unit(3, 5, 1)
    batch = batch_of(z, image=[0, 1, 2])
    values = centrobind(z, batch, lambda batch, noise: views, noise=0.1)
    assert_close(values, centre_cost(views["text"], {"text": z["text"]}))


@pytest.mark.parametrize("noise", [-1.0, math.nan])
def test_centrobind_refuses_a_noise_below_0(noise: float) -> None:
    z = unit()
    with pytest.raises(UserError, match=rf"^centrobind.noise must be at least 0, not {noise}$"):
        centrobind(z, batch_of(z), noise=noise)


def test_centrobind_refuses_a_temperature_of_0() -> None:
    z = unit()
    with pytest.raises(UserError, match=r"^temperature must be above 0, not 0.0$"):
        centrobind(z, batch_of(z), temperature=0.0)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("txt=1", "centrobind.weights: no modality 'txt'; the pairs hold: image, text"),
        ("text", "centrobind.weights: text takes a number from 0 up, not ''"),
        ("text=x", "centrobind.weights: text takes a number from 0 up, not 'x'"),
        ("image=1,text=-1", "centrobind.weights: text takes a number from 0 up, not '-1'"),
        ("text=inf", "centrobind.weights: text takes a number from 0 up, not 'inf'"),
        ("text=nan", "centrobind.weights: text takes a number from 0 up, not 'nan'"),
    ],
)
def test_centrobind_refuses_weights_that_it_cannot_use(weights: str, message: str) -> None:
    z = unit()
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        centrobind(z, batch_of(z), anchor="weighted", weights=weights)


def test_centrobind_refuses_weights_that_its_anchor_would_not_use() -> None:
    z = unit()
    message = "centrobind.weights needs centrobind.anchor=weighted, not mean"
    with pytest.raises(UserError, match=f"^{message}$"):
        centrobind(z, batch_of(z), weights="text=2")


def head_of(batch: Batch) -> Head:
    head = Head("linear", 5)
    for m, x in batch.features.items():
        head.add_branch(m, x.shape[1])
    return head.eval()


def features(scale: float = 1.0) -> Batch:
    z = unit(400, 5)
    return batch_of({m: scale * x for m, x in z.items()})


class Plain(torch.nn.Module):
    """A head that returns its features."""

    def forward(self, features: Embeddings, seed: int) -> Embeddings:
        return features


def test_noise_is_measured_in_standard_deviations_of_the_features() -> None:
    batch = features(scale=30.0)
    moved = noised(cast(Head, Plain()), batch, 0.5)["text"] - batch.features["text"]
    assert_close(moved.std(), 0.5 * batch.features["text"].std(), rtol=0.05, atol=0)


def test_the_spread_of_the_features_leaves_out_absent_items() -> None:
    batch = features()
    here = torch.arange(400) < 200
    halved = replace(
        batch,
        features={m: x * here[:, None] for m, x in batch.features.items()},
        present=dict.fromkeys(batch.present, here),
    )
    moved = noised(cast(Head, Plain()), halved, 0.5)["text"][:200] - batch.features["text"][:200]
    assert_close(moved.std(), 0.5 * batch.features["text"][:200].std(), rtol=0.05, atol=0)


def test_noise_leaves_an_absent_item_at_zero() -> None:
    z = unit(3)
    z["text"][1] = 0
    batch = batch_of(z, text=[1])
    assert not noised(head_of(batch), batch, 0.5)["text"][1].any()


def test_noise_leaves_a_modality_that_no_row_holds_at_zero() -> None:
    z = {"image": unit(3)["image"], "text": torch.zeros(3, 5)}
    batch = batch_of(z, text=[0, 1, 2])
    assert not noised(head_of(batch), batch, 0.5)["text"].any()


def test_the_same_seed_gives_the_same_noise() -> None:
    batch = features()
    assert_close(noised(head_of(batch), batch, 0.5), noised(head_of(batch), batch, 0.5), rtol=0, atol=0)


def test_another_seed_gives_another_noise() -> None:
    batch = features()
    views = [noised(head_of(batch), seeded(batch, n), 0.5)["text"] for n in (0, 1)]
    assert not torch.allclose(views[0], views[1])


def test_the_noise_of_two_modalities_differs() -> None:
    z = unit(4)
    batch = batch_of({"image": z["image"], "text": z["image"]})
    views = noised(head_of(batch), batch, 0.5)
    assert not torch.allclose(views["image"], views["text"])
