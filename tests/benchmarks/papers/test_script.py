import json
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.papers import script
from benchmarks.tables import Measurement, differences, summary


def options(monkeypatch: pytest.MonkeyPatch, folder: Path, *arguments: str) -> script.Options:
    monkeypatch.setattr(script, "RESULTS", folder)
    monkeypatch.setattr(sys, "argv", ["x.py", *arguments])
    return script.parse_options("x", None, Path("pack"))


def figures(value: float) -> dict[str, Any]:
    measured = [Measurement("T", "m", seed, {"R@1": value + seed / 100}) for seed in (0, 1)]
    return {"rows": summary(measured, {}), "differences": differences(measured, "R@1")}


def test_a_full_run_has_five_seeds_and_the_name_of_the_script(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    full = options(monkeypatch, tmp_path)
    assert (full.seeds, full.data, full.out) == (range(5), Path("pack"), tmp_path / "x.json")


def test_a_quick_run_is_the_first_seed_and_leaves_the_full_results_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    quick = options(monkeypatch, tmp_path, "--quick", "--seeds", "9")
    assert (quick.seeds, quick.out) == (range(1), tmp_path / "x-quick.json")


def test_results_say_how_they_were_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert script.conclude(options(monkeypatch, tmp_path, "--seeds", "2"), figures(0.5), ["R@1"]) == 0
    facts = json.loads((tmp_path / "x.json").read_bytes())
    assert (facts["command"], facts["seeds"]) == ("python -m benchmarks.papers.x --seeds 2", 2)
    assert (tmp_path / "x.md").read_text().startswith("# x\n\n## Figures\n")


@pytest.mark.parametrize(("value", "status"), [(0.5, 0), (0.52, 0), (0.56, 1), (0.44, 1)])
def test_a_quick_run_fails_where_it_is_too_far_from_the_full_results(
    value: float, status: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script.conclude(options(monkeypatch, tmp_path), figures(0.5), ["R@1"])
    assert script.conclude(options(monkeypatch, tmp_path, "--quick"), figures(value), ["R@1"]) == status


def test_a_quick_run_with_nothing_to_compare_with_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script.conclude(options(monkeypatch, tmp_path, "--quick"), figures(0.5), ["R@1"]) == 1
    assert "run without --quick" in capsys.readouterr().err
