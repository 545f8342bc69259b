from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from engine.errors import UserError
from engine.heads.head import Head
from engine.types import HeadForm
from stored import FakeStore, Recorder, from_disk, make_head, moved, teach
from training.batch import select_modalities
from training.gradient import Gradient, compose, loss_gradient
from training.methods import LOSSES
from training.strategies.co2l import Cila, Co2l, adapted_weight, frozen, log_similarities, relation_loss

infonce = LOSSES["infonce"]
TEXT = "layers.text.weight"
RELATIONS = pytest.mark.parametrize("kind", [Co2l, Cila])
FORMS = pytest.mark.parametrize(
    ("form", "shared_top"), [("linear", False), ("linear", True), ("mlp", False), ("mlp", True)]
)


# relations


def spread(value: Tensor, head: Head) -> float:
    """Return the largest entry of a value's gradient by the head's parameters."""
    gradients = torch.autograd.grad(value, list(head.parameters()), allow_unused=True)
    return max(float(g.abs().max()) for g in gradients if g is not None)


@FORMS
def test_a_head_is_at_rest_with_itself_at_equal_temperatures(form: HeadForm, shared_top: bool) -> None:
    head, batch = make_head(form, shared_top=shared_top), FakeStore().lesson(1)[0]
    assert spread(relation_loss(head, frozen(head), batch, 0.2, 0.2), head) < 1e-6


def test_a_head_is_not_at_rest_with_itself_at_the_published_temperatures() -> None:
    head, batch = make_head(), FakeStore().lesson(1)[0]
    assert spread(relation_loss(head, frozen(head), batch, 0.2, 0.01), head) > 1e-2


def test_similarities_leave_a_row_itself_out() -> None:
    own = torch.tensor([[1.0, 0.5, 0.2], [0.5, 1.0, 0.1], [0.2, 0.1, 1.0]])
    p = log_similarities(torch.linalg.cholesky(own), 0.2).exp()
    first = torch.tensor([0.5, 0.2]).div(0.2).softmax(0)
    assert_close(p[0], torch.cat([torch.zeros(1), first]))


def test_relations_are_a_cross_entropy_over_all_rows_of_both_modalities() -> None:
    head, batch = make_head(), FakeStore().lesson(1)[0]
    teacher = moved(make_head())
    values = []
    f, g = (torch.cat([h(batch.features)[m] for m in ("image", "text")]).detach() for h in (head, teacher))
    for i in range(16):
        rest = [j for j in range(16) if j != i]
        wanted = (g[i] @ g[rest].T / 0.5).softmax(0)
        values.append(-(wanted * (f[i] @ f[rest].T / 0.2).log_softmax(0)).sum())
    assert_close(relation_loss(head, teacher, batch, 0.2, 0.5).detach(), torch.stack(values).mean())


def test_absent_items_are_left_out_of_relations() -> None:
    head, batch = make_head("mlp"), FakeStore().lesson(1)[0]
    teacher = moved(make_head("mlp"))
    present = torch.tensor([True] * 5 + [False] * 3)
    lacking = replace(batch, present={**batch.present, "text": present})
    zeroed = replace(lacking, features={**batch.features, "text": batch.features["text"] * present[:, None]})
    assert_close(
        relation_loss(head, teacher, lacking, 0.2, 0.1), relation_loss(head, teacher, zeroed, 0.2, 0.1)
    )


def test_one_item_has_no_relations() -> None:
    head, batch = make_head(), FakeStore().lesson(1, rows=1)[0]
    alone = select_modalities(batch, ["text"])
    assert float(relation_loss(head, frozen(head), alone, 0.2, 0.1)) == 0


@RELATIONS
def test_a_first_lesson_has_nothing_to_keep(kind: type[Co2l] | type[Cila]) -> None:
    store, head = FakeStore(), make_head()
    inner = loss_gradient(head, infonce)
    gradient = kind().gradient(head, store.lesson(1)[0], inner)
    assert_close(gradient.by_name, inner(store.lesson(1)[0]).by_name, rtol=0, atol=0)


@RELATIONS
def test_the_head_a_lesson_starts_from_is_what_is_kept(kind: type[Co2l] | type[Cila]) -> None:
    store, head, link = FakeStore(), make_head(), kind(kappa=0.2, kappa_star=0.2)
    teach(link, head, store.lesson(1), Recorder())
    start = frozen(head)
    first, second = store.lesson(2)
    link.gradient(head, first, Recorder())
    gradient = link.gradient(moved(head), second, Recorder())
    assert_close(gradient.loss, relation_loss(head, start, second, 0.2, 0.2).detach())


@RELATIONS
def test_every_lesson_starts_from_a_teacher_of_its_own(kind: type[Co2l] | type[Cila]) -> None:
    store, head, link = FakeStore(), make_head(), kind(kappa=0.2, kappa_star=0.2)
    for number in (1, 2):
        teach(link, moved(head), store.lesson(number), Recorder())
    gradient = link.gradient(moved(head), store.lesson(3)[0], Recorder())
    assert max(float(g.abs().max()) for g in gradient.by_name.values()) < 1e-6


def test_power_weighs_the_term() -> None:
    store, head = FakeStore(), make_head()
    terms = []
    for power in (1.0, 3.0):
        link = Co2l(power=power)
        teach(link, head, store.lesson(1), Recorder())
        terms.append(link.gradient(head, store.lesson(2)[0], Recorder()).by_name[TEXT])
    assert_close(terms[1], 3 * terms[0])


@RELATIONS
def test_a_modality_that_is_new_is_not_held(kind: type[Co2l] | type[Cila]) -> None:
    store, head, link = FakeStore(), make_head(modalities=("audio", "image", "text")), kind()
    teach(link, head, store.lesson(1), Recorder())
    gradient = link.gradient(head, store.lesson(2, modalities=("audio", "text"))[0], Recorder())
    assert set(gradient.by_name) == {TEXT}


@RELATIONS
def test_a_lesson_of_new_modalities_alone_is_not_held(kind: type[Co2l] | type[Cila]) -> None:
    store, head, link = FakeStore(), make_head(modalities=("audio", "depth", "image", "text")), kind()
    teach(link, head, store.lesson(1), Recorder())
    gradient = link.gradient(head, store.lesson(2, modalities=("audio", "depth"))[0], Recorder())
    assert (float(gradient.loss), gradient.by_name) == (0, {})


@RELATIONS
def test_relations_hold_for_rows_of_weight_0(kind: type[Co2l] | type[Cila]) -> None:
    store, head, link = FakeStore(), make_head(), kind()
    teach(link, head, store.lesson(1), Recorder())
    batch = store.lesson(2)[0]
    silent = replace(batch, weight=torch.zeros(8))
    silent_gradient, gradient = (
        link.gradient(head, silent, Recorder()),
        link.gradient(head, batch, Recorder()),
    )
    assert_close(silent_gradient.by_name, gradient.by_name)


@RELATIONS
def test_rows_of_a_memory_asked_for_alone_are_not_distilled(kind: type[Co2l] | type[Cila]) -> None:
    store, head, link = FakeStore(), make_head(), kind()
    teach(link, head, store.lesson(1), Recorder())
    step = compose([link], head, Recorder())
    assert step(replace(store.lesson(2)[0], is_memory=True)).by_name == {}


@RELATIONS
@FORMS
def test_relations_go_on_from_disk_bit_for_bit(
    kind: type[Co2l] | type[Cila], form: HeadForm, shared_top: bool
) -> None:
    store, head = FakeStore(), make_head(form, shared_top=shared_top)
    inner = loss_gradient(head, infonce)
    link, resumed = kind(), kind()
    for number in (1, 2):
        teach(link, head, store.lesson(number), inner)
    moved(head)
    resumed.state.update(from_disk(link.state))
    third = store.lesson(3, batches=3)
    expected, gradients = teach(link, head, third, inner), teach(resumed, head, third, inner)
    assert_close(gradients[-1].by_name, expected[-1].by_name, rtol=0, atol=0)
    assert_close(resumed.state, link.state, rtol=0, atol=0)


# adaptive weight


@pytest.mark.parametrize(
    ("losses", "weight"),
    [({}, 1.0), ({"losses": (0.4, 1.0)}, 2.0), ({"losses": (0.1, 1.0)}, 1.0), ({"losses": (0.4, 0.0)}, 1.0)],
)
def test_the_weight_follows_the_ratio_of_past_losses(
    losses: Mapping[str, tuple[float, float]], weight: float
) -> None:
    assert adapted_weight({name: torch.tensor(pair) for name, pair in losses.items()}, 5.0) == pytest.approx(
        weight
    )


def test_the_mean_losses_of_lessons_from_the_second_on_are_summed_unweighted() -> None:
    store, head, link = FakeStore(), make_head(), Cila(kappa=0.2, kappa_star=0.1)
    teach(link, head, store.lesson(1), Recorder(Gradient(torch.tensor(9.0), {})))
    teach(link, head, store.lesson(2), Recorder(Gradient(torch.tensor(1.5), {})))
    third = store.lesson(3)
    teach(link, head, third, Recorder(Gradient(torch.tensor(0.5), {})))
    batches, start = [*store.lesson(2), *third], frozen(head)
    distilled = [float(relation_loss(start, start, batch, 0.2, 0.1)) for batch in batches]
    assert_close(link.state["losses"], torch.tensor([sum(distilled) / 2, 2.0]).double(), rtol=1e-5, atol=0)


def test_a_third_lesson_weighs_distillation_by_the_second() -> None:
    store, head, link = FakeStore(), make_head(), Cila()
    for number in (1, 2):
        teach(link, head, store.lesson(number), Recorder(Gradient(torch.tensor(1.0), {})))
    plain = Co2l()
    plain.state.update({k: t for k, t in link.state.items() if k.startswith("learned.")})
    batch = store.lesson(3)[0]
    weight = 5 * float(link.state["losses"][0])
    weighted = link.gradient(head, batch, Recorder()).by_name[TEXT]
    assert weight > 2
    assert_close(weighted, weight * plain.gradient(head, batch, Recorder()).by_name[TEXT])


def test_asking_again_about_a_batch_counts_its_losses_once() -> None:
    store, head, links = FakeStore(), make_head(), (Cila(), Cila())
    first, second = store.lesson(2)
    for link, batches in zip(links, ([first, second], [first, first, first, second]), strict=True):
        teach(link, head, store.lesson(1), Recorder())
        teach(link, head, batches, Recorder())
    assert_close(links[0].state, links[1].state, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Co2l(power=-1.0), "co2l.power must be at least 0, not -1.0"),
        (lambda: Co2l(kappa=0.0), "co2l.kappa must be above 0, not 0.0"),
        (lambda: Co2l(kappa_star=0.0), "co2l.kappa_star must be above 0, not 0.0"),
        (lambda: Cila(balance=-1.0), "cila.balance must be at least 0, not -1.0"),
        (lambda: Cila(kappa=0.0), "cila.kappa must be above 0, not 0.0"),
        (lambda: Cila(kappa_star=0.0), "cila.kappa_star must be above 0, not 0.0"),
    ],
)
def test_bad_values_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(UserError) as caught:
        make()
    assert str(caught.value) == message
