import argparse
from pathlib import Path

import pytest
import torch

from benchmarks import costs
from benchmarks.synthetic import Shape
from engine.types import HeadForm


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every workspace a few numbers wide."""

    def shape(items: int, width: int = 8, form: HeadForm = "linear", tested: float = 0.01) -> Shape:
        return Shape(items, 8, form, tested)

    monkeypatch.setattr(costs, "Shape", shape)
    monkeypatch.setattr(costs, "WIDTH", 8)


def test_latency_is_told_for_every_number_of_tasks(tmp_path: Path) -> None:
    rows = costs.latency(argparse.Namespace(tasks=[1, 2], items=80), tmp_path)
    assert [row["tasks"] for row in rows] == [1, 2]
    assert all(float(str(row["unknown, ms"])) > 0 for row in rows)


def test_a_reindex_to_every_policy_is_told_for_every_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(costs, "_pictures_a_second", lambda folder: 1.0)
    rows = costs.policies(argparse.Namespace(sizes=[40]), tmp_path)
    assert [row["policy"] for row in rows] == ["reindex", "matched", "aligned", "partial", "auto"]
    embedded = {row["policy"]: row["items embedded"] for row in rows}
    assert (embedded["reindex"], embedded["matched"]) == (80, 0)


def test_an_evaluation_is_held_beside_every_product_it_needs(tmp_path: Path) -> None:
    (row,) = costs.evaluate(argparse.Namespace(items=120, queries=60), tmp_path)
    directions, merges, ks = 2, 3, 3  # known is a merge too
    assert row["results"] == len(costs.POLICIES) * directions * merges * ks
    assert float(str(row["ratio"])) > 0


def test_a_product_is_made_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = []
    multiply = torch.Tensor.__matmul__

    def noted(self: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        rows.append(len(self))
        return multiply(self, other)

    monkeypatch.setattr(torch.Tensor, "__matmul__", noted)
    costs._product_seconds((5, 2, 1 << 24))
    assert rows == [2, 2, 1]
