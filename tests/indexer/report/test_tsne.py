from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.types import Gallery
from evaluations import SETTINGS, direction, evaluated
from indexer.report import tsne
from indexer.report.plots import Scatter

EYE = np.eye(8, dtype=np.float32)


def test_a_map_of_too_few_different_points_is_left_out() -> None:
    assert tsne.project(np.concatenate([EYE[:4], EYE[:4]])) is None


def test_five_different_points_are_enough_for_a_map() -> None:
    places = tsne.project(EYE[:5])

    assert places is not None
    assert places.shape == (5, 2)
    assert np.isfinite(places).all()


def test_the_same_points_give_the_same_map() -> None:
    rows = np.random.default_rng(0).normal(size=(20, 8)).astype(np.float32)

    first, second = tsne.project(rows), tsne.project(rows)

    np.testing.assert_array_equal(first, second)


def test_neighbours_stay_neighbours_on_a_map() -> None:
    draw = np.random.default_rng(0)
    rows = np.concatenate([draw.normal(centre, 0.1, (20, 8)) for centre in (0, 9)]).astype(np.float32)

    places = tsne.project(rows)

    assert places is not None
    apart = ((places[:, None] - places[None]) ** 2).sum(axis=2)
    np.fill_diagonal(apart, np.inf)
    assert (apart.argmin(axis=1) // 20).tolist() == [0] * 20 + [1] * 20


@pytest.mark.parametrize(
    ("sizes", "share", "taken"),
    [((6, 2), 4, [3, 1]), ((6, 2), 8, [6, 2]), ((6, 2), 7, [5, 1]), ((90, 1), 10, [9, 1]), ((), 5, [])],
)
def test_of_every_part_as_much_is_shown_as_it_holds_of_the_whole(
    sizes: tuple[int, ...], share: int, taken: list[int]
) -> None:
    parts = [np.arange(size, dtype=np.float32)[:, None] for size in sizes]

    shown = tsne.first_rows(parts, share)

    assert [len(part) for part in shown] == taken
    assert [part[0, 0] for part in shown] == [0.0] * len(taken)


def mapped(root: Path, gallery: Gallery) -> Scatter:
    with evaluated(root, replace(SETTINGS, gallery=gallery)) as opened:
        points = tsne.scatter(direction(opened), "reindex")
    assert points is not None
    return points


def test_every_query_and_item_is_on_the_map_of_a_small_workspace(trained: Path) -> None:
    points = mapped(trained, "all")

    assert points.places.shape == (3 * (6 + 30), 2)
    assert Counter(zip(points.tasks.tolist(), points.is_query.tolist(), strict=True)) == {
        (task, is_query): 6 if is_query else 30 for task in range(3) for is_query in (True, False)
    }


def test_tasks_share_the_points_of_a_map_equally(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tsne, "MOST", 24)

    points = mapped(trained, "all")

    assert Counter(zip(points.tasks.tolist(), points.is_query.tolist(), strict=True)) == {
        (task, is_query): 4 for task in range(3) for is_query in (True, False)
    }


def test_the_queries_of_a_map_are_where_the_policy_asks_them(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tsne, "project", lambda rows: rows)

    with evaluated(trained) as opened:
        text_to_image = direction(opened)
        points = tsne.scatter(text_to_image, "matched")
        asked, items = text_to_image.queries.embed("sky", 1), text_to_image.galleries.embed("sky", 1)

    assert points is not None
    np.testing.assert_array_equal(points.places[(points.tasks == 0) & points.is_query], asked)
    np.testing.assert_array_equal(points.places[(points.tasks == 0) & ~points.is_query], items)
