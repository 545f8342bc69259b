from typing import Any

from benchmarks import grid
from benchmarks.streams import STREAMS

KNOWN, UNKNOWN = "text to image, task known", "text to image, task unknown"


def gap(table: str, first: str, second: str, low: float, high: float) -> dict[str, Any]:
    return {
        "table": table,
        "first": first,
        "second": second,
        "difference": (low + high) / 2,
        "low": low,
        "high": high,
    }


def row(table: str, method: str, mean: float) -> dict[str, Any]:
    return {"table": table, "method": method, "figures": {"recall": {"mean": mean}}}


RESULTS = {
    "one": {
        "rows": [
            row(KNOWN, "finetune, reindex", 0.2),
            row("image to text, task known", "finetune, reindex", 0.4),
            row(KNOWN, "ewc, reindex", 0.5),
            row(UNKNOWN, "ewc, reindex, routed", 0.25),
        ],
        "differences": [
            gap(KNOWN, "ewc, reindex", "finetune, reindex", 0.1, 0.3),
            gap("image to text, task known", "ewc, reindex", "finetune, reindex", -0.3, -0.1),
            gap(UNKNOWN, "ewc, reindex, routed", "finetune, reindex, routed", -0.1, 0.3),
            gap(UNKNOWN, "ewc, reindex, raw", "finetune, reindex, raw", 0.8, 0.9),
        ],
    },
    "two": {
        "rows": [row(KNOWN, "finetune, reindex", 0.2)],
        "differences": [gap(KNOWN, "ewc, reindex", "finetune, reindex", 0.5, 0.7)],
    },
}


def test_the_committed_page_is_made_of_the_results_of_every_stream() -> None:
    results = grid.read_results()
    assert set(results) == set(STREAMS)
    assert (grid.RESULTS / "grid.md").read_text(encoding="utf-8") == grid.page(results)


def test_a_method_is_held_beside_finetune_over_streams_and_told_in_how_many_directions_it_differs() -> None:
    (gains,) = grid.helped(RESULTS)
    assert gains["method"] == "ewc"
    assert gains["reindex, known"] == "+0.300 (2 up, 1 down of 3)"
    assert gains["reindex, unknown"] == "+0.100 (0 up, 0 down of 1)"
    assert gains["matched, known"] == ""


def test_levels_are_means_over_directions() -> None:
    levels = {(level["stream"], level["method"]): level for level in grid.levels(RESULTS)}
    assert levels["one", "finetune"]["reindex, known"] == "0.300"
    assert levels["one", "ewc"]["reindex, unknown"] == "0.250"
    assert levels["one", "ewc"]["matched, known"] == ""
    assert ("two", "ewc") not in levels


def test_a_joint_head_is_held_beside_finetune_under_every_policy() -> None:
    results = {
        "one": {
            "rows": [row(KNOWN, "joint, reindex", 0.5)],
            "differences": [gap(KNOWN, "finetune, matched", "joint, reindex", -0.3, -0.1)],
        }
    }
    (gains,) = grid.helped(results)
    assert (gains["method"], gains["matched, known"]) == ("joint", "+0.200 (1 up, 0 down of 1)")
