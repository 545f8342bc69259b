import math
from collections.abc import Callable
from itertools import combinations
from typing import TypeAlias

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from batches import THREE, batch_of, eye, is_negative, messy, rows_of, swapped, unit
from engine.errors import UserError
from engine.types import Modality
from training.batch import Batch, Embeddings
from training.gradient import weighted_mean
from training.losses import pairwise
from training.losses.pairwise import Mining, Reduction

AnyLoss: TypeAlias = Callable[..., Tensor]
SOFTENING = 1e-4  # added to squared distances, so that the gradient is finite where u = v
PAIRWISE = pytest.mark.parametrize("loss", [pairwise.infonce, pairwise.triplet])


def slow_half(z: Embeddings, batch: Batch, a: Modality, b: Modality, i: int, temperature: float) -> float:
    rivals = [j for j in range(len(batch)) if j == i or is_negative(batch, a, b, i, j)]
    scores = {j: float(z[a][i] @ z[b][j]) / temperature for j in rivals}
    return math.log(sum(math.exp(s) for s in scores.values())) - scores[i]


def slow_infonce(z: Embeddings, batch: Batch, temperature: float) -> list[float]:
    values = []
    for i in range(len(batch)):
        pairs = [p for p in combinations(sorted(z), 2) if all(bool(batch.present[m][i]) for m in p)]
        halves = [slow_half(z, batch, *way, i, temperature) / 2 for a, b in pairs for way in ((a, b), (b, a))]
        values.append(sum(halves) / max(1, len(pairs)))
    return values


def slow_triplet(
    z: Embeddings, batch: Batch, margin: float, mine: Mining, k: int, reduction: Reduction
) -> list[float]:
    a, b = sorted(z)
    values = []
    for i in range(len(batch)):
        value = 0.0
        for query, gallery, share in ((a, b, 1.0), (b, a, 1.5)):
            if not (batch.present[a][i] and batch.present[b][i]):
                continue
            far = [
                math.sqrt(max(0.0, 2 - 2 * float(z[query][i] @ z[gallery][j])) + SOFTENING)
                for j in range(len(batch))
            ]
            rivals = [far[j] for j in range(len(batch)) if is_negative(batch, query, gallery, i, j)]
            if mine == "semihard":
                rivals = [d for d in rivals if d > far[i]]
            most = {"all": len(rivals), "topk": k}.get(mine, 1)
            hinges = sorted((max(0.0, far[i] + margin - d) for d in rivals), reverse=True)[:most]
            value += share * (sum(hinges) / (1 if reduction == "sum" else max(1, len(hinges))))
        values.append(value)
    return values


def test_infonce_of_two_matching_unit_vectors_is_0_313262_at_temperature_1() -> None:
    z = eye()
    assert_close(pairwise.infonce(z, batch_of(z), temperature=1.0), torch.full((2,), 0.313262))


def test_infonce_of_equal_rows_is_log_b_exactly() -> None:
    z = {m: torch.ones(7, 4) / 2 for m in ("image", "text")}
    assert_close(pairwise.infonce(z, batch_of(z)), torch.full((7,), math.log(7)), rtol=1e-6, atol=0)


def test_infonce_agrees_with_a_slow_loop_over_a_messy_batch() -> None:
    z, batch = messy()
    expected = torch.tensor(slow_infonce(z, batch, 0.3))
    assert_close(pairwise.infonce(z, batch, temperature=0.3), expected, rtol=1e-5, atol=1e-6)


def test_infonce_divides_by_0_07_unless_told_otherwise() -> None:
    z = unit()
    assert_close(pairwise.infonce(z, batch_of(z)), pairwise.infonce(z, batch_of(z), temperature=0.07))


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_infonce_refuses_a_temperature_that_is_not_above_0(temperature: float) -> None:
    z = eye()
    with pytest.raises(UserError, match=rf"^temperature must be above 0, not {temperature}$"):
        pairwise.infonce(z, batch_of(z), temperature=temperature)


def test_triplet_of_orthogonal_matches_is_0() -> None:
    z = eye()
    assert_close(pairwise.triplet(z, batch_of(z)), torch.zeros(2))


def test_triplet_of_swapped_rows_sums_to_the_papers_7_321068_but_for_the_softening() -> None:
    z = swapped()
    hinge = math.sqrt(2 + SOFTENING) - math.sqrt(SOFTENING) + 0.05
    total = pairwise.triplet(z, batch_of(z), reduction="sum", mine="all").sum()
    assert_close(total, torch.tensor(5 * hinge))
    assert float(total) == pytest.approx(7.321068 - 5 * math.sqrt(SOFTENING), abs=1e-3)


def test_triplet_of_swapped_rows_has_the_mean_3_660534_but_for_the_softening() -> None:
    z = swapped()
    mean = weighted_mean(pairwise.triplet(z, batch_of(z)), batch_of(z))
    assert float(mean) == pytest.approx(3.660534 - 2.5 * math.sqrt(SOFTENING), abs=1e-3)


def test_terms_anchored_on_text_weigh_1_5() -> None:
    z = {"image": torch.eye(2), "text": torch.tensor([[1.0, 0.0], [1.0, 0.0]])}
    both = pairwise.triplet(z, batch_of(z), reduction="sum", mine="all")
    images = pairwise.triplet(z, batch_of(z), reduction="sum", mine="all", text_weight=0.0)
    texts = pairwise.triplet(z, batch_of(z), reduction="sum", mine="all", weight=0.0)
    assert_close(both, images + texts)
    assert_close(texts[1], torch.tensor(1.5 * (math.sqrt(2 + SOFTENING) - math.sqrt(SOFTENING) + 0.05)))


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("mine", ["all", "topk", "hardest", "semihard"])
def test_triplet_agrees_with_a_slow_loop_over_a_messy_batch(mine: Mining, reduction: Reduction) -> None:
    z, batch = messy()
    expected = torch.tensor(slow_triplet(z, batch, 0.6, mine, 2, reduction))
    values = pairwise.triplet(z, batch, margin=0.6, mine=mine, k=2, reduction=reduction)
    assert_close(values, expected, rtol=1e-5, atol=1e-5)


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
    values = pairwise.triplet(z, batch, margin=0.5, text_weight=0.0, mine=mine, k=k, reduction="sum")
    hinges = [max(0.0, chord(20) + 0.5 - chord(far)) for far in degrees]
    assert float(values[0]) == pytest.approx(sum(hinges), abs=1e-5)


def test_the_mean_of_topk_counts_zeros_and_never_more_negatives_than_there_are() -> None:
    z, batch = line_of_texts()
    values = pairwise.triplet(z, batch, margin=0.5, text_weight=0.0, mine="topk", k=10)
    hinges = [max(0.0, chord(20) + 0.5 - chord(far)) for far in (10, 25, 90)]
    assert 0.0 in hinges
    assert float(values[0]) == pytest.approx(sum(hinges) / 3, abs=1e-5)


def test_semihard_of_a_row_without_a_farther_negative_is_0() -> None:
    z = {"image": on_a_circle(0, 180), "text": on_a_circle(20, 10)}
    values = pairwise.triplet(z, batch_of(z), margin=0.5, text_weight=0.0, mine="semihard")
    assert float(values[0]) == 0.0


def test_triplet_refuses_to_keep_no_negatives() -> None:
    z = eye()
    with pytest.raises(UserError, match=r"^triplet.k must be at least 1, not 0$"):
        pairwise.triplet(z, batch_of(z), k=0)


def test_an_anchor_leaves_out_the_pairs_without_it() -> None:
    z = unit(5, 4, 0, ("depth", "image", "text"))
    batch = batch_of(z)
    kept = [pairwise.infonce({m: z[m], "text": z["text"]}, batch) for m in ("depth", "image")]
    assert_close(pairwise.infonce(z, batch, anchor="text"), (kept[0] + kept[1]) / 2)


def test_an_anchor_that_the_pairs_lack_is_refused_with_what_they_hold() -> None:
    z = unit()
    message = r"^no modality 'depth' to anchor on; the pairs hold: image, text$"
    with pytest.raises(UserError, match=message):
        pairwise.infonce(z, batch_of(z), anchor="depth")


@PAIRWISE
def test_three_modalities_give_the_mean_over_the_pairs_present(loss: AnyLoss) -> None:
    z = unit(5, 4, 0, THREE)
    batch = batch_of(z)

    def pair(a: Modality, b: Modality) -> Tensor:
        return loss({a: z[a], b: z[b]}, batch)

    three = (pair("audio", "image") + pair("audio", "text") + pair("image", "text")) / 3
    assert_close(loss(z, batch), three)


@PAIRWISE
def test_a_row_without_the_third_modality_is_averaged_over_its_one_pair(loss: AnyLoss) -> None:
    z = unit(5, 4, 0, THREE)
    batch = batch_of(z, audio=[0])
    one_pair = loss({"image": z["image"], "text": z["text"]}, batch)
    assert_close(loss(z, batch)[0], one_pair[0])


@PAIRWISE
def test_a_pair_alone_has_no_value(loss: AnyLoss) -> None:
    z = unit(1)
    assert_close(loss(z, batch_of(z)), torch.zeros(1))


def test_an_item_whose_row_lacks_the_other_modality_is_still_a_negative() -> None:
    z = unit(3)
    batch = batch_of(z, image=[2])
    assert float(pairwise.infonce(z, batch)[0]) > float(
        pairwise.infonce(rows_of(z, [0, 1]), batch_of(rows_of(z, [0, 1])))[0]
    )


def test_infonce_of_three_modalities_agrees_with_a_slow_loop_over_a_messy_batch() -> None:
    z, batch = messy(THREE)
    expected = torch.tensor(slow_infonce(z, batch, 0.3))
    assert_close(pairwise.infonce(z, batch, temperature=0.3), expected, rtol=1e-5, atol=1e-6)


def test_smoothing_spreads_a_share_of_the_target_over_the_candidates() -> None:
    scores = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
    allowed = torch.ones(4, 4, dtype=torch.bool)
    expected = torch.nn.functional.cross_entropy(
        scores, torch.arange(4), reduction="none", label_smoothing=0.3
    )
    assert_close(pairwise.own_cross_entropy(scores, allowed, 0.3), expected)


def test_smoothing_spreads_nothing_over_what_is_no_candidate() -> None:
    scores = torch.tensor([[0.0, 1.0, 9.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    allowed = torch.tensor([[False, True, False], [True, False, True], [True, True, False]])
    assert_close(
        pairwise.own_cross_entropy(scores, allowed, 0.3)[0],
        pairwise.own_cross_entropy(scores[:2, :2], allowed[:2, :2], 0.3)[0],
    )
