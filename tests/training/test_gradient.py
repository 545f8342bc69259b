from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import ClassVar

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from engine.heads.head import Head
from engine.types import HeadForm
from training.batch import Batch, join
from training.gradient import Gradient, GradientFn, Loss, Strategy, compose, embed, loss_gradient
from training.losses.pairwise import infonce


@dataclass
class Named:
    """A strategy that notes when it is asked and adds one letter's worth to what comes back."""

    name: str
    seen: list[str]
    change: Callable[[Tensor], Tensor]
    skips_memory: ClassVar[bool] = False
    state: dict[str, Tensor] = field(default_factory=dict)

    def gradient(self, head: Head, batch: Batch, inner: GradientFn) -> Gradient:
        self.seen.append(self.name)
        gradient = inner(batch)
        return Gradient(gradient.loss, {name: self.change(g) for name, g in gradient.by_name.items()})

    def end_task(self, head: Head, batches: Iterable[Batch], loss: Loss) -> None: ...


@dataclass
class PastMemory:
    """A strategy that doubles every gradient, those of a memory's rows alone excepted."""

    skips_memory: ClassVar[bool] = True
    state: dict[str, Tensor] = field(default_factory=dict)

    def gradient(self, head: Head, batch: Batch, inner: GradientFn) -> Gradient:
        plain = inner(batch)
        return Gradient(plain.loss, {name: 2 * g for name, g in plain.by_name.items()})

    def end_task(self, head: Head, batches: Iterable[Batch], loss: Loss) -> None: ...


def make_head(form: HeadForm = "linear", *modalities: str) -> Head:
    head = Head(form, 4)
    for modality in modalities or ("image", "text"):
        head.add_branch(modality, 4)
    return head


def make_batch(size: int = 5, seed: int = 3) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    return Batch(
        {m: torch.randn(size, 4, generator=draw) for m in ("image", "text")},
        {m: torch.ones(size, dtype=torch.bool) for m in ("image", "text")},
        {"image": torch.arange(size), "text": torch.arange(size) + size},
        torch.zeros(size, dtype=torch.int64),
        torch.ones(size),
        seed,
    )


def returns(**by_name: Tensor) -> GradientFn:
    return lambda batch: Gradient(torch.tensor(1.0), by_name)


def test_strategies_are_asked_from_the_outermost_inwards() -> None:
    seen: list[str] = []
    links = [Named("outer", seen, torch.neg), Named("inner", seen, torch.neg)]
    compose(links, make_head(), returns())(make_batch())
    assert seen == ["outer", "inner"]


def test_the_innermost_strategy_changes_the_gradient_first() -> None:
    links = [Named("outer", [], lambda g: g + 1), Named("inner", [], lambda g: g * 10)]
    step = compose(links, make_head(), returns(x=torch.tensor(2.0)))
    assert float(step(make_batch()).by_name["x"]) == 21


def test_no_strategies_leave_the_plain_gradient() -> None:
    assert float(compose([], make_head(), returns(x=torch.tensor(2.0)))(make_batch()).by_name["x"]) == 2


@pytest.mark.parametrize(("is_memory", "expected"), [(False, 5), (True, 3)])
def test_rows_of_a_memory_go_past_a_strategy_that_skips_them(is_memory: bool, expected: float) -> None:
    links: list[Strategy] = [Named("outer", [], lambda g: g + 1), PastMemory()]
    step = compose(links, make_head(), returns(x=torch.tensor(2.0)))
    assert float(step(replace(make_batch(), is_memory=is_memory)).by_name["x"]) == expected


def test_a_gradient_is_that_of_the_mean_over_rows() -> None:
    head, batch = make_head(), make_batch()
    gradient = loss_gradient(head, infonce)(batch)
    mean = infonce(head(batch.features), batch).mean()
    (expected,) = torch.autograd.grad(mean, [head.get_parameter("layers.image.weight")])
    assert_close(gradient.by_name["layers.image.weight"], expected)
    assert_close(gradient.loss, mean.detach())


def test_one_hot_weights_give_the_gradient_of_one_row() -> None:
    head, batch = make_head(), make_batch()
    alone = replace(batch, weight=torch.tensor([0.0, 0.0, 1.0, 0.0, 0.0]))
    value = infonce(head(batch.features), batch)[2]
    (expected,) = torch.autograd.grad(value, [head.get_parameter("layers.text.weight")])
    assert_close(loss_gradient(head, infonce)(alone).by_name["layers.text.weight"], expected)


def test_the_gradients_of_single_rows_average_to_that_of_the_batch() -> None:
    head, batch = make_head(), make_batch()
    inner = loss_gradient(head, infonce)
    alone = [inner(replace(batch, weight=row)).by_name["layers.text.weight"] for row in torch.eye(5)]
    assert_close(torch.stack(alone).mean(0), inner(batch).by_name["layers.text.weight"])


def test_a_parameter_the_batch_does_not_touch_is_absent() -> None:
    head = make_head("linear", "audio", "image", "text")
    assert set(loss_gradient(head, infonce)(make_batch()).by_name) == {
        "layers.image.weight",
        "layers.text.weight",
    }


def test_a_frozen_parameter_is_absent() -> None:
    head = make_head()
    head.get_parameter("layers.image.weight").requires_grad_(False)
    assert set(loss_gradient(head, infonce)(make_batch()).by_name) == {"layers.text.weight"}


def test_a_batch_of_weight_0_has_a_finite_loss_of_0() -> None:
    nothing = replace(make_batch(), weight=torch.zeros(5))
    assert float(loss_gradient(make_head(), infonce)(nothing).loss) == 0


def test_a_gradient_leaves_the_head_as_it_found_it() -> None:
    head = make_head("mlp").train()
    before = {name: p.detach().clone() for name, p in head.named_parameters()}
    loss_gradient(head, infonce)(make_batch())
    assert all(torch.equal(p, before[name]) and p.grad is None for name, p in head.named_parameters())


def plain(head: Head, loss: Loss = infonce) -> GradientFn:
    return loss_gradient(head, loss)


def test_all_calls_on_one_batch_share_their_dropout_masks() -> None:
    inner = plain(make_head("mlp").train())
    assert torch.equal(inner(make_batch()).loss, inner(make_batch()).loss)


def test_a_batch_of_another_seed_has_other_dropout_masks() -> None:
    inner = plain(make_head("mlp").train())
    assert not torch.equal(inner(make_batch()).loss, inner(replace(make_batch(), seed=4)).loss)


def test_the_global_random_state_does_not_move_dropout() -> None:
    inner = plain(make_head("mlp").train())
    first = inner(make_batch()).loss
    torch.rand(3)
    assert torch.equal(inner(make_batch()).loss, first)


def test_fixed_rows_stand_in_for_the_heads_own() -> None:
    given = torch.zeros(5, 4)
    given[2] = torch.tensor([0, 1.0, 0, 0])
    z = embed(make_head(), replace(make_batch(), fixed={"image": given}))
    assert_close(z["image"][2], given[2])
    assert_close(z["image"][:2], make_head()(make_batch().features)["image"][:2])


def test_a_branch_whose_rows_are_all_fixed_gets_a_gradient_of_zero() -> None:
    given = torch.nn.functional.normalize(torch.randn(5, 4, generator=torch.Generator().manual_seed(1)))
    gradient = loss_gradient(make_head(), infonce)(replace(make_batch(), fixed={"image": given}))
    assert not gradient.by_name["layers.image.weight"].any()
    assert gradient.by_name["layers.text.weight"].any()


def test_joined_fixed_rows_leave_the_heads_own_rows_alone() -> None:
    given = replace(make_batch(2, seed=9), fixed={"image": torch.eye(4)[:2]})
    z = embed(make_head(), join(make_batch(), given))
    assert_close(z["image"][5:], torch.eye(4)[:2])
    assert_close(z["image"][:5], make_head()(make_batch().features)["image"])
