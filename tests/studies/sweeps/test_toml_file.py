from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import TypeAlias, get_args

import pytest

import worlds
from engine.errors import UserError
from engine.types import LossName, MethodName, TrainSettings
from indexer.evaluation.protocol import EvalSettings
from studies.sweeps import toml_file
from studies.sweeps.spec import Step

Write: TypeAlias = Callable[..., Path]
STREAM = '[stream]\nsource = "all.npz"\ntasks = ["sky", "life"]\n'


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a function that writes a spec beside a source of its own."""
    worlds.save(tmp_path / "all.npz", [*worlds.rows("sky", 10), *worlds.rows("life", 10)])

    def file(*tables: str, stream: str = STREAM) -> Path:
        path = tmp_path / "spec.toml"
        path.write_text("\n".join([stream, *tables]), encoding="utf-8")
        return path

    return file


def refusal(path: Path) -> str:
    """Return the error about a spec, less the name of its file, which stands first."""
    with pytest.raises(UserError) as caught:
        toml_file.load(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


def test_a_source_is_looked_for_beside_the_spec(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    path = write()
    assert toml_file.load(Path("..") / path.name).steps[0].source.samefile(tmp_path / "all.npz")


def test_one_source_and_its_tasks_stand_for_steps(write: Write, tmp_path: Path) -> None:
    source = tmp_path / "all.npz"
    assert toml_file.load(write()).steps == [Step(source, "sky"), Step(source, "life")]


def test_a_step_may_name_its_modalities(write: Write, tmp_path: Path) -> None:
    stream = '[stream]\nsteps = [{source = "all.npz", task = "sky", modalities = ["text", "image"]}]'
    assert toml_file.load(write(stream=stream)).steps == [
        Step(tmp_path / "all.npz", "sky", ("text", "image"))
    ]


def test_a_step_that_names_no_modalities_has_those_of_the_stream(write: Write) -> None:
    own = '{source = "all.npz", task = "life", modalities = ["text"]}'
    steps = f'[{{source = "all.npz", task = "sky"}}, {own}]'
    stream = f'[stream]\nmodalities = ["image", "text"]\nsteps = {steps}'
    assert [step.modalities for step in toml_file.load(write(stream=stream)).steps] == [
        ("image", "text"),
        ("text",),
    ]


def test_a_stream_may_name_its_backbones_and_the_shared_width(write: Write) -> None:
    spec = toml_file.load(write(stream=STREAM + 'backbone = ["builtin", "image=x"]\ndim = 64'))
    assert (tuple(spec.backbones), spec.width) == (("builtin", "image=x"), 64)


def test_without_axes_there_is_the_one_run_of_train(write: Write) -> None:
    (run,) = toml_file.load(write()).runs
    assert run.name == "finetune, infonce, default, seed 0"


def test_the_runs_are_every_method_with_every_loss_head_and_seed(write: Write) -> None:
    axes = 'method = ["finetune", "joint"]\nloss = ["infonce", "triplet"]\nhead = ["linear", "mlp"]\nseed = [0, 7]'
    runs = toml_file.load(write("[axes]", axes)).runs
    assert len({(r.method, r.loss, r.head, r.settings.seed) for r in runs}) == len(runs) == 16


def test_an_entry_of_an_axis_may_be_a_table_with_a_name_and_settings_of_its_own(write: Write) -> None:
    entry = '{name = "wide", loss = "triplet", set = {"triplet.margin" = 0.5, lr = 1}}'
    plain, wide = toml_file.load(write("[set]\nlr = 0.1", f'[axes]\nloss = ["triplet", {entry}]')).runs
    assert (plain.loss, plain.settings.lr, plain.settings.options) == ("triplet", 0.1, {})
    assert (wide.loss, wide.settings.lr, wide.settings.options) == ("wide", 1.0, {"triplet.margin": 0.5})


def test_a_head_may_share_its_top(write: Write) -> None:
    (run,) = toml_file.load(
        write('[axes]\nhead = [{name = "one top", head = "mlp", shared_top = true}]')
    ).runs
    assert (run.head, run.settings.form, run.settings.shared_top) == ("one top", "mlp", True)


def test_a_method_may_be_measured_under_policies_of_its_own(write: Write) -> None:
    axes = (
        'policy = ["reindex", "matched"]\nmethod = ["finetune", {method = "experts", policy = ["matched"]}]'
    )
    finetune, experts = toml_file.load(write("[axes]", axes)).runs
    assert (finetune.evaluation.policies, experts.evaluation.policies) == (
        ["reindex", "matched"],
        ["matched"],
    )


def test_a_dotted_setting_is_given_to_the_runs_that_have_its_loss_alone(write: Write) -> None:
    runs = toml_file.load(
        write('[axes]\nloss = ["infonce", "triplet"]', '[set]\n"triplet.margin" = 0.5')
    ).runs
    assert [dict(run.settings.options) for run in runs] == [{}, {"triplet.margin": 0.5}]


def test_a_dotted_setting_is_given_to_the_runs_that_have_its_link_alone(write: Write) -> None:
    runs = toml_file.load(write('[axes]\nmethod = ["finetune", "sam+ewc"]', '[set]\n"ewc.weight" = 7')).runs
    assert [dict(run.settings.options) for run in runs] == [{}, {"ewc.weight": 7}]


def test_a_method_may_protect_one_modality_under_a_name_of_its_own(write: Write) -> None:
    (run,) = toml_file.load(
        write('[axes]\nmethod = [{name = "ewc-txt", method = "ewc", protect = "text"}]')
    ).runs
    assert (run.method, run.settings.method, run.settings.protect) == ("ewc-txt", "ewc", "text")


def test_a_dotted_name_means_the_same_without_quotes(write: Write) -> None:
    (run,) = toml_file.load(write('[axes]\nloss = ["triplet"]', "[set]\ntriplet.margin = 0.5")).runs
    assert run.settings.options == {"triplet.margin": 0.5}


def test_what_is_evaluated_is_as_the_spec_says(write: Write) -> None:
    table = '[evaluate]\nk = [5, 1]\nrelevance = "label"\ngallery = "all"\nsplit = "val"'
    (run,) = toml_file.load(write(table)).runs
    asks = run.evaluation
    assert (asks.ks, asks.relevance, asks.gallery, asks.split) == ([1, 5], "label", "all", "val")


def test_quick_takes_the_first_seed_and_what_its_table_puts_in_place(write: Write) -> None:
    wide = '{name = "wide", loss = "triplet", set = {"triplet.margin" = 0.5}}'
    axes = f'[axes]\nseed = [3, 4]\nloss = ["infonce", {wide}]\n[set]\nlr = 0.5'
    quick = toml_file.load_quick(
        write(axes, '[quick]\nloss = ["wide"]\ntasks = ["life"]\nset = {epochs = 2}')
    )
    (run,) = quick.runs
    assert (run.loss, run.settings.options) == ("wide", {"triplet.margin": 0.5})
    assert (run.settings.seed, run.settings.epochs, run.settings.lr) == (3, 2, 0.5)
    assert [step.task for step in quick.steps] == ["life"]


def test_quick_may_have_steps_of_its_own(write: Write) -> None:
    quick = toml_file.load_quick(write('[quick]\nsteps = [{source = "all.npz", task = "life"}]'))
    assert [step.task for step in quick.steps] == ["life"]


def test_quick_keeps_what_its_table_does_not_name(write: Write) -> None:
    quick = toml_file.load_quick(write('[axes]\nloss = ["infonce", "triplet"]\n[set]\nlr = 0.5', "[quick]"))
    assert [(run.loss, run.settings.lr) for run in quick.runs] == [("infonce", 0.5), ("triplet", 0.5)]
    assert [step.task for step in quick.steps] == ["sky", "life"]


def test_without_quick_its_table_changes_nothing(write: Write) -> None:
    path = write("[axes]\nseed = [3, 4]")
    before = toml_file.load(path)
    assert toml_file.load(write("[axes]\nseed = [3, 4]", '[quick]\ntasks = ["life"]')) == before


def test_a_run_that_only_the_full_sweep_makes_is_checked_for_the_quick_one_too(write: Write) -> None:
    path = write('[axes]\nmethod = ["finetune", "evc"]', '[quick]\nmethod = ["finetune"]')
    with pytest.raises(UserError, match="no method 'evc'"):
        toml_file.load_quick(path)


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ("[axes]\nlos = []", "axes has no 'los'; it takes: method, loss, head, policy, merge, seed"),
        ("[axis]\nloss = []", "the file has no 'axis'; it takes: stream, axes, set, evaluate, quick"),
        ('[axes]\nloss = "gram"', "axes.loss must be a list, not 'gram'"),
        ("[axes]\nloss = []", "axes.loss is empty"),
        ("[axes]\npolicy = []", "axes.policy is empty"),
        ("[axes]\nseed = []", "axes.seed is empty"),
        ("[axes]\nmerge = []", "axes.merge is empty"),
        ('[axes]\nseed = [0, "one"]', "axes.seed[1] must be a whole number, not 'one'"),
        ("[axes]\nseed = [true]", "axes.seed[0] must be a whole number, not True"),
        (
            '[axes]\nmethod = ["evc"]',
            f"no method 'evc'; methods are: {', '.join(get_args(MethodName))}",
        ),
        ('[axes]\nloss = ["nce"]', f"axes.loss is one of {', '.join(get_args(LossName))}, not 'nce'"),
        ('[axes]\nhead = ["deep"]', "axes.head is one of linear, mlp, not 'deep'"),
        ("[set]\nkeep = 3", "set.keep must be a text, not 3"),
        ("[set]\nlr = true", "set.lr must be a number, not True"),
        (
            '[axes]\nhead = [{name = "x", shared_top = 1}]',
            "axes.head.shared_top must be true or false, not 1",
        ),
        ('[axes]\nmethod = [{method = "experts", policy = []}]', "experts.policy is empty"),
        ('[axes]\nloss = [{name = "x"}]', "axes.loss has an entry without loss: {'name': 'x'}"),
        (
            '[axes]\nloss = [{loss = "gram", sett = {}}]',
            "axes.loss has no 'sett'; it takes: name, loss, set",
        ),
        (
            '[axes]\nloss = ["infonce", "infonce"]',
            "'finetune, infonce, default, seed 0' and 'finetune, infonce, default, seed 0' would share a file: "
            'give one entry another name, as in {name = "...", ...}',
        ),
        ("[set]\nepochs = 1.5", "set.epochs must be a whole number, not 1.5"),
        ('[set]\nkeep = "first"', "set.keep is one of best, last, not 'first'"),
        (
            "[set]\nepoch = 3",
            "set has no 'epoch'; it takes: epochs, lr, batch_size, temperature, weight_decay, patience, warmup, "
            "keep, protect, and dotted names such as 'ewc.weight'",
        ),
        (
            '[set]\n"triplet.margin" = 0.1',
            "set names triplet.margin, but no run has a method or loss 'triplet'",
        ),
        (
            '[quick.set]\n"triplet.margin" = 0.1',
            "quick.set names triplet.margin, but no run has a method or loss 'triplet'",
        ),
        ('[set]\n"infonce.temperature" = [1]', "set.infonce.temperature must be a number or a text, not [1]"),
        (
            '[set]\n"infonce.margin" = 0.1',
            "finetune, infonce, default, seed 0: no hyper-parameter 'infonce.margin' here; "
            "valid are: infonce.temperature, infonce.anchor",
        ),
        (
            "[set]\nepochs = 0",
            "finetune, infonce, default, seed 0: `epochs` must be at least 1, not 0",
        ),
        ("[evaluate]\nk = [0]", "evaluate.k takes numbers from 1, not [0]"),
        ('[evaluate]\nsplit = "tset"', "evaluate.split is one of train, val, test, not 'tset'"),
    ],
)
def test_a_wrong_table_is_refused_in_one_line(write: Write, tables: str, message: str) -> None:
    assert refusal(write(tables)) == message


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        ("", 'no steps: give [stream] steps = [{source = "...", task = "..."}, ...]'),
        ('[stream]\nsteps = [{source = "all.npz"}]', "a step has no task: {'source': 'all.npz'}"),
        ("[stream]\nsteps = [3]", "a step must be a table, not 3"),
        ('[stream]\ntasks = ["sky"]', "stream takes source and tasks together, or steps"),
        (
            STREAM + 'steps = [{source = "all.npz", task = "sky"}]',
            "stream has steps: each names its source and task, stream itself names none",
        ),
    ],
)
def test_a_wrong_stream_is_refused_in_one_line(write: Write, stream: str, message: str) -> None:
    assert refusal(write(stream=stream)) == message


def test_set_takes_every_setting_of_a_lesson_that_neither_stream_nor_axes_give(write: Write) -> None:
    given = {"task", "modalities", "method", "loss", "form", "shared_top", "seed", "options"}
    assert {field.name for field in fields(TrainSettings)} - given == set(toml_file.SET)


def test_what_a_setting_is_by_default_is_what_train_has(write: Write) -> None:
    (run,) = toml_file.load(write()).runs
    assert run.settings == TrainSettings("")


def test_what_is_evaluated_by_default_is_what_evaluate_has(write: Write) -> None:
    (run,) = toml_file.load(write()).runs
    usual = EvalSettings(details=False)
    assert asdict(run.evaluation) == {
        **asdict(usual),
        "policies": list(usual.policies),
        "merges": ["raw"],
        "ks": [1, 5, 10],
    }


def test_a_source_that_is_not_there_is_named_in_full(write: Write, tmp_path: Path) -> None:
    stream = '[stream]\nsteps = [{source = "none.npz", task = "sky"}]'
    assert refusal(write(stream=stream)) == f"no such file or folder: {tmp_path / 'none.npz'}"


def test_an_unknown_merge_is_refused(write: Write) -> None:
    assert refusal(write('[axes]\nmerge = ["rwa"]')).startswith("axes.merge is one of raw")


def test_an_unknown_policy_is_refused(write: Write) -> None:
    assert refusal(write('[axes]\npolicy = ["reindx"]')).startswith(
        "no policy 'reindx'; policies are: reindex, "
    )


def test_a_quick_task_that_no_step_has_is_refused(write: Write) -> None:
    path = write('[quick]\ntasks = ["lief"]')
    with pytest.raises(UserError) as caught:
        toml_file.load_quick(path)
    assert str(caught.value) == f"{path}: quick.tasks names 'lief', which no step has"


def test_a_file_that_is_no_toml_is_refused(write: Write) -> None:
    message = refusal(write(stream="[stream"))
    assert message.startswith("no TOML: ")
    assert "\n" not in message


def test_a_spec_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.toml") == "no such file or directory"
