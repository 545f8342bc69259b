from dataclasses import replace
from typing import cast

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from benchmarks.papers.igm import AUDIO, COMPARED, FUSED, PAPER, TABLE_2, compared
from benchmarks.papers.igm_classifier import (
    METHODS,
    MODALITIES,
    Classifier,
    Momentum,
    OneWay,
    Pack,
    Plan,
    fuse,
    measures,
    own_loss,
    run,
    strategies,
)
from benchmarks.tables import Measurement
from engine.heads.head import Head
from training.batch import Batch
from training.data.pairs import Column, PairSet
from training.gradient import Gradient, compose, loss_gradient
from training.strategies.alternate import Alternate

TINY = Plan(rounds=1, epochs=3)


def pairs(rows: int, seed: int) -> PairSet:
    """Return pairs of three classes, far apart in both modalities."""
    draw, every = torch.Generator().manual_seed(seed), torch.arange(rows)
    kind = every % 3
    columns = {
        m: Column(
            3 * torch.eye(8)[kind] + torch.randn(rows, 8, generator=draw),
            every,
            every,
            every,
            torch.ones(rows, dtype=torch.int64),
        )
        for m in MODALITIES
    }
    return PairSet(columns, kind)


def head() -> Head:
    return cast(Head, Classifier(dict.fromkeys(MODALITIES, 8), 3, 0))


def modified(one_way: OneWay) -> set[str | None]:
    """Return whose gradients differ from alternation's, after a turn of each modality."""
    net, alternate = head(), Alternate(epochs=1)
    plain = compose([alternate], net, loss_gradient(net, own_loss))
    batch = pairs(36, 0).in_order(36)[0]
    changed = set()
    for epoch in range(4):
        now = replace(batch, step=epoch, epoch=epoch)
        expected, found = plain(now).by_name, one_way.gradient(net, now, plain).by_name
        changed |= {net.branch_of(name) for name, g in found.items() if not torch.equal(g, expected[name])}
    return changed


@pytest.mark.parametrize("method", METHODS)
def test_every_method_learns_what_is_easy(method: str) -> None:
    found = run(Pack(pairs(180, 0), pairs(60, 1), 3), method, 0, replace(TINY, epochs=6))
    assert found[-1][FUSED] > max(0.8, found[0][FUSED])


def test_alternation_trains_audio_alone_first() -> None:
    before, after, _ = run(Pack(pairs(180, 0), pairs(60, 1), 3), "alternation only", 0, TINY)
    moved = [name for name in after if after[name] != before[name]]
    assert {name.split()[0] for name in moved} == {"audio", "fused"}


def test_one_way_modifies_the_gradient_of_one_modality() -> None:
    assert modified(OneWay("image")) == {"image"}


def test_the_other_way_modifies_that_of_the_other() -> None:
    assert modified(OneWay("audio")) == {"audio"}


def test_only_alternating_methods_alternate() -> None:
    alternating = [m for m in METHODS if any(isinstance(s, Alternate) for s in strategies(m, TINY))]
    assert alternating == list(METHODS[2:])


def test_momentum_steps_as_torch_does() -> None:
    p = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    ours = p.detach().clone()
    theirs = torch.optim.SGD([p], lr=1e-2, momentum=0.9, weight_decay=0.1)
    momentum = Momentum(decay=0.1)
    for g in (torch.tensor([1.0, 2.0]), torch.tensor([-3.0, 0.5])):
        p.grad = g
        theirs.step()
        ours = ours - 1e-2 * stepped(momentum, ours, g)
    assert_close(ours, p.detach())


def stepped(momentum: Momentum, at: Tensor, g: Tensor) -> Tensor:
    """Return momentum's step of one parameter."""
    net = torch.nn.Module()
    net.p = torch.nn.Parameter(at)
    batch = cast(Batch, None)
    return momentum.gradient(cast(Head, net), batch, lambda _: Gradient(g.sum(), {"p": g})).by_name["p"]


def test_the_surer_modality_weighs_more() -> None:
    z = {"audio": torch.tensor([[9.0, 0.0, 0.0]]), "image": torch.tensor([[0.0, 1.0, 0.9]])}
    share = fuse(z)[0, 0] / 9
    entropy = {m: -(x.softmax(1) * x.log_softmax(1)).sum() for m, x in z.items()}
    assert_close(share, 1 / (1 + torch.exp(entropy["audio"] - entropy["image"])))


def test_figures_are_those_of_hand_counted_scores() -> None:
    p = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.7, 0.3], [0.2, 0.8]])
    found = measures(p, torch.tensor([0, 0, 1, 1]))
    # class 0 is ranked right, wrong, right, wrong; class 1 right, wrong, right, wrong
    assert_close(
        torch.tensor([found["accuracy"], found["MAP"], found["F1"]]),
        torch.tensor([3 / 4, 5 / 6, (4 / 5 + 2 / 3) / 2]),
    )


def test_the_layers_a_classifier_names_are_those_it_trains() -> None:
    net = head()
    named = {
        f"{layer}.weight" for x in net.inputs(pairs(3, 0).in_order(3)[0].features).values() for layer in x
    }
    assert named == {name for name, _ in net.named_parameters() if name.endswith("weight")}


def test_what_is_compared_is_measured() -> None:
    assert {m for _, one, other in COMPARED for m in (one, other)} == set(METHODS)


def test_the_paper_has_figures_of_methods_only() -> None:
    assert {method for _, method in PAPER} <= set(METHODS)


def test_a_difference_says_of_which_figure_it_is() -> None:
    made = [
        Measurement(TABLE_2, m, s, {FUSED: v, AUDIO: v})
        for m, v in (("IGM", 0.5), ("SAM", 0.25))
        for s in (0, 1)
    ]
    names = [gap["second"] for gap in compared(made)]
    assert names == ["SAM, fused accuracy", "SAM, audio accuracy"]
