import pytest

from engine.errors import UserError
from engine.types import TrainSettings
from indexer.evaluation.protocol import EvalSettings
from studies.sweeps import grid
from studies.sweeps.spec import Axes, Changes, SweepRun, Variant

FINETUNE, EWC = (Variant(name, {"method": name}) for name in ("finetune", "ewc"))
INFONCE, TRIPLET = (Variant(name, {"loss": name}) for name in ("infonce", "triplet"))
EVALUATION = EvalSettings(policies=("reindex", "matched"))


def runs(axes: Axes, changes: Changes | None = None) -> list[SweepRun]:
    return grid.runs(axes, changes or {}, EVALUATION)


def test_axes_that_are_left_out_give_the_one_run_of_train() -> None:
    (run,) = runs(Axes())
    assert (run.name, run.settings) == ("finetune, infonce, default, seed 0", TrainSettings(""))


def test_runs_go_seed_by_seed_within_head_loss_and_method() -> None:
    every = runs(Axes([FINETUNE, EWC], [INFONCE, TRIPLET], seeds=(0, 7)))
    assert [(run.method, run.loss, run.settings.seed) for run in every] == [
        (method, loss, seed)
        for method in ("finetune", "ewc")
        for loss in ("infonce", "triplet")
        for seed in (0, 7)
    ]


def test_what_all_runs_change_gives_way_to_what_a_variant_changes() -> None:
    slow = Variant("slow", {"method": "finetune", "epochs": 9})
    fast, own = runs(Axes([FINETUNE, slow]), {"epochs": 2})
    assert (fast.settings.epochs, own.settings.epochs) == (2, 9)


@pytest.mark.parametrize(
    ("variants", "epochs"),
    [(("method", "loss", "head"), 1), (("loss", "head"), 2), (("head",), 3)],
)
def test_a_method_overrules_a_loss_and_a_loss_a_head(variants: tuple[str, ...], epochs: int) -> None:
    def own(axis: str, value: int) -> Changes:
        return {"epochs": value} if axis in variants else {}

    method = Variant("m", {"method": "finetune", **own("method", 1)})
    loss = Variant("l", {"loss": "infonce", **own("loss", 2)})
    (run,) = runs(Axes([method], [loss], [Variant("h", own("head", 3))]))
    assert run.settings.epochs == epochs


def test_a_hyper_parameter_is_given_to_the_runs_that_have_its_link_or_loss() -> None:
    changes = {"ewc.weight": 7.0, "triplet.margin": 0.5}
    every = runs(Axes([FINETUNE, EWC], [INFONCE, TRIPLET]), changes)
    assert [dict(run.settings.options) for run in every] == [
        {},
        {"triplet.margin": 0.5},
        {"ewc.weight": 7.0},
        {"ewc.weight": 7.0, "triplet.margin": 0.5},
    ]


def test_a_hyper_parameter_that_a_variant_sets_must_be_known_to_its_run() -> None:
    lost = Variant("lost", {"method": "finetune", "ewc.weight": 7.0})
    with pytest.raises(UserError, match=r"^lost, infonce, default, seed 0: no hyper-parameter 'ewc.weight'"):
        runs(Axes([lost]))


def test_a_variant_without_policies_has_those_of_the_sweep() -> None:
    experts = Variant("experts", {"method": "experts"}, policies=("matched",))
    assert [tuple(run.evaluation.policies) for run in runs(Axes([FINETUNE, experts]))] == [
        ("reindex", "matched"),
        ("matched",),
    ]


def test_only_a_variant_that_says_so_is_judged_after_its_last_lesson_alone() -> None:
    joint = Variant("joint", {"method": "joint"}, last_only=True)
    assert [run.last_only for run in runs(Axes([FINETUNE, joint]))] == [False, True]


def test_two_runs_that_would_share_a_file_are_refused() -> None:
    with pytest.raises(UserError, match=r"^'a b, .*' and 'a b, .*' would share a file"):
        runs(Axes([Variant("a b", {"method": "ewc"}), Variant("a b", {"method": "mas"})]))


def test_a_setting_that_no_lesson_could_have_is_refused_before_anything_is_trained() -> None:
    with pytest.raises(UserError, match=r"^finetune, infonce, default, seed 0: .*batch.size"):
        runs(Axes(), {"batch_size": 0})
