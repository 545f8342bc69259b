from functools import partial

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from engine.heads.head import Head
from engine.types import HeadForm, Modality
from training.batch import Batch, Embeddings
from training.gradient import Loss, embed
from training.losses.pairwise import infonce, triplet
from training.strategies.row_gradients import row_gradients, sensitivity, spread

FORMS = pytest.mark.parametrize("form", ["linear", "mlp"])
TOPS = pytest.mark.parametrize("shared_top", [False, True])
LOSSES = pytest.mark.parametrize("loss", [infonce, triplet])


def make_head(form: HeadForm = "mlp", *, shared_top: bool = False) -> Head:
    head = Head(form, 4, shared_top=shared_top, seed=3)
    for modality in ("image", "text"):
        head.add_branch(modality, 6)
    return head.eval()


def make_batch(rows: int = 5, *, absent: tuple[Modality, ...] = ()) -> Batch:
    draw = torch.Generator().manual_seed(rows)
    features = {m: torch.randn(rows, 6, generator=draw) for m in ("image", "text", *absent)}
    present = {m: torch.full((rows,), m not in absent) for m in features}
    item = {m: torch.arange(rows) for m in features}
    return Batch(features, present, item, torch.zeros(rows, dtype=torch.int64), torch.ones(rows))


def slow_row(head: Head, loss: Loss, batch: Batch, row: int) -> dict[str, Tensor]:
    """Return the gradient of one row's value, straight by the parameters."""
    named = dict(head.named_parameters())
    gradients = torch.autograd.grad(loss(embed(head, batch), batch)[row], list(named.values()))
    return dict(zip(named, gradients, strict=True))


def slow_sensitivity(head: Head, x: Tensor) -> dict[str, Tensor]:
    """Return the mean absolute gradient of |y|^2, one row at a time."""
    named = {name: p for name, p in head.named_parameters() if head.branch_of(name) != "text"}
    energies = head.project({"image": x})["image"].square().sum(1)
    each = [torch.autograd.grad(e, list(named.values()), retain_graph=True) for e in energies]
    return {
        name: torch.stack(g).abs().mean(0) for name, g in zip(named, zip(*each, strict=True), strict=True)
    }


@FORMS
@TOPS
@LOSSES
def test_a_rows_gradient_is_that_of_its_own_value(form: HeadForm, shared_top: bool, loss: Loss) -> None:
    head, batch = make_head(form, shared_top=shared_top), make_batch()
    gradients = list(row_gradients(head, loss, batch, torch.tensor([3])))
    assert_close(gradients, [slow_row(head, loss, batch, 3)], rtol=1e-4, atol=1e-6)


def test_the_rows_come_in_the_order_asked_for() -> None:
    head, batch = make_head("linear"), make_batch()
    gradients = list(row_gradients(head, infonce, batch, torch.tensor([4, 0])))
    slow = [slow_row(head, infonce, batch, row) for row in (4, 0)]
    assert_close(gradients, slow, rtol=1e-4, atol=1e-6)


def test_a_loss_of_two_modalities_leaves_a_third_ones_branch_out() -> None:
    head, batch = make_head("linear"), make_batch(absent=("audio",))
    head.add_branch("audio", 6)
    (gradient,) = row_gradients(head, infonce, batch, torch.tensor([0]))
    assert set(gradient) == {"layers.image.weight", "layers.text.weight"}


def test_a_loss_that_depends_on_no_parameter_has_no_row_gradients() -> None:
    def constant(z: Embeddings, batch: Batch) -> Tensor:
        return torch.ones(len(batch))

    assert list(row_gradients(make_head(), constant, make_batch(), torch.tensor([0]))) == []


def test_a_frozen_branch_has_no_row_gradients() -> None:
    head = make_head("mlp")
    head.layers["text"].requires_grad_(False)
    (gradient,) = row_gradients(head, infonce, make_batch(), torch.tensor([0]))
    assert {head.branch_of(name) for name in gradient} == {"image"}


def test_no_hook_stays_on_the_head() -> None:
    head = make_head()
    list(row_gradients(head, infonce, make_batch(), torch.tensor([0])))
    assert not any(module._forward_hooks for module in head.modules())


@FORMS
@TOPS
def test_sensitivity_is_the_mean_absolute_gradient_of_single_rows(form: HeadForm, shared_top: bool) -> None:
    head, x = make_head(form, shared_top=shared_top), make_batch(7).features["image"]
    assert_close(sensitivity(head, head.project, "image", x), slow_sensitivity(head, x))


def test_the_sensitivity_of_a_known_matrix_is_6_6_2_2() -> None:
    head = Head("linear", 2).eval()
    head.add_branch("image", 2)
    head.get_parameter("layers.image.weight").data = torch.tensor([[1.0, 2.0], [0.0, 1.0]])
    importance = sensitivity(head, head.project, "image", torch.ones(1, 2))
    assert_close(importance, {"layers.image.weight": torch.tensor([[6.0, 6.0], [2.0, 2.0]])})


@FORMS
def test_outputs_of_unit_length_are_refused(form: HeadForm) -> None:
    head = make_head(form)
    with pytest.raises(ValueError, match="before normalisation"):
        sensitivity(head, partial(head.forward, seed=0), "image", make_batch().features["image"])


def test_outputs_that_only_happen_to_be_of_unit_length_are_taken() -> None:
    head = Head("linear", 6).eval()
    head.add_branch("image", 6)
    x = torch.nn.functional.normalize(make_batch().features["image"], dim=1)
    importance = sensitivity(head, head.project, "image", x)
    assert_close(importance["layers.image.weight"], 2 * x.abs().T @ x.abs() / 5)


def test_rows_are_taken_evenly_over_all_batches() -> None:
    taken = spread([torch.ones(4, dtype=torch.bool), torch.ones(4, dtype=torch.bool)], 4)
    assert [rows.tolist() for rows in taken] == [[0, 2], [0, 2]]


def test_rows_that_are_not_eligible_are_not_taken() -> None:
    taken = spread([torch.tensor([False, True]), torch.tensor([True, False])], 9)
    assert [rows.tolist() for rows in taken] == [[1], [0]]


def test_no_rows_are_taken_where_none_is_eligible() -> None:
    assert [rows.tolist() for rows in spread([torch.tensor([False, False])], 9)] == [[]]
