from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from engine.errors import UserError
from engine.types import HeadForm
from stored import FakeStore, Recorder, from_disk, make_head, teach
from training.batch import Batch, select_rows
from training.data.history import NO_PAST
from training.data.pairs import PairSet
from training.gradient import compose, loss_gradient
from training.methods import LOSSES
from training.strategies.replay import CrossTask, Replay, Role, Source

infonce = LOSSES["infonce"]
FORMS = pytest.mark.parametrize(
    ("form", "shared_top"), [("linear", False), ("linear", True), ("mlp", False), ("mlp", True)]
)
SOURCES = pytest.mark.parametrize("source", ["features", "indexed"])


def replayed(role: Role = "positives", rows: int = 4) -> tuple[FakeStore, Recorder]:
    """Return what is asked in a second lesson of one step."""
    store, inner = FakeStore(), Recorder()
    link = Replay(store.past(), role, rows=rows)
    teach(link, make_head(), store.lesson(1), Recorder())
    link.gradient(make_head(), store.lesson(2)[0], inner)
    return store, inner


def test_the_first_step_ever_passes_through() -> None:
    inner, batch = Recorder(), FakeStore().lesson(1)[0]
    Replay(NO_PAST, "positives").gradient(make_head(), batch, inner)
    assert inner.batches == [batch]


def test_remembered_rows_stand_behind_the_batch() -> None:
    _, inner = replayed()
    assert (inner.batches[0].item["image"] // 1000).tolist() == [12] * 8 + [11] * 4


def test_positives_are_learned_from() -> None:
    _, inner = replayed("positives")
    assert inner.batches[0].weight.tolist() == [1.0] * 12


def test_negatives_have_no_weight() -> None:
    _, inner = replayed("negatives")
    assert inner.batches[0].weight.tolist() == [1.0] * 8 + [0.0] * 4


def test_remembered_rows_are_of_the_group_of_the_batch() -> None:
    _, inner = replayed()
    assert inner.batches[0].group.tolist() == [5] * 12


def test_remembered_rows_bring_their_own_features() -> None:
    store, inner = replayed()
    joined = inner.batches[0]
    expected = torch.stack([store.items["image", int(n)] for n in joined.item["image"]])
    assert_close(joined.features["image"], expected, rtol=0, atol=0)


def test_features_are_recalled_once_a_lesson() -> None:
    store = FakeStore()
    link = Replay(store.past(), "positives")
    teach(link, make_head(), store.lesson(1), Recorder())
    teach(link, make_head(), store.lesson(2, batches=5), Recorder())
    assert store.recalled == ["image", "text"]


def test_a_step_draws_from_what_came_before_it() -> None:
    store, inner = FakeStore(), Recorder()
    link = Replay(store.past(), "positives", rows=64)
    teach(link, make_head(), store.lesson(1, batches=2), inner)
    assert [len(batch) for batch in inner.batches] == [8, 16]


def test_asking_again_about_a_batch_joins_the_same_rows() -> None:
    store, inner = FakeStore(), Recorder()
    link = Replay(store.past(), "positives", rows=3)
    teach(link, make_head(), store.lesson(1), Recorder())
    batch = store.lesson(2)[0]
    link.gradient(make_head(), batch, inner)
    link.gradient(make_head(), batch, inner)
    assert torch.equal(inner.batches[0].item["image"], inner.batches[1].item["image"])


def test_asking_again_about_a_batch_remembers_it_once() -> None:
    link, batch = Replay(NO_PAST, "positives"), FakeStore().lesson(1)[0]
    link.gradient(make_head(), batch, Recorder())
    link.gradient(make_head(), batch, Recorder())
    assert int(link.state["seen"]) == 8


def test_rows_of_another_memory_pass_through_unremembered() -> None:
    link, inner = Replay(NO_PAST, "positives"), Recorder()
    batch = replace(FakeStore().lesson(1)[0], is_memory=True)
    compose([link], make_head(), inner)(batch)
    assert (inner.batches, link.state) == ([batch], {})


def test_rows_that_are_negatives_only_are_not_remembered() -> None:
    link, batch = Replay(NO_PAST, "positives"), FakeStore().lesson(1)[0]
    link.gradient(make_head(), replace(batch, weight=torch.tensor([1.0] * 3 + [0.0] * 5)), Recorder())
    assert int(link.state["seen"]) == 3


def test_remembered_negatives_get_no_gradient_as_anchors() -> None:
    store, head = FakeStore(), make_head(modalities=("audio", "image", "text"))
    link = Replay(store.past(), "negatives")
    teach(link, head, store.lesson(1, modalities=("audio", "text")), Recorder())
    gradient = link.gradient(head, store.lesson(2)[0], loss_gradient(head, infonce))
    assert not gradient.by_name["layers.audio.weight"].any()


def test_remembered_positives_train_a_modality_that_the_batch_lacks() -> None:
    store, head = FakeStore(), make_head(modalities=("audio", "image", "text"))
    link = Replay(store.past(), "positives")
    teach(link, head, store.lesson(1, modalities=("audio", "text")), Recorder())
    gradient = link.gradient(head, store.lesson(2)[0], loss_gradient(head, infonce))
    assert gradient.by_name["layers.audio.weight"].any()


def test_a_remembered_row_is_no_negative_of_itself() -> None:
    store, head = FakeStore(), make_head()
    batch = store.lesson(1, batches=1)[0]
    link = Replay(store.past(), "negatives")
    teach(link, head, [batch], Recorder())
    inner = loss_gradient(head, infonce)
    gradient = link.gradient(head, replace(first(batch, 1), seed=77), inner)
    assert_close(gradient.loss, inner(replace(batch, weight=torch.eye(8)[0])).loss)


def first(batch: Batch, rows: int) -> Batch:
    """Return the first rows of a batch."""
    return select_rows(batch, torch.arange(rows))


@FORMS
def test_replay_goes_on_from_disk_bit_for_bit(form: HeadForm, shared_top: bool) -> None:
    store, head = FakeStore(), make_head(form, shared_top=shared_top)
    inner = loss_gradient(head, infonce)
    link, resumed = (Replay(store.past(), "positives", size=10, rows=6) for _ in range(2))
    teach(link, head, store.lesson(1), inner)
    resumed.state.update(from_disk(link.state))
    second = store.lesson(2, batches=3)
    assert_close(
        teach(resumed, head, second, inner)[-1].by_name,
        teach(link, head, second, inner)[-1].by_name,
        rtol=0,
        atol=0,
    )
    assert_close(resumed.state, link.state, rtol=0, atol=0)


def test_an_empty_memory_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"^replay.size must be at least 1, not 0: replay trains on remembered rows$"
    ):
        Replay(NO_PAST, "positives", size=0)


def test_a_replay_of_no_rows_is_refused() -> None:
    with pytest.raises(UserError, match=r"^replay.rows must be at least 1, not 0$"):
        Replay(NO_PAST, "positives", rows=0)


# cross-task negatives


def crossed(source: Source = "features", rows: int = 128, modality: str = "") -> tuple[Batch, Batch]:
    """Return a batch of the second lesson and what is asked about it."""
    store, inner = FakeStore(), Recorder()
    store.lesson(1)
    link = CrossTask(store.past(), rows=rows, source=source, modality=modality)
    batch = FakeStore().lesson(2)[0]
    link.gradient(make_head(), batch, inner)
    return batch, inner.batches[0]


@SOURCES
def test_a_first_lesson_has_no_cross_task_negatives(source: Source) -> None:
    inner, batch = Recorder(), FakeStore().lesson(1)[0]
    CrossTask(NO_PAST, source=source).gradient(make_head(), batch, inner)
    assert inner.batches == [batch]


@SOURCES
def test_cross_task_rows_have_no_weight(source: Source) -> None:
    assert crossed(source)[1].weight.tolist() == [1.0] * 8 + [0.0] * 16


@SOURCES
def test_cross_task_rows_are_of_the_group_of_the_batch(source: Source) -> None:
    assert crossed(source)[1].group.tolist() == [5] * 24


@SOURCES
def test_cross_task_rows_are_so_many_as_were_asked_for(source: Source) -> None:
    assert len(crossed(source, rows=5)[1]) == 13


@SOURCES
def test_cross_task_rows_are_the_same_for_the_same_batch(source: Source) -> None:
    assert torch.equal(crossed(source, rows=5)[1].item["image"], crossed(source, rows=5)[1].item["image"])


def test_pairs_of_old_tasks_are_negatives_for_both_modalities() -> None:
    joined = crossed("features")[1]
    assert joined.present["image"].all()
    assert joined.present["text"].all()


def test_indexed_negatives_stand_for_the_first_modality_that_is_not_text() -> None:
    joined = crossed("indexed")[1]
    assert joined.present["image"].tolist() == [True] * 24
    assert joined.present["text"].tolist() == [True] * 8 + [False] * 16


def test_indexed_negatives_can_be_texts() -> None:
    assert crossed("indexed", modality="text")[1].present["image"].tolist() == [True] * 8 + [False] * 16


def test_indexed_negatives_of_a_modality_that_is_not_there_are_refused() -> None:
    with pytest.raises(
        UserError, match=r"^no modality 'smell' for crosstask.modality; pairs hold: image, text$"
    ):
        crossed("indexed", modality="smell")


@FORMS
def test_indexed_negatives_move_the_queries_only(form: HeadForm, shared_top: bool) -> None:
    del shared_top
    store, head = FakeStore(), make_head(form)
    store.lesson(1)
    batch = FakeStore().lesson(2)[0]
    inner = loss_gradient(head, infonce)
    # the batch's own images are left as constants, so that all that could move the branch are the negatives
    still = replace(batch, fixed={"image": head({"image": batch.features["image"]})["image"].detach()})
    gradient = CrossTask(store.past(), source="indexed").gradient(head, still, inner)
    moved = {name for name, g in gradient.by_name.items() if g.any()}
    assert {name.split(".")[1] for name in moved} == {"text"}


def test_indexed_negatives_raise_the_loss_of_queries() -> None:
    store, head = FakeStore(), make_head()
    store.lesson(1)
    batch, inner = FakeStore().lesson(2)[0], loss_gradient(head, infonce)
    gradient = CrossTask(store.past(), source="indexed").gradient(head, batch, inner)
    assert float(gradient.loss) > float(inner(batch).loss)


@SOURCES
def test_the_same_item_in_an_old_task_is_no_negative(source: Source) -> None:
    store, head = FakeStore(), make_head()
    batch, inner = store.lesson(1, batches=1)[0], loss_gradient(head, infonce)
    store.items = {(m, int(n[0])): batch.features[m][0] for m, n in batch.item.items()}
    gradient = CrossTask(store.past(), source=source).gradient(head, first(batch, 1), inner)
    assert float(gradient.loss) == 0


def test_old_pairs_do_not_touch_a_branch_that_the_batch_lacks() -> None:
    store, head = FakeStore(), make_head(modalities=("audio", "image", "text"))
    store.lesson(1, modalities=("audio", "text"))
    gradient = CrossTask(store.past()).gradient(head, FakeStore().lesson(2)[0], loss_gradient(head, infonce))
    assert set(gradient.by_name) == {"layers.image.weight", "layers.text.weight"}


def test_old_pairs_that_share_no_modality_leave_the_batch_as_it_is() -> None:
    store, inner, batch = FakeStore(), Recorder(), FakeStore().lesson(2)[0]
    store.lesson(1, modalities=("audio", "depth"))
    CrossTask(store.past()).gradient(make_head(), batch, inner)
    assert inner.batches == [batch]


def test_cross_task_negatives_are_read_once_a_lesson() -> None:
    calls: list[int] = []

    def pairs() -> PairSet:
        calls.append(1)
        return NO_PAST.pairs()

    teach(CrossTask(replace(NO_PAST, pairs=pairs)), make_head(), FakeStore().lesson(1, batches=3), Recorder())
    assert len(calls) == 1


@SOURCES
def test_cross_task_negatives_are_read_anew_in_the_next_lesson(source: Source) -> None:
    store, inner = FakeStore(), Recorder()
    link = CrossTask(store.past(), source=source)
    lesson = FakeStore().lesson(3)
    teach(link, make_head(), lesson, inner)
    store.lesson(1)
    teach(link, make_head(), lesson[:1], inner)
    assert [len(batch) for batch in inner.batches] == [8, 8, 24]


def test_cross_task_negatives_remember_nothing() -> None:
    link = CrossTask(NO_PAST)
    teach(link, make_head(), FakeStore().lesson(1), Recorder())
    assert link.state == {}


def test_rows_of_a_memory_get_no_cross_task_negatives() -> None:
    store, inner = FakeStore(), Recorder()
    batch = replace(store.lesson(1)[0], is_memory=True)
    compose([CrossTask(store.past())], make_head(), inner)(batch)
    assert inner.batches == [batch]


def test_no_cross_task_rows_are_refused() -> None:
    with pytest.raises(UserError, match=r"^crosstask.rows must be at least 1, not 0$"):
        CrossTask(NO_PAST, rows=0)
