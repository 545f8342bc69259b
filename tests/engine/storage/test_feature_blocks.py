from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from engine.ids import item_id
from engine.storage import blocks
from engine.storage.rows import Features
from engine.storage.store import Store
from engine.storage.tables import feature_key
from engine.types import ItemId

WIDTH = 4
IDS = [item_id("text", b"%d" % n) for n in range(8)]


def feature(n: int) -> Features:
    """Return the features (D,) that the nth item has."""
    return np.arange(WIDTH, dtype=np.float32) + 10 * n


def put(store: Store, numbers: Sequence[int], *, more: float = 0) -> None:
    """Store the features of items in one write."""
    with store.writing() as txn:
        for n in numbers:
            txn.put_features(IDS[n], "fake-1", feature(n) + more)


def put_as_before(store: Store, numbers: Sequence[int]) -> None:
    """Store features one by one, as stores of before have them."""
    with store._env.begin(write=True) as txn:
        for n in numbers:
            txn.put(feature_key(IDS[n], "fake-1"), feature(n).tobytes(), db=store._tables.features)


def drop(store: Store, numbers: Sequence[int]) -> int:
    """Drop the features of items; return how many bytes they took."""
    with store.writing() as txn:
        txn.drop_features([IDS[n] for n in numbers])
    return txn.dropped


def sizes(store: Store) -> list[int]:
    """Return how many rows each block has, whether in use or not."""
    with store._env.begin() as txn:
        return [blocks.HEAD.unpack_from(block)[0] for _, block in txn.cursor(store._tables.blocks)]


def stored(store: Store) -> list[int]:
    """Return which items have features, all of which are read and have to be theirs."""
    lacking: set[ItemId] = store.lacking(IDS)
    numbers = [n for n, id in enumerate(IDS) if id not in lacking]
    for n in numbers:
        assert_array_equal(store.features([IDS[n]], "fake-1")[0], feature(n))
    return numbers


def test_a_block_holds_as_many_rows_as_fit(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "MOST", 3 * 4 * WIDTH)
    put(store, range(8))
    assert sizes(store) == [3, 3, 2]
    assert stored(store) == list(range(8))


def test_rows_of_different_widths_have_blocks_of_their_own(store: Store) -> None:
    with store.writing() as txn:
        txn.put_features(IDS[0], "fake-1", feature(0))
        txn.put_features(IDS[0], "fake-2", np.ones(WIDTH + 1, np.float32))
    assert sizes(store) == [1, 1]
    assert_array_equal(store.features([IDS[0]], "fake-2"), np.ones((1, WIDTH + 1)))


def test_a_block_is_written_anew_once_half_of_it_is_not_in_use(store: Store) -> None:
    put(store, range(8))
    drop(store, [0, 3, 5])
    assert sizes(store) == [8]
    drop(store, [7])
    assert sizes(store) == [4]
    assert stored(store) == [1, 2, 4, 6]


def test_a_block_of_which_nothing_is_in_use_goes(store: Store) -> None:
    put(store, range(8))
    drop(store, range(8))
    assert sizes(store) == []
    assert stored(store) == []


def test_what_is_dropped_is_counted_wherever_it_lay(store: Store) -> None:
    put(store, [0, 1, 2])
    put_as_before(store, [3])
    assert drop(store, [0, 3, 4]) == 2 * (blocks.KEY + 4 * WIDTH) + 4  # a checksum in a block


def test_features_that_are_stored_again_replace_those_of_before(store: Store) -> None:
    put(store, range(8), more=1)
    put(store, range(8))
    assert sizes(store) == [8]
    assert stored(store) == list(range(8))


def test_a_few_that_are_stored_again_leave_their_block(store: Store) -> None:
    put(store, range(8), more=1)
    put(store, [2, 3])
    assert sizes(store) == [8, 2]
    assert_array_equal(store.features([IDS[2], IDS[4]], "fake-1"), [feature(2), feature(4) + 1])


def test_thinning_does_not_bring_back_what_was_replaced(store: Store) -> None:
    put(store, range(8), more=1)
    put(store, range(4))
    assert sizes(store) == [4, 4]
    assert_array_equal(store.features([IDS[0], IDS[7]], "fake-1"), [feature(0), feature(7) + 1])


def test_a_store_of_before_takes_blocks_beside_what_it_has(store: Store) -> None:
    put_as_before(store, [0, 1, 2])
    put(store, [4, 5])
    assert stored(store) == [0, 1, 2, 4, 5]
    assert_array_equal(store.features([IDS[5], IDS[0], IDS[4]], "fake-1"), [feature(n) for n in (5, 0, 4)])


def test_features_of_before_that_are_stored_again_move_into_a_block(store: Store) -> None:
    put_as_before(store, [0, 1])
    put(store, [0])
    with store._env.begin() as txn:
        assert txn.stat(store._tables.features)["entries"] == 1
    assert stored(store) == [0, 1]
    drop(store, [0])
    assert stored(store) == [1]


@pytest.mark.parametrize("put_features", [put, put_as_before])
def test_of_dropped_features_nothing_is_found_and_the_others_are(
    store: Store, put_features: Callable[[Store, Sequence[int]], None]
) -> None:
    put_features(store, range(8))
    drop(store, [0, 1, 2, 3, 4])
    found = [store.find(id[:12], "fake-1") for id in IDS]
    assert [n for n, row in enumerate(found) if row is not None] == [5, 6, 7]
    assert_array_equal(found[6], feature(6))


def test_a_reader_of_a_store_of_before_finds_what_is_written_into_blocks_later(tmp_path: Path) -> None:
    with Store(tmp_path / "s", readonly=False) as store:
        put_as_before(store, [0])
        with store._env.begin(write=True) as txn:
            for table in (store._tables.places, store._tables.blocks):
                txn.drop(table)
    with Store(tmp_path / "s") as reader:
        assert (reader._tables.places, reader._tables.blocks) == (None, None)
        assert stored(reader) == [0]
    with Store(tmp_path / "s", readonly=False) as store:
        put(store, [1])
        assert stored(store) == [0, 1]
