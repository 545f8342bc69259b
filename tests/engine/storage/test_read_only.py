"""A store that may be read but not written: no writer knows of who reads it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import apart
from bound import by_permissions
from engine.errors import StoreError
from engine.ids import item_id
from engine.storage.store import Store
from engine.types import Item

IDS = [item_id("text", b"%d" % n) for n in range(9)]


def put(folder: Path, number: int) -> None:
    with Store(folder, readonly=False) as store, store.writing() as txn:
        txn.put_item(Item(IDS[number], "text"))
        txn.put_features(IDS[number], "fake-1", np.zeros(8, np.float32))


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    for path in (*folder.iterdir(), folder):
        path.chmod(0o555)
    with by_permissions():
        yield
    for path in (folder, *folder.iterdir()):
        path.chmod(0o755)


@pytest.mark.parametrize("lock", [True, False])
def test_a_store_that_may_not_be_written_is_read_with_and_without_its_lock_file(
    tmp_path: Path, lock: bool
) -> None:
    put(tmp_path / "store", 0)
    if not lock:
        (tmp_path / "store/lock.mdb").unlink()
    with read_only(tmp_path / "store"), Store(tmp_path / "store") as store:
        assert store.counts() == {"text": 1}
    assert (tmp_path / "store/lock.mdb").exists() == lock


def test_who_reads_unknown_to_writers_is_told_once_pages_may_have_been_written_anew(tmp_path: Path) -> None:
    put(tmp_path / "store", 0)
    with read_only(tmp_path / "store"):
        store = Store(tmp_path / "store")
    with store:
        assert apart.run(put, tmp_path / "store", 1) == 0
        assert store.counts() == {"text": 1}
        assert apart.run(put, tmp_path / "store", 2) == 0
        with pytest.raises(StoreError, match="was written to while it was read"):
            store.counts()
        store.refresh(None)
        assert store.counts() == {"text": 3}
