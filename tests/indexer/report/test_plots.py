import re
from collections import Counter

import numpy as np
import pytest

from indexer.report import plots
from indexer.report.plots import CostPoint, Scatter

KNOWN, RAW, ROUTED = (CostPoint("reindex", merge, 1.0, 10, 0.5) for merge in (None, "raw", "routed"))


def texts(svg: str) -> list[str]:
    return [text.strip() for text in re.findall(r"<text[^>]*>([^<]*)</text>", svg)]


def lines(svg: str, colour: str) -> list[tuple[list[tuple[float, float]], bool]]:
    """Return the corners (x, y; y grows downwards) of every line of a colour, and whether it is dashed."""
    paths = re.findall(r'<path d="([^"]*)"[^>]*style="([^"]*)"', svg)
    return [
        (
            [(float(x), float(y)) for x, y in re.findall(r"[ML] ([\d.-]+) ([\d.-]+)", path)],
            "dasharray" in style,
        )
        for path, style in paths
        if f"stroke: var(--{colour})" in style and "fill: none" in style
    ]


def marks(svg: str) -> Counter[str]:
    """Return how many marks have each colour."""
    return Counter(re.findall(r"<use [^>]*fill: var\(--(c\d)\)", svg))


def test_every_policy_has_a_line_of_its_own_colour() -> None:
    svg = plots.curves({"matched": [0.5, 0.4, 0.3], "reindex": [0.2, 0.2]}, 1.0, [0.1, 0.1, 0.1])

    ((first, _),), ((second, _),) = lines(svg, "c0"), lines(svg, "c1")
    assert (len(first), len(second)) == (3, 2)
    assert first[0][1] < first[1][1] < first[2][1] < second[0][1] == second[1][1]


def test_chance_is_a_dotted_line_from_the_first_lesson() -> None:
    svg = plots.curves({"matched": [0.5, 0.4]}, 1.0, [0.1, 0.1])

    (chance, dotted), *_ = (line for line in lines(svg, "muted") if len(line[0]) == 2)
    ((policy, solid),) = lines(svg, "c0")
    assert (dotted, solid) == (True, False)
    assert [x for x, _ in chance] == [x for x, _ in policy]


def test_a_lesson_without_a_figure_leaves_a_gap() -> None:
    svg = plots.curves({"joint": [None, 0.4, 0.3]}, 1.0, [])

    ((corners, _),) = lines(svg, "c0")
    assert len(corners) == 2
    assert marks(svg) == {"c0": 2}


def test_curves_are_drawn_from_nothing_to_the_limit_over_whole_lessons() -> None:
    svg = plots.curves({"matched": [0.5, 0.4]}, 0.8, [0.1, 0.1])

    assert texts(svg) == ["1", "2", "after lesson", "0.0", "0.2", "0.4", "0.6", "0.8"]
    assert 'aria-label="mean recall after each lesson: matched"' in svg


def test_points_have_the_colour_of_their_label_and_the_mark_of_their_merge() -> None:
    other = CostPoint("matched", "raw", 1.0, 10, 0.4)

    svg = plots.costs([KNOWN, RAW, ROUTED, other], ["matched", "reindex"], [1.0, 2.0, 3.0, 4.0], "MB")

    assert marks(svg) == {"c1": 3, "c0": 1}
    shapes = dict(re.findall(r'<path id="(\w+)" d="(.*?)"', svg))
    used = [shapes[name] for name in re.findall(r'<use xlink:href="#(\w+)"[^>]*fill: var\(--c1', svg)]
    assert [(shape.count("C "), shape.count("L ")) for shape in used] == [(8, 0), (0, 3), (0, 2)]


@pytest.mark.parametrize(
    ("spent", "ticks"),
    [([1.0, 20.0], ["0", "5", "10", "15", "20"]), ([1.0, 20.1], ["0", "1", "10"]), ([0.0, 0.0], ["0"])],
)
def test_costs_far_apart_are_shown_by_powers_of_ten(spent: list[float], ticks: list[str]) -> None:
    svg = plots.costs([KNOWN, RAW], ["reindex"], spent, "seconds")

    assert texts(svg)[: len(ticks)] == ticks
    assert {"seconds", "recall"} <= set(texts(svg))


def test_what_costs_nothing_does_not_set_the_scale() -> None:
    svg = plots.costs([KNOWN, RAW, ROUTED], ["reindex"], [0.0, 2.0, 4.0], "MB")

    assert texts(svg)[:5] == ["0", "1", "2", "3", "4"]


def test_the_most_that_can_be_had_is_solid_where_the_task_is_known_and_dashed_where_not() -> None:
    svg = plots.costs([KNOWN, RAW], ["reindex"], [1.0, 1.0], "MB")

    assert [dashed for _, dashed in lines(svg, "muted")] == [False, True]


def test_the_most_that_can_be_had_rises_by_steps_at_the_points_that_nothing_beats() -> None:
    points = [CostPoint("reindex", None, 0, 0, recall) for recall in (0.2, 0.6, 0.1)]

    ((corners, _),) = lines(plots.costs(points, ["reindex"], [1.0, 2.0, 3.0], "MB"), "muted")

    low, high = corners[0][1], corners[-1][1]
    assert high < low
    assert [y for _, y in corners] == [low, low, high, high]
    assert corners[1][0] == corners[2][0]


def test_no_point_stands_on_the_edge() -> None:
    svg = plots.costs([KNOWN, RAW], ["reindex"], [1.0, 2.0], "MB")

    edges = [corners for corners, _ in lines(svg, "line") if len(corners) == 2]
    top, bottom = min(y for c in edges for _, y in c), max(y for c in edges for _, y in c)
    right = max(x for c in edges for x, _ in c)
    places = [(float(x), float(y)) for x, y in re.findall(r'<use [^>]*x="([\d.]+)" y="([\d.]+)"[^>]*c0', svg)]
    assert [top < y < bottom and x < right for x, y in places] == [True, True]


def test_a_front_holds_what_nothing_beats_in_both() -> None:
    points = [(2.0, 0.5), (1.0, 0.3), (1.0, 0.4), (3.0, 0.45), (4.0, 0.6), (5.0, 0.6)]

    assert plots.pareto_front(points) == [(1.0, 0.4), (2.0, 0.5), (4.0, 0.6)]


def test_a_map_has_circles_for_items_and_crosses_for_queries_in_the_colours_of_their_tasks() -> None:
    places = np.array([[0, 0], [1, 1], [2, 0], [3, 1], [4, 4]], np.float32)
    points = Scatter(places, np.array([0, 0, 1, 1, 1]), np.array([False, True, False, False, True]))

    svg = plots.scatter(points)

    shapes = dict(re.findall(r'<path id="(\w+)" d="(.*?)"', svg))
    used = re.findall(r'<use xlink:href="#(\w+)"[^>]*stroke: var\(--(c\d)\)', svg)
    assert Counter((colour, "C " in shapes[name]) for name, colour in used) == {
        ("c0", True): 1,
        ("c0", False): 1,
        ("c1", True): 2,
        ("c1", False): 1,
    }


def test_a_map_is_as_high_as_it_is_wide_and_has_no_ticks() -> None:
    places = np.array([[0, 0], [1, 1]], np.float32)

    svg = plots.scatter(Scatter(places, np.array([0, 0]), np.array([False, True])))

    assert texts(svg) == []
    width, height = re.findall(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)[0]
    assert width == height
