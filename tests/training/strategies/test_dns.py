from collections.abc import Iterator, Mapping, Sequence
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
from training.gradient import Gradient, GradientFn, Strategy, compose, loss_gradient
from training.losses.pairwise import infonce
from training.strategies.adam import Adam, Decay
from training.strategies.dns import Dns, Mode, Outputs, ProtectedSpans, Rule

WIDTHS = {"audio": 9, "image": 12, "text": 10}
EVERY = ("audio", "image", "text")
CHAIN = (("image", "text"), ("audio", "image"), ("audio", "text"), ("image", "text"))
FORMS = pytest.mark.parametrize("form", get_args(HeadForm))
SHARED = pytest.mark.parametrize("shared", [False, True])


def make_head(
    form: HeadForm = "linear", modalities: Sequence[str] = EVERY, *, shared: bool = False, width: int = 14
) -> Head:
    head = Head(form, width, shared_top=shared)
    for m in modalities:
        head.add_branch(m, WIDTHS[m])
        if form == "mlp":  # a narrow one, since eigenvectors cost the width's cube
            layers = [nn.Linear(WIDTHS[m], 20), nn.Linear(20, width)]
            head.layers[m] = nn.Sequential(*layers[: 1 if shared else 2])
    if form == "mlp" and shared:
        head.top = nn.Linear(20, width)
    return redraw(head.double().eval())


def redraw(head: Head, seed: int = 0) -> Head:
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in head.parameters():
            p.copy_(0.3 * torch.randn(p.shape, generator=draw, dtype=p.dtype))
    return head


def pairs(modalities: Sequence[str], seed: int = 0, rows: int = 30, rank: int = 3) -> Batch:
    """Return a batch whose rows span `rank` directions in each modality."""
    draw = torch.Generator().manual_seed(seed)
    x = {
        m: torch.randn(rows, rank, generator=draw, dtype=torch.float64)
        @ torch.randn(rank, WIDTHS[m], generator=draw, dtype=torch.float64)
        for m in modalities
    }
    number = torch.arange(rows)
    present = {m: torch.ones(rows, dtype=torch.bool) for m in modalities}
    zero = torch.zeros(rows, dtype=torch.int64)
    return Batch(
        x, present, dict.fromkeys(modalities, number), zero, torch.ones(rows, dtype=torch.float64), seed
    )


def noise(head: Head, modalities: Sequence[str], seed: int = 0) -> dict[str, Tensor]:
    """Return a gradient of all that these modalities pass, unlike any head drawn."""
    draw = torch.Generator().manual_seed(100 + seed)
    return {
        name: torch.randn(p.shape, generator=draw, dtype=torch.float64)
        for name, p in head.named_parameters()
        if head.branch_of(name) in {None, *modalities}
    }


def returns(by_name: Mapping[str, Tensor]) -> GradientFn:
    return lambda batch: Gradient(torch.tensor(0.0), by_name)


def no_loss(z: Mapping[str, Tensor], batch: Batch) -> Tensor:
    return batch.weight * 0


def exact(mode: Mode, outputs: Outputs = "current") -> Dns:
    """Return a projection that cuts nothing but rounding."""
    return Dns(mode=mode, outputs=outputs, rule="relative", lambda_min=1e-10, output_threshold=1e-10)


def learned(dns: Dns, head: Head, *batches: Batch) -> Dns:
    dns.end_task(head, batches, no_loss)
    return dns


def move(head: Head, direction: Mapping[str, Tensor], size: float) -> None:
    with torch.no_grad():
        for name, d in direction.items():
            head.get_parameter(name).sub_(size * d)


def project(head: Head, batch: Batch) -> dict[str, Tensor]:
    return {m: y.detach() for m, y in head.project(batch.features).items()}


def scores(head: Head, batch: Batch) -> Tensor:
    a, b = project(head, batch).values()
    products: Tensor = a @ b.T
    return products


def cosines(head: Head, batch: Batch) -> Tensor:
    a, b = (nn.functional.normalize(y, dim=1) for y in project(head, batch).values())
    products: Tensor = a @ b.T
    return products


def lengths(head: Head, batch: Batch) -> Tensor:
    return torch.cat([y.square().sum(1) for y in project(head, batch).values()])


def leak(head: Head, direction: Mapping[str, Tensor], batch: Batch, sides: str = "") -> float:
    """Return the largest first-order change of a linear head's inner products, over their own size."""
    (a, x), (b, y) = batch.features.items()
    w_a, w_b = (head.get_parameter(f"layers.{m}.weight").detach() for m in (a, b))
    d_a, d_b = (direction.get(f"layers.{m}.weight", 0 * w) for m, w in ((a, w_a), (b, w_b)))
    change = x @ d_a.T @ (w_b @ y.T) + x @ w_a.T @ (d_b @ y.T)
    return float(change.abs().max() / scores(head, batch).abs().max())


def chain(dns: Dns, head: Head) -> Iterator[tuple[int, dict[str, Tensor], list[Batch]]]:
    """Learn the pairs of CHAIN one after the other; yield each lesson's projected noise and the pairs before."""
    past: list[Batch] = []
    for number, modalities in enumerate(CHAIN):
        g = noise(head, modalities, number)
        projected = dns.gradient(head, pairs(modalities, number), returns(g)).by_name
        yield number, dict(projected), past
        move(head, projected, 0.3)
        past.append(pairs(modalities, number))
        learned(dns, head, past[-1])


def test_two_axes_give_the_matrices_worked_out_by_hand() -> None:
    head = Head("linear", 2)
    for m in ("image", "text"):
        head.add_branch(m, 2)
    axes = {"image": torch.tensor([[1.0, 0.0]]), "text": torch.tensor([[0.0, 1.0]])}
    present = torch.ones(1, dtype=torch.bool)
    batch = Batch(axes, dict.fromkeys(axes, present), {}, torch.zeros(1, dtype=torch.int64), torch.ones(1))
    ones = {f"layers.{m}.weight": torch.ones(2, 2) for m in axes}
    by_name = learned(exact("dual"), head, batch).gradient(head, batch, returns(ones)).by_name
    assert_close(by_name["layers.image.weight"], torch.tensor([[1.0, 1.0], [0.0, 1.0]]))
    assert_close(by_name["layers.text.weight"], torch.tensor([[1.0, 0.0], [1.0, 1.0]]))


@pytest.mark.parametrize("mode", ["dual", "dual_norm", "right"])
@pytest.mark.parametrize("lesson", [1, 2, 3])
def test_dns_leaves_the_inner_products_of_all_old_pairs_alone_to_first_order(mode: Mode, lesson: int) -> None:
    head = make_head()
    direction, past = next((d, list(p)) for n, d, p in chain(exact(mode), head) if n == lesson)
    assert max(leak(head, direction, batch) for batch in past) < 1e-9


@pytest.mark.parametrize("lesson", [1, 2, 3])
def test_a_raw_gradient_leaks(lesson: int) -> None:
    head = make_head()
    past = next(list(p) for n, _, p in chain(exact("dual"), head) if n == lesson)
    assert min(leak(head, noise(head, EVERY, lesson), batch) for batch in past) > 1e-3


def test_own_outputs_in_place_of_the_partners_leak() -> None:
    head, old = make_head(), pairs(("image", "text"))
    dns = learned(exact("dual"), head, old)
    dns.gradient(head, old, returns({}))
    assert dns._protected is not None
    image, text = dns._protected["layers.image"], dns._protected["layers.text"]
    g = noise(head, ("image", "text"))
    wrong = {
        "layers.image.weight": ProtectedSpans(image.inputs, image.free, text.outputs).project(
            g["layers.image.weight"]
        ),
        "layers.text.weight": ProtectedSpans(text.inputs, text.free, image.outputs).project(
            g["layers.text.weight"]
        ),
    }
    assert leak(head, wrong, old) > 1e-3


def test_transposed_sides_leak() -> None:
    head = make_head(width=WIDTHS["image"])  # square, or the sides could not be transposed
    old = pairs(("image", "text"))
    dns = learned(exact("dual"), head, old)
    dns.gradient(head, old, returns({}))
    assert dns._protected is not None
    right = dns._protected["layers.image"]
    assert right.outputs is not None
    wrong = ProtectedSpans(right.outputs, right.outputs[:, :0], right.inputs).project(
        noise(head, EVERY)["layers.image.weight"]
    )
    assert leak(head, {"layers.image.weight": wrong}, old) > 1e-3


def tangent(head: Head, direction: Mapping[str, Tensor], batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the derivative of the cosines and of the squared lengths along a direction."""
    tiny = 1e-6
    move(head, direction, -tiny)
    ahead = cosines(head, batch), lengths(head, batch)
    move(head, direction, 2 * tiny)
    behind = cosines(head, batch), lengths(head, batch)
    move(head, direction, -tiny)
    return (ahead[0] - behind[0]) / (2 * tiny), (ahead[1] - behind[1]) / (2 * tiny)


@pytest.mark.parametrize("lesson", [1, 2, 3])
def test_dual_norm_leaves_cosines_alone_to_first_order(lesson: int) -> None:
    head = make_head()
    direction, past = next((d, list(p)) for n, d, p in chain(exact("dual_norm"), head) if n == lesson)
    assert max(float(tangent(head, direction, batch)[0].abs().max()) for batch in past) < 1e-7


@pytest.mark.parametrize("lesson", [1, 2, 3])
def test_dual_norm_leaves_squared_lengths_alone_to_first_order(lesson: int) -> None:
    head = make_head()
    direction, past = next((d, list(p)) for n, d, p in chain(exact("dual_norm"), head) if n == lesson)
    change = [
        2
        * ((x @ head.get_parameter(f"layers.{m}.weight").T) * (x @ direction[f"layers.{m}.weight"].T)).sum(1)
        for batch in past
        for m, x in batch.features.items()
        if f"layers.{m}.weight" in direction
    ]
    assert float(torch.cat(change).detach().abs().max()) < 1e-9


def test_dual_alone_moves_cosines_to_first_order() -> None:
    head, old = make_head(), pairs(("image", "text"))
    projected = learned(exact("dual"), head, old).gradient(head, old, returns(noise(head, EVERY)))
    assert float(tangent(head, projected.by_name, old)[0].abs().max()) > 1e-3


@pytest.mark.parametrize("mode", ["dual", "dual_norm"])
def test_the_rest_of_the_change_is_quadratic_in_the_step(mode: Mode) -> None:
    head, old = make_head(), pairs(("image", "text"))
    projected = learned(exact(mode), head, old).gradient(head, old, returns(noise(head, EVERY))).by_name
    before = scores(head, old)
    move(head, projected, 1e-2)
    large = (scores(head, old) - before).abs().max()
    move(head, projected, -1e-2 + 1e-3)
    small = (scores(head, old) - before).abs().max()
    assert 99 < float(large / small) < 101


@pytest.mark.parametrize("mode", ["dual", "dual_norm"])
def test_nothing_changes_where_one_branch_alone_moves(mode: Mode) -> None:
    head, old = make_head(), pairs(("image", "text"))
    before = scores(head, old)
    g = noise(head, ("text",))
    move(head, learned(exact(mode), head, old).gradient(head, old, returns(g)).by_name, 1.0)
    assert_close(scores(head, old), before, rtol=0, atol=1e-10)


def test_the_projection_is_the_nearest_allowed_gradient() -> None:
    head, old = make_head(), pairs(("image", "text"))
    g = noise(head, ("image",))
    by_name = learned(exact("dual"), head, old).gradient(head, old, returns(g)).by_name
    kept = by_name["layers.image.weight"]
    assert abs(float((kept * (g["layers.image.weight"] - kept)).sum())) < 1e-9


def stored_drift(outputs: Outputs) -> float:
    """Return how far scores of old queries drift against vectors stored at the end of their lesson."""
    head, dns = make_head(), exact("dual", outputs)
    kept: list[tuple[Batch, dict[str, Tensor], Tensor]] = []
    for number, _, _ in chain(dns, head):
        if number:
            batch = pairs(CHAIN[number - 1], number - 1)
            y = project(head, batch)
            a, b = CHAIN[number - 1]
            kept.append((batch, y, y[a] @ y[b].T))
    drift = [0.0]
    for batch, y, before in kept:
        a, b = y
        now = project(head, batch)
        drift += [
            float((now[a] @ y[b].T - before).abs().max()),
            float((y[a] @ now[b].T - before).abs().max()),
        ]
    return max(drift)


@pytest.mark.parametrize("outputs", ["stored", "both"])
def test_stored_outputs_keep_current_queries_scores_of_stored_vectors_for_any_move(outputs: Outputs) -> None:
    assert stored_drift(outputs) < 1e-9


def test_current_outputs_do_not_keep_scores_of_stored_vectors() -> None:
    assert stored_drift("current") > 1e-3


def reindexed_leak(outputs: Outputs) -> float:
    head = make_head()
    leaks = [
        max((leak(head, d, b) for b in p), default=0.0) for _, d, p in chain(exact("dual", outputs), head)
    ]
    return max(leaks)


def test_both_outputs_keep_reindexed_scores_to_first_order() -> None:
    assert reindexed_leak("both") < 1e-9


def test_stored_outputs_do_not_keep_reindexed_scores() -> None:
    assert reindexed_leak("stored") > 1e-3


@FORMS
@SHARED
def test_right_leaves_old_embeddings_as_they_were_after_any_move(form: HeadForm, shared: bool) -> None:
    head, old = make_head(form, shared=shared), pairs(("image", "text"))
    dns = learned(exact("right"), head, old)
    before = project(head, old)
    g = noise(head, EVERY)
    move(head, dns.gradient(head, old, returns(g)).by_name, 0.1)
    assert_close(project(head, old), before, rtol=0, atol=1e-9)


@FORMS
@SHARED
def test_right_lets_new_embeddings_move(form: HeadForm, shared: bool) -> None:
    head, old, new = make_head(form, shared=shared), pairs(("image", "text")), pairs(("image", "text"), 1)
    dns = learned(exact("right"), head, old)
    before = project(head, new)["image"]
    move(head, dns.gradient(head, new, returns(noise(head, EVERY))).by_name, 0.1)
    assert float((project(head, new)["image"] - before).abs().max()) > 1e-2


@pytest.mark.parametrize(("form", "shared"), [("mlp", False), ("mlp", True), ("linear", True)])
def test_auto_is_right_where_a_branch_is_more_than_one_matrix(form: HeadForm, shared: bool) -> None:
    head, old = make_head(form, shared=shared), pairs(("image", "text"))
    g = returns(noise(head, EVERY))
    projected = learned(exact("auto"), head, old).gradient(head, old, g).by_name
    assert_close(projected, learned(exact("right"), head, old).gradient(head, old, g).by_name, rtol=0, atol=0)


def test_auto_is_dual_norm_for_one_matrix_a_branch() -> None:
    head, old = make_head(), pairs(("image", "text"))
    g = returns(noise(head, EVERY))
    projected = learned(exact("auto"), head, old).gradient(head, old, g).by_name
    assert_close(
        projected, learned(exact("dual_norm"), head, old).gradient(head, old, g).by_name, rtol=0, atol=0
    )


@pytest.mark.parametrize("mode", ["dual", "dual_norm"])
@pytest.mark.parametrize(("form", "shared"), [("mlp", False), ("linear", True)])
def test_an_asked_for_dual_projection_of_several_layers_is_refused(
    mode: Mode, form: HeadForm, shared: bool
) -> None:
    message = f"dns.mode={mode} needs a linear head without a shared top; take dns.mode=right"
    with pytest.raises(UserError, match=f"^{message}$"):
        exact(mode).gradient(make_head(form, shared=shared), pairs(EVERY), returns({}))


@FORMS
@SHARED
def test_a_first_lesson_is_not_projected(form: HeadForm, shared: bool) -> None:
    head = make_head(form, shared=shared)
    g = noise(head, EVERY)
    assert_close(dict(Dns().gradient(head, pairs(EVERY), returns(g)).by_name), g, rtol=0, atol=0)


@FORMS
def test_a_late_modality_is_free(form: HeadForm) -> None:
    head = make_head(form)
    g = noise(head, ("audio",))
    dns = learned(exact("auto"), head, pairs(("image", "text")))
    by_name = dns.gradient(head, pairs(("audio", "image")), returns(g)).by_name
    assert_close(dict(by_name), g, rtol=0, atol=0)


@FORMS
def test_a_branch_that_was_added_since_is_free(form: HeadForm) -> None:
    head = make_head(form, ("image", "text"))
    dns = learned(exact("auto"), head, pairs(("image", "text")))
    head.add_branch("audio", WIDTHS["audio"])
    g = noise(head.double(), ("audio",))
    by_name = dns.gradient(head, pairs(("audio", "image")), returns(g)).by_name
    assert_close(dict(by_name), g, rtol=0, atol=0)


def test_a_head_that_lacks_an_old_partner_still_keeps_its_stored_outputs() -> None:
    head, old = make_head(), pairs(("image", "text"))
    dns = learned(exact("dual", "both"), head, old)
    kept = project(head, old)["image"]
    fresh = make_head("linear", ("audio", "text"))
    g = noise(fresh, ("text",))
    d = dns.gradient(fresh, pairs(("audio", "text")), returns(g)).by_name["layers.text.weight"]
    assert_close(kept @ d @ old.features["text"].T, torch.zeros(30, 30).double(), rtol=0, atol=1e-9)


@FORMS
@SHARED
def test_an_absent_parameter_stays_absent(form: HeadForm, shared: bool) -> None:
    head = make_head(form, shared=shared)
    g = noise(head, ("image",))
    dns = learned(exact("auto"), head, pairs(("image", "text")))
    assert list(dns.gradient(head, pairs(EVERY), returns(g)).by_name) == list(g)


def test_what_a_loss_trains_for_itself_is_free() -> None:
    head = make_head()
    head.add_scorer("pmrl", 14).double()
    g = {name: p.detach() for name, p in head.named_parameters() if name.startswith("losses.")}
    dns = learned(Dns(mode="dual"), head, pairs(("image", "text")))
    by_name = dns.gradient(head, pairs(("image", "text")), returns(g)).by_name
    assert_close(dict(by_name), g, rtol=0, atol=0)


def test_rows_that_lack_one_of_a_pair_do_not_count_for_it() -> None:
    head, whole = make_head(), pairs(("image", "text"))
    half = torch.arange(30) < 10
    part = Batch(whole.features, {**whole.present, "text": half}, whole.item, whole.group, whole.weight)
    dns = learned(Dns(), head, part)
    x = whole.features["image"][:10]
    assert int(dns.state["count.image.text"]) == 10
    assert_close(dns.state["in.image.text.layers.image"], x.T @ x)


def test_modalities_that_never_stand_in_one_row_are_no_pair() -> None:
    head, both = make_head(), pairs(EVERY)
    first = torch.arange(30) < 15
    present = {"image": torch.ones(30, dtype=torch.bool), "text": first, "audio": ~first}
    dns = learned(Dns(), head, Batch(both.features, present, both.item, both.group, both.weight))
    assert {k for k in dns.state if k.startswith("count.")} == {
        "count.image.text",
        "count.text.image",
        "count.image.audio",
        "count.audio.image",
    }


def test_no_row_of_features_is_kept() -> None:
    dns = learned(Dns(), make_head(), pairs(("image", "text")))
    assert {tuple(t.shape) for t in dns.state.values()} == {(), (12, 12), (10, 10), (14, 14)}


def test_sums_of_lessons_add_up() -> None:
    head, first, second = make_head(), pairs(("image", "text")), pairs(("image", "text"), 1)
    apart = learned(learned(Dns(), head, first), head, second)
    assert_close(apart.state, learned(Dns(), head, first, second).state)


@FORMS
@SHARED
def test_a_lesson_goes_on_from_disk_bit_for_bit(form: HeadForm, shared: bool) -> None:
    head, old = make_head(form, shared=shared), pairs(("image", "text"))
    uninterrupted, resumed = learned(Dns(), head, old), Dns()
    resumed.state.update(safetensors.torch.load(safetensors.torch.save(uninterrupted.state)))
    for dns in (uninterrupted, resumed):
        learned(dns, head, pairs(("audio", "image"), 1))
    assert_close(resumed.state, uninterrupted.state, rtol=0, atol=0)
    g = returns(noise(head, EVERY))
    expected, gradient = (dict(dns.gradient(head, old, g).by_name) for dns in (uninterrupted, resumed))
    assert_close(gradient, expected, rtol=0, atol=0)


def test_the_spans_of_a_lesson_stay_those_of_its_beginning() -> None:
    head, old = make_head(), pairs(("image", "text"))
    dns, g = learned(exact("dual"), head, old), returns(noise(head, EVERY))
    first = dns.gradient(head, old, g).by_name
    redraw(head, 1)
    assert_close(dns.gradient(head, old, g).by_name, first, rtol=0, atol=0)


def test_the_next_lesson_begins_with_spans_of_its_own() -> None:
    head, old, new = make_head(), pairs(("image", "text")), pairs(("image", "text"), 1)
    dns = learned(exact("dual"), head, old)
    dns.gradient(head, new, returns({}))
    learned(dns, head, new)
    direction = dns.gradient(head, new, returns(noise(head, EVERY))).by_name
    assert leak(head, direction, new) < 1e-9


def ranked(values: Sequence[float], rule: Rule, energy: float = 0.99, lambda_min: float = 0.01) -> int:
    """Return the kept rank of image inputs whose covariance has these eigenvalues."""
    head, rows = make_head(), len(values)
    x = torch.zeros(rows, WIDTHS["image"], dtype=torch.float64)
    x[:, :rows] = torch.diag(torch.tensor(values, dtype=torch.float64) * rows).sqrt()
    both = pairs(("image", "text"), rows=rows)
    batch = Batch({**both.features, "image": x}, both.present, both.item, both.group, both.weight)
    dns = learned(Dns(rule=rule, energy=energy, lambda_min=lambda_min), head, batch)
    dns.gradient(head, batch, returns({}))
    return dns.ranks()["layers.image.in"]


@pytest.mark.parametrize(("energy", "rank"), [(0.5, 1), (0.7, 2), (0.95, 3), (1.0, 4)])
def test_energy_keeps_the_fewest_directions_that_hold_the_share(energy: float, rank: int) -> None:
    assert ranked([0.6, 0.25, 0.1, 0.05], "energy", energy=energy) == rank


@pytest.mark.parametrize(
    "dns", [Dns(energy=1.0), Dns(rule="relative", lambda_min=0), Dns(rule="absolute", lambda_min=0)]
)
def test_no_rule_keeps_a_direction_of_rounding(dns: Dns) -> None:
    head, old = make_head(), pairs(("image", "text"))
    learned(dns, head, old).gradient(head, old, returns({}))
    assert dns.ranks()["layers.image.in"] == 3


def test_relative_keeps_what_is_above_a_share_of_the_largest() -> None:
    assert ranked([40.0, 5.0, 3.0], "relative", lambda_min=0.1) == 2


def test_absolute_keeps_what_is_above_the_value() -> None:
    assert ranked([0.9, 0.02, 0.005], "absolute") == 2


def test_absolute_counts_the_mean_over_rows_and_not_the_sum() -> None:
    assert ranked([0.009] * 8, "absolute") == 0


def test_small_outputs_are_cut_by_their_own_threshold() -> None:
    head, old = make_head(), pairs(("image", "text"))
    fine, coarse = (learned(Dns(mode="dual", output_threshold=t), head, old) for t in (1e-6, 0.9))
    for dns in (fine, coarse):
        dns.gradient(head, old, returns({}))
    assert (fine.ranks()["layers.text.out"], coarse.ranks()["layers.text.out"]) == (3, 1)


def test_cut_directions_are_free_and_kept_ones_are_not() -> None:
    head, old = make_head(), pairs(("image", "text"))
    dns = learned(Dns(mode="right", rule="relative", lambda_min=0.999), head, old)
    g = noise(head, ("image",))
    d = dns.gradient(head, old, returns(g)).by_name["layers.image.weight"]
    values = torch.linalg.svd(old.features["image"], full_matrices=False)
    first, second = values.Vh[0], values.Vh[1]
    assert float((d @ first).norm()) < 1e-9
    assert_close(d @ second, g["layers.image.weight"] @ second)


def test_the_output_side_of_right_is_the_whole_space() -> None:
    head, old = make_head(), pairs(("image", "text"))
    dns = learned(exact("right"), head, old)
    dns.gradient(head, old, returns({}))
    assert dns.ranks() == {
        "layers.image.in": 3,
        "layers.image.out": 14,
        "layers.text.in": 3,
        "layers.text.out": 14,
    }


def test_the_span_of_dual_norm_holds_own_and_partners_outputs() -> None:
    head, old = make_head(), pairs(("image", "text"))
    dns = learned(exact("dual_norm"), head, old)
    dns.gradient(head, old, returns({}))
    assert dns.ranks()["layers.image.out"] == 6


def test_outputs_of_a_short_modality_count_as_those_of_a_long_one() -> None:
    head, old = make_head(), pairs(("image", "text"))
    with torch.no_grad():
        head.get_parameter("layers.image.weight").mul_(1e-5)
    dns = learned(exact("dual_norm"), head, old)
    dns.gradient(head, old, returns({}))
    assert dns.ranks()["layers.image.out"] == 6


def test_ranks_are_those_of_the_newest_lesson() -> None:
    head, old = make_head(), pairs(("image", "text"))
    dns = learned(Dns(), head, old)
    dns.gradient(head, old, returns({}))
    learned(dns, head)
    dns.gradient(make_head("linear", ("audio", "text")), pairs(("audio", "text")), returns({}))
    assert set(dns.ranks()) == {"layers.text.in", "layers.text.out"}


def test_a_projected_gradient_does_not_write_into_the_one_given() -> None:
    head, old = make_head("mlp"), pairs(("image", "text"))
    g, dns = noise(head, EVERY), learned(Dns(), head, old)
    dns.gradient(head, old, returns(g))
    assert_close(g, noise(head, EVERY), rtol=0, atol=0)


@pytest.mark.parametrize("energy", [0.0, 1.5, float("nan")])
def test_an_energy_outside_0_to_1_is_refused(energy: float) -> None:
    with pytest.raises(UserError, match=r"^dns\.energy must be above 0 and at most 1, not "):
        Dns(energy=energy)


@pytest.mark.parametrize("value", [-0.1, float("nan")])
def test_a_negative_lambda_min_is_refused(value: float) -> None:
    with pytest.raises(UserError, match=r"^dns\.lambda_min must be at least 0, not "):
        Dns(lambda_min=value)


@pytest.mark.parametrize("value", [-0.1, 1.0])
def test_an_output_threshold_outside_0_to_1_is_refused(value: float) -> None:
    with pytest.raises(UserError, match=r"^dns\.output_threshold must be from 0 to below 1, not "):
        Dns(output_threshold=value)


def trained_drift(links: Sequence[Strategy]) -> float:
    """Return the largest change of an old cosine over a second task of 60 steps."""
    head = make_head("linear", ("image", "text"))
    old, new = (pairs(("image", "text"), seed) for seed in (0, 1))
    step = compose(links, head, loss_gradient(head, infonce))
    for batch in [old] * 60:
        move(head, step(batch).by_name, 1e-2)
    for link in links:
        link.end_task(head, [old], no_loss)
    before = cosines(head, old)
    for batch in [new] * 60:
        move(head, step(batch).by_name, 1e-2)
    return float((cosines(head, old) - before).abs().max())


@pytest.mark.parametrize("mode", ["dual_norm", "right"])
def test_projected_steps_drift_a_tenth_of_finetunes(mode: Mode) -> None:
    finetuned = trained_drift([Decay(), Adam()])
    assert trained_drift([exact(mode, "both"), Decay(), Adam()]) < finetuned / 10


def test_projected_gradients_drift_more_than_projected_steps() -> None:
    inside = trained_drift([Decay(), Adam(), exact("right")])
    assert trained_drift([exact("right"), Decay(), Adam()]) < inside / 10


@pytest.mark.parametrize("rank", [2, 9])
def test_a_projection_from_what_is_free_equals_one_from_what_is_held(rank: int) -> None:
    draw = torch.Generator().manual_seed(0)
    q = torch.linalg.qr(torch.randn(12, 12, generator=draw, dtype=torch.float64)).Q
    g = torch.randn(5, 12, generator=draw, dtype=torch.float64)
    held = q[:, :rank]
    assert_close(ProtectedSpans(held, q[:, rank:], None).project(g), g - g @ held @ held.T)
