from pathlib import Path

import pytest

from benchmarks.papers import regions
from benchmarks.papers.regions import Photo, Region


def test_the_region_that_overlaps_best_is_taken() -> None:
    described = [Region(1, (0, 0, 30, 30), "near"), Region(2, (0, 0, 39, 40), "nearer")]
    (pair,) = regions.matched(7, [("dog", (0, 0, 40, 40))], described, 0.5)
    assert pair.region.phrase == "nearer"


def test_a_category_has_one_pair_of_an_image() -> None:
    described = [Region(1, (0, 0, 40, 40), "left"), Region(2, (50, 0, 40, 40), "right")]
    boxes = [("dog", (0, 0, 40, 40)), ("dog", (50, 0, 40, 40))]
    assert len(regions.matched(7, boxes, described, 0.5)) == 1


def test_two_objects_of_one_box_are_one_pair() -> None:
    boxes = [("dog", (0, 0, 40, 40)), ("dog", (0, 0, 40, 40))]
    twice = [Region(1, (0, 0, 40, 40), "a dog"), Region(1, (0, 0, 40, 40), "a hound")]
    assert len(regions.matched(7, boxes, twice, 0.5)) == 1


def test_a_region_goes_to_one_category_only() -> None:
    boxes = [("dog", (0, 0, 40, 40)), ("cat", (0, 0, 40, 38))]
    pairs = regions.matched(7, boxes, [Region(1, (0, 0, 40, 40), "dog and cat")], 0.5)
    assert [pair.category for pair in pairs] == ["dog"]


def test_a_region_that_overlaps_less_than_asked_is_not_taken() -> None:
    described = [Region(1, (0, 0, 40, 19), "half a dog")]
    assert regions.matched(7, [("dog", (0, 0, 40, 40))], described, 0.5) == []


def test_a_region_too_small_to_show_anything_is_not_taken() -> None:
    described = [Region(1, (0, 0, 15, 40), "a sliver")]
    assert regions.matched(7, [("dog", (0, 0, 15, 40))], described, 0.5) == []


@pytest.mark.parametrize(
    ("other", "share"),
    [((0, 0, 10, 10), 1.0), ((5, 0, 10, 10), 1 / 3), ((10, 10, 5, 5), 0.0), ((20, 0, 5, 5), 0.0)],
)
def test_the_share_is_the_intersection_over_the_union(other: regions.Box, share: float) -> None:
    assert regions.iou((0, 0, 10, 10), other) == pytest.approx(share)


def test_what_lies_outside_its_photo_is_cut_off() -> None:
    box = {"x": -5, "y": 90, "width": 20, "height": 20}
    assert regions.clipped(box, Photo(Path("photo.jpg"), 100, 100)) == (0, 90, 15, 10)
