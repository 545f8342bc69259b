import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import cast

import pytest

import apart
import worlds
from commands import Run, is_one_line
from evaluations import SETTINGS, evaluated
from indexer.evaluation.evaluate import Evaluation
from indexer.evaluation.protocol import EvalSettings
from indexer.evaluation.results import Result
from indexer.report import page
from indexer.report.narrative import share

HOSTILE = {"sky": "<script>alert(1)</script>", "life": "$x_{$ --> & \u65e5"}


@dataclass(frozen=True)
class Page:
    """A page, and what it is of."""

    text: str
    results: list[Result]


def written(root: Path, settings: EvalSettings = SETTINGS) -> Page:
    with evaluated(root, settings) as opened:
        results = list(opened.results())
        page.write(root / "report.html", opened, results)
    return Page((root / "report.html").read_text(encoding="utf-8"), results)


def teach(root: Path, name: str) -> None:
    rows = [replace(row, task=HOSTILE[name], text=f"<b>{row.text}</b>") for row in worlds.rows(name)]
    source = worlds.save(root / f"{name}.npz", rows)
    worlds.learn(root, HOSTILE[name], source, epochs=3)
    worlds.index(root, source)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> tuple[Page, Page]:
    """The pages of a workspace with hostile names, after its first lesson and after its second."""
    root = tmp_path_factory.mktemp("hostile")
    teach(root, "sky")
    first = written(root, replace(SETTINGS, policies=("matched",)))
    teach(root, "life")
    return first, written(root)


def test_a_report_needs_nothing_from_elsewhere(pages: tuple[Page, Page]) -> None:
    sources = re.findall(
        r"""(?:src|href)\s*=\s*["']?([^"'\s>]+)|url\(["']?([^)]+)|(@import|<link)""", pages[1].text
    )
    assert [source for source in map("".join, sources) if not source.startswith(("#", "data:"))] == []


def test_a_report_runs_nothing(pages: tuple[Page, Page]) -> None:
    assert re.findall(r"<script|<iframe|<b>a |\son\w+=", pages[1].text) == []


def test_every_figure_takes_its_colours_from_the_page(pages: tuple[Page, Page]) -> None:
    figures = re.findall(r"<svg.*?</svg>", pages[1].text, re.DOTALL)

    assert len(figures) == 2 * 2 + 2 * 2 + 2
    assert {colour for figure in figures for colour in re.findall(r"[ :]#[0-9a-f]{6}\b", figure)} == set()


def test_a_name_is_shown_as_it_is_written(pages: tuple[Page, Page]) -> None:
    assert f"</i>{escape(HOSTILE['life'])}</li>" in pages[1].text
    assert f"<th>2 {escape(HOSTILE['life'])}</th>" in pages[1].text


def test_the_sections_of_a_report_stand_in_their_order(pages: tuple[Page, Page]) -> None:
    assert re.findall("<h[12]>(.*?)</h[12]>", pages[1].text) == [
        "mneme: recall and forgetting",
        "Policies",
        "Lesson by lesson",
        "Over time",
        "Cost against recall",
        "Embeddings",
        "Why, and what helps",
        "Most forgotten",
    ]


def test_after_one_lesson_a_report_says_that_more_shows_later(pages: tuple[Page, Page]) -> None:
    lines = (
        "What is forgotten shows after another lesson",
        "No two lessons to compare",
        "No query has lost a right item",
    )
    assert [line for line in lines if line not in pages[0].text] == []


def test_the_figures_of_a_report_are_those_of_the_results(pages: tuple[Page, Page]) -> None:
    rows = re.findall(r"<tr><td>(reindex|matched)</td>(.*?)</tr>", pages[1].text)[:2]
    cells = {policy: re.findall(r"<td[^>]*>([^<]*)</td>", row) for policy, row in rows}

    expected: dict[str, list[str]] = {"reindex": [], "matched": []}
    for result in pages[1].results:
        if (result.query, result.target, result.k) == ("text", "image", 5):
            expected[result.policy] += [share(result.final), share(result.forgetting)]
    assert cells == expected


def test_a_report_has_the_style_and_the_colours_that_it_names(pages: tuple[Page, Page]) -> None:
    style = pages[1].text.partition("<style>")[2].partition("</style>")[0]
    classes = {name for names in re.findall(r'class="([\w ]+)"', pages[1].text) for name in names.split()}

    assert {f".{name}" for name in classes} - {"."} <= set(re.findall(r"\.[a-z]+", style))
    assert set(re.findall(r"var\(--(\w+)", pages[1].text)) <= {*re.findall(r"--(\w+):", style), "share"}


def test_beside_a_report_the_json_is_all_that_is_printed(
    run: Run, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(path: Path, evaluation: Evaluation, results: Sequence[Result]) -> None:
        path.write_text(f"{evaluation.tasks} {len(results)}")

    monkeypatch.setattr(page, "write", write)
    options = ("--policy", "matched", "--k", "1", "--merge", "raw", "--json")

    told = run("evaluate", "-w", trained, *options, "--report", tmp_path / "report.html")

    assert (told.err, told.json["format"]) == ("", 1)
    assert (tmp_path / "report.html").read_text() == "['sky', 'life', 'places'] 4"


@pytest.mark.parametrize(
    ("absent", "words"),
    [
        (["matplotlib"], "matplotlib"),
        (["sklearn"], "scikit-learn"),
        (["matplotlib", "sklearn"], "matplotlib and scikit-learn"),
    ],
)
def test_without_its_extra_a_report_is_refused_before_anything_is_evaluated(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, absent: list[str], words: str
) -> None:
    for module in absent:
        monkeypatch.setitem(sys.modules, module, None)  # what an import then finds is no module

    told = run("evaluate", "-w", tmp_path / "no workspace", "--report", tmp_path / "report.html")

    assert is_one_line(told, 1, f"a report needs {words}: run `pip install 'mneme[report]'`")


def evaluate_without_extras(*arguments: str) -> None:
    cast("dict[str, object]", sys.modules).update(matplotlib=None, sklearn=None)
    apart.mneme("evaluate", *arguments)


def test_an_evaluation_without_a_report_needs_no_extra(trained: Path, tmp_path: Path) -> None:
    figures = tmp_path / "figures.csv"
    options = ("-w", str(trained), "--policy", "matched", "--k", "1", "--csv", str(figures))

    assert apart.run(evaluate_without_extras, *options) == 0

    assert [line.split(",")[0] for line in figures.read_text().splitlines()] == ["policy", *["matched"] * 6]
