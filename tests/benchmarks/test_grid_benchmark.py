from typing import Any

from benchmarks import grid

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


TOLD = {
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


def test_a_method_is_held_beside_finetune_over_streams_and_told_in_how_many_directions_it_differs() -> None:
    (found,) = grid.helped(TOLD)
    assert found["method"] == "ewc"
    assert found["reindex, known"] == "+0.300 (2 up, 1 down of 3)"
    assert found["reindex, unknown"] == "+0.100 (0 up, 0 down of 1)"
    assert found["matched, known"] == ""


def test_levels_are_means_over_directions() -> None:
    found = {(one["stream"], one["method"]): one for one in grid.levels(TOLD)}
    assert found["one", "finetune"]["reindex, known"] == "0.300"
    assert found["one", "ewc"]["reindex, unknown"] == "0.250"
    assert found["one", "ewc"]["matched, known"] == ""
    assert ("two", "ewc") not in found


def test_a_joint_head_is_held_beside_finetune_under_every_policy() -> None:
    told = {
        "one": {
            "rows": [row(KNOWN, "joint, reindex", 0.5)],
            "differences": [gap(KNOWN, "finetune, matched", "joint, reindex", -0.3, -0.1)],
        }
    }
    (found,) = grid.helped(told)
    assert (found["method"], found["matched, known"]) == ("joint", "+0.200 (1 up, 0 down of 1)")
