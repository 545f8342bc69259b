import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path

import numpy as np
import pytest

import worlds
from commands import Run
from engine.types import KnownTask, PolicyName
from indexer.evaluation.evaluate import Evaluation, open_evaluation
from indexer.evaluation.protocol import EvalSettings
from indexer.evaluation.results import Result
from indexer.evaluation.runs import Trial, judge
from indexer.report import costs, plots, regressions, tsne
from indexer.report import page as report
from indexer.report.plots import figure
from indexer.serving import remove

SETTING = EvalSettings(policies=("reindex", "matched"), merges=("routed",), ks=(1, 5), details=False)
HOSTILE = {"sky": "<script>alert(1)</script>", "life": "$x_{$ --> & \u65e5"}


@dataclass(frozen=True)
class Page:
    """A page, and what it is of."""

    text: str
    results: list[Result]


@contextmanager
def evaluated(root: Path, setting: EvalSettings = SETTING) -> Iterator[Evaluation]:
    with open_evaluation(root / ".mneme", setting) as opened:
        yield opened


def page(root: Path, setting: EvalSettings = SETTING) -> Page:
    with evaluated(root, setting) as opened:
        results = list(opened.results())
        report.write(root / "report.html", opened, results)
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
    first = page(root, replace(SETTING, policies=("matched",)))
    teach(root, "life")
    return first, page(root)


def test_a_report_needs_nothing_from_elsewhere(pages: tuple[Page, Page]) -> None:
    named = re.findall(
        r"""(?:src|href)\s*=\s*["']?([^"'\s>]+)|url\(["']?([^)]+)|(@import|<link)""", pages[1].text
    )
    assert [one for one in map("".join, named) if not one.startswith(("#", "data:"))] == []


def test_a_report_runs_nothing(pages: tuple[Page, Page]) -> None:
    assert re.findall(r"<script|<iframe|<b>a |\son\w+=", pages[1].text) == []


def test_every_figure_and_every_name_in_it_takes_its_colours_from_the_page(pages: tuple[Page, Page]) -> None:
    drawn = re.findall(r"<svg.*?</svg>", pages[1].text, re.DOTALL)
    assert {colour for figure in drawn for colour in re.findall(r"[ :]#[0-9a-f]{6}\b", figure)} == set()


def test_a_name_is_shown_as_it_is_written(pages: tuple[Page, Page]) -> None:
    assert f"</i>{escape(HOSTILE['life'])}</li>" in pages[1].text


def test_an_axis_names_its_tasks_without_mathematics(pages: tuple[Page, Page]) -> None:
    assert escape("$x_{$ --&", quote=False)[:6] in "".join(
        re.findall(r"<text[^>]*>([^<]*)</text>", pages[1].text)
    )


def test_after_one_lesson_a_report_says_that_more_shows_later(pages: tuple[Page, Page]) -> None:
    said = (
        "What is forgotten shows after another lesson",
        "No two lessons to compare",
        "No query has lost a right item",
    )
    assert [line for line in said if line not in pages[0].text] == []


def test_the_figures_of_a_report_are_those_of_the_results(pages: tuple[Page, Page]) -> None:
    told = re.findall(r"<tr><td>(reindex|matched)</td>(.*?)</tr>", pages[1].text)[:2]
    cells = {policy: re.findall(r"<td[^>]*>([^<]*)</td>", row) for policy, row in told}
    held = [r for r in pages[1].results if (r.query, r.target, r.k) == ("text", "image", 5)]
    wanted: dict[str, list[str]] = {"reindex": [], "matched": []}
    for result in held:
        wanted[result.policy] += [figure(result.final), figure(result.forgetting)]
    assert cells == wanted


def test_the_same_figure_gives_the_same_bytes() -> None:
    one, other = (plots.curves({"matched": [0.5, 0.4]}, 1.0, [0.1, 0.1]) for _ in range(2))
    assert one == other


@pytest.mark.parametrize(("value", "shown"), [(0.39, ".390"), (1.0, "1.000"), (-0.01, "-.010"), (None, "-")])
def test_a_share_has_three_decimals_and_no_zero_before_them(value: float | None, shown: str) -> None:
    assert figure(value) == shown


def test_a_front_holds_what_nothing_beats_in_both() -> None:
    points = [(2.0, 0.5), (1.0, 0.3), (1.0, 0.4), (3.0, 0.45), (4.0, 0.6)]
    assert plots.front(points) == [(1.0, 0.4), (2.0, 0.5), (4.0, 0.6)]


def text_to_image(opened: Evaluation) -> Trial:
    return next(way for way in opened.trials if (way.query, way.target) == ("text", "image"))


def slow_ranks(way: Trial, policy: PolicyName, row: int, task: str) -> list[int]:
    """Return the rank of each query's right item, looked for in the whole ranking."""
    judged = judge(way.states[policy][row], way.queries, way.galleries, KnownTask(task))
    return [int(line.argmax()) + 1 for line in judged[task].right]


def test_the_most_forgotten_query_is_the_one_whose_rank_fell_most(trained: Path) -> None:
    with evaluated(trained, EvalSettings(policies=("reindex",), ks=(100,), details=False)) as opened:
        way = text_to_image(opened)
        worst = regressions.falls(way, "reindex", 100)[0]
        slow: dict[str, tuple[int, int]] = {}
        for row, task in enumerate(("sky", "life")):
            then, now = (slow_ranks(way, "reindex", n, task) for n in (row, 2))
            slow |= {
                id.decode(): (a, b) for id, a, b in zip(way.eval_set.queries[task], then, now, strict=True)
            }
    assert (worst.before, worst.after) == slow[worst.asked]
    assert worst.after - worst.before == max(b - a for a, b in slow.values()) > 0


def test_what_was_never_found_cannot_be_forgotten(trained: Path) -> None:
    with evaluated(trained) as opened:
        found = regressions.falls(text_to_image(opened), "reindex", 1)
    assert {fall.before for fall in found} == {1}


def test_reindex_embeds_everything_and_matched_the_newest_task_alone(trained: Path) -> None:
    with evaluated(trained) as opened:
        items = {cost.policy: cost.items for cost in costs.costs(opened, text_to_image(opened))}
    assert items == {"reindex": 90, "matched": 30}


def test_what_was_removed_costs_nothing_under_any_policy(world: Path) -> None:
    remove.remove_features(world / ".mneme", "sky")
    settings = EvalSettings(policies=("matched", "partial"), ks=(1,), details=False)
    with evaluated(world, settings) as opened:
        items = {cost.policy: cost.items for cost in costs.costs(opened, text_to_image(opened))}
    assert items == {
        "matched": 30,
        "partial": 60,
    }  # a part of life moves, and the rest becomes a shard of its own


def test_beside_a_report_the_json_is_all_that_is_printed(
    run: Run, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(path: Path, evaluation: Evaluation, results: Sequence[Result]) -> None:
        path.write_text(f"{evaluation.tasks} {len(results)}")

    monkeypatch.setattr(report, "write", write)
    asked = ("--policy", "matched", "--k", "1", "--merge", "raw", "--json")
    told = run("evaluate", "-w", trained, *asked, "--report", tmp_path / "report.html")
    assert (told.err, told.json["format"]) == ("", 1)
    assert (tmp_path / "report.html").read_text() == "['sky', 'life', 'places'] 4"


def test_a_map_of_too_few_points_is_left_out() -> None:
    assert tsne._plane(np.ones((9, 4), np.float32)) is None
