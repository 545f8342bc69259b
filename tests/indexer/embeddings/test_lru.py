import numpy as np
import pytest
from numpy.typing import NDArray

from indexer.embeddings.lru import LruCache


def bounded(most: int) -> LruCache:
    return LruCache(most, lambda rows: rows.nbytes)


def of(size: int) -> NDArray[np.uint8]:
    return np.zeros(size, np.uint8)


def never() -> NDArray[np.uint8]:
    pytest.fail("made again")


def held(cache: LruCache, keys: str) -> str:
    """Return which of some keys are held."""
    return "".join(key for key in keys if cache.find(key) is not None)


def test_what_is_held_is_not_made_again() -> None:
    cache = bounded(10)
    assert cache.get("a", lambda: of(4)) is cache.get("a", never)


def test_what_is_not_held_is_not_found() -> None:
    cache = bounded(10)
    value = cache.put("a", of(4))
    assert (cache.find("a"), cache.find("b")) == (value, None)


def test_values_fill_the_bound_to_the_last_byte() -> None:
    cache = bounded(10)
    for key, size in (("a", 4), ("b", 6), ("c", 1)):
        cache.put(key, of(size))
        if key == "b":
            assert held(cache, "ab") == "ab"
    assert held(cache, "abc") == "bc"


def test_beyond_the_bound_the_one_not_used_for_longest_goes() -> None:
    cache = bounded(10)
    for key in ("a", "b", "a", "c"):
        cache.get(key, lambda: of(4))
    assert held(cache, "abc") == "ac"


def test_finding_a_value_is_using_it() -> None:
    cache = bounded(10)
    cache.put("a", of(4))
    cache.put("b", of(4))
    cache.find("a")
    cache.put("c", of(4))
    assert held(cache, "abc") == "ac"


def test_what_went_leaves_its_room() -> None:
    cache = bounded(10)
    for key in "abcdefg":
        cache.get(key, lambda: of(4))
    assert held(cache, "abcdefg") == "fg"


def test_a_large_value_drives_out_as_many_as_it_takes() -> None:
    cache = bounded(10)
    for key, size in (("a", 3), ("b", 3), ("c", 3), ("d", 6)):
        cache.put(key, of(size))
    assert held(cache, "abcd") == "cd"


def test_the_newest_is_held_whatever_it_takes_until_the_next() -> None:
    cache = bounded(10)
    cache.put("a", of(4))
    cache.put("b", of(100))
    assert held(cache, "ab") == "b"
    cache.put("c", of(10))
    assert held(cache, "abc") == "c"
