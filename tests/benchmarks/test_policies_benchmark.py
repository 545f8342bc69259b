from pathlib import Path

import pytest

from benchmarks import policies
from benchmarks.policies import Training
from benchmarks.streams import STREAMS
from benchmarks.tables import Measurement
from studies.sweeps.spec import Step, SweepRun

TASKS = ("t0", "t1")


def runs(method: str, tasks: tuple[str, ...], training: Training, *, tmp_path: Path) -> list[SweepRun]:
    steps = [Step(tmp_path, task) for task in tasks]
    return list(policies.spec_of(STREAMS["scenes"], steps, method, training).runs)


@pytest.mark.parametrize(
    ("method", "evaluated"),
    [
        ("finetune", policies.POLICIES),
        ("joint", ("reindex",)),
        ("experts", ("matched", "auto")),
        ("ewc", policies.FEWER),
    ],
)
def test_a_method_is_evaluated_under_the_policies_it_is_meant_for(
    method: str, evaluated: tuple[str, ...], tmp_path: Path
) -> None:
    every = runs(method, TASKS, Training(seeds=2, others=1, epochs=3), tmp_path=tmp_path)
    assert {(run.method, tuple(run.evaluation.policies)) for run in every} == {(method, evaluated)}
    assert {tuple(run.evaluation.merges) for run in every} == {("raw", "routed")}
    assert len(every) == (2 if method in policies.USUAL else 1)


def test_with_many_tasks_no_map_is_fitted_for_every_two_heads(tmp_path: Path) -> None:
    tasks = tuple(f"t{n}" for n in range(49))
    (run,) = runs("finetune", tasks, Training(seeds=1), tmp_path=tmp_path)
    assert tuple(run.evaluation.policies) == policies.FEWER


def test_only_joint_is_judged_after_its_last_lesson_alone(tmp_path: Path) -> None:
    trained = {
        method: runs(method, TASKS, Training(seeds=1), tmp_path=tmp_path)[0]
        for method in ("joint", "finetune")
    }
    assert (trained["joint"].last_only, trained["finetune"].last_only) == (True, False)


def test_lessons_are_as_long_and_end_with_the_epoch_that_is_wanted(tmp_path: Path) -> None:
    (run,) = runs("finetune", TASKS, Training(1, epochs=3, keep="best"), tmp_path=tmp_path)
    assert (run.settings.epochs, run.settings.keep, run.settings.form) == (3, "best", "mlp")


def measured(table: str, **means: float) -> list[Measurement]:
    names = {"re": "reindex", "no": "no-reindex", "matched": "matched", "auto": "auto"}
    return [
        Measurement(table, f"finetune, {names[name]}", seed, {"recall": mean + seed / 100})
        for name, mean in means.items()
        for seed in (0, 1)
    ]


def hits(table: str, **ranks: list[int]) -> policies.Hits:
    names = {"re": "reindex", "no": "no-reindex", "matched": "matched", "auto": "auto"}
    return {(table, f"finetune, {names[name]}"): {0: [some], 1: [some]} for name, some in ranks.items()}


def test_auto_is_held_beside_the_best_fixed_policy() -> None:
    table = "text to image, task known"
    ranks = hits(table, re=[0, 0], no=[1, 1], matched=[0, 2], auto=[0, 9])
    gaps = list(policies.gaps(ranks, measured(table, re=0.3, no=0.5, matched=0.4, auto=0.45)))
    (auto,) = (gap for gap in gaps if gap["first"] == "finetune, auto")
    assert (auto["second"], auto["difference"]) == ("finetune, no-reindex", -0.5)


RESULT = {
    "query": "text",
    "target": "image",
    "policy": "auto",
    "final": 0.5,
    "forgetting": None,
    "mean_chance": 0.1,
}


def test_a_run_gives_a_measurement_for_every_policy_and_merge() -> None:
    results = [
        {**RESULT, "merge": "routed", "task_known": False},
        {**RESULT, "merge": None, "task_known": True},
    ]
    measured = policies.measurements({"method": "ewc", "seed": 1, "results": results})
    assert [(measurement.table, measurement.method) for measurement in measured] == [
        ("text to image, task unknown", "ewc, auto, routed"),
        ("text to image, task known", "ewc, auto"),
    ]


def test_a_figure_that_was_not_measured_is_left_out() -> None:
    result = {**RESULT, "merge": None, "task_known": True}
    (measurement,) = policies.measurements({"method": "joint", "seed": 0, "results": [result]})
    assert measurement.figures == {"recall": 0.5, "chance": 0.1}


def test_only_queries_that_were_asked_count_and_rank_0_is_nothing_found() -> None:
    result = {**RESULT, "merge": None, "task_known": True, "ranks": [[], [0, 3]]}
    ranks = policies.hits_of([{"method": "ewc", "seed": 1, "results": [result]}])
    first, second = policies._paired(*[ranks["text to image, task known", "ewc, auto"]] * 2)
    assert [right.tolist() for right in (*first, *second)] == [[[False, True]], [[False, True]]]


def test_of_joint_the_last_training_alone_is_timed() -> None:
    records = [
        {"method": method, "lesson_seconds": seconds}
        for method, seconds in (("joint", [1, 9]), ("ewc", [1, 2]), ("ewc", [3, 4]), ("ewc", [5, 6]))
    ]
    assert policies._training_seconds(records) == {"joint": 9, "ewc": 7}
