import json
from pathlib import Path

import pytest

from benchmarks import report, tables

RESULTS = [path for folder in tables.FOLDERS for path in sorted(folder.glob("*.json"))]


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_every_committed_results_file_is_laid_out_as_the_writer_does(path: Path) -> None:
    assert report.to_json(json.loads(path.read_bytes())) == path.read_bytes()


def test_a_row_stands_on_one_line_and_every_fact_on_its_own() -> None:
    facts = {"commit": "c", "versions": {"torch": "2", "numpy": "1"}, "rows": [{"a": {"b": 1}}, {"a": None}]}
    assert report.to_json(facts).decode().splitlines() == [
        "{",
        ' "commit": "c",',
        ' "versions": {"torch": "2", "numpy": "1"},',
        ' "rows": [',
        '  {"a": {"b": 1}},',
        '  {"a": null}',
        " ]",
        "}",
    ]


def test_rows_within_a_part_stand_on_lines_too() -> None:
    assert report.to_json({"part": {"n": 1, "recall": {"x": [[1, 2], [3, 4]]}}}).decode().splitlines() == [
        "{",
        ' "part": {',
        '  "n": 1,',
        '  "recall": {',
        '   "x": [',
        "    [1, 2],",
        "    [3, 4]",
        "   ]",
        "  }",
        " }",
        "}",
    ]


@pytest.mark.parametrize("facts", [{}, {"rows": []}, {"steps": [1, 2]}, {"a": {"b": {}}}])
def test_what_is_written_is_read_as_it_was(facts: dict[str, object], tmp_path: Path) -> None:
    report.write(tmp_path / "new/facts.json", facts)
    assert json.loads((tmp_path / "new/facts.json").read_bytes()) == facts


def test_a_table_has_its_keys_for_a_head() -> None:
    assert report.markdown([{"a": 1, "b": "x"}, {"a": 2, "b": ""}]).splitlines() == [
        "| a | b |",
        "| --- | --- |",
        "| 1 | x |",
        "| 2 |  |",
    ]


def test_a_package_that_is_not_there_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "PACKAGES", ("numpy", "no-such-package"))
    versions = report.machine()["versions"]
    assert isinstance(versions, dict)
    assert versions["numpy"]
    assert versions["no-such-package"] is None
