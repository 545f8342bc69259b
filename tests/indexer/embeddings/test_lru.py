import numpy as np
import pytest
from numpy.typing import NDArray

from indexer.embeddings.lru import LruCache


def kept(most: int) -> LruCache:
    return LruCache(most, lambda rows: rows.nbytes)


def of(size: int) -> NDArray[np.uint8]:
    return np.zeros(size, np.uint8)


def never() -> NDArray[np.uint8]:
    pytest.fail("made again")


def test_what_is_held_is_not_made_again() -> None:
    one = kept(10)
    assert one.get("a", lambda: of(4)) is one.get("a", never)


def test_beyond_the_bound_the_one_not_asked_for_longest_goes() -> None:
    one = kept(10)
    for name in ("a", "b", "a", "c"):
        one.get(name, lambda: of(4))
    assert [one.find(name) is not None for name in ("a", "b", "c")] == [True, False, True]


def test_what_went_leaves_its_room() -> None:
    one = kept(10)
    for name in "abcdefg":
        one.get(name, lambda: of(4))
    assert [name for name in "abcdefg" if one.find(name) is not None] == ["f", "g"]


def test_the_newest_is_held_whatever_it_takes() -> None:
    one = kept(10)
    one.get("a", lambda: of(100))
    assert one.find("a") is not None
