import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeAlias

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from engine.errors import UserError
from engine.head import Head
from engine.types import Modality
from training import losses
from training.gradient import Batch, Embeddings, loss_gradient, weighted_mean
from training.losses import Mining, Reduction

AnyLoss: TypeAlias = Callable[..., Tensor]
SOFTENING = 1e-4  # added to squared distances, so that the gradient is finite where u = v


def batch_of(z: Embeddings, **absent: list[int]) -> Batch:
    """Return a batch of one group in which every item is another one; `absent` lists rows by modality."""
    size = len(next(iter(z.values())))
    present = {m: torch.tensor([n not in absent.get(m, []) for n in range(size)]) for m in z}
    item = {m: torch.where(present[m], torch.arange(size) + 100 * n, -1) for n, m in enumerate(sorted(z))}
    return Batch(dict(z), present, item, torch.zeros(size, dtype=torch.int64), torch.ones(size))


def unit(size: int = 6, width: int = 5, seed: int = 0, *modalities: Modality) -> dict[Modality, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    rows = torch.randn(len(modalities or "ab"), size, width, generator=draw)
    normal = torch.nn.functional.normalize(rows, dim=2)
    return dict(zip(modalities or ("image", "text"), normal, strict=True))


def eye() -> dict[Modality, Tensor]:
    return {"image": torch.eye(2), "text": torch.eye(2)}


def swapped() -> dict[Modality, Tensor]:
    return {"image": torch.eye(2), "text": torch.eye(2).flip(0)}


def is_negative(batch: Batch, a: Modality, b: Modality, i: int, j: int) -> bool:
    """Say, from the words of the contract, whether row j's b is a negative of row i's a."""
    if not (batch.present[a][i] and batch.present[b][j]) or batch.group[i] != batch.group[j]:
        return False
    return bool(batch.item[a][i] != batch.item[a][j] and batch.item[b][i] != batch.item[b][j])


def slow_infonce(z: Embeddings, batch: Batch, temperature: float) -> list[float]:
    a, b = sorted(z)
    values = []
    for i in range(len(batch)):
        halves = []
        for one, other in ((a, b), (b, a)):
            if not (batch.present[a][i] and batch.present[b][i]):
                continue
            rivals = [j for j in range(len(batch)) if j == i or is_negative(batch, one, other, i, j)]
            scores = {j: float(z[one][i] @ z[other][j]) / temperature for j in rivals}
            halves.append(math.log(sum(math.exp(s) for s in scores.values())) - scores[i])
        values.append(sum(halves) / 2)
    return values


def slow_triplet(
    z: Embeddings, batch: Batch, margin: float, mine: Mining, k: int, reduction: Reduction
) -> list[float]:
    a, b = sorted(z)
    values = []
    for i in range(len(batch)):
        value = 0.0
        for one, other, share in ((a, b, 1.0), (b, a, 1.5)):
            if not (batch.present[a][i] and batch.present[b][i]):
                continue
            far = [
                math.sqrt(max(0.0, 2 - 2 * float(z[one][i] @ z[other][j])) + SOFTENING)
                for j in range(len(batch))
            ]
            rivals = [far[j] for j in range(len(batch)) if is_negative(batch, one, other, i, j)]
            if mine == "semihard":
                rivals = [d for d in rivals if d > far[i]]
            most = {"all": len(rivals), "topk": k}.get(mine, 1)
            hinges = sorted((max(0.0, far[i] + margin - d) for d in rivals), reverse=True)[:most]
            value += share * (sum(hinges) / (1 if reduction == "sum" else max(1, len(hinges))))
        values.append(value)
    return values


def messy() -> tuple[dict[Modality, Tensor], Batch]:
    """Return a batch with duplicates, two groups, absent items and weights."""
    z = unit(8, 4, 3)
    batch = batch_of(z, image=[6], text=[2])
    batch.item["image"][3] = batch.item["image"][1]
    batch.item["text"][5] = batch.item["text"][0]
    return z, replace(batch, group=torch.tensor([0, 0, 0, 0, 1, 0, 1, 1]))


def test_infonce_of_two_matching_unit_vectors_is_0_313262_at_temperature_1() -> None:
    z = eye()
    assert_close(losses.infonce(z, batch_of(z), temperature=1.0), torch.full((2,), 0.313262))


def test_infonce_of_equal_rows_is_log_b_exactly() -> None:
    z = {m: torch.ones(7, 4) / 2 for m in ("image", "text")}
    assert_close(losses.infonce(z, batch_of(z)), torch.full((7,), math.log(7)), rtol=1e-6, atol=0)


def test_infonce_agrees_with_a_slow_loop_over_a_messy_batch() -> None:
    z, batch = messy()
    expected = torch.tensor(slow_infonce(z, batch, 0.3))
    assert_close(losses.infonce(z, batch, temperature=0.3), expected, rtol=1e-5, atol=1e-6)


def test_infonce_divides_by_0_07_unless_told_otherwise() -> None:
    z = unit()
    assert_close(losses.infonce(z, batch_of(z)), losses.infonce(z, batch_of(z), temperature=0.07))


@pytest.mark.parametrize("temperature", [0.0, -1.0])
def test_infonce_refuses_a_temperature_that_is_not_above_0(temperature: float) -> None:
    z = eye()
    with pytest.raises(UserError, match=rf"^temperature must be above 0, not {temperature}$"):
        losses.infonce(z, batch_of(z), temperature=temperature)


def test_one_row_alone_has_no_infonce() -> None:
    z = unit(1)
    assert_close(losses.infonce(z, batch_of(z)), torch.zeros(1))


def test_triplet_of_orthogonal_matches_is_0() -> None:
    z = eye()
    assert_close(losses.triplet(z, batch_of(z)), torch.zeros(2))


def test_triplet_of_swapped_rows_sums_to_the_papers_7_321068_but_for_the_softening() -> None:
    z = swapped()
    hinge = math.sqrt(2 + SOFTENING) - math.sqrt(SOFTENING) + 0.05
    total = losses.triplet(z, batch_of(z), reduction="sum", mine="all").sum()
    assert_close(total, torch.tensor(5 * hinge))
    assert float(total) == pytest.approx(7.321068 - 5 * math.sqrt(SOFTENING), abs=1e-3)


def test_triplet_of_swapped_rows_has_the_mean_3_660534_but_for_the_softening() -> None:
    z = swapped()
    mean = weighted_mean(losses.triplet(z, batch_of(z)), batch_of(z))
    assert float(mean) == pytest.approx(3.660534 - 2.5 * math.sqrt(SOFTENING), abs=1e-3)


def test_terms_anchored_on_text_weigh_1_5() -> None:
    z = {"image": torch.eye(2), "text": torch.tensor([[1.0, 0.0], [1.0, 0.0]])}
    both = losses.triplet(z, batch_of(z), reduction="sum", mine="all")
    images = losses.triplet(z, batch_of(z), reduction="sum", mine="all", text_weight=0.0)
    texts = losses.triplet(z, batch_of(z), reduction="sum", mine="all", weight=0.0)
    assert_close(both, images + texts)
    assert_close(texts[1], torch.tensor(1.5 * (math.sqrt(2 + SOFTENING) - math.sqrt(SOFTENING) + 0.05)))


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("mine", ["all", "topk", "hardest", "semihard"])
def test_triplet_agrees_with_a_slow_loop_over_a_messy_batch(mine: Mining, reduction: Reduction) -> None:
    z, batch = messy()
    expected = torch.tensor(slow_triplet(z, batch, 0.6, mine, 2, reduction))
    found = losses.triplet(z, batch, margin=0.6, mine=mine, k=2, reduction=reduction)
    assert_close(found, expected, rtol=1e-5, atol=1e-5)


def on_a_circle(*degrees: float) -> Tensor:
    angles = torch.tensor(degrees) * math.pi / 180
    return torch.stack([angles.cos(), angles.sin()], dim=1)


def line_of_texts() -> tuple[dict[Modality, Tensor], Batch]:
    """Return one picture whose text is 20 degrees away, with other texts at 10, 25 and 90 degrees."""
    z = {"image": on_a_circle(0, 180, 180, 180), "text": on_a_circle(20, 10, 25, 90)}
    return z, batch_of(z)


def chord(degrees: float) -> float:
    return math.sqrt(2 - 2 * math.cos(math.radians(degrees)) + SOFTENING)


@pytest.mark.parametrize(
    ("mine", "k", "degrees"),
    [
        ("hardest", 10, [10]),
        ("semihard", 10, [25]),
        ("topk", 2, [10, 25]),
        ("topk", 10, [10, 25, 90]),
        ("all", 1, [10, 25, 90]),
    ],
)
def test_mining_keeps_the_negatives_it_is_named_for(mine: Mining, k: int, degrees: list[float]) -> None:
    z, batch = line_of_texts()
    found = losses.triplet(z, batch, margin=0.5, text_weight=0.0, mine=mine, k=k, reduction="sum")
    hinges = [max(0.0, chord(20) + 0.5 - chord(far)) for far in degrees]
    assert float(found[0]) == pytest.approx(sum(hinges), abs=1e-5)


def test_the_mean_of_topk_counts_zeros_and_never_more_negatives_than_there_are() -> None:
    z, batch = line_of_texts()
    found = losses.triplet(z, batch, margin=0.5, text_weight=0.0, mine="topk", k=10)
    hinges = [max(0.0, chord(20) + 0.5 - chord(far)) for far in (10, 25, 90)]
    assert 0.0 in hinges
    assert float(found[0]) == pytest.approx(sum(hinges) / 3, abs=1e-5)


def test_semihard_of_a_row_without_a_farther_negative_is_0() -> None:
    z = {"image": on_a_circle(0, 180), "text": on_a_circle(20, 10)}
    found = losses.triplet(z, batch_of(z), margin=0.5, text_weight=0.0, mine="semihard")
    assert float(found[0]) == 0.0


def test_triplet_refuses_to_keep_no_negatives() -> None:
    z = eye()
    with pytest.raises(UserError, match=r"^triplet.k must be at least 1, not 0$"):
        losses.triplet(z, batch_of(z), k=0)


LOSSES = pytest.mark.parametrize("loss", losses.LOSSES.values(), ids=losses.LOSSES.keys())


@LOSSES
def test_a_loss_is_one_value_per_row(loss: AnyLoss) -> None:
    z = unit(6)
    assert loss(z, batch_of(z)).shape == (6,)


@LOSSES
def test_two_rows_of_one_picture_are_no_negatives_of_each_other(loss: AnyLoss) -> None:
    z = unit(2)
    batch = batch_of(z)
    batch.item["image"][1] = batch.item["image"][0]
    assert_close(loss(z, batch), torch.zeros(2))


@LOSSES
def test_two_rows_of_one_text_are_no_negatives_of_each_other(loss: AnyLoss) -> None:
    z = unit(2)
    batch = batch_of(z)
    batch.item["text"][1] = batch.item["text"][0]
    assert_close(loss(z, batch), torch.zeros(2))


@LOSSES
def test_a_duplicate_of_an_unlike_item_would_cost_something(loss: AnyLoss) -> None:
    z = swapped()
    assert (loss(z, batch_of(z)) > 0).all()


@LOSSES
def test_rows_of_another_group_are_no_negatives(loss: AnyLoss) -> None:
    z = unit(6)
    grouped = replace(batch_of(z), group=torch.tensor([0, 0, 0, 1, 1, 1]))
    halves = [{m: x[rows] for m, x in z.items()} for rows in (slice(0, 3), slice(3, 6))]
    assert_close(loss(z, grouped), torch.cat([loss(half, batch_of(half)) for half in halves]))


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
    alone = {m: x[:1] for m, x in z.items()}
    assert float(weighted_mean(loss(z, batch), batch)) > float(loss(alone, batch_of(alone))[0])


@LOSSES
def test_a_row_of_weight_0_adds_nothing_of_its_own(loss: AnyLoss) -> None:
    z = unit(3)
    batch = replace(batch_of(z), weight=torch.tensor([1.0, 1.0, 0.0]))
    assert_close(weighted_mean(loss(z, batch), batch), loss(z, batch)[:2].mean())


@LOSSES
def test_a_row_that_lacks_a_modality_has_the_value_0(loss: AnyLoss) -> None:
    z = unit(4)
    assert loss(z, batch_of(z, text=[2]))[2] == 0


@LOSSES
def test_an_absent_item_is_no_negative(loss: AnyLoss) -> None:
    z = unit(4)
    other = {"image": z["image"], "text": z["text"].index_fill(0, torch.tensor([2]), 0.0)}
    assert_close(loss(z, batch_of(z, text=[2])), loss(other, batch_of(z, text=[2])))


def touched(loss: AnyLoss, batch: Batch) -> Mapping[str, Tensor]:
    head = Head("linear", 5)
    for modality, x in batch.features.items():
        head.add_branch(modality, x.shape[1])
    return loss_gradient(head, loss)(batch).by_name


@LOSSES
def test_a_branch_that_no_row_holds_has_no_gradient(loss: AnyLoss) -> None:
    batch = batch_of(unit(4, 5, 0, "depth", "image", "text"), depth=[0, 1, 2, 3])
    assert set(touched(loss, batch)) == {"layers.image.weight", "layers.text.weight"}


@LOSSES
def test_a_batch_whose_rows_hold_one_modality_each_touches_nothing(
    loss: AnyLoss,
) -> None:
    assert touched(loss, batch_of(unit(2), image=[0], text=[1])) == {}


@LOSSES
def test_three_modalities_give_the_mean_over_the_pairs_present(loss: AnyLoss) -> None:
    z = unit(5, 4, 0, "depth", "image", "text")
    batch = batch_of(z)

    def pair(a: Modality, b: Modality) -> Tensor:
        return loss({a: z[a], b: z[b]}, batch)

    three = (pair("depth", "image") + pair("depth", "text") + pair("image", "text")) / 3
    assert_close(loss(z, batch), three)


@LOSSES
def test_a_row_without_the_third_modality_is_averaged_over_its_one_pair(
    loss: AnyLoss,
) -> None:
    z = unit(5, 4, 0, "depth", "image", "text")
    batch = batch_of(z, depth=[0])
    one_pair = loss({"image": z["image"], "text": z["text"]}, batch)
    assert_close(loss(z, batch)[0], one_pair[0])


def test_an_anchor_leaves_out_the_pairs_without_it() -> None:
    z = unit(5, 4, 0, "depth", "image", "text")
    batch = batch_of(z)
    kept = [losses.infonce({m: z[m], "text": z["text"]}, batch) for m in ("depth", "image")]
    assert_close(losses.infonce(z, batch, anchor="text"), (kept[0] + kept[1]) / 2)


def test_an_anchor_that_the_pairs_lack_is_refused_with_what_they_hold() -> None:
    z = unit()
    message = r"^no modality 'depth' to anchor on; the pairs hold: image, text$"
    with pytest.raises(UserError, match=message):
        losses.infonce(z, batch_of(z), anchor="depth")


@LOSSES
def test_a_joint_rotation_changes_nothing(loss: AnyLoss) -> None:
    z = unit(6, 5)
    turn = torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(1))).Q
    turned = {m: x @ turn for m, x in z.items()}
    assert_close(loss(turned, batch_of(z)), loss(z, batch_of(z)), rtol=1e-4, atol=1e-4)


@LOSSES
def test_the_order_of_rows_does_not_matter(loss: AnyLoss) -> None:
    z = unit(6)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    moved = {m: x[order] for m, x in z.items()}
    assert_close(loss(moved, batch_of(moved)), loss(z, batch_of(z))[order], rtol=1e-5, atol=1e-6)


@LOSSES
def test_the_gradient_is_finite_where_all_embeddings_are_equal(loss: AnyLoss) -> None:
    z = {m: torch.full((4, 4), 0.5, requires_grad=True) for m in ("image", "text")}
    loss(z, batch_of(z)).sum().backward()  # type: ignore[no-untyped-call]
    assert z["image"].grad is not None
    assert z["image"].grad.isfinite().all()
