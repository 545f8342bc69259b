import pytest

from engine.types import ShardKey
from indexer.policies.plan import Indexed, Placement


def test_a_placement_of_all_items_is_a_shard_without_a_part() -> None:
    assert Placement(1, 3, 2).key("sky", "image") == ShardKey("sky", "image", 1, 3)


def test_a_placement_of_some_items_is_a_shard_of_a_part_of_eight_digits() -> None:
    part = Placement(1, 1, 3, ("a", "b")).key("sky", "image").part
    assert len(bytes.fromhex(part)) == 4


@pytest.mark.parametrize("other", [("a", "c"), ("a",), ()])
def test_other_items_are_another_part(other: tuple[str, ...]) -> None:
    assert Placement(1, 1, 3, other).key("sky", "image") != Placement(1, 1, 3, ("a", "b")).key("sky", "image")


def test_who_searches_a_shard_does_not_make_it_another() -> None:
    assert Placement(1, 1, 3, ("a",)).key("sky", "image") == Placement(1, 1, 2, ("a",)).key("sky", "image")


def test_unless_told_nothing_is_indexed_and_nothing_may_be_embedded_again() -> None:
    assert Indexed() == Indexed(by_head={}, budget=0.0)
