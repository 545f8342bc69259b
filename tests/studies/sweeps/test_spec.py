from engine.types import TrainSettings
from indexer.evaluation.protocol import EvalSettings
from studies.sweeps.spec import SweepRun


def run(method: str, loss: str = "infonce", head: str = "mlp", seed: int = 0) -> SweepRun:
    return SweepRun(method, loss, head, TrainSettings("", seed=seed), EvalSettings())


def test_a_run_is_named_by_what_tables_show_and_its_seed() -> None:
    assert run("ewc", seed=3).name == "ewc, infonce, mlp, seed 3"


def test_a_slug_holds_nothing_that_a_file_system_could_mind() -> None:
    assert run("EWC / text: λ", "a*b", "x.y+z", 7).slug == "ewc-text-_a-b_x.y+z_seed7"


def test_runs_of_other_seeds_have_files_of_their_own() -> None:
    assert run("ewc", seed=1).slug != run("ewc", seed=2).slug
