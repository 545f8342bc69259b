from engine.types import TrainSettings
from indexer.evaluation.protocol import EvalSettings
from studies.sweeps.spec import SweepRun


def run(method: str, loss: str = "infonce", head: str = "mlp", seed: int = 0) -> SweepRun:
    return SweepRun(method, loss, head, TrainSettings("", seed=seed), EvalSettings())


def test_a_run_is_named_by_what_tables_show_and_its_seed() -> None:
    assert run("ewc", seed=3).name == "ewc, infonce, mlp, seed 3"


def test_the_file_of_a_run_is_called_after_it() -> None:
    assert run("dns-exact+ewc", seed=7).slug == "dns-exact+ewc_infonce_mlp_seed7"


def test_runs_of_other_names_have_files_of_their_own() -> None:
    names = ["再生", "微調整", "EWC", "ewc", "ewc text", "ewc-text", "x" * 300]
    names += [f"{name}_infonce" for name in names]
    slugs = {run(name).slug.lower() for name in names} | {run("ewc", "infonce_mlp", "mlp").slug}
    assert len(slugs) == len(names) + 1


def test_runs_of_other_seeds_have_files_of_their_own() -> None:
    assert run("ewc", seed=1).slug != run("ewc", seed=2).slug
