from collections.abc import Callable
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.testing import assert_close

from engine.errors import UserError
from engine.types import HeadForm
from stored import FakeStore, Recorder, from_disk, make_head, teach
from training.batch import Batch
from training.data.history import NO_PAST
from training.gradient import Gradient, GradientFn, compose, loss_gradient
from training.methods import LOSSES
from training.strategies.gem import Agem, Gem, constrained, minimum, without_conflict

infonce = LOSSES["infonce"]
KINDS = pytest.mark.parametrize("kind", [Gem, Agem])
FORMS = pytest.mark.parametrize(
    ("form", "shared_top"), [("linear", False), ("linear", True), ("mlp", False), ("mlp", True)]
)


def changed(g: list[float], memories: list[list[float]], margin: float = 0.0, epsilon: float = 0.0) -> Tensor:
    before = [{"x": torch.tensor(m)} for m in memories]
    return constrained({"x": torch.tensor(g)}, before, margin, epsilon)["x"]


def slow_minimum(square: NDArray[np.float64], linear: NDArray[np.float64], margin: float) -> float:
    """Return the least value of the programme over all choices of which variables stand at the margin."""
    best = np.inf
    for free in product([False, True], repeat=len(linear)):
        chosen, v = np.array(free), np.full(len(linear), margin)
        rest = linear[chosen] + square[np.ix_(chosen, ~chosen)] @ v[~chosen]
        v[chosen] = np.linalg.lstsq(square[np.ix_(chosen, chosen)], -rest, rcond=None)[0]
        if (v >= margin - 1e-9).all():
            best = min(best, 0.5 * v @ square @ v + linear @ v)
    return float(best)


def test_a_gradient_that_works_against_a_memory_loses_that_part() -> None:
    assert_close(changed([1.0, 0.0], [[-1.0, 1.0]]), torch.tensor([0.5, 0.5]))


def test_a_margin_of_1_adds_the_whole_gradient_of_the_memory() -> None:
    assert_close(changed([1.0, 0.0], [[-1.0, 1.0]], margin=1.0), torch.tensor([0.0, 1.0]))


def test_memories_on_both_sides_leave_nothing() -> None:
    assert_close(changed([1.0, 0.0], [[-1.0, 1.0], [-1.0, -1.0]]), torch.zeros(2))


def test_a_gradient_that_no_memory_objects_to_stays_as_it_is() -> None:
    assert changed([1.0, 0.0], [[1.0, 1.0], [0.0, 3.0]], margin=0.5).tolist() == [1.0, 0.0]


def test_a_memory_that_does_not_object_is_added_by_the_margin_where_another_objects() -> None:
    alone = changed([1.0, 0.0, 0.0], [[-1.0, 0.0, 0.0]], margin=0.5)
    both = changed([1.0, 0.0, 0.0], [[-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], margin=0.5)
    assert_close(both, alone + torch.tensor([0.0, 0.0, 0.5]))


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("margin", [0.0, 0.5])
def test_the_dual_is_solved_as_by_trying_every_active_set(seed: int, margin: float) -> None:
    draw = np.random.default_rng(seed)
    rows = draw.normal(size=(5, 4 if seed % 3 else 9)) + draw.normal(size=(1, 1)) * 3
    square = rows @ rows.T + 1e-3 * np.eye(5)
    linear = rows @ draw.normal(size=rows.shape[1]) * 4
    v = minimum(square, linear, margin)
    assert (v >= margin - 1e-12).all()
    assert 0.5 * v @ square @ v + linear @ v == pytest.approx(slow_minimum(square, linear, margin), abs=1e-8)


def test_two_equal_memories_change_the_gradient_as_one_does() -> None:
    by_one = changed([1.0, 0.0], [[-1.0, 1.0]])
    assert_close(changed([1.0, 0.0], [[-1.0, 1.0], [-1.0, 1.0]]), by_one)


@pytest.mark.parametrize("seed", range(5))
def test_without_margin_no_memory_gets_worse(seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    g, memories = torch.randn(6, generator=draw), torch.randn(4, 6, generator=draw)
    assert float((memories @ changed(g.tolist(), memories.tolist())).min()) > -1e-5


def test_memories_of_other_branches_do_not_constrain() -> None:
    own = {"image": torch.tensor([1.0])}
    assert constrained(own, [{"audio": torch.tensor([-1.0])}], 0.5, 1e-3) == own


def test_a_memory_brings_its_own_branch_into_the_step() -> None:
    past = {"text": torch.tensor([-2.0]), "audio": torch.tensor([3.0])}
    changed_gradient = constrained({"text": torch.tensor([1.0])}, [past], 0.5, 0.0)
    assert_close(changed_gradient, {"text": torch.tensor([0.0]), "audio": torch.tensor([1.5])})


def test_a_parameter_of_a_loss_is_neither_compared_nor_changed() -> None:
    own = {"losses.pmrl.0.weight": torch.tensor([1.0])}
    assert constrained(own, [{"losses.pmrl.0.weight": torch.tensor([-1.0])}], 0.5, 0.0) == own


def test_agem_takes_away_the_projection_on_the_reference() -> None:
    changed_gradient = without_conflict({"x": torch.tensor([1.0, 0.0])}, {"x": torch.tensor([-1.0, 1.0])})
    assert_close(changed_gradient, {"x": torch.tensor([0.5, 0.5])})


def test_agem_leaves_a_gradient_that_agrees_with_the_reference() -> None:
    own = {"x": torch.tensor([1.0, 0.0])}
    assert without_conflict(own, {"x": torch.tensor([1.0, 1.0])}) == own


def test_agem_leaves_the_parameters_of_a_loss_alone() -> None:
    own = {"x": torch.tensor([1.0]), "losses.a": torch.tensor([1.0])}
    changed_gradient = without_conflict(own, {"x": torch.tensor([-1.0]), "losses.a": torch.tensor([5.0])})
    assert changed_gradient["losses.a"].tolist() == [1.0]


# memories


@KINDS
def test_a_first_lesson_asks_about_its_own_batches_only(kind: type[Gem] | type[Agem]) -> None:
    store, inner = FakeStore(), Recorder()
    batches = store.lesson(1)
    teach(kind(store.past()), make_head(), batches, inner)
    assert inner.batches == batches


@KINDS
def test_every_lesson_leaves_so_many_rows(kind: type[Gem] | type[Agem]) -> None:
    store = FakeStore()
    link = kind(store.past(), size=5)
    for number in (1, 2):
        teach(link, make_head(), store.lesson(number), Recorder())
    assert {name: len(t) for name, t in link.state.items()} == {
        "0.image": 5,
        "0.text": 5,
        "1.image": 5,
        "1.text": 5,
    }


@KINDS
def test_remembered_rows_are_pairs_of_the_lesson(kind: type[Gem] | type[Agem]) -> None:
    store = FakeStore()
    link = kind(store.past(), size=5)
    teach(link, make_head(), store.lesson(1), Recorder())
    apart = link.state["0.text"] - link.state["0.image"]
    assert apart.tolist() == [100 * (ord("t") - ord("i"))] * 5


def test_the_rows_of_a_lesson_are_drawn_from_all_its_batches() -> None:
    store = FakeStore()
    link = Gem(store.past(), size=12)
    teach(link, make_head(), store.lesson(1, batches=6), Recorder())
    offsets = link.state["0.image"] - 1000 - 100 * ord("i")
    assert len(set((offsets // 8).tolist())) > 3
    assert len(set(offsets.tolist())) == 12


def past_lessons(link: Gem | Agem, store: FakeStore) -> list[Batch]:
    """Teach two lessons, the second of other modalities, and return what is inner in a step of the third."""
    inner = Recorder()
    teach(link, make_head(), store.lesson(1), Recorder())
    teach(link, make_head(), store.lesson(2, modalities=("audio", "text")), Recorder())
    link.gradient(make_head(), store.lesson(3)[0], inner)
    return inner.batches


def test_gem_asks_about_the_memory_of_every_lesson() -> None:
    store = FakeStore()
    inner = past_lessons(Gem(store.past()), store)
    assert [sorted(batch.features) for batch in inner] == [
        ["image", "text"],
        ["image", "text"],
        ["audio", "text"],
    ]


def test_gem_looks_at_so_many_rows_of_a_memory() -> None:
    store = FakeStore()
    assert [len(batch) for batch in past_lessons(Gem(store.past(), rows=6), store)] == [8, 6, 6]


def test_agem_asks_about_one_batch_of_all_lessons() -> None:
    store = FakeStore()
    inner = past_lessons(Agem(store.past()), store)
    assert [len(batch) for batch in inner] == [8, 32]
    assert inner[1].present["audio"].tolist() == [False] * 16 + [True] * 16


def test_agem_draws_so_many_rows() -> None:
    store = FakeStore()
    assert len(past_lessons(Agem(store.past(), rows=6), store)[1]) == 6


@KINDS
def test_rows_of_a_memory_are_marked_as_such(kind: type[Gem] | type[Agem]) -> None:
    store = FakeStore()
    assert all(batch.is_memory for batch in past_lessons(kind(store.past()), store)[1:])


@KINDS
def test_rows_of_another_memory_are_compared_with_none(kind: type[Gem] | type[Agem]) -> None:
    store, inner = FakeStore(), Recorder()
    link = kind(store.past())
    teach(link, make_head(), store.lesson(1), Recorder())
    compose([link], make_head(), inner)(replace(store.lesson(2)[0], is_memory=True))
    assert len(inner.batches) == 1


@KINDS
def test_asking_again_about_a_batch_compares_with_the_same_rows(kind: type[Gem] | type[Agem]) -> None:
    store, inner = FakeStore(), Recorder()
    link = kind(store.past(), rows=4)
    teach(link, make_head(), store.lesson(1), Recorder())
    batch = store.lesson(2)[0]
    link.gradient(make_head(), batch, inner)
    link.gradient(make_head(), batch, inner)
    assert torch.equal(inner.batches[1].item["text"], inner.batches[3].item["text"])


def test_rows_whose_items_are_gone_are_left_out() -> None:
    store, inner = FakeStore(), Recorder()
    link = Gem(store.past())
    teach(link, make_head(), store.lesson(1), Recorder())
    for n in link.state["0.image"][:3].tolist():
        del store.items["image", n]
    link.gradient(make_head(), store.lesson(2)[0], inner)
    assert len(inner.batches[1]) == 13


@KINDS
def test_a_memory_of_which_nothing_is_left_does_not_constrain(kind: type[Gem] | type[Agem]) -> None:
    store, inner = FakeStore(), Recorder()
    link = kind(store.past())
    teach(link, make_head(), store.lesson(1), Recorder())
    store.items.clear()
    link.gradient(make_head(), store.lesson(2)[0], inner)
    assert len(inner.batches) == 1


@KINDS
def test_a_memory_of_which_one_row_is_left_cannot_rank_and_does_not_constrain(
    kind: type[Gem] | type[Agem],
) -> None:
    store, inner = FakeStore(), Recorder()
    link = kind(store.past())
    teach(link, make_head(), store.lesson(1), Recorder())
    for n in link.state["0.image"][1:].tolist():
        del store.items["image", n]
    link.gradient(make_head(), store.lesson(2)[0], inner)
    assert len(inner.batches) == 1


def test_a_memory_of_which_two_rows_are_left_constrains() -> None:
    store, inner = FakeStore(), Recorder()
    link = Gem(store.past())
    teach(link, make_head(), store.lesson(1), Recorder())
    for n in link.state["0.image"][2:].tolist():
        del store.items["image", n]
    link.gradient(make_head(), store.lesson(2)[0], inner)
    assert len(inner.batches[1]) == 2


@KINDS
def test_rows_of_a_memory_weigh_1_and_are_negatives_of_each_other(kind: type[Gem] | type[Agem]) -> None:
    store = FakeStore()
    memory = past_lessons(kind(store.past()), store)[1]
    assert set(memory.weight.tolist()) == {1}
    assert set(memory.group.tolist()) == {0}


@KINDS
def test_rows_of_a_memory_share_the_dropout_masks_of_the_batch(kind: type[Gem] | type[Agem]) -> None:
    store = FakeStore()
    batch, *memories = past_lessons(kind(store.past(), rows=4), store)
    assert {memory.seed for memory in memories} == {batch.seed}


def test_a_memory_that_is_looked_at_whole_stays_in_its_order() -> None:
    store, inner = FakeStore(), Recorder()
    link = Gem(store.past(), size=10, rows=10)
    teach(link, make_head(), store.lesson(1), Recorder())
    link.gradient(make_head(), store.lesson(2)[0], inner)
    assert inner.batches[1].item["text"].tolist() == link.state["0.text"].tolist()


def test_a_row_that_lacks_a_modality_is_remembered_without_it() -> None:
    store, inner = FakeStore(), Recorder()
    link = Gem(store.past())
    (pictures,) = store.lesson(1, batches=1)
    (sounds,) = store.lesson(2, batches=1, modalities=("audio", "text"))
    teach(link, make_head(modalities=("audio", "image", "text")), [pictures, sounds], Recorder())
    link.gradient(make_head(), store.lesson(3)[0], inner)
    memory = inner.batches[1]
    assert link.state["0.audio"].tolist() == [-1] * 8 + sounds.item["audio"].tolist()
    assert memory.present["image"].tolist() == [True] * 8 + [False] * 8
    assert not memory.features["image"][8:].any()


@KINDS
def test_features_are_recalled_once_a_lesson(kind: type[Gem] | type[Agem]) -> None:
    store = FakeStore()
    link = kind(store.past())
    teach(link, make_head(), store.lesson(1), Recorder())
    teach(link, make_head(), store.lesson(2, batches=4), Recorder())
    assert store.recalled == ["image", "text"]


def against(head_gradient: Gradient) -> GradientFn:
    """Return a gradient function whose memory's gradient is minus a batch's."""

    def inner(batch: Batch) -> Gradient:
        sign = -1 if batch.is_memory else 1
        return Gradient(head_gradient.loss, {n: sign * g for n, g in head_gradient.by_name.items()})

    return inner


@KINDS
def test_a_step_wholly_against_a_memory_comes_to_nothing(kind: type[Gem] | type[Agem]) -> None:
    store = FakeStore()
    link = Gem(store.past(), margin=0, epsilon=0) if kind is Gem else Agem(store.past())
    teach(link, make_head(), store.lesson(1), Recorder())
    inner = against(Gradient(torch.tensor(2.0), {"layers.text.weight": torch.ones(4, 6)}))
    gradient = link.gradient(make_head(), store.lesson(2)[0], inner)
    assert_close(gradient.by_name["layers.text.weight"], torch.zeros(4, 6))
    assert float(gradient.loss) == 2


@KINDS
@FORMS
def test_it_goes_on_from_disk_bit_for_bit(
    kind: type[Gem] | type[Agem], form: HeadForm, shared_top: bool
) -> None:
    store, head = FakeStore(), make_head(form, shared_top=shared_top, modalities=("audio", "image", "text"))
    inner = loss_gradient(head, infonce)
    link, resumed = (kind(store.past(), size=10, rows=6) for _ in range(2))
    teach(link, head, store.lesson(1), inner)
    teach(link, head, store.lesson(2, modalities=("audio", "text")), inner)
    resumed.state.update(from_disk(link.state))
    third = store.lesson(3, batches=3)
    expected, gradients = teach(link, head, third, inner), teach(resumed, head, third, inner)
    assert_close(gradients[-1].by_name, expected[-1].by_name, rtol=0, atol=0)
    assert_close(resumed.state, link.state, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Gem(NO_PAST, size=0),
            "gem.size must be at least 1, not 0: gem compares with remembered rows",
        ),
        (lambda: Gem(NO_PAST, rows=1), "gem.rows must be at least 2, not 1: a row needs negatives"),
        (lambda: Gem(NO_PAST, margin=-1.0), "gem.margin must be at least 0, not -1.0"),
        (lambda: Gem(NO_PAST, epsilon=-1.0), "gem.epsilon must be at least 0, not -1.0"),
        (lambda: Gem(NO_PAST, margin=float("nan")), "gem.margin must be at least 0, not nan"),
        (
            lambda: Agem(NO_PAST, size=0),
            "agem.size must be at least 1, not 0: agem compares with remembered rows",
        ),
        (lambda: Agem(NO_PAST, rows=1), "agem.rows must be at least 2, not 1: a row needs negatives"),
    ],
)
def test_bad_values_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(UserError) as caught:
        make()
    assert str(caught.value) == message
