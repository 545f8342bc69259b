import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeAlias, get_args

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from batches import THREE, batch_of, learned, rows_of, swapped, unit
from engine.heads.head import Head
from engine.types import LossName
from training import methods
from training.batch import Batch
from training.gradient import loss_gradient, weighted_mean

AnyLoss: TypeAlias = Callable[..., Tensor]
LOSSES = pytest.mark.parametrize("loss", methods.LOSSES.values(), ids=methods.LOSSES.keys())
MODALITY = pytest.mark.parametrize("modality", THREE)
# pmrl aligns a row with itself: it alone has something to learn from one row
CONTRASTS = pytest.mark.parametrize("loss", [f for name, f in methods.LOSSES.items() if name != "pmrl"])


def gradients(loss: AnyLoss, z: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor | None]:
    leaves = learned(z)
    value = loss(leaves, batch).sum()
    if not value.requires_grad:
        return dict.fromkeys(z)
    gradients = torch.autograd.grad(value, list(leaves.values()), allow_unused=True)
    return dict(zip(leaves, gradients, strict=True))


def touched(loss: AnyLoss, batch: Batch) -> set[str]:
    head = Head("linear", 5)
    for modality, x in batch.features.items():
        head.add_branch(modality, x.shape[1])
    return {name.split(".")[1] for name in loss_gradient(head, loss)(batch).by_name}


def test_every_loss_that_has_a_name_is_there_in_the_order_of_the_names() -> None:
    assert tuple(methods.LOSSES) == get_args(LossName)


@LOSSES
def test_a_loss_is_one_value_per_row(loss: AnyLoss) -> None:
    z = unit(6)
    assert loss(z, batch_of(z)).shape == (6,)


@LOSSES
def test_swapped_rows_cost_something(loss: AnyLoss) -> None:
    z = swapped()
    assert (loss(z, batch_of(z)) > 0).all()


@CONTRASTS
def test_one_row_alone_has_nothing_to_contrast_with(loss: AnyLoss) -> None:
    z = unit(1, 5, 0, THREE)
    assert_close(loss(z, batch_of(z)), torch.zeros(1))


@pytest.mark.parametrize("modality", ["image", "text"])
@LOSSES
def test_two_rows_that_share_an_item_are_as_two_rows_alone(loss: AnyLoss, modality: str) -> None:
    z = unit(2)
    batch = batch_of(z)
    batch.item[modality][1] = batch.item[modality][0]
    alone = [loss(rows_of(z, [n]), batch_of(rows_of(z, [n])))[0] for n in (0, 1)]
    assert_close(loss(z, batch), torch.stack(alone))


@LOSSES
def test_two_absent_items_are_not_one_item(loss: AnyLoss) -> None:
    z = unit(2, 5, 0, THREE)
    pair = {"image": z["image"], "text": z["text"]}
    assert_close(loss(z, batch_of(z, audio=[0, 1])), loss(pair, batch_of(pair)))


@LOSSES
def test_rows_of_another_group_are_no_negatives(loss: AnyLoss) -> None:
    z = unit(6, 5, 0, THREE)
    grouped = replace(batch_of(z), group=torch.tensor([0, 0, 0, 1, 1, 1]))
    halves = [rows_of(z, [0, 1, 2]), rows_of(z, [3, 4, 5])]
    expected = torch.cat([loss(half, batch_of(half)) for half in halves])
    assert_close(loss(z, grouped), expected, rtol=1e-5, atol=1e-5)


@LOSSES
def test_the_value_of_a_row_does_not_depend_on_the_weights(loss: AnyLoss) -> None:
    z = unit(6)
    batch = batch_of(z)
    light = replace(batch, weight=torch.tensor([1.0, 0.0, 1.0, 0.0, 1.0, 0.0]))
    assert_close(loss(z, light), loss(z, batch))


@LOSSES
def test_a_row_of_weight_0_is_still_a_negative(loss: AnyLoss) -> None:
    z = swapped()
    batch = replace(batch_of(z), weight=torch.tensor([1.0, 0.0]))
    alone = rows_of(z, [0])
    assert float(weighted_mean(loss(z, batch), batch)) > float(loss(alone, batch_of(alone))[0])


@LOSSES
def test_a_row_of_weight_0_adds_nothing_of_its_own(loss: AnyLoss) -> None:
    z = unit(3)
    batch = replace(batch_of(z), weight=torch.tensor([1.0, 1.0, 0.0]))
    assert_close(weighted_mean(loss(z, batch), batch), loss(z, batch)[:2].mean())


@MODALITY
@LOSSES
def test_a_row_of_one_modality_has_the_value_0(loss: AnyLoss, modality: str) -> None:
    z = unit(4, 5, 0, THREE)
    absent = {m: [2] for m in THREE if m != modality}
    assert loss(z, batch_of(z, **absent))[2] == 0


@MODALITY
@LOSSES
def test_what_stands_in_the_place_of_an_absent_item_changes_nothing(loss: AnyLoss, modality: str) -> None:
    z = unit(4, 5, 0, THREE)
    other = {**z, modality: z[modality].index_fill(0, torch.tensor([2]), 0.3)}
    batch = batch_of(z, **{modality: [2]})
    assert_close(loss(z, batch), loss(other, batch))


@MODALITY
@LOSSES
def test_an_absent_item_has_no_gradient(loss: AnyLoss, modality: str) -> None:
    z = unit(4, 5, 0, THREE)
    by_modality = gradients(loss, z, batch_of(z, **{modality: [2]}))[modality]
    assert by_modality is None or not by_modality[2].any()


@pytest.mark.parametrize("modality", ["audio", "image"])  # text is an anchor even where no row holds it
@LOSSES
def test_a_modality_that_no_row_holds_is_as_if_it_were_not_there(loss: AnyLoss, modality: str) -> None:
    z = unit(5, 5, 0, THREE)
    rest = {m: x for m, x in z.items() if m != modality}
    assert_close(loss(z, batch_of(z, **{modality: [0, 1, 2, 3, 4]})), loss(rest, batch_of(rest)))


@LOSSES
def test_a_branch_that_no_row_holds_has_no_gradient(loss: AnyLoss) -> None:
    batch = batch_of(unit(4, 5, 0, THREE), audio=[0, 1, 2, 3])
    assert touched(loss, batch) >= {"image"}
    assert "audio" not in touched(loss, batch)


@LOSSES
def test_a_batch_whose_rows_hold_one_modality_each_touches_nothing(loss: AnyLoss) -> None:
    assert touched(loss, batch_of(unit(2), image=[0], text=[1])) == set()


@LOSSES
def test_a_joint_rotation_changes_nothing(loss: AnyLoss) -> None:
    z = unit(6, 5, 0, THREE)
    turn = torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(1))).Q
    turned = {m: x @ turn for m, x in z.items()}
    assert_close(loss(turned, batch_of(z)), loss(z, batch_of(z)), rtol=1e-4, atol=1e-4)


@LOSSES
def test_the_order_of_rows_does_not_matter(loss: AnyLoss) -> None:
    z = unit(6, 5, 0, THREE)
    order = [3, 1, 5, 0, 2, 4]
    moved = rows_of(z, order)
    assert_close(loss(moved, batch_of(moved)), loss(z, batch_of(z))[order], rtol=1e-5, atol=1e-5)


@LOSSES
def test_the_order_of_modalities_does_not_matter(loss: AnyLoss) -> None:
    z = unit(6, 5, 0, THREE)
    turned = {m: z[m] for m in reversed(THREE)}
    assert_close(loss(turned, batch_of(z)), loss(z, batch_of(z)))


@LOSSES
def test_embeddings_that_are_not_finite_give_a_loss_that_is_not(loss: AnyLoss) -> None:
    z = unit(3, 5, 0, THREE)
    for x in z.values():
        x[1] = math.nan
    assert not loss(z, batch_of(z)).sum().isfinite()


def equal() -> dict[str, Tensor]:
    return {m: torch.full((3, 4), 0.5) for m in THREE}


def orthogonal() -> dict[str, Tensor]:
    return {m: torch.eye(4)[n].expand(3, -1) for n, m in enumerate(THREE)}


def opposite() -> dict[str, Tensor]:
    z = unit(3, 4)
    return {"audio": -z["image"], "image": z["image"], "text": -z["image"]}


def two_opposite() -> dict[str, Tensor]:
    z = unit(3, 4)
    return {"image": z["image"], "text": -z["image"]}


@pytest.mark.parametrize("columns", [equal, orthogonal, opposite, two_opposite])
@LOSSES
def test_the_gradient_is_finite_at_degenerate_columns(
    loss: AnyLoss, columns: Callable[[], dict[str, Tensor]]
) -> None:
    z = columns()
    present = [g for g in gradients(loss, z, batch_of(z)).values() if g is not None]
    assert present
    assert all(bool(g.isfinite().all()) for g in present)


@LOSSES
def test_value_and_gradient_are_finite_in_a_batch_with_rows_of_every_kind(loss: AnyLoss) -> None:
    z = unit(4, 4, 0, THREE)
    batch = batch_of(z, audio=[0, 1, 3], image=[1, 3], text=[3])
    assert loss(z, batch).isfinite().all()
    present = [g for g in gradients(loss, z, batch).values() if g is not None]
    assert present
    assert all(bool(g.isfinite().all()) for g in present)
