from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import get_args

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from engine.errors import UserError
from engine.heads.head import Head
from engine.types import HeadForm
from training.batch import Batch
from training.gradient import Gradient, GradientFn, Strategy, compose
from training.strategies.alternate import Alternate
from training.strategies.igm import Igm, Mla, flat_matrix

FORMS = pytest.mark.parametrize("form", get_args(HeadForm))
BOTH = pytest.mark.parametrize("make", [Igm, Mla])
WIDTH = 6


def make_head(
    form: HeadForm = "linear", widths: Mapping[str, int] | None = None, *, shared: bool = False
) -> Head:
    head = Head(form, WIDTH, shared_top=shared)
    for m, width in (widths or {"image": WIDTH, "text": WIDTH, "audio": WIDTH}).items():
        head.add_branch(m, width)
        if form == "mlp":  # a narrow one, since eigenvectors cost the width's cube
            layers = [nn.Linear(width, 9), nn.Linear(9, WIDTH)]
            head.layers[m] = nn.Sequential(*layers[: 1 if shared else 2])
    if form == "mlp" and shared:
        head.top = nn.Linear(9, WIDTH)
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in head.parameters():
            p.copy_(torch.randn(p.shape, generator=draw))
    return head


def rows(
    step: int, modalities: Sequence[str] = ("image", "text"), epoch: int = 0, widths: Sequence[int] = ()
) -> Batch:
    draw = torch.Generator().manual_seed(step)
    width = dict(zip(modalities, widths or [WIDTH] * len(modalities), strict=True))
    x = {m: torch.randn(8, width[m], generator=draw) + 0.5 for m in modalities}
    present = {m: torch.ones(8, dtype=torch.bool) for m in modalities}
    return Batch(x, present, {}, torch.zeros(8, dtype=torch.int64), torch.ones(8), epoch=epoch, step=step)


def noise(head: Head, modality: str) -> dict[str, Tensor]:
    """Return a gradient of one branch and of what is shared."""
    draw = torch.Generator().manual_seed(len(modality))
    return {
        name: torch.randn(p.shape, generator=draw)
        for name, p in head.named_parameters()
        if head.branch_of(name) in {None, modality}
    }


def returns(by_name: Mapping[str, Tensor]) -> GradientFn:
    return lambda batch: Gradient(torch.tensor(0.0), by_name)


def no_loss(z: Mapping[str, Tensor], batch: Batch) -> Tensor:
    return batch.weight * 0


def turn(strategy: Strategy, head: Head, modality: str, seeds: Sequence[int]) -> dict[str, Tensor]:
    """Train a modality on a few batches and return the last gradient."""
    multiplied: Mapping[str, Tensor] = {}
    for seed in seeds:
        batch = rows(seed, ("image", "text", "audio"))
        multiplied = strategy.gradient(head, batch, returns(noise(head, modality))).by_name
    return dict(multiplied)


def means(modality: str, seeds: Sequence[int]) -> Tensor:
    return torch.stack([rows(seed).features[modality].mean(0) for seed in seeds])


def test_eigenvalues_of_t_are_those_worked_out_by_hand() -> None:
    turned = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0))).Q.double()
    t = flat_matrix(turned @ torch.diag(torch.tensor([4.0, 1.0, 0.0]).double()) @ turned.T, 0.4)
    multiplied = turned.T @ t @ turned
    expected = torch.diag(torch.tensor([0.670320, 0.904837, 1.0]).double())
    assert_close(multiplied, expected, rtol=0, atol=1e-6)


def test_t_of_equal_eigenvalues_changes_nothing() -> None:
    assert_close(flat_matrix(3 * torch.eye(4), 0.4), torch.eye(4).double())


def test_t_is_symmetric() -> None:
    x = torch.randn(9, 5, generator=torch.Generator().manual_seed(0)).double()
    t = flat_matrix(x.T @ x, 0.4)
    assert_close(t, t.T)


def test_t_lengthens_nothing() -> None:
    x = torch.randn(9, 5, generator=torch.Generator().manual_seed(0)).double()
    assert float(torch.linalg.matrix_norm(flat_matrix(x.T @ x, 0.4), 2)) <= 1 + 1e-12


@BOTH
def test_the_first_turn_changes_nothing(make: type[Igm] | type[Mla]) -> None:
    head = make_head()
    assert_close(turn(make(), head, "image", (1, 2)), noise(head, "image"), rtol=0, atol=0)


def test_igm_multiplies_by_t_of_the_branch_trained_before_on_the_right() -> None:
    head, igm = make_head(), Igm()
    turn(igm, head, "image", (1, 2, 3))
    multiplied = turn(igm, head, "text", (4,))["layers.text.weight"]
    seen = means("image", (1, 2, 3)).double()
    expected = noise(head, "text")["layers.text.weight"] @ flat_matrix(seen.T @ seen, 0.4).float()
    assert_close(multiplied, expected)


def test_mla_multiplies_by_the_regularised_projector_of_all_mean_inputs() -> None:
    head, mla = make_head(), Mla(alpha=0.5)
    turn(mla, head, "image", (1, 2, 3))
    turn(mla, head, "text", (4,))
    turn(mla, head, "image", (5, 6))
    multiplied = turn(mla, head, "text", (7,))["layers.text.weight"]
    seen = means("image", (1, 2, 3, 5, 6))
    projector = torch.linalg.inv(torch.eye(WIDTH) + seen.T @ seen / 0.5)
    assert_close(multiplied, noise(head, "text")["layers.text.weight"] @ projector, rtol=1e-4, atol=1e-5)


def test_t_is_of_one_turn_alone() -> None:
    head, igm = make_head(), Igm()
    turn(igm, head, "image", (1, 2, 3))
    turn(igm, head, "text", (4,))
    turn(igm, head, "image", (5, 6))
    multiplied = turn(igm, head, "text", (7,))["layers.text.weight"]
    seen = means("image", (5, 6)).double()
    expected = noise(head, "text")["layers.text.weight"] @ flat_matrix(seen.T @ seen, 0.4).float()
    assert_close(multiplied, expected)


@BOTH
def test_a_batch_asked_for_again_counts_once(make: type[Igm] | type[Mla]) -> None:
    head, once, often = make_head(), make(), make()
    turn(once, head, "image", (1, 2))
    turn(often, head, "image", (1, 1, 2, 2))
    assert_close(turn(often, head, "text", (3,)), turn(once, head, "text", (3,)), rtol=0, atol=0)


@BOTH
def test_remembered_rows_do_not_count(make: type[Igm] | type[Mla]) -> None:
    head, once, often = make_head(), make(), make()
    turn(once, head, "image", (1,))
    turn(often, head, "image", (1,))
    often.gradient(head, replace(rows(2), is_memory=True), returns(noise(head, "image")))
    assert_close(turn(often, head, "text", (3,)), turn(once, head, "text", (3,)), rtol=0, atol=0)


@BOTH
def test_absent_rows_are_no_part_of_the_mean(make: type[Igm] | type[Mla]) -> None:
    head, whole, part = make_head(), make(), make()
    few = Batch(
        {m: torch.cat([x, torch.zeros(4, WIDTH)]) for m, x in rows(1).features.items()},
        {m: torch.arange(12) < 8 for m in ("image", "text")},
        {},
        torch.zeros(12, dtype=torch.int64),
        torch.ones(12),
        step=1,
    )
    turn(whole, head, "image", (1,))
    part.gradient(head, few, returns(noise(head, "image")))
    assert_close(turn(part, head, "text", (3,)), turn(whole, head, "text", (3,)))


@BOTH
def test_with_several_branches_in_training_nothing_is_changed(make: type[Igm] | type[Mla]) -> None:
    head, link = make_head(), make()
    for modality in ("image", "text"):
        turn(link, head, modality, (1, 2))
    both = {**noise(head, "image"), **noise(head, "text")}
    assert_close(dict(link.gradient(head, rows(3), returns(both)).by_name), both, rtol=0, atol=0)


@BOTH
def test_biases_are_not_changed(make: type[Igm] | type[Mla]) -> None:
    head, link = make_head("mlp"), make()
    turn(link, head, "image", (1, 2))
    multiplied, given = turn(link, head, "text", (3,)), noise(head, "text")
    assert_close(multiplied["layers.text.1.bias"], given["layers.text.1.bias"], rtol=0, atol=0)


@BOTH
@FORMS
def test_the_shared_top_is_changed_as_the_branch_is(make: type[Igm] | type[Mla], form: HeadForm) -> None:
    head, link = make_head(form, shared=True), make()
    turn(link, head, "image", (1, 2))
    multiplied, given = turn(link, head, "text", (3,)), noise(head, "text")
    assert not torch.equal(multiplied["top.weight"], given["top.weight"])


@BOTH
def test_an_inner_layer_is_changed_by_its_own_inputs(make: type[Igm] | type[Mla]) -> None:
    head, link = make_head("mlp"), make()
    turn(link, head, "image", (1, 2))
    multiplied, given = turn(link, head, "text", (3,)), noise(head, "text")
    hidden = [head.inputs(rows(seed).features)["image"]["layers.image.1"].mean(0).detach() for seed in (1, 2)]
    seen = torch.stack(hidden).double()
    total = seen.T @ seen
    matrix = (
        flat_matrix(total, 0.4)
        if make is Igm
        else torch.linalg.inv(torch.eye(len(total), dtype=torch.float64) + total)
    )
    assert_close(
        multiplied["layers.text.1.weight"],
        given["layers.text.1.weight"] @ matrix.float(),
        rtol=1e-4,
        atol=1e-5,
    )


@BOTH
def test_the_next_lesson_begins_with_the_last_turn_of_this_one(make: type[Igm] | type[Mla]) -> None:
    head, uninterrupted, anew = make_head(), make(), make()
    for link in (uninterrupted, anew):
        turn(link, head, "text", (1, 2))
    anew.end_task(head, [], no_loss)
    assert_close(turn(anew, head, "image", (3,)), turn(uninterrupted, head, "image", (3,)), rtol=0, atol=0)


@BOTH
def test_of_several_partners_the_most_recent_counts(make: type[Igm] | type[Mla]) -> None:
    head = make_head()
    link, alone = make(), make()
    for modality in ("image", "audio"):
        turn(link, head, modality, (1, 2))
        link.end_task(head, [], no_loss)
    turn(alone, head, "audio", (1, 2))
    assert_close(turn(link, head, "text", (3,)), turn(alone, head, "text", (3,)), rtol=0, atol=0)


@BOTH
def test_a_modality_is_never_its_own_partner(make: type[Igm] | type[Mla]) -> None:
    head, link, alone = make_head(), make(), make()
    for modality in ("image", "text"):
        turn(link, head, modality, (1, 2))
    link.end_task(head, [], no_loss)
    turn(alone, head, "image", (1, 2))
    assert_close(turn(link, head, "text", (3,)), turn(alone, head, "text", (3,)), rtol=0, atol=0)


@BOTH
@FORMS
def test_a_lesson_goes_on_from_disk_bit_for_bit(make: type[Igm] | type[Mla], form: HeadForm) -> None:
    head, uninterrupted, resumed = make_head(form), make(), make()
    turn(uninterrupted, head, "image", (1, 2))
    turn(uninterrupted, head, "text", (3, 4))
    uninterrupted.end_task(head, [], no_loss)
    resumed.state.update(safetensors.torch.load(safetensors.torch.save(uninterrupted.state)))
    for link in (uninterrupted, resumed):
        turn(link, head, "image", (5, 6))
        turn(link, head, "text", (7,))
        link.end_task(head, [], no_loss)
    assert_close(resumed.state, uninterrupted.state, rtol=0, atol=0)


@BOTH
def test_branches_of_two_widths_are_refused_at_once(make: type[Igm] | type[Mla]) -> None:
    head, name = make_head(widths={"image": 6, "text": 4}), make.__name__.lower()
    message = (
        f"^{name} needs branches of one width: image has 6, text 4; "
        "take another method, or train the first head with `form=mlp`$"
    )
    with pytest.raises(UserError, match=message):
        make().gradient(head, rows(1, widths=(6, 4)), returns(noise(head, "image")))


@BOTH
@pytest.mark.parametrize(("form", "shared"), [("mlp", False), ("linear", True)])
def test_of_branches_of_two_widths_the_layers_that_match_are_changed(
    make: type[Igm] | type[Mla], form: HeadForm, shared: bool
) -> None:
    head, link = make_head(form, {"image": 6, "text": 4}, shared=shared), make()
    given = noise(head, "text")
    link.gradient(head, rows(1, widths=(6, 4)), returns(noise(head, "image")))
    by_name = link.gradient(head, rows(2, widths=(6, 4)), returns(given)).by_name
    changed = {name for name, g in by_name.items() if not torch.equal(g, given[name])}
    assert changed == {"top.weight" if shared else "layers.text.1.weight"}


@BOTH
def test_a_late_modality_of_another_width_is_free(make: type[Igm] | type[Mla]) -> None:
    head, link = make_head(widths={"audio": 6, "image": 6, "text": 6, "depth": 4, "heat": 4}), make()
    turn(link, head, "image", (1, 2))
    link.end_task(head, [], no_loss)
    given = noise(head, "depth")
    by_name = link.gradient(head, rows(3, ("depth", "heat"), widths=(4, 4)), returns(given)).by_name
    assert_close(dict(by_name), given, rtol=0, atol=0)


def test_igm_follows_the_turns_that_alternate_takes() -> None:
    head, igm = make_head(), Igm()
    whole = {name: torch.ones_like(p) for name, p in head.named_parameters()}
    step = compose([igm, Alternate(epochs=1)], head, returns(whole))
    step(rows(1, epoch=0))
    multiplied = step(rows(2, epoch=1)).by_name["layers.text.weight"]
    seen = means("image", (1,)).double()
    assert_close(multiplied, (torch.ones(WIDTH, WIDTH) @ flat_matrix(seen.T @ seen, 0.4).float()))


@pytest.mark.parametrize("tau", [0.0, -1.0, float("nan")])
def test_a_tau_that_is_not_above_0_is_refused(tau: float) -> None:
    with pytest.raises(UserError, match=r"^igm\.tau must be above 0, not "):
        Igm(tau=tau)


@pytest.mark.parametrize("alpha", [0.0, -1.0, float("nan")])
def test_an_alpha_that_is_not_above_0_is_refused(alpha: float) -> None:
    with pytest.raises(UserError, match=r"^mla\.alpha must be above 0, not "):
        Mla(alpha=alpha)
