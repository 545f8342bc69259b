from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from engine.errors import UserError
from engine.heads.head import Head
from engine.types import HeadForm
from stored import FakeStore, Recorder, from_disk, make_head, moved, teach
from training.batch import Batch
from training.data.history import NO_PAST
from training.gradient import Gradient, compose, loss_gradient
from training.methods import LOSSES
from training.strategies.co2l import frozen
from training.strategies.der import Der, DerPp, ScoredMemory, partner_rows

infonce = LOSSES["infonce"]
TEXT = "layers.text.weight"
DARKS = pytest.mark.parametrize("kind", [Der, DerPp])
FORMS = pytest.mark.parametrize(
    ("form", "shared_top"), [("linear", False), ("linear", True), ("mlp", False), ("mlp", True)]
)


def test_a_first_step_passes_through() -> None:
    gradient = Der(NO_PAST, 0.1).gradient(make_head(), FakeStore().lesson(1)[0], Recorder())
    assert (float(gradient.loss), gradient.by_name) == (0, {})


@FORMS
def test_scores_have_not_changed_right_after_entry(form: HeadForm, shared_top: bool) -> None:
    head, (first, second) = make_head(form, shared_top=shared_top).train(), FakeStore().lesson(1)
    link = Der(NO_PAST, 0.1, alpha=1.0)
    link.gradient(head, first, Recorder())
    gradient = link.gradient(head, second, Recorder())
    # the rows are drawn in another order than they entered in, so float32 scores of up to 10 differ by some 1e-6
    assert float(gradient.loss) < 1e-10
    assert max(float(g.abs().max()) for g in gradient.by_name.values()) < 1e-4


def slow_change(head: Head, link: Der, store: FakeStore) -> float:
    """Return the mean squared change of all remembered scores, one by one."""
    total, head, state = [], frozen(head), link.state
    for n in range(len(state["item.row.image"])):
        image, text, partner_text = (
            head({m: store.items[m, int(state[f"item.{role}.{m}"][n])][None]})[m][0]
            for role, m in (("row", "image"), ("row", "text"), ("partner", "text"))
        )
        total.append(float((image @ text / 0.1 - state["score.own.image.text"][n]) ** 2))
        total.append(float((image @ partner_text / 0.1 - state["score.other.image.text"][n]) ** 2))
    return sum(total) / len(total)


@FORMS
def test_the_term_is_the_mean_squared_change_of_scores(form: HeadForm, shared_top: bool) -> None:
    store, head = FakeStore(), make_head(form, shared_top=shared_top)
    link = Der(store.past(), 0.1, size=8, alpha=0.5)
    first, second = store.lesson(1)
    link.gradient(head, first, Recorder())
    moved(head)
    expected = 0.5 * slow_change(head, link, store)
    assert float(link.gradient(head, second, Recorder()).loss) == pytest.approx(expected, rel=1e-4)


def test_the_term_gives_the_gradient_of_its_value() -> None:
    store, head = FakeStore(), make_head().double()
    batches = [as_doubles(batch) for batch in store.lesson(1)]
    link = Der(store.past(), 0.1, size=8)
    link.gradient(head, batches[0], Recorder())
    moved(head)
    g = link.gradient(head, batches[1], Recorder()).by_name[TEXT][1, 2]
    values = []
    for step in (1e-5, -2e-5):
        with torch.no_grad():
            head.get_parameter(TEXT)[1, 2] += step
        values.append(float(link.gradient(head, batches[1], Recorder()).loss))
    assert float(g) == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-3)


def as_doubles(batch: Batch) -> Batch:
    return replace(batch, features={m: x.double() for m, x in batch.features.items()})


@DARKS
def test_the_term_is_added_to_what_inner_returns(kind: type[Der] | type[DerPp]) -> None:
    store, head = FakeStore(), make_head()
    link = kind(store.past(), 0.1)
    first, second = store.lesson(1)
    link.gradient(head, first, Recorder())
    moved(head)
    plain = link.gradient(head, second, Recorder())
    own = {TEXT: torch.ones(4, 6), "losses.x": torch.ones(2)}
    gradient = link.gradient(head, second, Recorder(Gradient(torch.tensor(3.0), own)))
    assert_close(gradient.by_name[TEXT], plain.by_name[TEXT] + 1)
    assert gradient.by_name["losses.x"].tolist() == [1, 1]
    assert_close(gradient.loss, plain.loss + 3)


@DARKS
def test_asking_again_about_a_batch_remembers_it_once(kind: type[Der] | type[DerPp]) -> None:
    link, head, batch = kind(NO_PAST, 0.1), make_head(), FakeStore().lesson(1)[0]
    link.gradient(head, batch, Recorder())
    before = dict(link.state)
    link.gradient(moved(head), batch, Recorder())
    assert_close(link.state, before, rtol=0, atol=0)


@DARKS
def test_asking_again_about_a_batch_draws_the_same_rows(kind: type[Der] | type[DerPp]) -> None:
    store, head = FakeStore(), make_head()
    link = kind(store.past(), 0.1, rows=3)
    first, second = store.lesson(1)
    link.gradient(head, first, Recorder())
    moved(head)
    assert_close(link.gradient(head, second, Recorder()).loss, link.gradient(head, second, Recorder()).loss)


@DARKS
def test_rows_of_another_memory_pass_through(kind: type[Der] | type[DerPp]) -> None:
    link, store = kind(NO_PAST, 0.1), FakeStore()
    link.gradient(make_head(), store.lesson(1)[0], Recorder())
    before = dict(link.state)
    gradient = compose([link], make_head(), Recorder())(replace(store.lesson(2)[0], is_memory=True))
    assert gradient.by_name == {}
    assert link.state == before


@DARKS
def test_the_head_is_left_in_training_mode(kind: type[Der] | type[DerPp]) -> None:
    head, link = make_head("mlp").train(), kind(NO_PAST, 0.1)
    for batch in FakeStore().lesson(1):
        link.gradient(head, batch, Recorder())
    assert all(module.training for module in head.modules())


@DARKS
def test_a_memory_does_not_touch_other_branches(kind: type[Der] | type[DerPp]) -> None:
    head, link = make_head(modalities=("audio", "image", "text")), kind(NO_PAST, 0.1)
    first, second = FakeStore().lesson(1)
    link.gradient(head, first, Recorder())
    gradient = link.gradient(moved(head), second, Recorder())
    assert set(gradient.by_name) == {"layers.image.weight", TEXT}


@DARKS
def test_a_memory_guards_a_branch_that_the_lesson_lacks(kind: type[Der] | type[DerPp]) -> None:
    store, head = FakeStore(), make_head(modalities=("audio", "image", "text"))
    link = kind(store.past(), 0.1)
    teach(link, head, store.lesson(1, modalities=("audio", "text")), Recorder())
    gradient = link.gradient(moved(head), store.lesson(2)[0], Recorder())
    assert gradient.by_name["layers.audio.weight"].any()


def test_rows_of_three_modalities_have_scores_of_each_pair() -> None:
    head, link = make_head(modalities=("audio", "image", "text")), Der(NO_PAST, 0.1)
    link.gradient(head, FakeStore().lesson(1, modalities=("audio", "image", "text"))[0], Recorder())
    pairs = ("audio.image", "audio.text", "image.text")
    names = {f"score.{kind}.{pair}" for kind in ("own", "other") for pair in pairs}
    assert {key for key in link.state if key.startswith("score.")} == names


def test_labels_pull_a_pair_together_and_its_partner_apart() -> None:
    head, link = make_head(), DerPp(NO_PAST, 0.5, alpha=0.0, beta=1.0)
    first, second = FakeStore().lesson(1)
    link.gradient(head, first, Recorder())
    z = {m: y.detach() for m, y in head(first.features).items()}
    partner_text = z["text"].roll(-1, 0)
    logits = torch.stack([(z["image"] * z["text"]).sum(1), (z["image"] * partner_text).sum(1)]) / 0.5
    expected = -(torch.sigmoid(logits[0]).log() + torch.sigmoid(-logits[1]).log()).mean() / 2
    assert_close(link.gradient(head, second, Recorder()).loss, expected)


def test_each_term_of_derpp_has_a_draw_of_its_own() -> None:
    store, head = FakeStore(), make_head()
    first, second = store.lesson(1)
    memory = ScoredMemory(store.past(), 8, {}, 0.5)
    memory.step(head, first, 3, 2)
    draws = [drawn.rows.item["text"].tolist() for drawn in memory.step(head, second, 3, 2)]
    assert draws[0] != draws[1]


def test_a_partner_is_the_next_row_that_shares_no_item() -> None:
    batch = FakeStore().lesson(1, rows=4)[0]
    item = {"image": torch.tensor([1, 1, 3, 4]), "text": torch.tensor([5, 6, 6, 8])}
    assert partner_rows(replace(batch, item=item)).tolist() == [2, 3, 3, 0]


def test_a_partner_is_of_the_same_modalities() -> None:
    batch = FakeStore().lesson(1, rows=4)[0]
    present = {**batch.present, "text": torch.tensor([True, False, True, False])}
    item = {**batch.item, "text": batch.item["text"].where(present["text"], -1)}
    assert partner_rows(replace(batch, present=present, item=item)).tolist() == [2, 3, 0, 1]


def test_rows_of_one_caption_have_no_partner() -> None:
    batch = FakeStore().lesson(1, rows=3)[0]
    assert (
        partner_rows(replace(batch, item={**batch.item, "text": torch.ones(3).long()})).tolist() == [-1] * 3
    )


def test_a_row_without_partner_is_not_remembered() -> None:
    batch = FakeStore().lesson(1, rows=3)[0]
    link = Der(NO_PAST, 0.1)
    link.gradient(make_head(), replace(batch, item={**batch.item, "text": torch.ones(3).long()}), Recorder())
    assert int(link.state["seen"]) == 0


def test_a_batch_of_negatives_alone_is_not_remembered() -> None:
    link, batch = Der(NO_PAST, 0.1), FakeStore().lesson(1)[0]
    link.gradient(make_head(), replace(batch, weight=torch.zeros(8)), Recorder())
    assert int(link.state["seen"]) == 0


@DARKS
def test_features_are_recalled_once_a_lesson(kind: type[Der] | type[DerPp]) -> None:
    store = FakeStore()
    link = kind(store.past(), 0.1)
    for number in (1, 2, 3):
        teach(link, make_head(), store.lesson(number), Recorder())
    assert store.recalled == ["image", "text", "image", "text"] * 2  # of the partners, then of the rows


@DARKS
@FORMS
def test_dark_experience_goes_on_from_disk_bit_for_bit(
    kind: type[Der] | type[DerPp], form: HeadForm, shared_top: bool
) -> None:
    store, head = FakeStore(), make_head(form, shared_top=shared_top)
    inner = loss_gradient(head, infonce)
    link, resumed = (kind(store.past(), 0.1, size=10, rows=6) for _ in range(2))
    teach(link, head, store.lesson(1), inner)
    moved(head)
    resumed.state.update(from_disk(link.state))
    second = store.lesson(2, batches=3)
    expected, gradients = teach(link, head, second, inner), teach(resumed, head, second, inner)
    assert_close(gradients[-1].by_name, expected[-1].by_name, rtol=0, atol=0)
    assert_close(resumed.state, link.state, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Der(NO_PAST, 1, size=0),
            "der.size must be at least 1, not 0: der trains on remembered rows",
        ),
        (lambda: Der(NO_PAST, 1, rows=0), "der.rows must be at least 1, not 0"),
        (lambda: Der(NO_PAST, 1, alpha=-1.0), "der.alpha must be at least 0, not -1.0"),
        (
            lambda: DerPp(NO_PAST, 1, size=0),
            "derpp.size must be at least 1, not 0: derpp trains on remembered rows",
        ),
        (lambda: DerPp(NO_PAST, 1, rows=0), "derpp.rows must be at least 1, not 0"),
        (lambda: DerPp(NO_PAST, 1, alpha=-1.0), "derpp.alpha must be at least 0, not -1.0"),
        (lambda: DerPp(NO_PAST, 1, beta=-1.0), "derpp.beta must be at least 0, not -1.0"),
    ],
)
def test_bad_values_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(UserError) as caught:
        make()
    assert str(caught.value) == message
