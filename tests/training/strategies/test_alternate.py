from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import get_args

import pytest
import torch
from torch import Tensor

from engine.errors import UserError
from engine.heads.head import Head
from engine.types import HeadForm
from stored import make_head
from training.batch import Batch
from training.gradient import Gradient, GradientFn, compose
from training.strategies.alternate import Alternate

FORMS = pytest.mark.parametrize("form", get_args(HeadForm))


def rows(epoch: int, modalities: Sequence[str] = ("image", "text")) -> Batch:
    features = {m: torch.ones(8, 6) for m in modalities}
    present = {m: torch.ones(8, dtype=torch.bool) for m in modalities}
    return Batch(features, present, {}, torch.zeros(8, dtype=torch.int64), torch.ones(8), epoch=epoch)


def returns(by_name: Mapping[str, Tensor]) -> GradientFn:
    return lambda batch: Gradient(torch.tensor(0.0), by_name)


def no_loss(z: Mapping[str, Tensor], batch: Batch) -> Tensor:
    return batch.weight * 0


def kept(alternate: Alternate, head: Head, batch: Batch) -> set[str]:
    whole = {name: torch.ones_like(p) for name, p in head.named_parameters()}
    return set(compose([alternate], head, returns(whole))(batch).by_name)


@pytest.mark.parametrize(("epoch", "modality"), [(0, "image"), (1, "image"), (2, "text"), (4, "image")])
def test_the_modalities_take_turns_by_name(epoch: int, modality: str) -> None:
    assert kept(Alternate(epochs=2), make_head(), rows(epoch)) == {f"layers.{modality}.weight"}


def test_only_modalities_that_are_present_take_turns() -> None:
    batch, head = rows(0, ("audio", "image", "text")), make_head()
    batch.present["audio"].zero_()
    assert kept(Alternate(), head, batch) == {"layers.image.weight"}


@FORMS
def test_the_shared_top_is_trained_throughout(form: HeadForm) -> None:
    assert "top.weight" in kept(Alternate(), make_head(form, shared_top=True), rows(0))


def test_what_a_loss_trains_for_itself_is_trained_throughout() -> None:
    head = make_head()
    head.add_scorer("pmrl", 4)
    assert "losses.pmrl.0.weight" in kept(Alternate(), head, rows(0))


def test_remembered_rows_train_the_branch_of_the_task_at_hand() -> None:
    alternate, head = Alternate(epochs=1), make_head()
    kept(alternate, head, rows(0))
    assert kept(alternate, head, replace(rows(1), is_memory=True)) == {"layers.image.weight"}


def test_the_loss_of_the_whole_batch_is_passed_on() -> None:
    whole = Gradient(torch.tensor(3.0), {})
    assert float(Alternate().gradient(make_head(), rows(0), lambda batch: whole).loss) == 3.0


def test_a_lesson_leaves_nothing_of_its_last_turn() -> None:
    alternate, head = Alternate(), make_head()
    kept(alternate, head, rows(0))
    alternate.end_task(head, [], no_loss)
    assert kept(alternate, head, replace(rows(0), is_memory=True)) == set()


def test_less_than_one_epoch_is_refused() -> None:
    with pytest.raises(UserError, match=r"^alternate\.epochs must be at least 1, not 0$"):
        Alternate(epochs=0)
