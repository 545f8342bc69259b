from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from engine.errors import UserError
from engine.heads import draws
from engine.heads import files as heads
from engine.heads.files import Record
from engine.heads.head import Head, branch_key
from engine.storage import files
from engine.types import HeadForm, TrainSettings

WIDTHS = {"image": 6, "text": 4}
FORMS: list[tuple[HeadForm, bool]] = [("linear", False), ("linear", True), ("mlp", False), ("mlp", True)]


def make_head(form: HeadForm = "linear", *, shared_top: bool = False, seed: int = 0) -> Head:
    head = Head(form, 4, shared_top=shared_top, seed=seed)
    for modality, features in WIDTHS.items():
        head.add_branch(modality, features)
    return head


def moved(head: Head) -> Head:
    """Change every parameter, as training would."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(torch.randn_like(parameter))
    return head


def features(rows: int = 3) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(2)
    return {m: torch.randn(rows, width, generator=generator) for m, width in WIDTHS.items()}


def record(head: Head, *, shared_top: bool = False, settings: TrainSettings | None = None) -> Record:
    names = {"image": "fake-1", "text": "fake-1"}
    return Record(3, 2, WIDTHS, 4, head.form, shared_top, settings or TrainSettings("sky"), names)


def written(folder: Path, state: dict[str, Tensor] | None = None) -> Path:
    head = make_head()
    heads.write(folder / "v0003", head, record(head), state or {}, b"")
    return folder / "v0003"


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


# form


def test_a_square_untrained_branch_is_the_identity() -> None:
    assert torch.equal(draws.orthonormal(5, 5, "image"), torch.eye(5))


def test_an_untrained_branch_to_fewer_numbers_has_orthonormal_rows() -> None:
    matrix = draws.orthonormal(9, 5, "image")
    assert matrix.shape == (5, 9)
    assert_close(matrix @ matrix.T, torch.eye(5))


def test_an_untrained_branch_to_more_numbers_keeps_every_cosine() -> None:
    matrix = draws.orthonormal(5, 9, "image")
    assert matrix.shape == (9, 5)
    assert_close(matrix.T @ matrix, torch.eye(5))


def test_an_untrained_branch_is_the_same_every_time() -> None:
    assert_close(draws.orthonormal(9, 5, "image"), draws.orthonormal(9, 5, "image"))


def test_untrained_branches_of_two_modalities_differ() -> None:
    assert not torch.allclose(draws.orthonormal(9, 5, "image"), draws.orthonormal(9, 5, "text"))


def test_an_untrained_branch_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    make_head("mlp", shared_top=True)
    assert torch.equal(torch.rand(1), expected)


def test_a_linear_head_is_one_matrix_a_modality() -> None:
    assert {name: tuple(p.shape) for name, p in make_head().named_parameters()} == {
        "layers.image.weight": (4, 6),
        "layers.text.weight": (4, 4),
    }


def test_an_mlp_goes_through_1024_numbers() -> None:
    shapes = [tuple(p.shape) for p in make_head("mlp").layers["image"].parameters()]
    assert shapes == [(1024, 6), (1024,), (4, 1024), (4,)]


@pytest.mark.parametrize("form", ["linear", "mlp"])
def test_with_a_shared_top_all_modalities_end_in_one_layer(form: HeadForm) -> None:
    head = moved(make_head(form, shared_top=True))
    assert head.top is not None
    with torch.no_grad():
        head.top.weight.zero_()
        if head.top.bias is not None:
            head.top.bias.zero_()
    assert all(not y.any() for y in head.eval().project(features()).values())


def test_an_untrained_linear_head_with_a_shared_top_is_head_0() -> None:
    assert_close(make_head(shared_top=True)(features()), make_head()(features()))


def test_one_seed_initialises_an_mlp_one_way() -> None:
    assert_close(make_head("mlp", seed=1).state_dict(), make_head("mlp", seed=1).state_dict(), rtol=0, atol=0)


def test_two_seeds_initialise_an_mlp_two_ways() -> None:
    first, second = make_head("mlp", seed=1).eval(), make_head("mlp", seed=2).eval()
    assert not torch.allclose(first(features())["image"], second(features())["image"])


def test_a_branch_does_not_depend_on_which_others_there_are() -> None:
    alone = Head("mlp", 4)
    alone.add_branch("text", 4)
    assert_close(
        alone.eval()({"text": features()["text"]})["text"], make_head("mlp").eval()(features())["text"]
    )


@pytest.mark.parametrize("form", ["linear", "mlp"])
def test_a_modality_may_have_any_name(tmp_path: Path, form: HeadForm) -> None:
    head = Head(form, 4)
    for modality in (names := ["a", "a.b", "a b", "%2E", "forward", "_modules", "\u6df1\u5ea6"]):
        head.add_branch(modality, 4)
        assert head.branch_of(f"layers.{branch_key(modality)}.weight") == modality
    assert (list(head.layers), all(m in head.layers for m in names)) == (names, True)
    made = replace(record(head), form=form, widths=dict.fromkeys(names, 4))
    heads.write(tmp_path / "v0003", head, made, {}, b"")
    back, x = heads.read(tmp_path / "v0003")[0], features()["text"]
    assert_close(back(dict.fromkeys(names, x)), head.eval()(dict.fromkeys(names, x)))
    for layer in (layer for layers in back.inputs(dict.fromkeys(names, x)).values() for layer in layers):
        assert back.get_submodule(layer) is not None


# embedding


@pytest.mark.parametrize(("form", "shared_top"), FORMS)
def test_embeddings_are_unit_rows(form: HeadForm, shared_top: bool) -> None:
    rows = moved(make_head(form, shared_top=shared_top)).eval()(features())["image"]
    assert_close(rows.norm(dim=1), torch.ones(3))


def test_zero_features_give_a_zero_row() -> None:
    rows = make_head()({"image": torch.zeros(2, 6)})["image"]
    assert torch.equal(rows, torch.zeros(2, 4))


def test_the_gradient_at_zero_features_is_a_number() -> None:
    head = make_head()
    head({"image": torch.zeros(2, 6)})["image"].sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in head.parameters())


def test_the_length_of_features_does_not_matter_to_a_linear_head() -> None:
    assert_close(
        make_head()({"image": 100 * features()["image"]}), make_head()({"image": features()["image"]})
    )


def test_only_the_modalities_given_come_back() -> None:
    assert make_head()({"text": features()["text"]}).keys() == {"text"}


# dropout


def test_one_seed_draws_one_mask() -> None:
    head = make_head("mlp").train()
    assert_close(head(features(), seed=5)["image"], head(features(), seed=5)["image"])


def test_two_seeds_draw_two_masks() -> None:
    head = make_head("mlp").train()
    assert not torch.allclose(head(features(), seed=5)["image"], head(features(), seed=6)["image"])


def test_two_modalities_draw_two_masks() -> None:
    head = Head("mlp", 4)
    head.add_branch("image", 4)
    head.add_branch("text", 4)
    head.layers["text"].load_state_dict(head.layers["image"].state_dict())
    x = torch.ones(3, 4)
    y = head.train()({"image": x, "text": x}, seed=5)
    assert not torch.allclose(y["image"], y["text"])


def test_nothing_is_dropped_outside_training() -> None:
    head = make_head("mlp").eval()
    assert_close(head(features(), seed=5)["image"], head(features(), seed=6)["image"])


def test_dropout_keeps_the_mean() -> None:
    head = make_head("mlp")
    x = {"image": features()["image"].repeat(400, 1)}  # (1200, 6)
    kept, dropped = head.eval().project(x)["image"].mean(0), head.train().project(x)["image"].mean(0)
    assert_close(dropped, kept, atol=0.03, rtol=0)


# disk


@pytest.mark.parametrize(("form", "shared_top"), FORMS)
def test_a_head_comes_back_from_disk_bit_equal(tmp_path: Path, form: HeadForm, shared_top: bool) -> None:
    head = moved(make_head(form, shared_top=shared_top))
    heads.write(tmp_path / "v0003", head, record(head, shared_top=shared_top), {}, b"")
    back, _ = heads.read(tmp_path / "v0003")
    assert_close(dict(back.state_dict()), dict(head.state_dict()), rtol=0, atol=0)
    assert_close(back(features())["image"], head.eval()(features())["image"])


def test_a_head_comes_back_in_eval_mode(tmp_path: Path) -> None:
    assert not heads.read(written(tmp_path))[0].training


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    settings = replace(
        TrainSettings("sky", "joint", "triplet"),
        form="mlp",
        modalities=("image", "text"),
        options={"a.b": 0.1, "c": "x"},
    )
    head = make_head()
    heads.write(tmp_path / "v0003", head, record(head, settings=settings), {}, b"")
    assert heads.read_record(tmp_path / "v0003") == record(head, settings=settings)


def test_what_strategies_remember_comes_back_as_it_was(tmp_path: Path) -> None:
    state = {"ewc.image": torch.randn(3, 4).T, "seen": torch.tensor(7)}
    back = heads.read_state(written(tmp_path, state))
    assert back.keys() == state.keys()
    assert torch.equal(back["ewc.image"], state["ewc.image"])
    assert torch.equal(back["seen"], state["seen"])


def test_a_damaged_head_is_refused(tmp_path: Path) -> None:
    folder = written(tmp_path)
    flip(folder / "head.safetensors")
    with pytest.raises(UserError) as raised:
        heads.read(folder)
    why = "its checksum does not hold; `verify repair` mends it"
    assert str(raised.value) == f"{folder / 'head.safetensors'} is damaged: {why}"


def test_a_damaged_memory_is_refused(tmp_path: Path) -> None:
    folder = written(tmp_path, {"a": torch.ones(3)})
    flip(folder / "memory.safetensors")
    with pytest.raises(UserError) as raised:
        heads.read_state(folder)
    why = "its checksum does not hold; `verify repair` mends it"
    assert str(raised.value) == f"{folder / 'memory.safetensors'} is damaged: {why}"


def test_a_head_without_its_tensors_is_a_user_error(tmp_path: Path) -> None:
    folder = written(tmp_path)
    (folder / "head.safetensors").unlink()
    with pytest.raises(UserError) as raised:
        heads.read(folder)
    why = "it is missing; `verify repair` mends it"
    assert str(raised.value) == f"{folder / 'head.safetensors'} is damaged: {why}"


def test_a_head_that_is_not_there_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"^{tmp_path / 'v0009' / 'head.json'} is damaged: it is missing"):
        heads.read(tmp_path / "v0009")


def test_a_newer_head_is_refused_by_name(tmp_path: Path) -> None:
    path = written(tmp_path) / "head.json"
    facts = {**files.read_json(path), "format": heads.FORMAT + 1}
    path.write_bytes(files.to_sealed_json(facts))
    with pytest.raises(UserError) as raised:
        heads.read(path.parent)
    assert str(raised.value) == f"{path} has a newer format; this mneme reads up to 1: upgrade mneme"


# what strategies ask of a head


@pytest.mark.parametrize(("form", "shared"), FORMS)
def test_a_layers_inputs_lead_through_the_layers_to_the_projection(form: HeadForm, shared: bool) -> None:
    head, x = moved(make_head(form, shared_top=shared)).eval(), features()
    inputs = head.inputs(x)
    last = list(inputs["image"])[-1]
    assert_close(head.get_submodule(last)(inputs["image"][last]), head.project(x)["image"])


def test_the_first_layer_is_given_the_features() -> None:
    x = features()
    assert make_head("mlp").inputs(x)["text"]["layers.text.0"] is x["text"]


def test_the_inputs_of_a_shared_top_stand_under_every_modality() -> None:
    inputs = make_head("mlp", shared_top=True).inputs(features())
    assert "top" in inputs["image"]
    assert "top" in inputs["text"]


def test_a_layers_inputs_know_no_dropout() -> None:
    head = make_head("mlp").train()
    assert bool((head.inputs(features())["image"]["layers.image.1"] >= 0).all())
    assert_close(head.inputs(features())["image"], head.eval().inputs(features())["image"])


def test_a_parameter_belongs_to_the_branch_of_its_modality() -> None:
    head = make_head("mlp", shared_top=True)
    assert head.branch_of("layers.image.0.weight") == "image"


def test_a_shared_parameter_belongs_to_no_branch() -> None:
    assert make_head("mlp", shared_top=True).branch_of("top.weight") is None


def test_a_modality_whose_name_begins_as_another_keeps_its_parameters() -> None:
    head = Head("linear", 4)
    head.add_branch("im", 4)
    head.add_branch("image", 4)
    assert head.branch_of("layers.image.weight") == "image"


def test_a_losses_scorer_comes_back_from_disk(tmp_path: Path) -> None:
    head = make_head()
    head.add_scorer("pmrl image text", 8)
    moved(head)
    heads.write(tmp_path / "v0003", head, record(head), {}, b"")
    again, _ = heads.read(tmp_path / "v0003")
    assert_close(dict(again.state_dict()), dict(head.state_dict()))


def test_a_scorer_is_made_once() -> None:
    head = make_head()
    assert head.add_scorer("pmrl", 8) is head.add_scorer("pmrl", 8)
