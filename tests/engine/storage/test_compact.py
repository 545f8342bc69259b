import errno
import os
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import lmdb
import numpy as np
import pytest

import apart
from engine.errors import StoreError
from engine.ids import item_id
from engine.storage import tables
from engine.storage.store import Store
from engine.types import Item

IDS = [item_id("text", b"%d" % n) for n in range(200)]


def put(folder: Path, first: int, last: int, backbone: str = "fake-1") -> None:
    """Store items with features of 1 KiB, each in a write of its own."""
    with Store(folder, readonly=False) as store:
        for n in range(first, last):
            with store.writing() as txn:
                txn.put_item(Item(IDS[n], "text"))
                txn.put_features(IDS[n], backbone, np.full(256, n, np.float32))


def stored(store: Store) -> list[int]:
    """Return which items have features, as these tell."""
    lacking = store.lacking(IDS)
    return [int(store.features([id], "fake-1")[0][0]) for id in IDS if id not in lacking]


@pytest.fixture
def holed(tmp_path: Path) -> Path:
    """Return the folder of a store most of whose pages are free."""
    put(tmp_path / "store", 0, 200)
    with Store(tmp_path / "store", readonly=False) as store, store.writing() as txn:
        txn.drop_features(IDS[20:])
    return tmp_path / "store"


def test_a_store_without_its_free_pages_is_smaller_and_holds_the_same(holed: Path) -> None:
    file = holed / tables.DATA
    file.chmod(0o640)
    before = file.stat().st_size
    saved = tables.compact(holed)
    assert before - file.stat().st_size == saved > before // 2
    assert file.stat().st_mode & 0o777 == 0o640
    with Store(holed) as store:
        assert stored(store) == list(range(20))
        assert store.counts() == {"text": 200}


def test_what_has_no_free_pages_stays_as_it_is(holed: Path) -> None:
    tables.compact(holed)
    file = tables.identity(holed / tables.DATA)
    assert tables.compact(holed) == 0
    assert tables.identity(holed / tables.DATA) == file


@pytest.mark.parametrize("writes", [0, 1])
def test_a_copy_goes_on_with_the_number_of_the_last_write_be_it_even_or_odd(holed: Path, writes: int) -> None:
    put(holed, 20, 20 + writes)
    with Store(holed) as store:
        number = store._env.info()["last_txnid"]
    tables.compact(holed)
    with Store(holed) as store:
        assert store._env.info()["last_txnid"] == number
        assert stored(store) == list(range(20 + writes))


def read_twice(folder: Path, heard: Connection, told: Connection) -> None:
    """Tell what a store holds; once more when asked for, as of before; then as of now."""
    with Store(folder) as store:
        told.send(stored(store))
        heard.recv()
        told.send(stored(store))
        store.refresh(None)
        told.send(stored(store))


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps a file that is mapped")
@pytest.mark.parametrize("writes", [1, 2, 3])
def test_a_reader_goes_on_with_what_it_sees_and_then_sees_what_was_written_since(
    holed: Path, writes: int
) -> None:
    (heard, ask), (answers, told) = apart.pipe(), apart.pipe()
    reader = apart.begun(read_twice, holed, heard, told)
    assert answers.recv() == list(range(20))
    tables.compact(holed)
    put(holed, 20, 20 + writes)
    ask.send("again")
    assert answers.recv() == list(range(20))
    assert answers.recv() == list(range(20 + writes))
    reader.join()
    with Store(holed) as store:
        assert stored(store) == list(range(20 + writes))


def full(*given: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def failing_copy(file: Path, write: int) -> None:
    raise lmdb.DiskError("mdb_txn_commit: No space left on device")


@pytest.mark.parametrize(("name", "fail"), [("_count_up", failing_copy), ("files.take_place", full)])
def test_where_there_is_no_room_the_store_stays_as_it_is(
    holed: Path, monkeypatch: pytest.MonkeyPatch, name: str, fail: Callable[..., None]
) -> None:
    before = tables.identity(holed / tables.DATA)
    monkeypatch.setattr(f"engine.storage.tables.{name}", fail)
    with pytest.raises(StoreError, match="no space left on device"):
        tables.compact(holed)
    assert tables.identity(holed / tables.DATA) == before
    assert sorted(path.name for path in holed.iterdir()) == [tables.DATA, tables.LOCK]


def test_a_store_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is missing"):
        tables.compact(tmp_path / "none")
