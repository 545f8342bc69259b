from benchmarks.papers.tables import Row, difference
from benchmarks.swept import gaps, rows_of

RUN = {
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


def row(method: str, seed: int, value: float) -> Row:
    return Row("t", method, seed, {"recall@10": value})


def test_a_run_gives_a_row_for_every_policy_and_direction() -> None:
    (found,) = rows_of(RUN)
    assert (found.table, found.method) == ("text to image, task known, head mlp", "ewc, reindex")


def test_a_figure_that_was_not_measured_is_left_out() -> None:
    (found,) = rows_of(RUN)
    assert found.figures == {"recall@10": 0.4, "forgetting": 0.1, "seconds": 2.5}


def test_a_difference_is_paired_by_seed() -> None:
    rows = [row("a", 0, 0.5), row("a", 1, 0.7), row("b", 1, 0.6), row("b", 0, 0.2), row("b", 2, 0.9)]
    assert difference(rows, "recall@10", ("t", "a", "b"))["difference"] == 0.2


def test_every_method_is_held_beside_finetune_under_its_own_policy() -> None:
    rows = [row(name, 0, 0.1) for name in ("finetune, reindex", "finetune, no-reindex", "ewc, no-reindex")]
    pairs = {(gap["first"], gap["second"]) for gap in gaps(rows)}
    assert pairs == {
        ("finetune, no-reindex", "finetune, reindex"),
        ("ewc, no-reindex", "finetune, no-reindex"),
    }
