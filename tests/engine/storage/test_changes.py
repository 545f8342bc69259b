"""What a write keeps of the state that is served, until what takes its place is served."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import apart
from engine.errors import StoreError
from engine.ids import item_id
from engine.storage.rows import StoredRow
from engine.storage.store import Store
from engine.types import Item

SERVED, NEXT = b"one state", b"the next"
SUN, MOON = (item_id("text", text.encode()) for text in ("sun", "moon"))


def row(name: str, *ids: str, task: str = "sky", photo: str = "") -> StoredRow:
    files = {"text": photo} if photo else {}
    return StoredRow("/s", name, task, named=True, split="train", labels=(), items={"text": ids}, files=files)


def put(store: Store, *rows: StoredRow) -> None:
    with store.writing() as txn:
        for stored in rows:
            for id in stored.items["text"]:
                txn.put_item(Item(id, "text", (), id))
                txn.put_features(id, "b", np.zeros(2, np.float32))
            txn.put_row(stored)


def settle(store: Store) -> None:
    with store.writing() as txn:
        txn.settle()


def told(folder: Path, id: str, served: bytes | None = SERVED) -> tuple[Sequence[str], Sequence[str]] | None:
    """Return the paths and tasks of an item, as a reader of a state is told."""
    with Store(folder, served=served) as store:
        known = store.item(id)
        return known and (known[0].paths, known[1])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder of a store in which `sun` is served."""
    with Store(tmp_path / "store.lmdb", readonly=False) as store:
        put(store, row("a", SUN, photo="/s/a.txt"))
    return tmp_path / "store.lmdb"


def test_a_row_that_changed_is_told_as_it_is_served_until_the_write_is_settled(folder: Path) -> None:
    with Store(folder, readonly=False, served=SERVED) as store:
        put(store, row("a", MOON, photo="/s/b.txt"))
        assert store.row(row("a").key) == row("a", MOON, photo="/s/b.txt")
    assert told(folder, SUN) == (("/s/a.txt",), ("sky",))
    assert told(folder, MOON, NEXT) == (("/s/b.txt",), ("sky",))
    with Store(folder, readonly=False, served=SERVED) as store:
        settle(store)
        assert store.lacking([SUN, MOON]) == {SUN}
    with pytest.raises(StoreError, match="an item is missing"):
        told(folder, SUN)


def test_a_row_that_is_gone_is_told_until_the_write_is_settled(folder: Path) -> None:
    with Store(folder, readonly=False, served=SERVED) as store:
        with store.writing() as txn:
            txn.remove_row(row("a").key)
            txn.drop_unused()
        assert list(store.rows()) == []
        assert store.users(SUN) == []
        assert store.has_features(SUN, "b")
    assert told(folder, SUN) == (("/s/a.txt",), ("sky",))
    with Store(folder, readonly=False, served=SERVED) as store:
        settle(store)
    with pytest.raises(StoreError, match="an item is missing"):
        told(folder, SUN)


def test_a_new_row_says_nothing_of_what_is_served_before_it_is(folder: Path) -> None:
    with Store(folder, readonly=False, served=SERVED) as store:
        put(store, row("b", SUN, task="life", photo="/s/b.txt"))
    assert told(folder, SUN) == (("/s/a.txt",), ("sky",))
    assert told(folder, SUN, NEXT) == (("/s/a.txt", "/s/b.txt"), ("life", "sky"))


def test_a_row_that_changes_twice_is_told_as_it_was_at_first(folder: Path) -> None:
    with Store(folder, readonly=False, served=SERVED) as store:
        put(store, row("a", MOON, photo="/s/b.txt"))
        put(store, row("a", SUN, photo="/s/c.txt"))
    assert told(folder, SUN) == (("/s/a.txt",), ("sky",))


def test_what_a_kill_left_of_a_state_before_is_forgotten_by_the_next_write(folder: Path) -> None:
    with Store(folder, readonly=False, served=SERVED) as store:
        put(store, row("a", MOON, photo="/s/b.txt"))
    with Store(folder, readonly=False, served=NEXT) as store:
        put(store, row("a", SUN, photo="/s/c.txt"))
    assert told(folder, MOON, NEXT) == (("/s/b.txt",), ("sky",))
    assert told(folder, SUN, NEXT) == ((), ())


def test_where_nothing_is_served_nothing_is_kept(folder: Path) -> None:
    with Store(folder, readonly=False) as store:
        put(store, row("a", MOON))
        with store.writing() as txn:
            txn.drop_unused()
        assert store.lacking([SUN, MOON]) == {SUN}


def put_moon(folder: Path) -> None:
    with Store(folder, readonly=False) as store:
        put(store, row("a", MOON))


def test_a_reader_sees_one_state_until_it_asks_for_the_newest(folder: Path) -> None:
    with Store(folder) as reader:
        assert apart.run(put_moon, folder) == 0
        assert [stored.items["text"] for stored in reader.rows()] == [(SUN,)]
        reader.refresh(None)
        assert [stored.items["text"] for stored in reader.rows()] == [(MOON,)]
