from pathlib import Path
from typing import Any

import pytest

from benchmarks import tables
from benchmarks.tables import Measurement, difference, differences, strays, summary, write

MEASURED = [Measurement("T", "b", n, {"mean": v}) for n, v in enumerate((0.1, 0.2, 0.3))]
MEASURED += [Measurement("T", "a", n, {"mean": v}) for n, v in enumerate((0.2, 0.4, 0.6))]


def facts(measured: list[Measurement]) -> dict[str, Any]:
    return {"commit": "c", "rows": summary(measured, {}), "differences": differences(measured, "mean")}


def measurement(method: str, seed: int, value: float) -> Measurement:
    return Measurement("t", method, seed, {"recall@10": value})


@pytest.mark.parametrize("out", tables.results_with_pages(), ids=lambda path: path.stem)
def test_every_committed_page_is_made_of_its_results_file(out: Path) -> None:
    assert out.with_suffix(".md").read_text(encoding="utf-8") == tables.page(out)


def test_every_committed_page_has_a_results_file() -> None:
    pages = {path.with_suffix("") for folder in tables.FOLDERS for path in folder.glob("*.md")}
    made = {out.with_suffix("") for out in tables.results_with_pages()}
    readings = {path.with_name(f"{path.name}.reading") for path in made}
    assert {path.name for path in pages - made - readings} == {"grid"}


def test_a_difference_is_paired_by_seed() -> None:
    measured = [measurement("a", 0, 0.5), measurement("a", 1, 0.7), measurement("b", 1, 0.6)]
    measured += [measurement("b", 0, 0.2), measurement("b", 2, 0.9)]
    assert difference(measured, "recall@10", ("t", "a", "b"))["difference"] == 0.2


def test_differences_follow_the_order_of_the_means_with_the_interval_of_student() -> None:
    assert differences(MEASURED, "mean") == [
        {"table": "T", "first": "a", "second": "b", "difference": 0.2, "half": 0.2484}
    ]


def test_a_row_beyond_three_deviations_of_the_full_results_is_named(tmp_path: Path) -> None:
    write(tmp_path / "full.json", facts(MEASURED))
    rows = summary([Measurement("T", "b", 0, {"mean": 0.49}), Measurement("T", "a", 0, {"mean": 1.05})], {})
    assert [line[:4] for line in strays(rows, tmp_path / "full.json", ["mean"])] == ["T, a"]


def test_what_was_written_about_the_figures_stands_above_them(tmp_path: Path) -> None:
    (tmp_path / "full.reading.md").write_text("# Full\n\nIt holds.\n")
    page = write(tmp_path / "full.json", facts(MEASURED))
    assert page.read_text().startswith("# Full\n\nIt holds.\n\n## Figures\n\n- commit: c\n")


def test_a_page_of_which_nothing_was_written_has_its_name_for_a_title(tmp_path: Path) -> None:
    page = write(tmp_path / "full.json", facts(MEASURED))
    assert page.read_text().startswith("# full\n\n## Figures\n\n- commit: c\n")


def test_a_figure_that_a_method_lacks_leaves_its_cell_empty() -> None:
    both = Measurement("T", "ewc", 0, {"recall": 0.5, "forgetting": 0.1, "seconds": 2.0})
    lacking = Measurement("T", "joint", 0, {"recall": 0.7, "seconds": 3.0})
    page = tables.tables({"rows": summary([both, lacking], {}), "differences": []})
    assert "| joint | 0.700 |  | 3.000 |" in page


def test_a_cell_shows_the_spread_and_what_the_paper_has() -> None:
    rows = summary(MEASURED, {("T", "a"): {"mean": 0.45}})
    assert "| a | 0.400 ± 0.200 (0.450) |" in tables.tables({"rows": rows, "differences": []})


def test_the_spread_is_that_of_a_sample_and_one_seed_has_none() -> None:
    (row,) = summary(MEASURED[:3], {})
    (alone,) = summary(MEASURED[:1], {})
    assert (row["figures"]["mean"]["sd"], alone["figures"]["mean"]["sd"]) == (0.1, None)
