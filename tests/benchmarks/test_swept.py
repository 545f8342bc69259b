from benchmarks.swept import gaps, measurements
from benchmarks.tables import Measurement

RECORD = {
    "method": "ewc",
    "head": "mlp",
    "seed": 3,
    "seconds": 2.5,
    "results": [
        {
            **{"policy": "reindex", "merge": None, "query": "text", "target": "image", "task_known": True},
            **{"final": 0.4, "forgetting": 0.1, "plasticity": None},
        }
    ],
}


def test_a_run_gives_a_measurement_for_every_policy_and_direction() -> None:
    (measurement,) = measurements(RECORD)
    assert (measurement.table, measurement.method) == ("text to image, task known, head mlp", "ewc, reindex")


def test_a_figure_that_was_not_measured_is_left_out() -> None:
    (measurement,) = measurements(RECORD)
    assert measurement.figures == {"recall@10": 0.4, "forgetting": 0.1, "seconds": 2.5}


def compared(*methods: str) -> set[tuple[object, object]]:
    measured = [Measurement("t", method, 0, {"recall@10": 0.1}) for method in methods]
    return {(gap["first"], gap["second"]) for gap in gaps(measured)}


def test_every_method_is_held_beside_finetune_under_its_own_policy() -> None:
    assert compared("finetune, reindex", "finetune, no-reindex", "ewc, no-reindex") == {
        ("finetune, no-reindex", "finetune, reindex"),
        ("ewc, no-reindex", "finetune, no-reindex"),
    }


def test_joint_is_held_beside_joint_without_negatives_across_tasks() -> None:
    assert compared("joint, reindex", "joint-intra, reindex") == {("joint, reindex", "joint-intra, reindex")}
