import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

import worlds
from engine.history import Reference
from evaluations import SETTINGS, evaluated
from indexer.evaluation.evaluate import Evaluation
from indexer.evaluation.runs import Trial
from indexer.report import costs, plots, sections, tsne
from indexer.report.costs import Cost
from indexer.report.narrative import explanation, mean_causes, share
from indexer.report.plots import CostPoint
from indexer.report.sections import Report

BOTH = replace(SETTINGS, merges=("raw", "routed"))


@pytest.fixture(scope="module")
def report(trained: Path) -> Iterator[Report]:
    """A report on three lessons at K = 5, in two directions."""
    with evaluated(trained, BOTH) as opened:
        yield Report(opened, list(opened.results()))


@pytest.fixture
def referred(world: Path) -> Iterator[Report]:
    """A report that holds a joint reference beside the policies: the last lesson's head over again."""
    opened = worlds.opened(world)
    last = opened.manifest.history.lessons[-1]
    joint = Reference("joint", last.task, last.number, last.head, False, 12.5)
    opened.with_manifest(replace(opened.manifest, references=(joint,)))
    with evaluated(world, BOTH) as evaluation:
        yield Report(evaluation, list(evaluation.results()))


@pytest.fixture
def young(tmp_path: Path) -> Iterator[Report]:
    """A report on one lesson."""
    source = worlds.save(tmp_path / "sky.npz", worlds.rows("sky"))
    worlds.learn(tmp_path, "sky", source)
    worlds.index(tmp_path, source)
    with evaluated(tmp_path) as opened:
        yield Report(opened, list(opened.results()))


def rows_of(table: str) -> list[list[str]]:
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall("<tr>(.*?)</tr>", table)]


def captions(section: str) -> list[str]:
    return re.findall("<h4>(.*?)</h4>", section)


@pytest.mark.parametrize(("ks", "k"), [((1, 5), 5), ((1, 10, 50), 10), ((50, 20), 50)])
def test_ten_is_shown_where_it_was_asked_for_and_else_the_greatest_k(
    trained: Path, ks: Sequence[int], k: int
) -> None:
    with evaluated(trained, replace(SETTINGS, ks=ks)) as opened:
        assert Report(opened, []).k == k


def test_text_to_image_comes_first(report: Report) -> None:
    assert [(d.query, d.target) for d in report.all_directions] == [("text", "image"), ("image", "text")]


def test_queries_of_two_modalities_stand_in_the_table_of_policies_alone() -> None:
    names = [("image+audio", "text"), ("audio", "text"), ("text", "audio")]
    directions = [SimpleNamespace(query=query, target=target) for query, target in names]
    report = Report(cast(Evaluation, SimpleNamespace(trials=directions)), [])

    assert [d.query for d in report.all_directions] == ["text", "image+audio", "audio"]
    assert [d.query for d in report.directions] == ["text", "audio"]


def test_only_results_of_a_direction_at_the_k_that_is_shown_are_its_own(report: Report) -> None:
    results = report.of(report.directions[1])

    assert {(r.query, r.target, r.k) for r in results} == {("image", "text", 5)}
    assert len(results) == 2 * 3


def test_the_summary_leads_with_text_to_image_and_says_what_was_evaluated(report: Report) -> None:
    lead, other, facts = re.findall(r'<p class="(\w+)">(.*?)</p>', sections.summary(report))

    assert (lead[0], lead[1][:42]) == ("lead", "<b>Text to image.</b> With the task known,")
    assert (other[0], other[1][:21]) == ("note", "<b>Image to text.</b>")
    assert facts == (
        "note",
        "3 tasks, 3 lessons; items: 89 image, 90 text; 36 queries of split test, gallery test; "
        "right is what shares a pair.",
    )


def test_a_direction_alone_is_not_named(report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Report, "directions", report.directions[:1])

    assert '<p class="lead">With the task known' in sections.summary(report)


def test_the_summary_says_how_long_references_were_trained(referred: Report) -> None:
    assert " Trained beside the history, to compare: joint (12 s).</p>" in sections.summary(referred)


def test_the_policies_of_a_section_are_those_of_its_direction(report: Report) -> None:
    (text_to_image, image_to_text) = sections.policies(report).split("<h3>Image to text</h3>")

    for part, d in zip((text_to_image, image_to_text), report.directions, strict=True):
        (finals,) = [[r.final for r in report.of(d) if r.policy == "matched"]]
        assert [row[1::2] for row in rows_of(part) if row[0] == "matched"] == [
            [share(value) for value in finals]
        ]


def test_every_matrix_is_a_heat_map_by_merge_and_then_by_policy(report: Report) -> None:
    one_direction = [
        f"{policy}, {merge}"
        for merge in ("task known", "unknown, by cosine", "unknown, by probability")
        for policy in ("reindex", "matched")
    ]

    assert captions(sections.matrices(report)) == one_direction * 2


def test_the_strongest_colour_is_the_highest_recall_of_a_direction(report: Report) -> None:
    first, second = sections.matrices(report).split("<details>")

    for part, d in zip((first, second), report.directions, strict=True):
        top = max(value for r in report.of(d) for row in r.matrix for value in row if value is not None)
        strongest = re.findall(r'--share: 100%">([\d.]+)<', part)
        assert set(strongest) == {f"{top:.2f}".removeprefix("0")}


def test_a_heat_map_shows_the_matrix_of_its_result(report: Report) -> None:
    result = report.of(report.directions[0])[0]

    first = rows_of(sections.matrices(report).split("</table>")[0])

    assert [row[0] for row in first[1:]] == ["1 sky", "2 life", "3 places"]
    assert [[cell for cell in row[1:] if cell] for row in first[1:]] == [
        [f"{value:.2f}".removeprefix("0") for value in row if value is not None] for row in result.matrix
    ]


@dataclass
class Recorder:
    """Stands in for a function that draws; remembers what it was given."""

    calls: list[tuple[Any, ...]] = field(default_factory=list)

    def __call__(self, *given: Any) -> str:
        self.calls.append(given)
        return "<svg></svg>"


@pytest.fixture
def curves(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What curves were drawn of: the lines of the policies, the limit, and chance."""
    recorder = Recorder()
    monkeypatch.setattr(plots, "curves", recorder)
    return recorder.calls


def test_a_curve_is_the_mean_over_the_tasks_known_so_far(
    report: Report, curves: list[tuple[Any, ...]]
) -> None:
    sections.curves(report)

    (known, *_), *_ = curves
    result = next(r for r in report.of(report.directions[0]) if r.policy == "matched" and r.task_known)
    values = [[value for value in row if value is not None] for row in result.matrix]
    assert list(known) == ["reindex", "matched"]
    assert known["matched"] == pytest.approx([sum(row) / len(row) for row in values])


def test_curves_of_a_direction_have_one_scale_with_room_above(
    report: Report, curves: list[tuple[Any, ...]]
) -> None:
    section = sections.curves(report)

    assert captions(section) == ["task known", "unknown, by cosine", "unknown, by probability"] * 2
    highest = max(value for lines, *_ in curves[:3] for line in lines.values() for value in line)
    assert [limit for _, limit, _ in curves[:3]] == pytest.approx([1.08 * highest] * 3)


def test_chance_falls_as_tasks_join_the_gallery_where_the_task_is_unknown(
    report: Report, curves: list[tuple[Any, ...]]
) -> None:
    sections.curves(report)

    known, by_cosine, by_probability = (chance for _, _, chance in curves[:3])
    assert known == pytest.approx([5 / 6] * 3)
    assert by_cosine == by_probability == pytest.approx([5 / 6, 5 / 12, 5 / 18])


def test_curves_have_the_colours_of_policies_and_then_of_references(
    referred: Report, curves: list[tuple[Any, ...]]
) -> None:
    section = sections.curves(referred)

    assert re.findall("</i>(.*?)</li>", section)[:3] == ["reindex", "matched", "joint"]
    assert [list(lines) for lines, *_ in curves] == [["reindex", "matched", "joint"]] * 6


def test_before_a_second_lesson_there_is_nothing_to_compare(young: Report) -> None:
    assert [section(young) for section in (sections.matrices, sections.curves)] == [
        f'<h2>{title}</h2>\n<p class="note">No two lessons to compare yet.</p>\n<div></div>\n'
        for title in ("Lesson by lesson", "Over time")
    ]
    assert sections.causes(young) == ""


@pytest.fixture
def priced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every policy costs as many seconds, and millions of bytes, as its name has letters."""

    def all_costs(evaluation: Evaluation, trial: Trial) -> Iterator[Cost]:
        for system in evaluation.systems:
            yield Cost(system.name, 1, len(system.name) * 10**6, float(len(system.name)))

    monkeypatch.setattr(costs, "costs", all_costs)


@pytest.mark.usefixtures("priced")
def test_a_point_is_what_a_policy_costs_and_finds_and_a_reference_its_training_too(referred: Report) -> None:
    d = referred.directions[0]

    points = sections.cost_points(referred, d)

    spent = {"reindex": 7.0, "matched": 7.0, "joint": 5.0 + 12.5}
    assert points == [
        CostPoint(r.policy, r.merge, spent[r.policy], len(r.policy) * 10**6, r.final)
        for r in referred.of(d)
        if r.final is not None
    ]
    assert len(points) == 3 * 3


@pytest.mark.usefixtures("priced")
def test_costs_are_drawn_in_seconds_and_in_megabytes(report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder()
    monkeypatch.setattr(plots, "costs", recorder)

    section = sections.costs(report)

    assert [call[1:] for call in recorder.calls[:2]] == [
        (["reindex", "matched"], [7.0] * 6, "seconds"),
        (["reindex", "matched"], [7.0] * 6, "MB written"),
    ]
    assert re.findall("<li>(?:<i[^>]*></i>)?(.*?)</li>", section)[:5] == [
        "reindex",
        "matched",
        "● task known",
        "■ unknown, by cosine",
        "▲ unknown, by probability",
    ]


def test_every_policy_has_a_map_of_the_first_direction(
    report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder()
    monkeypatch.setattr(tsne, "scatter", recorder)
    monkeypatch.setattr(plots, "scatter", lambda points: points)

    section = sections.embeddings(report)

    assert recorder.calls == [(report.directions[0], policy) for policy in ("reindex", "matched")]
    assert captions(section) == ["reindex", "matched"]
    assert re.findall("</i>(.*?)</li>", section) == ["sky", "life", "places"]
    assert "Queries (text, crosses) and gallery items (image, circles)" in section


def test_without_a_map_a_line_says_so(report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tsne, "scatter", lambda direction, policy: None)

    assert "There are too few different items to draw a map of." in sections.embeddings(report)


def test_causes_are_said_and_shown_for_each_policy_of_each_direction(report: Report) -> None:
    first, second = sections.causes(report).split("<h3>Image to text</h3>")

    for part, title in ((first, "drift, text"), (second, "drift, image")):
        assert re.findall(r"<p><b>([\w-]+)\.</b>", part) == ["reindex", "matched"]
        assert [row[0] for row in rows_of(part)] == ["", "reindex", "matched"]
        assert rows_of(part)[0][1] == title


def test_a_policy_is_explained_by_its_own_results(report: Report) -> None:
    section = sections.causes(report)

    means = mean_causes(list(report.evaluation.diagnoses()), "places")
    for mean in means:
        (d,) = (d for d in report.directions if d.query == mean.query)
        own = [result for result in report.of(d) if result.policy == mean.policy]
        assert f"<p><b>{mean.policy}.</b> {explanation(mean, own)}</p>" in section
    assert len(means) == 4
