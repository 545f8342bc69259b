from collections.abc import Sequence
from dataclasses import replace

import pytest
import safetensors.torch
import torch
from torch import Tensor
from torch.testing import assert_close

from engine.errors import UserError
from engine.heads.head import Head
from engine.types import HeadForm, Modality
from training.batch import Batch, Embeddings
from training.gradient import Gradient, GradientFn, embed, loss_gradient
from training.losses.pairwise import infonce
from training.strategies.ewc import Accumulate, Ewc, Mas, fisher

NOTHING = Batch({}, {}, {}, torch.zeros(0, dtype=torch.int64), torch.zeros(0))
IMAGE, TEXT, AUDIO = "layers.image.weight", "layers.text.weight", "layers.audio.weight"
FORMS = pytest.mark.parametrize("form", ["linear", "mlp"])
TOPS = pytest.mark.parametrize("shared_top", [False, True])
LINKS = pytest.mark.parametrize("kind", [Ewc, Mas])


def make_head(
    form: HeadForm = "linear", *, shared_top: bool = False, modalities: Sequence[Modality] = ("image", "text")
) -> Head:
    head = Head(form, 4, shared_top=shared_top, seed=3)
    for modality in modalities:
        head.add_branch(modality, 6)
    return head.eval()


def make_batch(modalities: Sequence[Modality] = ("image", "text"), rows: int = 5, seed: int = 0) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    features = {m: torch.randn(rows, 6, generator=draw) for m in modalities}
    present = {m: torch.ones(rows, dtype=torch.bool) for m in modalities}
    item = {m: torch.arange(rows) for m in modalities}
    return Batch(features, present, item, torch.zeros(rows, dtype=torch.int64), torch.ones(rows))


def constant(*names: str) -> GradientFn:
    """Return a gradient function that says 0 for these parameters of a head of width 4 and 6 features."""
    return lambda batch: Gradient(torch.tensor(0.0), {name: torch.zeros(4, 6) for name in names})


def importance(link: Ewc | Mas) -> dict[str, Tensor]:
    return {key[11:]: t for key, t in link.state.items() if key.startswith("importance.")}


def anchors(link: Ewc | Mas) -> dict[str, Tensor]:
    return {key[7:]: t for key, t in link.state.items() if key.startswith("anchor.")}


def slow_fisher(head: Head, batches: Sequence[Batch]) -> dict[str, Tensor]:
    """Return the mean squared gradient of single rows, one backward pass each, straight by the parameters."""
    named = dict(head.named_parameters())
    values = torch.cat([infonce(embed(head, batch), batch) for batch in batches])
    each = [torch.autograd.grad(value, list(named.values()), retain_graph=True) for value in values]
    return {
        name: torch.stack(g).square().mean(0) for name, g in zip(named, zip(*each, strict=True), strict=True)
    }


def move(head: Head, seed: int = 9) -> None:
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in head.parameters():
            p.add_(torch.randn(p.shape, generator=draw), alpha=0.1)


@LINKS
def test_a_known_pull_has_penalty_2_and_gradient_8(kind: type[Ewc | Mas]) -> None:
    head = Head("linear", 1)
    head.add_branch("image", 1)
    head.get_parameter(IMAGE).data.fill_(1.5)
    link = kind(weight=2.0)
    link.state |= {f"importance.{IMAGE}": torch.full((1, 1), 4.0), f"anchor.{IMAGE}": torch.ones(1, 1)}
    zero = Gradient(torch.tensor(0.0), {IMAGE: torch.zeros(1, 1)})
    gradient = link.gradient(head, NOTHING, lambda batch: zero)
    assert (float(gradient.loss), float(gradient.by_name[IMAGE])) == (2.0, 8.0)


@LINKS
@FORMS
def test_the_pull_is_the_derivative_of_the_penalty(kind: type[Ewc | Mas], form: HeadForm) -> None:
    head, link, batch = make_head(form, shared_top=True), kind(weight=3.0), make_batch()
    link.end_task(head, [batch], infonce)
    move(head)
    inner = loss_gradient(head, infonce)
    plain, gradient = inner(batch), link.gradient(head, batch, inner)
    held, kept = importance(link), anchors(link)
    penalty = sum(3.0 * (held[name] * (p - kept[name]).square()).sum() for name, p in head.named_parameters())
    assert isinstance(penalty, Tensor)
    pull = torch.autograd.grad(penalty, list(head.parameters()))
    assert_close(gradient.loss, plain.loss + penalty.detach())
    assert_close(
        list(gradient.by_name.values()), [g + p for g, p in zip(plain.by_name.values(), pull, strict=True)]
    )


@LINKS
def test_a_first_lesson_is_not_pulled(kind: type[Ewc | Mas]) -> None:
    head, batch = make_head(), make_batch()
    inner = loss_gradient(head, infonce)
    gradient = kind().gradient(head, batch, inner)
    assert_close(gradient.by_name, inner(batch).by_name, rtol=0, atol=0)


@LINKS
def test_nothing_pulls_where_the_last_lesson_ended(kind: type[Ewc | Mas]) -> None:
    head, link, batch = make_head(), kind(), make_batch()
    link.end_task(head, [batch], infonce)
    inner = loss_gradient(head, infonce)
    assert_close(link.gradient(head, batch, inner).by_name, inner(batch).by_name, rtol=0, atol=0)


@FORMS
@TOPS
def test_the_fisher_information_is_the_mean_square_of_single_rows(form: HeadForm, shared_top: bool) -> None:
    head, batches = make_head(form, shared_top=shared_top), [make_batch(), make_batch(rows=4, seed=1)]
    assert_close(fisher(head, infonce, batches, 100), slow_fisher(head, batches), rtol=1e-4, atol=1e-7)


def test_a_row_of_weight_0_is_a_negative_but_does_not_count() -> None:
    head, batch = make_head(), make_batch()
    dimmed = replace(batch, weight=torch.tensor([0.0, 0.0, 0.0, 0.0, 1.0]))
    g = torch.autograd.grad(infonce(embed(head, batch), batch)[4], [head.get_parameter(IMAGE)])[0]
    assert_close(fisher(head, infonce, [dimmed], 100)[IMAGE], g.square(), rtol=1e-4, atol=1e-7)


def test_no_more_rows_count_than_were_asked_for() -> None:
    head, batch = make_head(), make_batch()
    g = torch.autograd.grad(infonce(embed(head, batch), batch)[0], [head.get_parameter(IMAGE)])[0]
    assert_close(fisher(head, infonce, [batch], 1)[IMAGE], g.square(), rtol=1e-4, atol=1e-7)


def test_a_task_without_rows_has_no_importance() -> None:
    assert fisher(make_head(), infonce, [replace(make_batch(), weight=torch.zeros(5))], 100) == {}


@FORMS
def test_mas_is_blind_to_which_rows_share_a_batch(form: HeadForm) -> None:
    head, apart, together = make_head(form), Mas(), Mas()
    a, b = make_batch(), make_batch(seed=1)
    features = {m: torch.cat([a.features[m], b.features[m]]) for m in a.features}
    both = replace(make_batch(rows=10), features=features)
    apart.end_task(head, [a, b], infonce)
    together.end_task(head, [both], infonce)
    assert_close(apart.state, together.state)


def test_mas_leaves_out_rows_that_lack_the_modality() -> None:
    head, full, lacking = make_head(), Mas(), Mas()
    batch = make_batch()
    present = torch.tensor([True, True, True, True, False])
    full.end_task(
        head,
        [
            replace(
                batch,
                features={"image": batch.features["image"][:4]},
                present={"image": torch.ones(4, dtype=torch.bool)},
            )
        ],
        infonce,
    )
    lacking.end_task(
        head, [replace(batch, present={"image": present, "text": batch.present["text"]})], infonce
    )
    assert_close(lacking.state[f"importance.{IMAGE}"], full.state[f"importance.{IMAGE}"])


def test_mas_passes_over_batches_without_the_modality() -> None:
    head, plain, mixed = make_head(), Mas(), Mas()
    plain.end_task(head, [make_batch()], infonce)
    mixed.end_task(head, [make_batch(("text",), seed=1), make_batch()], infonce)
    assert_close(importance(mixed)[IMAGE], importance(plain)[IMAGE])


def test_mas_sums_a_shared_top_over_both_branches() -> None:
    head, links = make_head("mlp", shared_top=True), [Mas(), Mas("image"), Mas("text")]
    for link in links:
        link.end_task(head, [make_batch()], infonce)
    both, image, text = (link.state["importance.top.weight"] for link in links)
    assert_close(both, image + text)


@pytest.mark.parametrize(
    ("accumulate", "kept", "expected"),
    [("sum", 4.0, 5.0), ("replace", 4.0, 1.0), ("max", 4.0, 4.0), ("max", 0.5, 1.0)],
)
def test_a_later_task_joins_as_told(accumulate: Accumulate, kept: float, expected: float) -> None:
    head, link = make_head(), Ewc(accumulate=accumulate)
    alone = fisher(head, infonce, [make_batch()], 100)[IMAGE]
    link.state |= {f"importance.{IMAGE}": kept * alone, f"anchor.{IMAGE}": torch.zeros(4, 6)}
    link.end_task(head, [make_batch()], infonce)
    assert_close(importance(link)[IMAGE], expected * alone)


@LINKS
def test_importance_adds_up_over_tasks(kind: type[Ewc | Mas]) -> None:
    head, first, second, both = make_head(), kind(), kind(), kind()
    first.end_task(head, [make_batch()], infonce)
    second.end_task(head, [make_batch(seed=1)], infonce)
    both.end_task(head, [make_batch()], infonce)
    both.end_task(head, [make_batch(seed=1)], infonce)
    assert_close(importance(both)[IMAGE], importance(first)[IMAGE] + importance(second)[IMAGE])


@LINKS
def test_the_anchor_is_where_the_last_lesson_ended(kind: type[Ewc | Mas]) -> None:
    head, link = make_head(), kind()
    link.end_task(head, [make_batch()], infonce)
    move(head)
    link.end_task(head, [make_batch(seed=1)], infonce)
    assert_close(anchors(link), dict(head.named_parameters()), rtol=0, atol=0)


@LINKS
def test_the_anchor_stays_when_the_head_moves_on(kind: type[Ewc | Mas]) -> None:
    head, link = make_head(), kind()
    link.end_task(head, [make_batch()], infonce)
    before = {name: p.detach().clone() for name, p in head.named_parameters()}
    move(head)
    assert_close(anchors(link), before, rtol=0, atol=0)


@LINKS
def test_a_modality_that_a_task_lacks_keeps_its_importance_and_anchor(kind: type[Ewc | Mas]) -> None:
    head, link = make_head(modalities=("image", "text", "audio")), kind()
    link.end_task(head, [make_batch()], infonce)
    before = {key: t.clone() for key, t in link.state.items() if key.endswith(TEXT)}
    move(head)
    link.end_task(head, [make_batch(("image", "audio"))], infonce)
    assert_close({key: link.state[key] for key in before}, before, rtol=0, atol=0)


@LINKS
def test_a_late_modality_is_free_at_first(kind: type[Ewc | Mas]) -> None:
    head, link = make_head(), kind()
    link.end_task(head, [make_batch()], infonce)
    head.add_branch("audio", 6)
    move(head)
    assert_close(link.gradient(head, NOTHING, constant(AUDIO)).by_name[AUDIO], torch.zeros(4, 6))


@LINKS
def test_a_late_modality_is_guarded_after_its_first_lesson(kind: type[Ewc | Mas]) -> None:
    head, link = make_head(), kind()
    link.end_task(head, [make_batch()], infonce)
    head.add_branch("audio", 6)
    link.end_task(head, [make_batch(("image", "audio"))], infonce)
    move(head)
    assert link.gradient(head, NOTHING, constant(AUDIO)).by_name[AUDIO].any()


@LINKS
def test_a_parameter_that_the_batch_does_not_touch_stays_absent(kind: type[Ewc | Mas]) -> None:
    head, link = make_head(), kind()
    link.end_task(head, [make_batch()], infonce)
    move(head)
    assert set(link.gradient(head, NOTHING, constant(IMAGE)).by_name) == {IMAGE}


@LINKS
def test_what_a_loss_trains_of_its_own_is_not_guarded(kind: type[Ewc | Mas]) -> None:
    head, link = make_head(), kind()
    scorer = head.add_scorer("match", 4)

    def loss(z: Embeddings, batch: Batch) -> Tensor:
        scores: Tensor = scorer(z["image"])
        return scores[:, 0]

    link.end_task(head, [make_batch()], loss)
    assert not [name for name in link.state if "losses." in name]


@LINKS
@FORMS
def test_protect_guards_one_branch_only(kind: type[Ewc | Mas], form: HeadForm) -> None:
    head, link = make_head(form), kind("text")
    link.end_task(head, [make_batch()], infonce)
    assert {head.branch_of(name) for name in importance(link)} == {"text"}


@LINKS
def test_protect_leaves_that_branchs_importance_as_it_would_be(kind: type[Ewc | Mas]) -> None:
    head, unprotected, protected = make_head("mlp"), kind(), kind("text")
    unprotected.end_task(head, [make_batch()], infonce)
    protected.end_task(head, [make_batch()], infonce)
    assert_close(
        importance(protected), {name: importance(unprotected)[name] for name in importance(protected)}
    )


def test_under_protect_a_shared_top_counts_through_that_branch_alone() -> None:
    head, link, batch = make_head("linear", shared_top=True), Ewc("text"), make_batch()
    z = embed(head, batch)
    values = infonce({"image": z["image"].detach(), "text": z["text"]}, batch)
    top = [head.get_parameter("top.weight")]
    slow = torch.stack([torch.autograd.grad(value, top, retain_graph=True)[0] for value in values])
    link.end_task(head, [batch], infonce)
    assert_close(importance(link)["top.weight"], slow.square().mean(0), rtol=1e-4, atol=1e-7)


@LINKS
def test_protect_frees_what_was_guarded_before(kind: type[Ewc | Mas]) -> None:
    head, link = make_head(), kind()
    link.end_task(head, [make_batch()], infonce)
    move(head)
    link.protect = "text"
    by_name = link.gradient(head, NOTHING, constant(IMAGE, TEXT)).by_name
    assert [bool(by_name[name].any()) for name in (IMAGE, TEXT)] == [False, True]


@LINKS
def test_an_unknown_modality_cannot_be_protected(kind: type[Ewc | Mas]) -> None:
    with pytest.raises(UserError, match=r"^no modality 'sound' to protect; the head has: image, text$"):
        kind("sound").gradient(make_head(), NOTHING, constant(IMAGE))


@LINKS
@FORMS
def test_a_link_read_back_from_disk_pulls_to_the_bit(kind: type[Ewc | Mas], form: HeadForm) -> None:
    head, link, batch = make_head(form, shared_top=True), kind(weight=3.0), make_batch()
    link.end_task(head, [batch], infonce)
    move(head)
    resumed = kind(weight=3.0)
    resumed.state |= safetensors.torch.load(safetensors.torch.save(link.state))
    inner = loss_gradient(head, infonce)
    theirs, ours = link.gradient(head, batch, inner), resumed.gradient(head, batch, inner)
    assert_close(ours.by_name, theirs.by_name, rtol=0, atol=0)


@LINKS
def test_a_lesson_on_what_was_read_back_ends_to_the_bit(kind: type[Ewc | Mas]) -> None:
    head, link, resumed = make_head("mlp"), kind(), kind()
    link.end_task(head, [make_batch()], infonce)
    resumed.state |= safetensors.torch.load(safetensors.torch.save(link.state))
    move(head)
    for ewc_or_mas in (link, resumed):
        ewc_or_mas.end_task(head, [make_batch(seed=1)], infonce)
    assert_close(resumed.state, link.state, rtol=0, atol=0)


@LINKS
def test_a_task_ends_with_the_head_as_it_was(kind: type[Ewc | Mas]) -> None:
    head, before = make_head("mlp"), make_head("mlp").state_dict()
    kind().end_task(head, [make_batch()], infonce)
    assert_close(head.state_dict(), before, rtol=0, atol=0)


@LINKS
def test_the_gradient_given_is_not_written_into(kind: type[Ewc | Mas]) -> None:
    head, link = make_head(), kind()
    link.end_task(head, [make_batch()], infonce)
    move(head)
    given = Gradient(torch.tensor(0.0), {IMAGE: torch.zeros(4, 6)})
    link.gradient(head, NOTHING, lambda batch: given)
    assert not given.by_name[IMAGE].any()


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_ewc_refuses_a_weight_that_is_no_strength(weight: float) -> None:
    with pytest.raises(UserError, match=f"^ewc.weight must be a number from 0 up, not {weight}$"):
        Ewc(weight=weight)


def test_mas_refuses_a_negative_weight() -> None:
    with pytest.raises(UserError, match=r"^mas.weight must be a number from 0 up, not -1$"):
        Mas(weight=-1)


def test_ewc_refuses_to_look_at_no_rows() -> None:
    with pytest.raises(UserError, match=r"^ewc.rows must be at least 1, not 0$"):
        Ewc(rows=0)


def test_mas_refuses_to_look_at_no_rows() -> None:
    with pytest.raises(UserError, match=r"^mas.rows must be at least 1, not 0$"):
        Mas(rows=0)
