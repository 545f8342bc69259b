import contextlib
import gc
import os
import threading
from dataclasses import replace
from pathlib import Path

import lmdb
import numpy as np
import pytest

from engine.errors import UserError
from engine.ids import item_id
from engine.storage import tables
from engine.storage.rows import FileStamp, StoredRow, to_json
from engine.storage.store import Store
from engine.types import Item

CAT, DOG = item_id("text", b"cat"), item_id("text", b"dog")
PHOTO = item_id("image", b"photo")
FEATURES = np.array([0.1, -2, 3e-30], np.float32)


def row(name: str, *texts: str, task: str = "sky", photo: str | None = None) -> StoredRow:
    items = {"text": texts} if texts else {}
    if photo:
        items["image"] = (PHOTO,)
    return StoredRow("/source", name, task, True, "train", ("a",), items, {"image": photo} if photo else {})


def put(store: Store, *rows: StoredRow) -> None:
    """Store rows, and their items with features by one backbone."""
    with store.writing() as txn:
        for stored in rows:
            for modality, ids in stored.items.items():
                for id in ids:
                    txn.put_item(Item(id, modality))
                    txn.put_features(id, "fake-1", FEATURES)
            txn.put_row(stored)


def remove(store: Store, *rows: StoredRow) -> None:
    with store.writing() as txn:
        for stored in rows:
            txn.remove_row(stored.key)
        txn.drop_unused()


def test_a_row_comes_back_as_it_was(store: Store) -> None:
    stored = row("a", CAT, DOG, photo="/source/caf\udce9.jpg")
    put(store, stored)
    assert store.row(stored.key) == stored


def test_a_row_that_was_never_stored_is_none(store: Store) -> None:
    assert store.row(row("a").key) is None


def test_rows_of_one_name_in_two_tasks_are_two(store: Store) -> None:
    put(store, row("a", CAT, task="sky"), row("a", CAT, task="life"))
    assert len(list(store.rows())) == 2


def test_where_a_name_ends_and_the_next_begins_is_part_of_the_key() -> None:
    assert row('a", "b').key != row("a").key


def test_features_come_back_bit_equal_in_the_order_asked_for(store: Store) -> None:
    put(store, row("a", CAT, DOG))
    with store.writing() as txn:
        txn.put_features(DOG, "fake-1", FEATURES * 2)
    features = store.features([DOG, CAT, DOG], "fake-1")
    assert features.tobytes() == np.stack([FEATURES * 2, FEATURES, FEATURES * 2]).tobytes()


def test_features_belong_to_a_backbone(store: Store) -> None:
    put(store, row("a", CAT))
    assert store.has_features(CAT, "fake-1")
    assert not store.has_features(CAT, "fake-2")


def test_features_are_stored_as_float32(store: Store) -> None:
    with store.writing() as txn:
        txn.put_features(CAT, "fake-1", FEATURES.astype(np.float64))
    assert store.features([CAT], "fake-1").tobytes() == FEATURES.tobytes()


def test_a_store_takes_more_features_than_its_file_held_when_it_was_made(store: Store) -> None:
    many = np.ones(1 << 20, np.float32)
    with store.writing() as txn:
        txn.put_features(CAT, "fake-1", many)
    assert store.features([CAT], "fake-1").shape == (1, len(many))


def test_a_store_takes_little_more_address_space_than_its_file(store: Store) -> None:
    with store.writing() as txn:
        txn.put_features(CAT, "fake-1", np.ones(1 << 20, np.float32))
    assert store._env.info()["map_size"] <= 256 << 20


@pytest.mark.skipif(os.name == "nt", reason="Windows counts no blocks")
def test_the_lock_file_of_a_new_store_has_its_bytes_on_the_disk_for_who_maps_it_may_not_run_out_of_room(
    store: Store, tmp_path: Path
) -> None:
    lock = (tmp_path / "store" / tables.LOCK).stat()
    assert lock.st_blocks * 512 >= lock.st_size >= tables.LOCK_BYTES


def test_what_is_written_is_flushed_before_the_write_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, bool] = {}
    opening = lmdb.open

    def noting(folder: str, **settings: bool) -> object:
        options.update(settings)
        return opening(folder, **settings)

    monkeypatch.setattr(lmdb, "open", noting)
    with Store(tmp_path / "store", readonly=False):
        pass
    assert (options.get("sync", True), options.get("metasync", True)) == (True, True)


def test_an_item_knows_its_text(store: Store) -> None:
    put(store, row("a", CAT))
    with store.writing() as txn:
        txn.put_item(Item(CAT, "text", text="cat"))
    assert store.item(CAT) == (Item(CAT, "text", (), "cat"), ("sky",))


def test_an_item_knows_every_path_and_task_it_stands_in_both_sorted(store: Store) -> None:
    paths, tasks = [f"/{n}.jpg" for n in range(8)], [f"task {n}" for n in range(8)]
    put(
        store,
        *(row(path, photo=path, task=task) for path, task in zip(paths, tasks, strict=True)),
        row("c", CAT),
    )
    assert store.item(PHOTO) == (Item(PHOTO, "image", tuple(paths)), tuple(tasks))


def test_paths_that_exist_come_first_and_of_these_those_in_the_task(store: Store, tmp_path: Path) -> None:
    living = [str(tmp_path / name) for name in ("b.jpg", "c.jpg")]
    for path in living:
        Path(path).touch()
    put(
        store,
        row("dead, task", photo="/a.jpg", task="life"),
        row("dead", photo="/0.jpg"),
        row("living", photo=living[0]),
        row("living, task", photo=living[1], task="life"),
    )
    in_life, anywhere = store.item(PHOTO, "life"), store.item(PHOTO)
    assert in_life is not None
    assert anywhere is not None
    assert in_life[0].paths == (living[1], living[0], "/a.jpg", "/0.jpg")
    assert anywhere[0].paths == (*living, "/0.jpg", "/a.jpg")


def test_a_path_in_two_rows_is_told_once(store: Store) -> None:
    put(store, row("a", photo="/a.jpg"), row("b", photo="/a.jpg", task="life"))
    stored = store.item(PHOTO, "life")
    assert stored is not None
    assert stored[0].paths == ("/a.jpg",)


def test_that_a_task_was_inherited_is_kept_and_else_takes_no_room(store: Store) -> None:
    inherited = replace(row("a", CAT), inherited=True)
    put(store, inherited, row("b", CAT))
    assert store.row(inherited.key) == inherited
    assert b"inherited" not in to_json(row("b", CAT))


def test_a_row_takes_the_place_of_one_of_another_name(store: Store) -> None:
    put(store, row("a", CAT))
    with store.writing() as txn:
        txn.put_row(row("b", CAT), instead_of=row("a", CAT))
    assert [stored.name for stored in store.rows()] == ["b"]
    assert store.users(CAT) == [row("b").key]


def test_an_item_that_is_gone_is_none(store: Store) -> None:
    put(store, row("a", CAT))
    remove(store, row("a"))
    assert store.item(CAT) is None


def test_an_item_lives_while_a_row_names_it(store: Store) -> None:
    put(store, row("a", CAT), row("b", CAT))
    remove(store, row("a"))
    assert store.item(CAT) == (Item(CAT, "text"), ("sky",))
    assert store.has_features(CAT, "fake-1")


def test_the_features_of_every_backbone_go_with_the_item(store: Store) -> None:
    put(store, row("a", CAT), row("b", DOG))
    with store.writing() as txn:
        txn.put_features(CAT, "fake-2", FEATURES)
    remove(store, row("a"))
    assert [store.has_features(CAT, name) for name in ("fake-1", "fake-2")] == [False, False]
    assert store.has_features(DOG, "fake-1")


def test_a_row_that_changes_lets_its_old_items_go(store: Store) -> None:
    put(store, row("a", CAT))
    put(store, row("a", DOG))
    remove(store)
    assert store.counts() == {"text": 1}
    assert store.item(CAT) is None


def test_an_item_that_one_row_lets_go_can_be_named_by_another(store: Store) -> None:
    put(store, row("a", CAT), row("b", DOG))
    with store.writing() as txn:
        txn.put_row(row("a", DOG))
        txn.put_row(row("b", CAT))
        txn.drop_unused()
    assert store.features([CAT, DOG], "fake-1").shape == (2, 3)


def test_items_are_counted_by_modality(store: Store) -> None:
    put(store, row("a", CAT, DOG, photo="/a.jpg"), row("b", CAT))
    assert store.counts() == {"text": 2, "image": 1}


def test_pairs_do_not_tell_in_which_order_rows_arrived(tmp_path: Path) -> None:
    rows = [row("b", CAT), row("a", DOG), row("a", CAT, task="life")]
    with Store(tmp_path / "one", readonly=False) as one, Store(tmp_path / "two", readonly=False) as two:
        put(one, *rows)
        put(two, *reversed(rows))
        assert one.pairs() == two.pairs()
        assert [pair.task for pair in one.pairs()] == ["life", "sky", "sky"]


def test_pairs_stand_in_the_order_of_their_tasks_and_names(store: Store) -> None:
    words = [item_id("text", bytes([n])) for n in range(12)]
    rows = [row(f"{n:02}", words[n], task="sky" if n < 6 else "life") for n in range(12)]
    put(store, *reversed(rows))
    assert [pair.items["text"] for pair in store.pairs()] == [(word,) for word in words[6:] + words[:6]]


@pytest.mark.parametrize("was_enabled", [True, False])
def test_reading_pairs_leaves_the_garbage_collector_as_it_was(store: Store, was_enabled: bool) -> None:
    put(store, row("a", CAT))
    (gc.enable if was_enabled else gc.disable)()
    try:
        store.pairs()
        assert gc.isenabled() == was_enabled
    finally:
        gc.enable()


def test_a_file_is_remembered_by_its_path(store: Store) -> None:
    with store.writing() as txn:
        txn.put_stamp("/a.jpg", FileStamp(3, 1_700_000_000_123_456_789, PHOTO))
    assert store.stamp("/a.jpg") == FileStamp(3, 1_700_000_000_123_456_789, PHOTO)
    assert store.stamp("/b.jpg") is None


def test_of_a_write_that_fails_nothing_lands(store: Store) -> None:
    with contextlib.suppress(KeyError), store.writing() as txn:
        txn.put_row(row("a", CAT))
        raise KeyError("a crash")
    assert list(store.rows()) == []


def test_a_reader_sees_nothing_of_an_unfinished_write(store: Store) -> None:
    seen: list[StoredRow] = []
    with store.writing() as txn:
        txn.put_row(row("a", CAT))
        reader = threading.Thread(target=lambda: seen.extend(store.rows()))
        reader.start()
        reader.join()
    assert seen == []


def test_what_was_stored_is_there_when_it_is_opened_again(tmp_path: Path) -> None:
    with Store(tmp_path / "store", readonly=False) as store:
        put(store, row("a", CAT))
    with Store(tmp_path / "store") as store:
        assert [stored.name for stored in store.rows()] == ["a"]


def test_a_store_is_made_with_the_folders_above_it_and_may_be_written_again(tmp_path: Path) -> None:
    with Store(tmp_path / "deep" / "store", readonly=False) as store:
        put(store, row("a", CAT))
    with Store(tmp_path / "deep" / "store", readonly=False) as store:
        put(store, row("b", DOG))
        assert store.counts() == {"text": 2}


def test_a_store_that_is_not_there_is_a_user_error_and_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"^{tmp_path / 'store/data.mdb'} is missing: "):
        Store(tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_features_are_found_by_the_first_digits_of_an_id(store: Store) -> None:
    put(store, row("a", CAT, DOG))
    features = store.find(CAT[:15], "fake-1")
    assert features is not None
    assert features.tobytes() == FEATURES.tobytes()


def test_features_of_another_backbone_are_not_found(store: Store) -> None:
    put(store, row("a", CAT))
    assert store.find(CAT[:15], "fake-2") is None


def test_features_of_an_item_that_is_not_stored_are_not_found(store: Store) -> None:
    put(store, row("a", CAT))
    assert store.find(DOG[:15], "fake-1") is None


def test_features_can_go_while_the_item_stays(store: Store) -> None:
    put(store, row("a", CAT, DOG))
    with store.writing() as txn:
        txn.drop_features([CAT])
    assert txn.dropped == 24 + FEATURES.nbytes + 4  # the key, and a checksum
    assert store.lacking([CAT, DOG]) == {CAT}
    assert store.item(CAT) is not None


def test_what_was_never_stored_lacks_features(store: Store) -> None:
    put(store, row("a", CAT))
    assert store.lacking([CAT, DOG, PHOTO]) == {DOG, PHOTO}


def test_what_a_row_says_of_itself_comes_back_its_own_fields_first(store: Store) -> None:
    named = replace(row("a", CAT), id="7", other={"source": "a museum", "year": 1889})
    put(store, named)
    stored = store.item(CAT)
    assert stored is not None
    assert stored[0].row == {"id": "7", "source": "a museum", "year": 1889}
