from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from engine.errors import UserError
from engine.heads.head import Head
from engine.types import HeadForm
from training.batch import Batch
from training.gradient import Gradient, loss_gradient
from training.losses.pairwise import infonce
from training.strategies.sam import CFlat, Sam, shifted

NOTHING = Batch({}, {}, {}, torch.zeros(0, dtype=torch.int64), torch.zeros(0))
IMAGE, TEXT = "layers.image.weight", "layers.text.weight"
FORMS = pytest.mark.parametrize("form", ["linear", "mlp"])
LINKS = pytest.mark.parametrize("link", [Sam(), CFlat()])


def make_head(form: HeadForm = "linear", width: int = 3) -> Head:
    head = Head(form, width)
    for modality in ("image", "text"):
        head.add_branch(modality, width)
    return head


def scalar_head(w: float) -> Head:
    head = Head("linear", 1)
    head.add_branch("image", 1)
    head.get_parameter(IMAGE).data.fill_(w)
    return head


def make_batch() -> Batch:
    draw = torch.Generator().manual_seed(1)
    features = {m: torch.randn(6, 3, generator=draw) for m in ("image", "text")}
    present = {m: torch.ones(6, dtype=torch.bool) for m in features}
    item = {m: torch.arange(6) for m in features}
    return Batch(features, present, item, torch.zeros(6, dtype=torch.int64), torch.ones(6), seed=4)


@dataclass
class Bowl:
    """The gradient of curvature / 2 x |p|^2 by some parameters; notes where it was asked."""

    head: Head
    names: tuple[str, ...] = (IMAGE,)
    curvature: float = 2.0
    points: list[dict[str, Tensor]] = field(default_factory=list)

    def __call__(self, batch: Batch) -> Gradient:
        point = {name: p.detach().clone() for name, p in self.head.named_parameters()}
        self.points.append(point)
        by_name = {name: self.curvature * point[name] for name in self.names}
        return Gradient(torch.tensor(float(len(self.points))), by_name)


def moved(bowl: Bowl, call: int) -> Tensor:
    """Return how far the parameters were shifted at a call, all together."""
    pairs = zip(bowl.points[call].values(), bowl.head.parameters(), strict=True)
    length: Tensor = torch.cat([(point - p).flatten() for point, p in pairs]).norm()
    return length


def test_a_shift_moves_the_parameters_within() -> None:
    head = make_head()
    with shifted(head, {IMAGE: torch.ones(3, 3)}):
        assert_close(head.get_parameter(IMAGE).detach(), torch.eye(3) + 1)


def test_a_shift_is_undone_to_the_bit() -> None:
    head, before = make_head("mlp"), {n: p.clone() for n, p in make_head("mlp").named_parameters()}
    draw = torch.Generator().manual_seed(0)
    with shifted(head, {n: torch.randn(p.shape, generator=draw) for n, p in before.items()}):
        pass
    assert_close(dict(head.named_parameters()), before, rtol=0, atol=0)


def test_a_shift_is_undone_when_what_is_within_fails() -> None:
    head = make_head()
    with pytest.raises(LookupError), shifted(head, {IMAGE: torch.full((3, 3), 0.1)}):
        raise LookupError
    assert torch.equal(head.get_parameter(IMAGE), torch.eye(3))


def test_sam_returns_the_gradient_uphill() -> None:
    head = scalar_head(1.0)
    gradient = Sam(rho=0.05).gradient(head, NOTHING, Bowl(head))
    assert_close(gradient.by_name[IMAGE], torch.tensor([[2 * 1.05]]))


def test_sam_reports_the_loss_where_the_head_stands() -> None:
    head = scalar_head(1.0)
    assert float(Sam().gradient(head, NOTHING, Bowl(head)).loss) == 1.0


def test_sams_shift_has_length_rho_over_all_parameters_together() -> None:
    head = make_head()
    bowl = Bowl(head, (IMAGE, TEXT))
    Sam(rho=0.3).gradient(head, NOTHING, bowl)
    assert_close(moved(bowl, 1), torch.tensor(0.3))


def test_sam_asks_twice() -> None:
    bowl = Bowl(make_head())
    Sam().gradient(bowl.head, NOTHING, bowl)
    assert len(bowl.points) == 2


def test_cflat_of_a_parabola_is_2_48() -> None:
    head = scalar_head(1.0)
    gradient = CFlat(rho=0.2, strength=0.2).gradient(head, NOTHING, Bowl(head))
    assert_close(gradient.by_name[IMAGE], torch.tensor([[2.48]]))


def test_cflat_asks_four_times() -> None:
    bowl = Bowl(make_head())
    CFlat().gradient(bowl.head, NOTHING, bowl)
    assert len(bowl.points) == 4


def test_cflat_reports_the_loss_where_the_head_stands() -> None:
    bowl = Bowl(make_head())
    assert float(CFlat().gradient(bowl.head, NOTHING, bowl).loss) == 1.0


def test_cflat_with_strength_0_is_sam() -> None:
    head, batch = make_head("mlp"), make_batch()
    inner = loss_gradient(head, infonce)
    ours = CFlat(rho=0.2, strength=0.0).gradient(head, batch, inner)
    assert_close(ours.by_name, Sam(rho=0.2).gradient(head, batch, inner).by_name, rtol=0, atol=0)


def slow_cflat(head: Head, inner: Callable[[], Tensor], rho: float, strength: float) -> Tensor:
    """Return the four-step recipe on the one vector of all parameters."""
    start = torch.nn.utils.parameters_to_vector(head.parameters()).detach().clone()

    def g(shift: Tensor) -> Tensor:
        torch.nn.utils.vector_to_parameters(start + shift, head.parameters())
        gradient = inner()
        torch.nn.utils.vector_to_parameters(start, head.parameters())
        return gradient

    g0 = g(torch.zeros_like(start))
    g1 = g(rho * g0 / g0.norm())
    e1 = rho * (g1 - g0) / (g1 - g0).norm()
    g2 = g(e1)
    g3 = g(e1 + rho * g2 / g2.norm())
    return g1 + strength * (g3 - g2)


@FORMS
def test_cflat_agrees_with_the_recipe_on_one_long_vector(form: HeadForm) -> None:
    head, batch = make_head(form), make_batch()
    inner = loss_gradient(head, infonce)
    gradient = CFlat(rho=0.1, strength=0.5).gradient(head, batch, inner)

    def flat() -> Tensor:
        return torch.cat([g.flatten() for g in inner(batch).by_name.values()])

    ours = torch.cat([g.flatten() for g in gradient.by_name.values()])
    assert_close(ours, slow_cflat(head, flat, 0.1, 0.5), rtol=1e-3, atol=1e-5)


@LINKS
def test_a_gradient_of_zero_shifts_nothing(link: Sam | CFlat) -> None:
    head = make_head()
    gradient = link.gradient(head, NOTHING, Bowl(head, curvature=0.0))
    assert_close(gradient.by_name[IMAGE], torch.zeros(3, 3), rtol=0, atol=0)


def test_cflat_of_a_linear_loss_is_its_gradient() -> None:
    head, slope = make_head(), {IMAGE: torch.full((3, 3), 0.5)}
    gradient = CFlat().gradient(head, NOTHING, lambda batch: Gradient(torch.tensor(0.0), slope))
    assert_close(gradient.by_name, slope, rtol=0, atol=0)


@LINKS
def test_a_batch_that_touches_nothing_gives_no_gradient(link: Sam | CFlat) -> None:
    gradient = link.gradient(make_head(), NOTHING, lambda batch: Gradient(torch.tensor(0.0), {}))
    assert gradient.by_name == {}


@LINKS
def test_a_branch_without_gradient_is_neither_shifted_nor_given_one(link: Sam | CFlat) -> None:
    bowl = Bowl(make_head())
    gradient = link.gradient(bowl.head, NOTHING, bowl)
    assert set(gradient.by_name) == {IMAGE}
    assert torch.equal(bowl.points[-1][TEXT], torch.eye(3))


@LINKS
def test_what_a_loss_trains_of_its_own_is_not_shifted(link: Sam | CFlat) -> None:
    head = make_head()
    head.add_scorer("match", 3)
    bowl = Bowl(head, (IMAGE, "losses.match.0.weight"))
    link.gradient(head, NOTHING, bowl)
    assert torch.equal(bowl.points[-1]["losses.match.0.weight"], head.get_parameter("losses.match.0.weight"))


@LINKS
def test_what_a_loss_trains_of_its_own_still_gets_its_gradient(link: Sam | CFlat) -> None:
    head = make_head()
    head.add_scorer("match", 3)
    gradient = link.gradient(head, NOTHING, Bowl(head, (IMAGE, "losses.match.0.weight")))
    assert "losses.match.0.weight" in gradient.by_name


@LINKS
@FORMS
def test_a_flat_step_leaves_the_head_to_the_bit(link: Sam | CFlat, form: HeadForm) -> None:
    head = make_head(form)
    before = {name: p.detach().clone() for name, p in head.named_parameters()}
    link.gradient(head, make_batch(), loss_gradient(head, infonce))
    assert_close(dict(head.named_parameters()), before, rtol=0, atol=0)


@LINKS
def test_flatness_remembers_nothing(link: Sam | CFlat) -> None:
    link.end_task(make_head(), [make_batch()], infonce)
    assert link.state == {}


@pytest.mark.parametrize("rho", [0.0, -1.0, float("nan"), float("inf")])
def test_sam_refuses_a_shift_of_no_length(rho: float) -> None:
    with pytest.raises(UserError, match=f"^sam.rho must be a number above 0, not {rho}$"):
        Sam(rho=rho)


def test_cflat_refuses_a_shift_of_no_length() -> None:
    with pytest.raises(UserError, match=r"^cflat.rho must be a number above 0, not 0$"):
        CFlat(rho=0)


def test_cflat_refuses_a_negative_strength() -> None:
    with pytest.raises(UserError, match=r"^cflat.strength must be a number from 0 up, not -1$"):
        CFlat(strength=-1)
