from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.testing import assert_close

from engine.errors import UserError
from engine.heads.head import Head
from engine.types import HeadForm, ItemId, Keep, Modality, Pair, TrainSettings
from training.batch import Batch, Embeddings
from training.data.pairs import PairSet, collect
from training.drift import Drift
from training.gradient import Gradient, GradientFn, Loss
from training.loop import Epoch, LessonData, Objective, measure, train_task
from training.losses.pairwise import infonce

D = 4


def read(modality: Modality, ids: Sequence[ItemId]) -> NDArray[np.float32]:
    """Return features that depend on the item's name; a pair's two items point the same way, nearly."""
    own = np.stack([np.random.default_rng(int(id[1:])).normal(size=D) for id in ids])
    return (own + (modality == "text") * 0.5).astype(np.float32)


def pairs(count: int, start: int = 0) -> PairSet:
    every = [
        Pair(str(n), {"image": (f"a{n:014}",), "text": (f"b{n:014}",)}, "sky", "train")
        for n in range(start, start + count)
    ]
    return collect(every, ["image", "text"], read)


def settings(
    epochs: int,
    lr: float = 1e-3,
    *,
    batch_size: int = 128,
    warmup: float = 0,
    patience: int = 0,
    keep: Keep = "best",
) -> TrainSettings:
    return TrainSettings(
        "sky", epochs=epochs, lr=lr, batch_size=batch_size, warmup=warmup, patience=patience, keep=keep
    )


def make_head(form: HeadForm = "linear") -> Head:
    head = Head(form, D)
    for modality in ("image", "text"):
        head.add_branch(modality, D)
    return head


@dataclass
class Walk:
    """A strategy that moves every parameter by 1 a step, whatever the gradient, and notes its end."""

    state: dict[str, Tensor] = field(default_factory=dict)
    skips_memory: ClassVar[bool] = False
    ended: list[int] = field(default_factory=list)

    def gradient(self, head: Head, batch: Batch, inner: GradientFn) -> Gradient:
        gradient = inner(batch)
        return Gradient(gradient.loss, {name: -torch.ones_like(g) for name, g in gradient.by_name.items()})

    def end_task(self, head: Head, batches: Iterable[Batch], loss: Loss) -> None:
        self.ended = [len(batch) for batch in batches]


def scripted(*validation: float) -> Objective:
    """Return an objective whose loss on validation batches (those beyond 8 rows) is as written, epoch by epoch."""
    left = iter(validation)

    def loss(z: Embeddings, batch: Batch) -> Tensor:
        value = next(left) if len(batch) > 8 else 1.0
        return 0 * (z["image"] + z["text"]).sum(1) + value

    return Objective(loss, [Walk()])


def walked(head: Head) -> float:
    """Return how many steps of the walk a head has made."""
    return float((head.get_parameter("layers.image.weight") - torch.eye(D)).detach().mean())


def test_the_epoch_of_lowest_validation_loss_is_kept_with_20_validation_pairs() -> None:
    head = make_head()
    train_task(head, LessonData(pairs(8), pairs(20, 100)), scripted(3, 2, 1, 2), settings(4, lr=1.0))
    assert walked(head) == 3


def test_the_last_epoch_is_kept_where_it_is_asked_for() -> None:
    head, data = make_head(), LessonData(pairs(8), pairs(20, 100))
    train_task(head, data, scripted(3, 2, 1, 2), settings(4, lr=1.0, keep="last"))
    assert walked(head) == 4


def test_the_last_epoch_is_kept_with_19_validation_pairs() -> None:
    head = make_head()
    train_task(head, LessonData(pairs(8), pairs(19, 100)), scripted(3, 2, 1, 2), settings(4, lr=1.0))
    assert walked(head) == 4


def test_the_last_epoch_is_kept_without_validation_pairs() -> None:
    head = make_head()
    done = train_task(head, LessonData(pairs(8), pairs(0)), Objective(infonce, [Walk()]), settings(3, 1.0))
    assert walked(head) == 3
    assert [(epoch.val_loss, epoch.val_recall) for epoch in done] == [(None, None)] * 3


def test_the_earlier_of_two_equal_epochs_is_kept() -> None:
    head = make_head()
    train_task(head, LessonData(pairs(8), pairs(20, 100)), scripted(2, 1, 1, 2), settings(4, lr=1.0))
    assert walked(head) == 2


def test_training_stops_after_as_many_epochs_without_progress_as_patience_says() -> None:
    data = LessonData(pairs(8), pairs(20, 100))
    done = train_task(make_head(), data, scripted(3, 2, 1, 2, 1), settings(30, lr=1.0, patience=2))
    assert len(done) == 5


def test_patience_needs_20_validation_pairs_to_judge_by() -> None:
    data = LessonData(pairs(8), pairs(19, 100))
    done = train_task(make_head(), data, scripted(1, 2, 2, 2, 2), settings(5, lr=1.0, patience=2))
    assert len(done) == 5


def test_without_patience_training_goes_on_to_the_end() -> None:
    data = LessonData(pairs(8), pairs(20, 100))
    assert len(train_task(make_head(), data, scripted(1, 2, 2, 2, 2), settings(5, lr=1.0))) == 5


def test_each_strategy_ends_the_task_with_the_train_batches_in_order() -> None:
    walk = Walk()
    train_task(
        make_head(), LessonData(pairs(7), pairs(0)), Objective(infonce, [walk]), settings(1, batch_size=4)
    )
    assert walk.ended == [4, 3]


def test_each_epoch_is_reported_when_it_is_done() -> None:
    met: list[tuple[int, Epoch]] = []
    data = LessonData(pairs(6), pairs(3, 100))
    done = train_task(
        make_head(),
        data,
        Objective(infonce, [Walk()]),
        settings(3),
        lambda number, epoch: met.append((number, epoch)),
    )
    assert met == [(number, replace(epoch, kept=False)) for number, epoch in enumerate(done)]


def test_one_epoch_says_that_it_was_kept() -> None:
    data = LessonData(pairs(8), pairs(20, 100))
    done = train_task(make_head(), data, scripted(3, 2, 1, 2), settings(4, lr=1.0))
    assert [epoch.kept for epoch in done] == [False, False, True, False]


def test_training_lowers_the_loss() -> None:
    data, objective = LessonData(pairs(20), pairs(0)), Objective(infonce, [])
    done = train_task(make_head(), data, objective, settings(10, lr=0.05))
    assert done[-1].loss < done[0].loss


def test_a_trained_head_is_left_in_eval_mode() -> None:
    head = make_head("mlp")
    train_task(head, LessonData(pairs(6), pairs(0)), Objective(infonce, []), settings(1))
    assert not head.training


@pytest.mark.parametrize("form", ["linear", "mlp"])
@pytest.mark.parametrize("epochs", [1, 4])
@pytest.mark.parametrize("validation", [0, 20])
def test_a_step_too_far_is_one_line_and_never_a_head(form: HeadForm, epochs: int, validation: int) -> None:
    data, objective = LessonData(pairs(6), pairs(validation, 100)), Objective(infonce, [])
    with pytest.raises(UserError, match=r"nothing was kept; try a smaller `lr`$"):
        train_task(make_head(form), data, objective, settings(epochs, lr=1e30))


def test_a_loss_that_is_no_number_says_where() -> None:
    def lost(z: Embeddings, batch: Batch) -> Tensor:
        return infonce(z, batch) * float("nan")

    with pytest.raises(UserError, match=r"^the loss is nan in epoch 1, batch 1: nothing was kept"):
        train_task(make_head(), LessonData(pairs(6), pairs(0)), Objective(lost, []), settings(1))


def test_validation_of_one_pair_has_nothing_to_rank() -> None:
    assert measure(make_head(), pairs(1), infonce, 8) == (None, None)


def test_the_validation_loss_is_the_mean_over_rows_of_all_batches() -> None:
    head, validation = make_head().eval(), pairs(7)
    batches = validation.in_order(4)
    values = torch.cat([infonce(head(b.features), b) for b in batches])
    loss, _ = measure(head, validation, infonce, 4)
    assert_close(torch.tensor(loss), values.mean().detach())


def test_a_validation_row_left_alone_in_its_batch_does_not_count_as_a_loss_of_0() -> None:
    head, validation = make_head().eval(), pairs(5)
    first = infonce(head(validation.in_order(4)[0].features), validation.in_order(4)[0])
    loss, _ = measure(head, validation, infonce, 4)
    assert_close(torch.tensor(loss), first.mean().detach())


def slow_recall(head: Head, validation: PairSet, k: int) -> float:
    """Rank every distinct text for every distinct picture and back, by hand."""
    z = {m: head({m: column.features})[m].detach() for m, column in validation.columns.items()}
    shares = []
    for a, b in (("image", "text"), ("text", "image")):
        queries, gallery = validation.columns[a], validation.columns[b]
        is_hit = []
        for row in range(len(queries.features)):
            relevant = set()
            for p in range(len(validation)):
                mine = queries.flat[queries.start[p] : queries.start[p] + queries.count[p]].tolist()
                theirs = gallery.flat[gallery.start[p] : gallery.start[p] + gallery.count[p]].tolist()
                relevant |= set(theirs) if row in mine else set()
            order = sorted(range(len(gallery.features)), key=lambda n: -float(z[a][row] @ z[b][n]))
            is_hit.append(bool(relevant & set(order[:k])))
        shares.append(sum(is_hit) / len(is_hit))
    return sum(shares) / 2


def test_validation_recall_agrees_with_a_slow_ranking() -> None:
    in_step = [
        Pair(str(n), {"image": (f"a{n % 25:014}",), "text": (f"b{n:014}", f"b{n + 40:014}")}, "sky", "val")
        for n in range(40)
    ]
    shuffled = [
        Pair(p.key, {**p.items, "text": in_step[-1 - n].items["text"]}, "sky", "val")
        for n, p in enumerate(in_step)
    ]
    validation = collect(shuffled, ["image", "text"], read)
    head = make_head().eval()
    _, recall = measure(head, validation, infonce, 16)
    assert recall == pytest.approx(slow_recall(head, validation, 10))
    assert recall is not None
    assert 0 < recall < 1


# pace and interruption


def test_the_step_grows_in_a_straight_line_while_it_warms_up() -> None:
    head = make_head()
    warmed_up = settings(4, lr=1.0, warmup=0.75, keep="last")
    train_task(head, LessonData(pairs(8), pairs(0)), scripted(), warmed_up)
    assert walked(head) == pytest.approx(0.25 + 0.5 + 0.75 + 1)


def test_without_warm_up_every_step_is_whole() -> None:
    head = make_head()
    train_task(head, LessonData(pairs(8), pairs(0)), scripted(), settings(4, lr=1.0, keep="last"))
    assert walked(head) == 4


@dataclass
class Impatient:
    """A walk during whose n-th step somebody presses Ctrl-C."""

    step: int
    walk: Walk = field(default_factory=Walk)
    state: dict[str, Tensor] = field(default_factory=dict)
    skips_memory: ClassVar[bool] = False

    def gradient(self, head: Head, batch: Batch, inner: GradientFn) -> Gradient:
        self.step -= 1
        if self.step == 0:
            raise KeyboardInterrupt
        return self.walk.gradient(head, batch, inner)

    def end_task(self, head: Head, batches: Iterable[Batch], loss: Loss) -> None:
        self.walk.end_task(head, batches, loss)


def interrupted(step: int) -> tuple[Head, list[Epoch], Impatient]:
    """Train on one batch an epoch, interrupted in a step."""
    head, link = make_head(), Impatient(step=step)
    objective = Objective(scripted().loss, [link])
    return head, train_task(head, LessonData(pairs(8), pairs(0)), objective, settings(9, lr=1.0)), link


def test_an_interrupt_after_a_finished_epoch_keeps_that_epoch() -> None:
    head, epochs, _ = interrupted(4)
    assert walked(head) == 3
    assert [epoch.interrupted for epoch in epochs] == [False, False, True]
    assert epochs[-1].kept


def test_strategies_end_the_task_after_an_interrupt() -> None:
    assert interrupted(4)[2].walk.ended == [8]


def test_an_interrupt_before_the_first_epoch_is_done_goes_on() -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupted(1)


def test_an_interrupt_while_an_epoch_is_shown_keeps_that_epoch() -> None:
    def show(number: int, epoch: Epoch) -> None:
        raise KeyboardInterrupt

    head = make_head()
    epochs = train_task(head, LessonData(pairs(8), pairs(0)), scripted(), settings(9, lr=1.0), show)
    assert (len(epochs), walked(head)) == (1, 1)


def test_an_epoch_tells_the_drift_that_was_gauged_after_it() -> None:
    def gauge(head: Head) -> Drift:
        return {"sky": {"image": walked(head)}}

    data = LessonData(pairs(8), pairs(0), gauge)
    epochs = train_task(make_head(), data, scripted(), settings(2, lr=1.0))
    assert [epoch.drift for epoch in epochs] == [{"sky": {"image": 1}}, {"sky": {"image": 2}}]
