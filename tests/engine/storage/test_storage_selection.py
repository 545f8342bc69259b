import os
import unicodedata
from pathlib import Path

import pytest

from engine.errors import UserError
from engine.storage.rows import StoredRow
from engine.storage.selection import Selection, select
from engine.storage.store import Store
from engine.types import Item

CAT, DOG, COW = "aaaaaaaa" + "1" * 24, "aaaaaaaa" + "2" * 24, "bbbbbbbb" + "3" * 24


def put(
    store: Store,
    name: str,
    item: str,
    file: str | None = None,
    *,
    task: str,
    source: str,
    id: str | None = None,
) -> None:
    files = {"image": file} if file else {}
    row = StoredRow(source, name, task, True, "train", (), {"image": (item,)}, files, id=id)
    with store.writing() as txn:
        txn.put_item(Item(item, "image"))
        txn.put_row(row)


@pytest.fixture
def filled(store: Store) -> Store:
    """Return a store of four rows of two sources and two tasks; no file of them exists."""
    put(store, "cat", CAT, "/photos/pets/cat.jpg", task="sky", source="/photos")
    put(store, "dog", DOG, "/photos/pets/dog.jpg", task="sky", source="/photos")
    put(store, "cow", COW, "/photos/cow.jpg", task="life", source="/photos")
    put(store, "row 1", CAT, task="life", source="/features.npz")
    return store


def names(store: Store, what: str = "", *, task: str | None = None, source: str | None = None) -> list[str]:
    named = Selection(what, task, None if source is None else Path(source))
    return sorted(row.name for row in select(store, named))


def refusal(store: Store, what: str = "", *, task: str | None = None, source: str | None = None) -> str:
    with pytest.raises(UserError) as raised:
        names(store, what, task=task, source=source)
    return str(raised.value)


def test_an_id_names_every_row_of_its_item(filled: Store) -> None:
    assert names(filled, CAT) == ["cat", "row 1"]


def test_eight_digits_are_enough_where_one_item_begins_so(filled: Store) -> None:
    assert names(filled, "BBBBBBBB") == ["cow"]


def test_a_beginning_of_several_items_is_refused(filled: Store) -> None:
    assert refusal(filled, "aaaaaaaa") == f"2 items begin with aaaaaaaa: {CAT}, {DOG}"


def test_fewer_digits_are_no_item(filled: Store) -> None:
    assert refusal(filled, "bbbbbbb").startswith("no item, file or folder bbbbbbb is indexed")


def test_a_file_need_not_exist(filled: Store) -> None:
    assert names(filled, "/photos/pets/cat.jpg") == ["cat"]


def test_a_path_may_be_relative(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    assert names(filled, "photos/pets/../cow.jpg") == ["cow"]


def test_a_folder_names_all_that_lies_below_it(filled: Store) -> None:
    assert names(filled, "/photos/pets/") == ["cat", "dog"]
    assert names(filled, "/photos") == ["cat", "cow", "dog"]


def test_a_name_that_only_begins_alike_is_another_folder(filled: Store) -> None:
    assert refusal(filled, "/photos/pet").startswith("no item, file or folder /photos/pet is indexed")


def test_rows_without_files_are_named_by_what_they_were_read_from(filled: Store) -> None:
    assert names(filled, "/features.npz") == ["row 1"]


def test_a_path_through_a_link_names_the_file_too(store: Store, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    put(store, "cat", CAT, str(tmp_path / "real/cat.jpg"), task="sky", source=str(tmp_path / "real"))
    assert names(store, str(tmp_path / "link/cat.jpg")) == ["cat"]


COMPOSED = unicodedata.normalize("NFC", "/photos/größe.jpg")
APART = unicodedata.normalize("NFD", COMPOSED)


@pytest.mark.parametrize("stored", [COMPOSED, APART])
def test_letters_may_be_composed_or_not(store: Store, stored: str) -> None:
    put(store, "a", CAT, stored, task="sky", source="/photos")
    assert [names(store, name) for name in (COMPOSED, APART)] == [["a"], ["a"]]


def test_a_path_that_is_not_unicode_is_named_as_it_is(store: Store) -> None:
    name = os.fsdecode(b"/photos/caf\xe9.jpg")
    put(store, "a", CAT, name, task="sky", source="/photos")
    assert names(store, name) == ["a"]


def test_a_task_names_its_rows(filled: Store) -> None:
    assert names(filled, task="life") == ["cow", "row 1"]


def test_a_source_names_its_rows(filled: Store) -> None:
    assert names(filled, source="/features.npz") == ["row 1"]


def test_what_is_named_together_must_hold_together(filled: Store) -> None:
    assert names(filled, CAT, task="sky") == ["cat"]
    assert names(filled, task="sky", source="/photos") == ["cat", "dog"]


def test_a_task_that_is_not_there_says_which_are(filled: Store) -> None:
    assert refusal(filled, task="sea") == "no rows of task 'sea'; tasks are: life, sky"


def test_a_source_that_is_not_there_says_which_are(filled: Store) -> None:
    assert refusal(filled, source="/gone") == (
        "nothing was read from /gone; sources are: /features.npz, /photos"
    )
    assert refusal(filled, task="sky", source="/features.npz").startswith("nothing of task 'sky' was read")


def test_what_is_not_there_says_what_there_is(filled: Store) -> None:
    assert refusal(filled, "cat.png") == (
        "no item, file or folder cat.png is indexed: give 8 digits of an id or more, or a path; "
        "sources are: /features.npz, /photos"
    )


def test_of_many_sources_the_first_are_said(store: Store) -> None:
    for number in range(7):
        put(store, "a", CAT, task="sky", source=f"/s{number}")
    assert refusal(store, source="/gone").endswith("sources are: /s0, /s1, /s2, /s3, /s4 and 2 more")


def test_a_word_that_is_an_id_and_a_file_is_refused(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, "a", COW, str(tmp_path / "bbbbbbbb/a.jpg"), task="sky", source=str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert refusal(store, "bbbbbbbb") == (
        "bbbbbbbb begins an item's id and is a file or folder too: write ./bbbbbbbb for that"
    )
    assert names(store, "./bbbbbbbb") == ["a"]


def test_before_anything_is_stored_nothing_is_named(store: Store) -> None:
    assert refusal(store, "a") == "nothing is stored yet: run `mneme index SOURCE`"


# sources and ids of rows


def test_a_source_may_be_named_as_what_stands_there(store: Store) -> None:
    put(store, "row 1", CAT, "/media/cat.jpg", task="sky", source="/cats.csv")
    put(store, "row 2", DOG, task="sky", source="/cats.csv")
    put(store, "row 1", COW, "/media/cow.jpg", task="sky", source="/cows.csv")
    assert names(store, "/cats.csv") == ["row 1", "row 2"]


def test_a_row_may_be_named_by_the_id_that_it_gave(store: Store) -> None:
    put(store, "item 3", CAT, "/a.jpg", task="sky", source="/cats.csv", id="item 3")
    put(store, "item 3", CAT, "/a.jpg", task="life", source="/cats.csv", id="item 3")
    put(store, "item 33", DOG, "/b.jpg", task="sky", source="/cats.csv", id="item 33")
    assert names(store, "item 3") == ["item 3", "item 3"]
    assert names(store, "item 3", task="sky") == ["item 3"]


def test_an_id_that_rows_of_several_sources_gave_is_refused_until_one_is_named(store: Store) -> None:
    put(store, "3", CAT, task="sky", source="/cats.csv", id="3")
    put(store, "3", DOG, task="sky", source="/dogs.csv", id="3")
    assert refusal(store, "3") == (
        "3 is the id of rows of 2 sources: /cats.csv, /dogs.csv; say of which by `source=S`"
    )
    assert names(store, "3", source="/dogs.csv") == ["3"]


def test_an_id_that_is_a_file_of_other_rows_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, "a", CAT, "/a.jpg", task="sky", source="/cats.csv", id="b.jpg")
    put(store, "b", DOG, "/b.jpg", task="sky", source="/cats.csv", id="c.jpg")
    monkeypatch.chdir("/")
    assert refusal(store, "b.jpg") == (
        "b.jpg is a row's own id and is a file or folder too: write ./b.jpg for that"
    )
    assert names(store, "./b.jpg") == ["b"]


def test_an_id_that_is_the_file_of_the_same_row_names_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, "a", CAT, "/a.jpg", task="sky", source="/cats.csv", id="a.jpg")
    monkeypatch.chdir("/")
    assert names(store, "a.jpg") == ["a"]


def test_of_two_files_whose_names_look_equal_the_one_that_is_spelled_so_is_meant(store: Store) -> None:
    put(store, "composed", CAT, COMPOSED, task="sky", source="/photos")
    put(store, "apart", DOG, APART, task="sky", source="/photos")
    assert [names(store, name) for name in (COMPOSED, APART)] == [["composed"], ["apart"]]


def test_of_two_folders_and_sources_whose_names_look_equal_the_one_that_is_spelled_so_is_meant(
    store: Store,
) -> None:
    for name, item in ((COMPOSED, CAT), (APART, DOG)):
        put(store, name, item, f"{name}/a.jpg", task="sky", source=name)
    assert [names(store, name) for name in (COMPOSED, APART)] == [[COMPOSED], [APART]]
    assert [names(store, source=name) for name in (COMPOSED, APART)] == [[COMPOSED], [APART]]
