import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, normalize
from torch.testing import assert_close

from batches import (
    THREE,
    alike,
    are_strangers,
    at_cosine,
    batch_of,
    double,
    equal,
    gradient_by,
    learned,
    messy,
    orthonormal,
    unit,
)
from engine.errors import UserError
from engine.heads.head import Head
from training.batch import Batch, Embeddings
from training.gradient import loss_gradient
from training.losses.pmrl import pmrl, singular_values, with_absent, with_scorer

spread = partial(pmrl, instance_weight=0.0)  # the term of the singular values alone


def columns(z: Embeddings, batch: Batch, row: int) -> Tensor:
    """Return the embeddings that a row holds as columns (E, k)."""
    return torch.stack([x[row] for m, x in sorted(z.items()) if batch.present[m][row]], dim=1)


def lead(z: Tensor) -> Tensor:
    u: Tensor = torch.linalg.svd(z, full_matrices=False).U[:, 0]
    return u if u @ z.sum(1) >= 0 else -u


def slow_pmrl(z: Embeddings, batch: Batch, tau: float = 0.05, weight: float = 1.0) -> Tensor:
    """Return the loss without matching, row by row, by singular value decompositions."""
    size = len(batch)
    rows = [columns(z, batch, i) for i in range(size)]
    leads = [lead(c) for c in rows]
    values = []
    for i in range(size):
        sigma = torch.linalg.svdvals(rows[i])
        aligned = -(sigma / tau).log_softmax(0)[0]
        scores = [leads[i] @ leads[j] / 0.1 for j in range(size) if i == j or are_strangers(batch, i, j)]
        apart = torch.stack(scores).logsumexp(0) - leads[i] @ leads[i] / 0.1
        values.append((aligned + weight * apart) * (rows[i].shape[1] > 1))
    return torch.stack(values)


def test_three_equal_columns_cost_0_302947_at_tau_1() -> None:
    assert float(spread(equal(), batch_of(equal()), tau=1.0)) == pytest.approx(0.302947, abs=1e-4)


def test_three_equal_columns_cost_nothing_at_tau_0_05() -> None:
    assert float(spread(equal(), batch_of(equal()))) == pytest.approx(1.8e-15, abs=1e-15)


@pytest.mark.parametrize("tau", [0.05, 1.0])
def test_three_orthonormal_columns_cost_log_3_at_any_tau(tau: float) -> None:
    z = orthonormal()
    assert float(spread(z, batch_of(z), tau=tau)) == pytest.approx(math.log(3))


def test_a_pair_of_cosine_0_6_has_the_singular_values_1_264911_and_0_632456() -> None:
    z = at_cosine(0.6)
    expected = torch.tensor([[1.264911, 0.632456]], dtype=torch.float64)
    assert_close(singular_values(z, batch_of(z)), expected, rtol=1e-6, atol=0)


def test_a_negated_modality_costs_nothing() -> None:
    z = double(unit(4, 8, 0, THREE))
    negated = {**z, "image": -z["image"]}
    assert_close(spread(negated, batch_of(z)), spread(z, batch_of(z)))


def test_pmrl_agrees_with_singular_value_decompositions() -> None:
    z = double(unit(6, 8, 0, THREE))
    assert_close(pmrl(z, batch_of(z)), slow_pmrl(z, batch_of(z)), rtol=1e-6, atol=1e-6)


def test_pmrl_agrees_with_singular_value_decompositions_in_a_messy_batch() -> None:
    z, batch = messy(THREE)
    expected = slow_pmrl(double(z), batch, tau=1.0)
    assert expected[2] == 0
    assert_close(pmrl(double(z), batch, tau=1.0), expected, rtol=1e-6, atol=1e-6)


def test_the_gradient_of_the_singular_values_is_that_of_the_decomposition() -> None:
    z = double(unit(5, 8, 0, THREE))

    def slow(y: Embeddings) -> Tensor:
        sigma = torch.linalg.svdvals(torch.stack(list(y.values()), dim=2))
        return cross_entropy(sigma / 0.05, torch.zeros(5, dtype=torch.int64), reduction="none")

    gradient = gradient_by(z, lambda y: spread(y, batch_of(z)))
    assert_close(gradient, gradient_by(z, slow), rtol=1e-6, atol=1e-8)


def test_where_modalities_agree_directions_have_the_gradient_of_the_decomposition() -> None:
    z = alike(6, 16, 0.02)
    by_modality = gradient_by(z, lambda y: pmrl(y, batch_of(z)) - spread(y, batch_of(z)))
    expected = gradient_by(z, lambda y: slow_pmrl(y, batch_of(z)) - slow_pmrl(y, batch_of(z), weight=0.0))
    assert float((by_modality - expected).norm() / expected.norm()) < 1e-4


def test_the_gradient_of_unlike_columns_passes_a_check_by_differences_in_its_first_term() -> None:
    z = double(unit(2, 4, 1, THREE))
    leaves = tuple(x.requires_grad_() for x in z.values())

    def loss(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        y = dict(zip(THREE, (a, b, c), strict=True))
        return spread(y, batch_of(y), tau=0.5)

    assert torch.autograd.gradcheck(loss, leaves)


def test_the_leading_direction_points_along_the_sum_of_the_embeddings() -> None:
    z = alike(6, 16, 0.1)
    opposed = {m: torch.cat([x[:1], -x[:1]]) for m, x in z.items()}
    apart = pmrl(opposed, batch_of(opposed)) - spread(opposed, batch_of(opposed))
    assert_close(apart, torch.full((2,), math.exp(-20.0)).double(), rtol=1e-3, atol=0)


def test_the_renamed_modalities_cost_the_same_in_pmrl() -> None:
    z = double(unit(4, 8, 0, THREE))
    renamed = {"text": z["audio"], "audio": z["image"], "image": z["text"]}
    assert_close(pmrl(renamed, batch_of(renamed)), pmrl(z, batch_of(z)))


def test_a_row_of_one_modality_is_a_negative_of_the_others() -> None:
    z = double(unit(3, 8, 0, THREE))
    batch = batch_of(z, image=[2], text=[2])
    apart = pmrl(z, batch) - spread(z, batch)
    scores = torch.stack([lead(columns(z, batch, 0)) @ lead(columns(z, batch, j)) for j in range(3)]) / 0.1
    assert_close(apart[0], -scores.log_softmax(0)[0])


def test_a_row_of_one_modality_has_no_gradient_where_directions_weigh_nothing() -> None:
    leaves = learned(unit(3, 8, 0, THREE))
    batch = batch_of(leaves, audio=[0, 1], image=[2], text=[2])
    torch.autograd.backward(spread(leaves, batch).sum())
    assert leaves["audio"].grad is None
    assert leaves["text"].grad is not None


def test_rows_that_share_an_item_of_any_modality_are_no_negatives_in_pmrl() -> None:
    z = unit(2, 8, 0, THREE)
    batch = batch_of(z)
    batch.item["audio"][1] = batch.item["audio"][0]
    assert_close(pmrl(z, batch), spread(z, batch))


def test_the_pair_form_is_minus_the_logarithm_of_the_share_of_the_first_two() -> None:
    z = double(unit(4, 8, 0, THREE))
    sigma = singular_values(z, batch_of(z))
    expected = -(sigma[:, :2].sum(1) / sigma.sum(1)).log()
    assert_close(spread(z, batch_of(z), form="pair"), expected)


def test_two_modalities_have_nothing_to_learn_from_the_pair_form() -> None:
    z = unit(4)
    assert_close(spread(z, batch_of(z), form="pair"), torch.zeros(4))


def test_the_weight_of_leading_directions_scales_their_term() -> None:
    z = unit(4, 8, 0, THREE)
    batch = batch_of(z)
    parts = [pmrl(z, batch, instance_weight=w) for w in (0.0, 1.0, 3.0)]
    assert_close(parts[2] - parts[0], 3 * (parts[1] - parts[0]))


def test_the_temperature_of_leading_directions_divides_their_cosines() -> None:
    z = double(unit(4, 8, 0, THREE))
    batch = batch_of(z)
    leads = torch.stack([lead(columns(z, batch, i)) for i in range(4)])
    expected = cross_entropy(leads @ leads.T / 0.7, torch.arange(4), reduction="none")
    assert_close(pmrl(z, batch, instance_tau=0.7) - spread(z, batch), expected)


def test_singular_values_descend_and_are_0_in_the_place_of_an_absent_modality() -> None:
    z = double(unit(3, 8, 0, THREE))
    batch = batch_of(z, image=[1], text=[2], audio=[2])
    sigma = singular_values(z, batch)
    assert_close(sigma[1, :2], torch.linalg.svdvals(columns(z, batch, 1)))
    assert_close(sigma[2, :1], torch.ones(1).double())
    assert_close(sigma[[1, 2, 2], [2, 1, 2]], torch.zeros(3).double(), rtol=0, atol=0)
    assert_close(sigma, sigma.sort(descending=True, dim=1).values)


def test_equal_columns_beside_an_absent_one_have_finite_singular_value_gradients() -> None:
    z = double({m: torch.full((2, 4), 0.5) for m in THREE})
    batch = batch_of(z, audio=[0])
    assert gradient_by(z, lambda y: singular_values(y, batch)).isfinite().all()


def test_half_precision_embeddings_have_singular_values_in_float32() -> None:
    z = {m: x.half() for m, x in unit(3, 8, 0, THREE).items()}
    wide = {m: x.float() for m, x in z.items()}
    assert_close(singular_values(z, batch_of(z)), singular_values(wide, batch_of(z)), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (partial(pmrl, tau=0.0), "pmrl.tau must be above 0, not 0.0"),
        (partial(pmrl, instance_tau=-1.0), "pmrl.instance_tau must be above 0, not -1.0"),
        (partial(pmrl, instance_weight=-1.0), "pmrl.instance_weight must be at least 0, not -1.0"),
        (partial(pmrl, match_weight=math.nan), "pmrl.match_weight must be at least 0, not nan"),
    ],
)
def test_pmrl_refuses_what_it_cannot_use(loss: Callable[..., Tensor], message: str) -> None:
    z = unit()
    with pytest.raises(UserError, match=f"^{message}$"):
        loss(z, batch_of(z))


@dataclass
class Match:
    """A scorer whose logit is three times the first coordinate, and what it was shown."""

    shown: list[Tensor] = field(default_factory=list)

    def __call__(self, rows: Tensor) -> Tensor:
        self.shown.append(rows)
        return 3 * rows[:, :1]

    def parts(self) -> Tensor:
        """Return the match, the wrong others and the wrong anchors (3, n, M, E)."""
        return self.shown[0].view(3, -1, len(THREE), 5)


def which(z: Tensor, rows: Tensor) -> list[int]:
    """Return the row of z that each of some rows is."""
    return [int((z == row).all(1).nonzero()[0, 0]) for row in rows]


def test_the_matching_term_is_shown_every_row_and_two_wrong_ones_of_it() -> None:
    z, match = unit(6, 5, 0, THREE), Match()
    pmrl(z, batch_of(z), match)
    true, others, anchors = match.parts()
    assert_close(true, torch.stack([z[m] for m in THREE], dim=1))
    assert_close(others[:, 2], z["text"])
    assert_close(anchors[:, :2], true[:, :2])
    assert all(i != j for i, j in enumerate(which(z["text"], anchors[:, 2])))
    assert all(i != j for i, j in enumerate(which(z["audio"], others[:, 0])))
    assert which(z["audio"], others[:, 0]) == which(z["image"], others[:, 1])


def test_the_matching_term_is_the_mean_of_three_binary_cross_entropies() -> None:
    z, match = unit(6, 5, 0, THREE), Match()
    term = (pmrl(z, batch_of(z), match, match_weight=0.5) - pmrl(z, batch_of(z))) / 0.5
    logits = 3 * match.parts()[:, :, 0, 0]
    labels = torch.tensor([1.0, 0.0, 0.0])[:, None].expand(3, 6)
    expected = binary_cross_entropy_with_logits(logits, labels, reduction="none").mean(0)
    assert_close(term, expected, rtol=1e-4, atol=1e-5)


def test_an_absent_modality_is_shown_to_the_matching_term_as_zeros() -> None:
    z, match = unit(6, 5, 0, THREE), Match()
    pmrl(z, batch_of(z, audio=[1]), match)
    assert not match.parts()[0, 1, 0].any()
    assert match.parts()[0, 1, 1].any()


def test_wrong_combinations_are_made_of_negatives_only() -> None:
    z, match = unit(4, 5, 0, THREE), Match()
    batch = replace(batch_of(z), group=torch.tensor([0, 0, 1, 1]))
    pmrl(z, batch, match)
    assert which(z["text"], match.parts()[2, :, 2]) == [1, 0, 3, 2]
    assert which(z["audio"], match.parts()[1, :, 0]) == [1, 0, 3, 2]


def test_a_row_without_a_negative_is_left_out_of_the_matching_term() -> None:
    z, match = unit(3, 5, 0, THREE), Match()
    batch = replace(batch_of(z), group=torch.tensor([0, 1, 0]))
    term = pmrl(z, batch, match) - pmrl(z, batch)
    assert which(z["text"], match.parts()[0, :, 2]) == [0, 2]
    assert term[1] == 0
    assert (term[[0, 2]] > 0).all()


def test_a_row_without_the_anchor_has_no_matching_term() -> None:
    z, match = unit(4, 5, 0, THREE), Match()
    pmrl(z, batch_of(z, text=[1]), match)
    assert which(z["image"], match.parts()[0, :, 1]) == [0, 2, 3]


def test_a_row_of_the_anchor_alone_is_no_wrong_combination() -> None:
    z, match = unit(3, 5, 0, THREE), Match()
    pmrl(z, batch_of(z, audio=[2], image=[2]), match)
    assert which(z["text"], match.parts()[2, :, 2]) == [1, 0]


def test_without_text_the_first_modality_by_name_is_the_anchor_of_the_matching_term() -> None:
    z, match = unit(4, 5, 0, ("a", "b", "c")), Match()
    pmrl(z, batch_of(z), match)
    assert_close(match.parts()[1, :, 0], z["a"])


def test_one_row_is_shown_to_no_matching_term() -> None:
    z, match = unit(1, 5, 0, THREE), Match()
    assert_close(pmrl(z, batch_of(z), match), pmrl(z, batch_of(z)))
    assert match.shown == []


def test_a_matching_term_that_weighs_nothing_is_not_asked() -> None:
    z, match = unit(4, 5, 0, THREE), Match()
    pmrl(z, batch_of(z), match, match_weight=0.0)
    assert match.shown == []


def test_the_seed_of_the_batch_draws_the_wrong_combinations() -> None:
    z, matches = unit(8, 5, 0, THREE), [Match(), Match(), Match()]
    pmrl(z, batch_of(z), matches[0])
    pmrl(z, batch_of(z), matches[1])
    pmrl(z, replace(batch_of(z), seed=1), matches[2])
    assert_close(matches[0].parts(), matches[1].parts(), rtol=0, atol=0)
    assert not torch.equal(matches[0].parts(), matches[2].parts())


def test_a_hard_negative_is_drawn_before_an_easy_one() -> None:
    rows = normalize(torch.tensor([[1.0, 0.0, 0.0, 0.0, 0.0], [1.0, 0.2, 0.0, 0.0, 0.0], [0, 0, 1.0, 0, 0]]))
    match = Match()
    pmrl(dict.fromkeys(THREE, rows), batch_of(dict.fromkeys(THREE, rows)), match)
    assert which(rows, match.parts()[2, :2, 2]) == [1, 0]


def test_the_matching_term_trains_the_embeddings() -> None:
    z = unit(4, 5, 0, THREE)
    with_match = gradient_by(z, lambda y: pmrl(y, batch_of(z), Match()))
    assert not torch.allclose(with_match, gradient_by(z, lambda y: pmrl(y, batch_of(z))))


# the scorer that is kept with the head

ALL = ["audio", "image", "text"]


def make_head() -> Head:
    head = Head("linear", 5)
    for modality in ALL:
        head.add_branch(modality, 5)
    return head


def two() -> Batch:
    """Return rows of pictures and texts only."""
    return batch_of(unit(modalities=("image", "text")))


def test_a_modality_that_a_batch_lacks_is_absent_from_all_its_rows() -> None:
    batch = two()
    z, whole = with_absent(batch.features, batch, ALL)
    assert not whole.present["audio"].any()
    assert whole.item["audio"].tolist() == [-1] * 6
    assert z["audio"].shape == z["text"].shape


def test_a_modality_that_nobody_brings_does_not_change_the_other_terms() -> None:
    batch = two()
    alone = pmrl(batch.features, batch)
    assert_close(pmrl(*with_absent(batch.features, batch, ALL)), alone)


def test_the_scorer_learns_from_batches_of_fewer_modalities_than_the_head_has() -> None:
    head = make_head()
    gradient = loss_gradient(head, with_scorer(head, pmrl))(two())
    assert gradient.by_name["losses.pmrl audio image text.0.weight"].any()


def test_a_branch_that_a_batch_lacks_gets_no_gradient() -> None:
    head = make_head()
    assert "layers.audio.weight" not in loss_gradient(head, with_scorer(head, pmrl))(two()).by_name


def test_without_its_weight_the_matching_term_leaves_the_scorer_alone() -> None:
    head = make_head()
    gradient = loss_gradient(head, with_scorer(head, partial(pmrl, match_weight=0.0)))(two())
    assert not any(name.startswith("losses.") for name in gradient.by_name)


def test_a_later_modality_gets_a_scorer_of_its_own_width() -> None:
    head = Head("linear", 5)
    for modality in ("image", "text"):
        head.add_branch(modality, 5)
    with_scorer(head, pmrl)
    head.add_branch("audio", 5)
    with_scorer(head, pmrl)
    assert set(head.losses) == {"pmrl image text", "pmrl audio image text"}
    assert head.get_parameter("losses.pmrl audio image text.0.weight").shape == torch.Size([5, 15])
