"""What holds for every method, every loss and both forms of head."""

from collections.abc import Sequence
from dataclasses import replace
from typing import get_args

import pytest
import safetensors.torch
import torch
from torch import Tensor
from torch.testing import assert_close

from engine.heads.head import Head
from engine.types import HeadForm, LossName, MethodName, Modality, TrainSettings
from training import methods
from training.data.history import PastTasks
from training.data.pairs import Column, PairSet
from training.gradient import Strategy
from training.loop import LessonData, Objective, train_task

D = 6
METHODS = get_args(MethodName)
EVERY = pytest.mark.parametrize("method", METHODS)
PAIRS: dict[str, tuple[Modality, ...]] = {
    "first": ("audio", "image", "text"),
    "second": ("image", "text"),
    "third": ("audio", "text"),
}


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let mlp heads be narrow, since 1024 hidden numbers decide nothing here."""
    monkeypatch.setattr("engine.heads.head.HIDDEN", 16)


def task(name: str, count: int = 10) -> PairSet:
    """Return pairs of a task; where there are three modalities every third row lacks a sound."""
    draw = torch.Generator().manual_seed(list(PAIRS).index(name))
    own = torch.randn(count, D, generator=draw)
    columns = {}
    for place, modality in enumerate(PAIRS[name]):
        is_present = (
            torch.arange(count) % 3 > 0
            if len(PAIRS[name]) == 3 and modality == "audio"
            else torch.ones(count)
        )
        features = torch.nn.functional.normalize(own + 0.3 * torch.randn(count, D, generator=draw), dim=1)
        numbers = torch.arange(count) + 1000 * place + 100 * list(PAIRS).index(name)
        columns[modality] = Column(
            features, numbers, torch.arange(count), torch.arange(count), is_present.long()
        )
    return PairSet(columns, torch.zeros(count, dtype=torch.int64))


def recall(modality: Modality, numbers: Sequence[int]) -> dict[int, Tensor]:
    columns = [task(name).columns[modality] for name in PAIRS if modality in PAIRS[name]]
    known = {int(n): x for column in columns for n, x in zip(column.numbers, column.features, strict=True)}
    return {number: known[number] for number in numbers}


def indexed(modality: Modality) -> tuple[Tensor, Tensor]:
    column = task("first").columns[modality]
    return column.numbers, column.features


PAST = PastTasks(recall, lambda: task("first"), indexed)


def settings(method: str, loss: LossName = "infonce") -> TrainSettings:
    return TrainSettings("t", method=method, loss=loss, epochs=2, batch_size=5, lr=0.01)


def links_of(given: TrainSettings, state: dict[str, dict[str, Tensor]]) -> dict[str, Strategy]:
    links = methods.strategies(given, PAST)
    for name, link in links.items():
        link.state.update(state.get(name, {}))
    return links


def learn(head: Head, name: str, given: TrainSettings, links: dict[str, Strategy]) -> None:
    for modality in PAIRS[name]:
        if modality not in head.layers:
            head.add_branch(modality, D)
    objective = Objective(methods.loss(given, head), list(links.values()))
    train_task(head, LessonData(task(name), task(name, 0)), objective, replace(given, epochs=1))


def through_disk(links: dict[str, Strategy]) -> dict[str, dict[str, Tensor]]:
    """Return the state of every link as it comes back from a file."""
    return {name: safetensors.torch.load(safetensors.torch.save(link.state)) for name, link in links.items()}


def parameters(head: Head) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in head.named_parameters()}


@EVERY
@pytest.mark.parametrize("loss", get_args(LossName))
@pytest.mark.parametrize("form", get_args(HeadForm))
def test_every_method_trains_with_every_loss_and_head(method: str, loss: LossName, form: HeadForm) -> None:
    head, fresh, given, state = (
        Head(form, D),
        Head(form, D),
        settings(method, loss),
        dict[str, dict[str, Tensor]](),
    )
    for name in ("first", "second"):
        links = links_of(given, state)
        learn(head, name, given, links)
        state = through_disk(links)
    for modality in PAIRS["first"]:
        fresh.add_branch(modality, D)
    before, after = parameters(fresh), parameters(head)
    assert all(p.isfinite().all() for p in after.values())
    assert any(not torch.equal(after[n], before[n]) for n in before)


@EVERY
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("form", get_args(HeadForm))
def test_a_run_resumed_from_disk_equals_one_that_went_on(method: str, form: HeadForm, shared: bool) -> None:
    given = settings(method)
    uninterrupted, resumed = (Head(form, D, shared_top=shared) for _ in range(2))
    links, state = links_of(given, {}), dict[str, dict[str, Tensor]]()
    for name in PAIRS:
        learn(uninterrupted, name, given, links)
        fresh = links_of(given, state)
        learn(resumed, name, given, fresh)
        state = through_disk(fresh)
    assert_close(parameters(resumed), parameters(uninterrupted), rtol=0, atol=0)


@EVERY
def test_a_modality_that_a_task_lacks_is_left_as_it_was(method: str) -> None:
    head, given = Head("mlp", D), settings(method)
    links = links_of(given, {})
    learn(head, "first", given, links)
    before = parameters(head)
    learn(head, "second", given, links)
    moved = {n for n, p in parameters(head).items() if not torch.equal(p, before[n])}
    touches_old_rows = {"replay", "gem", "agem", "der", "derpp", "co2l", "cila", "crosstask"}
    assert (method in touches_old_rows) or not any(n.startswith("layers.audio") for n in moved)


@EVERY
def test_what_a_method_remembers_is_tensors_only_and_no_features(method: str) -> None:
    given = settings(method)
    links = links_of(given, {})
    learn(Head("linear", D), "first", given, links)
    rows = {tuple(x.tolist()) for column in task("first").columns.values() for x in column.features}
    kept = [t for link in links.values() for t in link.state.values()]
    assert all(isinstance(t, Tensor) for t in kept)
    assert not rows & {tuple(x.tolist()) for t in kept if t.ndim == 2 and t.shape[1] == D for x in t}
