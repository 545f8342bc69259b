import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import FakeBackbone
from engine.backbones.precomputed import FeatureFile
from engine.errors import Unreadable, UserError
from engine.ids import item_id
from engine.ingest.encoding import CHUNK, Loader
from engine.ingest.ingest import forget, ingest, preview
from engine.ingest.report import IngestReport
from engine.storage.store import Store
from engine.types import Modality, Skipped


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "scenes").mkdir()
    return tmp_path / "scenes"


def write(source: Path, **files: str) -> None:
    """Write files that have a name and a suffix: a_jpg for a.jpg."""
    for name, content in files.items():
        (source / name.replace("_", ".")).write_text(content)


def list_rows(source: Path, *rows: dict[str, Any]) -> None:
    (source / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def captions(count: int) -> list[dict[str, Any]]:
    return [{"id": f"r{number}", "text": f"caption {number}"} for number in range(count)]


def counted(report: IngestReport) -> tuple[int, int, int, int]:
    """Return added, updated, removed, unchanged."""
    return report.added, report.updated, report.removed, report.unchanged


def tasks(store: Store) -> dict[str, int]:
    return dict(Counter(row.task for row in store.rows()))


def splits(store: Store) -> dict[str, str]:
    return {row.name: row.split for row in store.rows()}


def text_id(text: str) -> str:
    return item_id("text", text.encode())


def test_the_first_run_adds_every_row(loader: Loader, source: Path) -> None:
    write(source, a_jpg="photo", a_txt="a cat\na dog", b_wav="sound")
    assert counted(ingest(loader, source)) == (2, 0, 0, 0)
    assert loader.store.counts() == {"image": 1, "audio": 1, "text": 2}


def test_the_second_run_does_nothing(loader: Loader, source: Path, backbone: FakeBackbone) -> None:
    write(source, a_jpg="photo", a_txt="a cat", b_wav="sound")
    ingest(loader, source)
    backbone.read.clear()
    assert counted(ingest(loader, source)) == (0, 0, 0, 2)
    assert backbone.read == []


def test_a_file_that_was_only_touched_is_unchanged(loader: Loader, source: Path) -> None:
    write(source, a_jpg="photo")
    ingest(loader, source)
    os.utime(source / "a.jpg", (1, 1))
    assert counted(ingest(loader, source)) == (0, 0, 0, 1)


def test_a_file_that_was_touched_is_not_looked_at_a_third_time(loader: Loader, source: Path) -> None:
    write(source, a_jpg="photo")
    ingest(loader, source)
    os.utime(source / "a.jpg", (1, 1))
    ingest(loader, source)
    assert counted(preview(loader.store, source)) == (0, 0, 0, 1)


def test_features_that_were_removed_are_made_again(
    loader: Loader, source: Path, backbone: FakeBackbone
) -> None:
    write(source, a_jpg="photo", a_txt="a cat", b_txt="a dog", b_jpg="other")
    ingest(loader, source)
    cat = text_id("a cat")
    with loader.store.writing() as txn:
        txn.drop_features([cat])
    backbone.read.clear()
    assert counted(ingest(loader, source)) == (0, 0, 0, 2)
    assert (backbone.read, loader.store.lacking([cat])) == ([b"a cat"], set())


def test_a_changed_file_is_updated(loader: Loader, source: Path) -> None:
    write(source, a_jpg="photo", b_jpg="other")
    ingest(loader, source)
    write(source, a_jpg="another photo")
    assert counted(ingest(loader, source)) == (0, 1, 0, 1)


def test_a_file_that_was_changed_to_another_of_its_size_is_updated(loader: Loader, source: Path) -> None:
    write(source, a_jpg="photo")
    ingest(loader, source)
    write(source, a_jpg="other")
    os.utime(source / "a.jpg", (1, 1))
    assert counted(ingest(loader, source)) == (0, 1, 0, 0)


def test_the_old_content_of_a_changed_file_is_gone(loader: Loader, source: Path) -> None:
    write(source, a_jpg="photo")
    ingest(loader, source)
    write(source, a_jpg="another photo")
    ingest(loader, source)
    assert loader.store.counts() == {"image": 1}
    assert not loader.store.has_features(item_id("image", b"photo"), "fake-1")


def test_a_changed_caption_is_updated(loader: Loader, source: Path) -> None:
    write(source, a_jpg="photo", a_txt="a cat")
    ingest(loader, source)
    write(source, a_txt="a dog")
    assert counted(ingest(loader, source)) == (0, 1, 0, 0)
    assert loader.store.item(text_id("a cat")) is None


def test_a_changed_caption_does_not_read_the_picture_again(
    loader: Loader, source: Path, backbone: FakeBackbone
) -> None:
    write(source, a_jpg="photo", a_txt="a cat")
    ingest(loader, source)
    backbone.read.clear()
    write(source, a_txt="a dog")
    ingest(loader, source)
    assert backbone.read == [b"a dog"]


@pytest.mark.parametrize(
    "change",
    [{"split": "test"}, {"labels": ["cat"]}, {"text": "b"}, {"texts": ["b"]}],
    ids=lambda change: str(*change),
)
def test_a_change_of_any_field_is_updated(loader: Loader, source: Path, change: dict[str, Any]) -> None:
    row = {"id": "a", "text": "a", "split": "train"}
    list_rows(source, row)
    ingest(loader, source)
    list_rows(source, {**row, **change})
    assert counted(ingest(loader, source)) == (0, 1, 0, 0)


def test_a_split_that_is_no_longer_given_is_hashed_as_if_it_had_never_been(
    loader: Loader, source: Path, tmp_path: Path, backbone: FakeBackbone
) -> None:
    list_rows(source, *({**row, "split": "test"} for row in captions(8)))
    ingest(loader, source)
    list_rows(source, *captions(8))
    ingest(loader, source)
    with Store(tmp_path / "fresh", readonly=False) as fresh:
        ingest(Loader(fresh, lambda modality: backbone), source)
        assert splits(loader.store) == splits(fresh)


def test_a_row_that_is_gone_is_removed(loader: Loader, source: Path) -> None:
    write(source, a_jpg="photo", b_jpg="other")
    ingest(loader, source)
    (source / "a.jpg").unlink()
    assert counted(ingest(loader, source)) == (0, 0, 1, 1)
    assert loader.store.counts() == {"image": 1}


def test_a_renamed_file_has_moved(loader: Loader, source: Path) -> None:
    write(source, a_jpg="photo", b_jpg="other")
    ingest(loader, source)
    (source / "a.jpg").rename(source / "c.jpg")
    report = ingest(loader, source)
    assert (report.moved, counted(report)) == (1, (0, 0, 0, 1))


def test_a_file_that_replaces_another_has_not_moved(loader: Loader, source: Path) -> None:
    write(source, a_jpg="photo", b_jpg="other")
    ingest(loader, source)
    (source / "a.jpg").unlink()
    write(source, c_jpg="third")
    report = ingest(loader, source)
    assert (report.moved, counted(report)) == (0, (1, 0, 1, 1))


def test_of_two_copies_of_a_file_that_is_gone_one_has_moved(loader: Loader, source: Path) -> None:
    write(source, a_jpg="photo", b_jpg="other")
    ingest(loader, source)
    (source / "a.jpg").unlink()
    write(source, c_jpg="photo", d_jpg="photo")
    report = ingest(loader, source)
    assert (report.moved, counted(report)) == (1, (1, 0, 0, 1))


def test_the_features_of_a_renamed_file_are_used_again(
    loader: Loader, source: Path, backbone: FakeBackbone
) -> None:
    write(source, a_jpg="photo")
    ingest(loader, source)
    backbone.read.clear()
    (source / "a.jpg").rename(source / "c.jpg")
    ingest(loader, source)
    assert backbone.read == []
    assert loader.store.has_features(item_id("image", b"photo"), "fake-1")


def test_a_renamed_file_is_found_under_its_new_path(loader: Loader, source: Path) -> None:
    write(source, a_jpg="photo")
    ingest(loader, source)
    (source / "a.jpg").rename(source / "c.jpg")
    ingest(loader, source)
    stored = loader.store.item(item_id("image", b"photo"))
    assert stored is not None
    assert stored[0].paths == (str(source / "c.jpg"),)


def test_two_rows_may_exchange_their_captions(loader: Loader, source: Path) -> None:
    list_rows(source, {"id": "a", "text": "cat"}, {"id": "b", "text": "dog"})
    ingest(loader, source)
    list_rows(source, {"id": "a", "text": "dog"}, {"id": "b", "text": "cat"})
    ingest(loader, source)
    assert loader.store.features([text_id("cat"), text_id("dog")], "fake-1").shape == (2, 8)


def test_a_caption_may_move_to_a_row_of_another_chunk(loader: Loader, source: Path) -> None:
    rows = captions(2 * CHUNK + 1)
    list_rows(source, *rows)
    ingest(loader, source)
    list_rows(source, {**rows[0], "text": "new"}, *rows[1:-1], {**rows[-1], "text": rows[0]["text"]})
    ingest(loader, source)
    assert loader.store.has_features(text_id("caption 0"), "fake-1")


def test_one_text_in_two_rows_is_one_item(loader: Loader, source: Path) -> None:
    list_rows(source, {"id": "a", "text": "cat"}, {"id": "b", "text": " cat "})
    ingest(loader, source)
    assert loader.store.counts() == {"text": 1}


def test_one_text_in_two_rows_of_a_chunk_is_encoded_once(loader: Loader, source: Path) -> None:
    @dataclass
    class Counting(FakeBackbone):
        rows: int = 0

        def encode(self, modality: Modality, batch: Sequence[Any]) -> Any:
            self.rows += len(batch)
            return super().encode(modality, batch)

    counting = Counting()
    list_rows(source, {"id": "a", "text": "cat"}, {"id": "b", "text": "cat"})
    ingest(Loader(loader.store, lambda modality: counting), source)
    assert counting.rows == 1


def test_an_item_lives_while_another_source_names_it(loader: Loader, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        list_rows(tmp_path / name, {"id": "a", "text": "cat"}, {"id": "b", "text": name})
        ingest(loader, tmp_path / name)
    list_rows(tmp_path / "one", {"id": "b", "text": "one"})
    ingest(loader, tmp_path / "one")
    assert loader.store.has_features(text_id("cat"), "fake-1")


# tasks


def test_rows_without_a_task_take_the_sources_name(loader: Loader, source: Path) -> None:
    list_rows(source, {"text": "a"}, {"text": "b", "task": "sky"})
    assert ingest(loader, source).tasks == {"scenes", "sky"}
    assert tasks(loader.store) == {"scenes": 1, "sky": 1}


def test_rows_without_a_task_take_the_one_given(loader: Loader, source: Path) -> None:
    list_rows(source, {"text": "a"}, {"text": "b"})
    ingest(loader, source, task="life")
    assert tasks(loader.store) == {"life": 2}


def test_of_rows_that_name_their_task_only_those_of_the_one_given_are_taken(
    loader: Loader, source: Path
) -> None:
    list_rows(
        source, {"text": "a", "task": "sky"}, {"text": "b", "task": "life"}, {"text": "c", "task": "sky"}
    )
    ingest(loader, source, task="sky")
    assert tasks(loader.store) == {"sky": 2}


def test_what_is_gone_is_judged_among_the_rows_of_the_task(loader: Loader, source: Path) -> None:
    rows = [{"id": "a", "text": "a", "task": "sky"}, {"id": "b", "text": "b", "task": "life"}]
    list_rows(
        source, *rows, {"id": "c", "text": "c", "task": "life"}, {"id": "d", "text": "d", "task": "sky"}
    )
    ingest(loader, source)
    list_rows(source, *rows)
    assert ingest(loader, source, task="sky").removed == 1
    assert tasks(loader.store) == {"sky": 1, "life": 2}


def test_what_is_gone_of_rows_that_name_their_task_is_removed_where_no_task_is_given(
    loader: Loader, source: Path
) -> None:
    rows = [{"id": "a", "text": "a", "task": "sky"}, {"id": "b", "text": "b", "task": "life"}]
    list_rows(source, *rows)
    ingest(loader, source)
    list_rows(source, rows[0])
    assert ingest(loader, source).removed == 1
    assert tasks(loader.store) == {"sky": 1}


def test_what_was_read_under_a_given_task_is_not_gone_where_none_is_given(
    loader: Loader, source: Path
) -> None:
    write(source, a_jpg="photo")
    ingest(loader, source, task="sky")
    assert ingest(loader, source).removed == 0
    assert tasks(loader.store) == {"sky": 1, "scenes": 1}


def test_one_source_may_be_read_under_two_tasks(loader: Loader, source: Path) -> None:
    write(source, a_jpg="photo")
    ingest(loader, source, task="sky")
    assert counted(ingest(loader, source, task="life")) == (1, 0, 0, 0)
    assert tasks(loader.store) == {"sky": 1, "life": 1}


def test_the_rows_of_another_source_are_never_gone(loader: Loader, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write(tmp_path / name, a_jpg=name)
        ingest(loader, tmp_path / name, task="sky")
    assert tasks(loader.store) == {"sky": 2}


def test_a_row_that_comes_to_name_its_task_is_updated_not_added(loader: Loader, source: Path) -> None:
    list_rows(source, {"id": "a", "text": "a"})
    ingest(loader, source, task="sky")
    list_rows(source, {"id": "a", "text": "a", "task": "sky"})
    assert counted(ingest(loader, source)) == (0, 1, 0, 0)


def test_a_task_that_no_row_has_is_a_user_error(loader: Loader, source: Path) -> None:
    list_rows(source, {"text": "a", "task": "sky"})
    with pytest.raises(UserError) as raised:
        ingest(loader, source, task="typo")
    assert str(raised.value) == f"nothing to read of task 'typo' in {source}"


@pytest.mark.parametrize(
    ("name", "data"), [("f.csv", b"file_name,text\n"), ("f.jsonl", b""), ("f.tsv", b"text\tid\n\n")]
)
@pytest.mark.parametrize("task", [None, "f"])
def test_a_table_without_rows_says_so(
    loader: Loader, tmp_path: Path, name: str, data: bytes, task: str | None
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError) as raised:
        ingest(loader, tmp_path / name, task=task)
    assert str(raised.value) == f"{tmp_path / name} has no rows"


def test_what_is_said_of_columns_is_no_reason_why_a_table_has_no_rows(loader: Loader, source: Path) -> None:
    (source / "metadata.csv").write_text("file_name,caption\n")
    with pytest.raises(UserError, match=f"^nothing to read in {source}$"):
        ingest(loader, source)


def test_arrays_without_rows_say_so(loader: Loader, tmp_path: Path) -> None:
    np.savez(tmp_path / "f.npz", image=np.zeros((0, 3), np.float32))
    with pytest.raises(UserError, match=r"f\.npz has no rows$"):
        ingest(loader, tmp_path / "f.npz")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["a.parquet", "b.parquet"], "it holds 2 .parquet files: index one of them"),
        (["a.csv"], "it holds 1 .csv file: index it"),
        (["a.csv", "sub/b.npz", "README.md"], "it holds 1 .csv file and 1 .npz file: index one of them"),
        (["sub/metadata.csv"], "sub/metadata.csv is not read: index sub as a source of its own"),
        (["a.docx"], "files that are no media are passed over: 1 .docx"),
    ],
)
def test_a_folder_of_nothing_but_other_files_names_them(
    loader: Loader, source: Path, names: list[str], said: str
) -> None:
    for name in names:
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).touch()
    with pytest.raises(UserError) as raised:
        ingest(loader, source)
    assert str(raised.value) == f"nothing to read in {source}: {said}"


@pytest.mark.parametrize("task", ["all", "", "a\nb"])
def test_a_task_that_could_not_be_searched_is_refused(loader: Loader, source: Path, task: str) -> None:
    write(source, a_jpg="photo")
    with pytest.raises(UserError, match="task"):
        ingest(loader, source, task=task)


# rows that vanish


def test_a_few_rows_may_vanish_without_a_question(loader: Loader, source: Path) -> None:
    list_rows(source, *captions(11))
    ingest(loader, source)
    list_rows(source, *captions(1))
    assert ingest(loader, source).removed == 10


def test_one_row_more_than_a_few_may_not_vanish_from_a_small_source(loader: Loader, source: Path) -> None:
    list_rows(source, *captions(12))
    ingest(loader, source)
    list_rows(source, *captions(1))
    with pytest.raises(UserError, match=r"^11 of 12 rows"):
        ingest(loader, source)


def test_most_of_a_source_is_not_dropped_without_a_question(loader: Loader, source: Path) -> None:
    list_rows(source, *captions(24))
    ingest(loader, source)
    list_rows(source, *captions(11))
    with pytest.raises(UserError) as raised:
        ingest(loader, source)
    assert str(raised.value) == (
        f"13 of 24 rows of {source} are gone; nothing was removed: is a disk not mounted? "
        "To drop them run again with `allow_mass_delete`"
    )
    assert tasks(loader.store) == {"scenes": 24}
    assert loader.store.has_features(text_id("caption 23"), "fake-1")


def test_rows_of_which_another_keeps_a_part_count_as_vanished_too(loader: Loader, source: Path) -> None:
    rows = [{"id": f"r{number}", "texts": ["in every row", f"caption {number}"]} for number in range(24)]
    list_rows(source, *rows)
    ingest(loader, source)
    list_rows(source, *rows[:11])
    with pytest.raises(UserError, match=r"^13 of 24 rows"):
        ingest(loader, source)


def test_half_of_a_source_may_vanish(loader: Loader, source: Path) -> None:
    list_rows(source, *captions(24))
    ingest(loader, source)
    list_rows(source, *captions(12))
    assert ingest(loader, source).removed == 12


def test_most_of_a_source_is_dropped_where_it_is_asked_for(loader: Loader, source: Path) -> None:
    list_rows(source, *captions(24))
    ingest(loader, source)
    list_rows(source, *captions(2))
    assert ingest(loader, source, allow_mass_delete=True).removed == 22
    assert loader.store.counts() == {"text": 2}


def test_a_source_without_any_row_drops_nothing(loader: Loader, source: Path) -> None:
    write(source, a_jpg="photo")
    ingest(loader, source)
    (source / "a.jpg").unlink()
    with pytest.raises(UserError) as raised:
        ingest(loader, source)
    assert str(raised.value) == (
        f"nothing to read in {source}, and 1 row of it is indexed: is a disk not mounted? "
        f"To drop them run again with `allow_mass_delete`, or run `remove source={source}`"
    )
    assert loader.store.counts() == {"image": 1}


def test_all_rows_of_a_source_that_was_emptied_go_where_that_is_allowed(loader: Loader, source: Path) -> None:
    write(source, a_jpg="photo", b_jpg="other")
    ingest(loader, source)
    ingest(loader, source, task="sky")
    (source / "a.jpg").unlink()
    (source / "b.jpg").unlink()
    assert preview(loader.store, source, allow_mass_delete=True).removed == 4
    assert ingest(loader, source, allow_mass_delete=True).removed == 4
    assert loader.store.counts() == {}


def test_of_a_source_that_was_emptied_one_task_can_go_alone(loader: Loader, source: Path) -> None:
    write(source, a_jpg="photo")
    ingest(loader, source)
    ingest(loader, source, task="sky")
    (source / "a.jpg").unlink()
    assert ingest(loader, source, task="sky", allow_mass_delete=True).removed == 1
    assert tasks(loader.store) == {"scenes": 1}


def test_an_empty_source_of_which_nothing_is_known_is_an_error_in_any_case(
    loader: Loader, source: Path
) -> None:
    with pytest.raises(UserError, match=f"^nothing to read in {source}$"):
        ingest(loader, source, allow_mass_delete=True)


def test_the_rows_of_a_source_that_is_no_more_are_forgotten(loader: Loader, source: Path) -> None:
    write(source, a_jpg="photo", b_jpg="other")
    ingest(loader, source)
    ingest(loader, source, task="sky")
    assert forget(loader.store, source, task="sky").removed == 2
    assert (tasks(loader.store), loader.store.counts()) == ({"scenes": 2}, {"image": 2})
    assert forget(loader.store, source).removed == 2
    assert loader.store.counts() == {}


# splits


def test_the_split_of_an_id_is_the_same_in_every_workspace_and_place(
    loader: Loader, tmp_path: Path, backbone: FakeBackbone
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        list_rows(tmp_path / name, *captions(50))
    ingest(loader, tmp_path / "one")
    with Store(tmp_path / "other", readonly=False) as other:
        ingest(Loader(other, lambda modality: backbone), tmp_path / "two")
        assert splits(other) == splits(loader.store)


def test_the_split_of_an_id_does_not_change_with_its_text(loader: Loader, source: Path) -> None:
    list_rows(source, *captions(50))
    ingest(loader, source)
    before = splits(loader.store)
    list_rows(source, *({**row, "text": f"another {row['text']}"} for row in captions(50)))
    assert ingest(loader, source).updated == 50
    assert splits(loader.store) == before


def test_the_split_of_a_file_is_that_of_its_bytes(loader: Loader, source: Path) -> None:
    photos = [f"photo {number}" for number in range(30)]
    for number, photo in enumerate(photos):
        (source / f"a{number}.jpg").write_text(photo)
        (source / f"b{number}.jpg").write_text(photo)
        (source / f"b{number}.txt").write_text("with a text")
    ingest(loader, source)
    split_of = splits(loader.store)
    assert [split_of[f"a{n}.jpg"] for n in range(30)] == [split_of[f"b{n}.jpg"] for n in range(30)]


def test_the_split_of_features_is_theirs_whatever_the_text(tmp_path: Path, store: Store) -> None:
    images = np.random.default_rng(0).random((30, 8), np.float32)
    loader = Loader(store, lambda modality: FakeBackbone(spec="features", id="features"))
    for name in ("one", "two"):
        np.savez(tmp_path / f"{name}.npz", image=images, text=np.array([f"{name} {n}" for n in range(30)]))
        ingest(loader, tmp_path / f"{name}.npz")
    split_of = {(row.task, row.name): row.split for row in store.rows()}
    assert [split_of["one", f"row {n}"] for n in range(1, 31)] == [
        split_of["two", f"row {n}"] for n in range(1, 31)
    ]


def test_texts_beside_features_of_text_are_what_these_are_of(tmp_path: Path, store: Store) -> None:
    texts, embeddings = np.array(["a cat", "a dog"]), np.eye(2, 8, dtype=np.float32)
    np.savez(tmp_path / "pairs.npz", caption=texts, text_embedding=embeddings)
    loader = Loader(store, lambda modality: FeatureFile(modality, 8))
    first, second = (ingest(loader, tmp_path / "pairs.npz") for _ in range(2))
    items = [store.item(id) for row in store.rows() for id in row.items["text"]]
    assert (first.added, first.skipped, second.unchanged) == (2, [], 2)
    assert {pair[0].text for pair in items if pair} == {*texts.tolist()}


# what cannot be read


def test_a_broken_file_is_skipped_and_its_neighbours_land(loader: Loader, source: Path) -> None:
    write(source, a_jpg="photo", b_jpg="broken", c_jpg="other")
    report = ingest(loader, source)
    assert report.skipped == [Skipped(str(source / "b.jpg"), "broken on purpose")]
    assert counted(report) == (2, 0, 0, 0)


def test_broken_rows_all_over_a_long_source_lose_no_neighbour(loader: Loader, source: Path) -> None:
    rows = captions(3 * CHUNK)
    list_rows(
        source, *({**row, "text": "broken"} if number % 5 == 0 else row for number, row in enumerate(rows))
    )
    report = ingest(loader, source)
    assert [skipped.line for skipped in report.skipped] == list(range(1, 3 * CHUNK + 1, 5))
    assert splits(loader.store).keys() == {row["id"] for number, row in enumerate(rows) if number % 5}


def test_a_row_with_a_broken_medium_goes_whole(loader: Loader, source: Path) -> None:
    write(source, a_jpg="photo", a_wav="broken")
    list_rows(source, {"image": "a.jpg", "audio": "a.wav", "text": "cat"}, {"text": "dog"})
    ingest(loader, source)
    assert loader.store.counts() == {"text": 1}


def test_the_medium_that_is_to_blame_is_named(loader: Loader, source: Path) -> None:
    write(source, a_jpg="photo")
    list_rows(source, {"text": "dog"}, {"image": "a.jpg", "audio": "a.wav"})
    assert ingest(loader, source).skipped == [Skipped(str(source / "a.wav"), "no such file or directory", 2)]


def test_a_modality_that_no_backbone_reads_is_a_reason(
    store: Store, source: Path, backbone: FakeBackbone
) -> None:
    def images_only(modality: Modality) -> FakeBackbone:
        if modality != "image":
            raise Unreadable(f"no backbone reads {modality}")
        return backbone

    write(source, a_jpg="photo", a_wav="sound")
    report = ingest(Loader(store, images_only), source)
    assert report.skipped == [Skipped(str(source / "a.wav"), "no backbone reads audio")]


def test_a_file_that_could_not_be_read_is_tried_again(loader: Loader, source: Path) -> None:
    write(source, a_jpg="photo", b_jpg="broken")
    ingest(loader, source)
    write(source, b_jpg="mended")
    assert counted(ingest(loader, source)) == (1, 0, 0, 1)


def test_where_nothing_can_be_read_the_first_reason_and_the_count_are_said(
    loader: Loader, source: Path
) -> None:
    write(source, a_jpg="broken", b_jpg="")
    with pytest.raises(UserError) as raised:
        ingest(loader, source)
    assert str(raised.value) == (
        f"nothing in {source} could be read: {source / 'a.jpg'}: broken on purpose (2 skipped)"
    )


def test_where_no_row_can_be_read_the_first_line_is_said(loader: Loader, source: Path) -> None:
    list_rows(source, {"text": ""})
    with pytest.raises(UserError) as raised:
        ingest(loader, source)
    assert str(raised.value) == (
        f"nothing in {source} could be read: {source / 'metadata.jsonl'} line 1: blank text (1 skipped)"
    )


# features files


def test_features_are_stored_as_they_are(store: Store, tmp_path: Path) -> None:
    images = np.random.default_rng(0).random((2, 8), np.float32)
    np.savez(tmp_path / "sky.npz", image=images)
    features = FakeBackbone(spec="features", id="features")
    ingest(Loader(store, lambda modality: features), tmp_path / "sky.npz")
    ids = [item_id("image", image.tobytes()) for image in images]
    assert np.array_equal(store.features(ids, "features"), images)


def test_features_of_another_width_are_skipped(store: Store, tmp_path: Path) -> None:
    np.savez(tmp_path / "sky.npz", image=np.zeros((1, 9), np.float32))
    features = FakeBackbone(spec="features", id="features")
    with pytest.raises(
        UserError,
        match="9 numbers; this workspace holds 8: index them elsewhere with `workspace=DIR`",
    ):
        ingest(Loader(store, lambda modality: features), tmp_path / "sky.npz")


def test_features_of_a_modality_that_is_encoded_here_are_skipped(loader: Loader, tmp_path: Path) -> None:
    np.savez(tmp_path / "sky.npz", image=np.zeros((1, 8), np.float32))
    with pytest.raises(
        UserError, match="are by fake, not from files: index them elsewhere with `workspace=DIR`"
    ):
        ingest(loader, tmp_path / "sky.npz")


def test_a_second_run_over_features_does_nothing(store: Store, tmp_path: Path) -> None:
    np.savez(tmp_path / "sky.npz", image=np.eye(3, 8, dtype=np.float32), labels=np.array(["a", "b", "c"]))
    features = FakeBackbone(spec="features", id="features")
    loader = Loader(store, lambda modality: features)
    ingest(loader, tmp_path / "sky.npz")
    assert counted(ingest(loader, tmp_path / "sky.npz")) == (0, 0, 0, 3)


# preview and progress


def test_a_preview_counts_what_ingest_then_does(loader: Loader, source: Path) -> None:
    write(source, a_jpg="photo", b_jpg="other", c_jpg="third", d_mp4="film", e_txt="a cat")
    ingest(loader, source)
    write(source, a_jpg="changed", e_txt="a dog", f_jpg="new")
    (source / "b.jpg").unlink()
    foreseen = preview(loader.store, source)
    assert foreseen == ingest(loader, source)
    assert counted(foreseen) == (1, 1, 1, 1)


def test_a_preview_foresees_that_a_file_was_renamed(loader: Loader, source: Path) -> None:
    write(source, a_jpg="photo", a_txt="a cat", b_jpg="other")
    ingest(loader, source)
    (source / "a.jpg").rename(source / "c.jpg")
    (source / "a.txt").rename(source / "c.txt")
    foreseen = preview(loader.store, source)
    assert foreseen.moved == 1
    assert foreseen == ingest(loader, source)


def test_a_preview_stores_nothing(loader: Loader, source: Path) -> None:
    write(source, a_jpg="photo")
    assert preview(loader.store, source).added == 1
    assert list(loader.store.rows()) == []


def test_a_preview_of_nothing_is_the_same_error(store: Store, source: Path) -> None:
    with pytest.raises(UserError, match=f"^nothing to read in {source}$"):
        preview(store, source)


def test_progress_ends_at_the_whole(loader: Loader, source: Path) -> None:
    seen: list[tuple[int, int]] = []
    list_rows(source, *captions(3))
    ingest(loader, source, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_fields_that_mean_nothing_here_are_kept(loader: Loader, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(
        '{"id": "a", "text": "a dog", "licence": "CC0-1.0", "size": [3, 4]}\n'
    )
    ingest(loader, tmp_path / "rows.jsonl")
    (row,) = loader.store.rows()
    assert row.other == {"licence": "CC0-1.0", "size": [3, 4]}


def test_renaming_most_files_is_no_mass_delete(loader: Loader, tmp_path: Path) -> None:
    for n in range(14):
        (tmp_path / f"a{n}.txt").write_text(f"text number {n}")
    ingest(loader, tmp_path)
    for n in range(14):
        (tmp_path / f"a{n}.txt").rename(tmp_path / f"b{n}.txt")
    report = ingest(loader, tmp_path)
    assert (report.added, report.moved, report.removed) == (0, 14, 0)


# copies


def test_copies_are_told_in_every_run_and_of_each_run_once(loader: Loader, source: Path) -> None:
    write(source, a_jpg="photo", b_jpg="photo", c_jpg="photo", d_jpg="other", e_wav="sound", f_wav="sound")
    first, second = ingest(loader, source), ingest(loader, source)
    assert first.notes == second.notes == ["3 files are copies of others: one item, all paths kept"]
    assert loader.store.counts() == {"image": 2, "audio": 1}


def test_one_copy_is_told_as_one(loader: Loader, source: Path) -> None:
    write(source, a_jpg="photo", b_jpg="photo")
    assert ingest(loader, source).notes == ["1 file is a copy of another: one item, both paths kept"]


def test_a_file_that_several_rows_name_is_no_copy(loader: Loader, source: Path) -> None:
    write(source, a_jpg="photo")
    list_rows(source, {"image": "a.jpg", "text": "a cat"}, {"image": "a.jpg", "text": "a dog"})
    assert ingest(loader, source).notes == []


def test_a_copy_that_comes_later_is_told(loader: Loader, source: Path) -> None:
    write(source, a_jpg="photo")
    assert ingest(loader, source).notes == []
    write(source, b_jpg="photo")
    assert len(ingest(loader, source).notes) == 1
