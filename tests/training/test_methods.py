from collections.abc import Mapping
from typing import cast, get_args

import pytest

from engine.errors import UserError
from engine.heads.head import Head
from engine.types import LossName, MethodName, TrainSettings
from training import methods
from training.gradient import Strategy
from training.methods import LOSSES
from training.recipes import METHODS

DEFAULTS: Mapping[str, int | float | str] = {
    "triplet.margin": 0.05,
    "triplet.weight": 1.0,
    "triplet.text_weight": 1.5,
    "triplet.mine": "all",
    "triplet.k": 10,
    "triplet.reduction": "mean",
    "infonce.temperature": 0.07,
    "infonce.anchor": "",
    "fabind.temperature": 0.07,
    "fabind.anchor": "",
    "centrobind.temperature": 0.07,
    "centrobind.anchor": "mean",
    "centrobind.weights": "",
    "centrobind.intra": "yes",
    "centrobind.gradient": "stopped",
    "centrobind.normalise": "no",
    "centrobind.noise": 0.0,
    "pmrl.tau": 0.05,
    "pmrl.instance_tau": 0.1,
    "pmrl.instance_weight": 1.0,
    "pmrl.match_weight": 0.1,
    "pmrl.form": "softmax",
    "gram.temperature": 0.07,
    "gram.anchor": "",
    "gram.smoothing": 0.1,
    "ewc.weight": 300.0,
    "ewc.rows": 1000,
    "ewc.accumulate": "sum",
    "mas.weight": 0.1,
    "mas.rows": 1000,
    "replay.size": 256,
    "replay.rows": 64,
    "crosstask.rows": 128,
    "crosstask.source": "features",
    "crosstask.modality": "",
    "gem.size": 256,
    "gem.rows": 64,
    "gem.margin": 0.5,
    "gem.epsilon": 0.001,
    "agem.size": 256,
    "agem.rows": 128,
    "der.size": 256,
    "der.rows": 64,
    "der.alpha": 0.1,
    "derpp.size": 256,
    "derpp.rows": 64,
    "derpp.alpha": 0.1,
    "derpp.beta": 0.1,
    "co2l.power": 1.0,
    "co2l.kappa": 0.2,
    "co2l.kappa_star": 0.01,
    "cila.balance": 5.0,
    "cila.kappa": 0.2,
    "cila.kappa_star": 0.01,
    "sam.rho": 0.05,
    "cflat.rho": 0.2,
    "cflat.strength": 0.2,
    "dns.mode": "auto",
    "dns.outputs": "both",
    "dns.rule": "energy",
    "dns.energy": 0.99,
    "dns.lambda_min": 0.01,
    "dns.output_threshold": 1e-06,
    "igm.tau": 0.4,
    "alternate.epochs": 5,
    "mla.alpha": 1.0,
}
"""What was measured in docs/: another default is another method."""


def refusal(settings: TrainSettings) -> str:
    with pytest.raises(UserError) as caught:
        methods.check(settings)
    return str(caught.value)


def names(method: str, settings: Mapping[str, int | float | str] | None = None) -> list[str]:
    return list(methods.strategies(TrainSettings("t", method=method, options=settings or {})))


def test_every_method_has_its_recipe() -> None:
    assert set(METHODS) == set(get_args(MethodName))


def test_every_loss_has_its_function() -> None:
    assert set(LOSSES) == set(get_args(LossName))


# chains


def test_finetune_is_decay_around_adam() -> None:
    assert names("finetune") == ["decay", "adam"]


def test_dns_projects_the_gradient_and_dns_exact_the_step() -> None:
    assert names("dns") == ["decay", "adam", "dns"]
    assert names("dns-exact") == ["dns", "decay", "adam"]


def test_a_chain_stands_in_the_order_of_places_whatever_is_named_first() -> None:
    assert names("ewc+sam+replay+dns-exact") == ["replay", "dns", "decay", "adam", "sam", "ewc"]


def test_links_of_one_place_stand_as_the_chain_names_them() -> None:
    assert names("mas+ewc")[-2:] == ["mas", "ewc"]
    assert names("ewc+mas")[-2:] == ["ewc", "mas"]


def test_igm_chooses_the_branch_innermost_and_damps_what_sam_returns() -> None:
    assert names("igm") == ["decay", "adam", "igm", "sam", "alternate"]


def test_a_link_that_two_recipes_share_stands_once() -> None:
    assert names("igm+sam").count("sam") == 1


def test_two_uses_of_one_memory_cannot_be_chained() -> None:
    assert refusal(TrainSettings("t", method="replay+co2l")) == (
        "co2l cannot be chained in replay+co2l: each uses 'replay' in its own way"
    )


def test_two_recipes_that_start_anew_cannot_be_chained() -> None:
    said = refusal(TrainSettings("t", method="joint+experts"))
    assert said == "joint and experts each say what to train on: choose one"


def test_a_chain_with_joint_trains_as_joint_does() -> None:
    recipe = methods.recipe("sam+joint-intra")
    assert (recipe.start, recipe.pairs, recipe.negatives) == ("initialisation", "history", "task")
    assert set(recipe.links) == {"sam"}


def test_an_unknown_method_in_a_chain_is_named() -> None:
    assert refusal(TrainSettings("t", method="ewc+magic")).startswith(
        "no method 'magic'; methods are: finetune, "
    )


# hyper-parameters


def test_an_unknown_name_lists_those_of_the_loss_and_of_every_link() -> None:
    said = refusal(TrainSettings("t", method="sam", options={"sam.size": "1"}))
    assert said == (
        "no hyper-parameter 'sam.size' here; valid are: infonce.temperature, infonce.anchor, sam.rho"
    )


def test_the_hyper_parameters_have_these_defaults() -> None:
    defaults: dict[str, object] = {}
    for entry in methods.describe():
        assert isinstance(entry["options"], dict)
        defaults |= entry["options"]
    assert defaults == DEFAULTS


def test_of_all_links_memories_and_distillation_let_rows_of_a_memory_pass() -> None:
    links = {name: link for recipe in METHODS.values() for name, link in recipe.links.items()}
    skipping = {name for name, link in links.items() if vars(link.make)["skips_memory"]}
    memories = {name for name, link in links.items() if link.place in ("memory", "distillation")}
    assert skipping == memories | {"gem", "agem"}


@pytest.mark.parametrize("link", ["decay", "adam"])
def test_rows_of_a_memory_are_stepped_on_as_all_others(link: str) -> None:
    assert not methods.strategies(TrainSettings("t"))[link].skips_memory


def test_what_a_link_is_set_to_reaches_it() -> None:
    links = methods.strategies(TrainSettings("t", method="sam", options={"sam.rho": "0.2"}))
    assert vars(links["sam"])["rho"] == 0.2


@pytest.mark.parametrize("method", ["replay", "co2l", "cila"])
def test_a_memory_of_nothing_is_refused(method: str) -> None:
    said = refusal(TrainSettings("t", method=method, options={"replay.size": "0"}))
    assert said.startswith("replay.size must be at least 1, not 0")


@pytest.mark.parametrize("method", ["gem", "agem", "der", "derpp"])
def test_a_memory_of_its_own_of_nothing_is_refused(method: str) -> None:
    said = refusal(TrainSettings("t", method=method, options={f"{method}.size": "0"}))
    assert said.startswith(f"{method}.size must be at least 1, not 0")


def test_protect_without_a_penalty_is_refused() -> None:
    said = refusal(TrainSettings("t", method="dns", protect="text"))
    assert said == "`protect` says which branch ewc or mas guards: add one of them to `method`"


def test_the_temperature_reaches_der() -> None:
    links = methods.strategies(TrainSettings("t", method="der", temperature=0.3))
    assert vars(links["der"])["temperature"] == 0.3


# what a loss keeps in the head


def test_pmrl_trains_a_scorer_that_is_saved_with_the_head() -> None:
    head = Head("linear", 4)
    for modality in ("text", "image"):
        head.add_branch(modality, 4)
    methods.loss(TrainSettings("t", loss="pmrl"), head)
    assert {name for name, _ in head.named_parameters() if name.startswith("losses.")} == {
        f"losses.pmrl image text.{layer}" for layer in ("0.weight", "0.bias", "2.weight", "2.bias")
    }


# telling


def test_every_loss_and_method_is_listed() -> None:
    names = {str(entry["name"]) for entry in methods.describe()}
    assert names == {*get_args(LossName), *get_args(MethodName)}


def test_a_method_tells_the_hyper_parameters_of_all_its_links() -> None:
    (entry,) = methods.describe("igm")
    assert isinstance(entry["options"], dict)
    assert {"igm.tau", "sam.rho", "alternate.epochs"} <= set(entry["options"])


@pytest.mark.parametrize("name", [n for n, recipe in METHODS.items() if recipe.links])
def test_every_recipe_of_links_says_why_they_stand_where_they_do(name: MethodName) -> None:
    assert METHODS[name].order.endswith(".")


def test_the_text_of_one_method_holds_its_order() -> None:
    assert METHODS["dns"].order in methods.text("dns")


def test_memories_go_past_what_remembered_rows_alone_tell_nothing_of() -> None:
    links = {name: link.make for method in METHODS.values() for name, link in method.links.items()}
    skipping = {name for name, make in links.items() if cast("type[Strategy]", make).skips_memory}
    assert skipping == {"replay", "crosstask", "gem", "agem", "der", "derpp", "co2l", "cila"}
