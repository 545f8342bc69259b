from collections.abc import Sequence
from pathlib import Path

import pytest

from engine.errors import Note
from engine.ingest.encoding import Loader
from engine.ingest.ingest import ingest, preview


@pytest.fixture
def photos(loader: Loader, tmp_path: Path) -> Path:
    """Return a folder of three pictures, which is read under its own name and under `alps`."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a", "b", "c"):
        (folder / f"{name}.jpg").write_text(f"photo {name}")
    ingest(loader, folder)
    ingest(loader, folder, task="alps")
    return folder


def said(notes: Sequence[Note]) -> list[str]:
    return [str(told) for told in notes]


def outdated(folder: Path, task: str, rows: int = 3) -> list[str]:
    return [
        f"{rows} rows of {task} are of {folder} as it was before: "
        f"`index {folder} task={task}` brings them up to date"
    ]


def test_a_second_task_of_a_source_that_has_not_changed_is_told_nothing(loader: Loader, photos: Path) -> None:
    assert said(ingest(loader, photos).told) == []
    assert said(ingest(loader, photos, task="alps").told) == []
    assert said(ingest(loader, photos, task="third").told) == []


@pytest.mark.parametrize("change", ["edited", "gone", "new", "renamed"])
def test_rows_of_another_task_that_a_change_leaves_out_of_date_are_told(
    loader: Loader, photos: Path, change: str
) -> None:
    changed(photos, change)
    foreseen = preview(loader.store, photos)
    report = ingest(loader, photos)
    assert said(report.told) == said(foreseen.told) == outdated(photos, "alps")
    assert report.left == {}


def changed(folder: Path, change: str) -> None:
    file = folder / "a.jpg"
    if change == "renamed":
        file.rename(folder / "z.jpg")
    elif change == "gone":
        file.unlink()
    else:
        (file if change == "edited" else folder / "d.jpg").write_text("another photo, longer")


@pytest.mark.parametrize("change", ["edited", "gone", "new", "renamed"])
def test_the_command_that_is_told_brings_them_up_to_date_and_then_nothing_is_told(
    loader: Loader, photos: Path, change: str
) -> None:
    changed(photos, change)
    ingest(loader, photos)
    assert said(ingest(loader, photos, task="alps").told) == []
    assert said(ingest(loader, photos).told) == []


def test_rows_are_told_until_they_are_brought_up_to_date(loader: Loader, photos: Path) -> None:
    changed(photos, "gone")
    ingest(loader, photos)
    assert said(ingest(loader, photos).told) == outdated(photos, "alps")


def test_rows_of_the_default_task_are_told_where_another_is_brought_up_to_date(
    loader: Loader, photos: Path
) -> None:
    changed(photos, "edited")
    assert said(ingest(loader, photos, task="alps").told) == outdated(photos, "photos")


def test_a_single_row_is_told_as_one(loader: Loader, tmp_path: Path) -> None:
    (tmp_path / "words.jsonl").write_text('{"text": "a dog"}\n')
    ingest(loader, tmp_path / "words.jsonl", task="pets")
    (tmp_path / "words.jsonl").write_text('{"text": "a cat"}\n')
    (told,) = said(ingest(loader, tmp_path / "words.jsonl").told)
    assert told.startswith("1 row of pets is of ")
    assert told.endswith(" brings it up to date")


def test_a_file_that_no_task_can_read_leaves_no_task_out_of_date(loader: Loader, photos: Path) -> None:
    (photos / "d.jpg").write_bytes(b"broken")
    assert len(ingest(loader, photos).skipped) == 1
    assert said(ingest(loader, photos, task="alps").told) == []
    assert said(ingest(loader, photos).told) == []


def test_rows_that_name_their_task_belong_to_every_pass_without_one(loader: Loader, tmp_path: Path) -> None:
    table = tmp_path / "words.jsonl"
    table.write_text('{"text": "a dog", "task": "pets"}\n{"text": "a star", "task": "sky"}\n')
    ingest(loader, table)
    table.write_text('{"text": "a cat", "task": "pets"}\n{"text": "the sun", "task": "sky"}\n')
    assert said(ingest(loader, table, task="pets").told) == []


# a source that moved


def moves(source: Path, place: Path, task: str, rows: int = 3) -> str:
    return (
        f"{rows} rows of {task} are of {place}, which is no more: `index {source} task={task}` moves them too"
    )


def test_rows_of_another_task_of_where_a_source_stood_are_to_be_moved_not_removed(
    loader: Loader, photos: Path
) -> None:
    fotos = photos.rename(photos.with_name("fotos"))
    foreseen = preview(loader.store, fotos)
    report = ingest(loader, fotos)
    assert said(report.told) == said(foreseen.told) == [moves(fotos, photos, "alps")]
    assert report.left == foreseen.left == {str(photos): 3}


def test_the_command_that_is_told_moves_them_and_then_nothing_is_told(loader: Loader, photos: Path) -> None:
    fotos = photos.rename(photos.with_name("fotos"))
    ingest(loader, fotos)
    report = ingest(loader, fotos, task="alps")
    assert (report.moved, said(report.told)) == (3, [])
    assert {row.source for row in loader.store.rows()} == {str(fotos)}


def test_what_was_not_met_again_is_dropped_without_another_task_that_can_move(
    loader: Loader, photos: Path
) -> None:
    (photos / "a.jpg").unlink()
    fotos = photos.rename(photos.with_name("fotos"))
    assert said(ingest(loader, fotos).told) == [
        moves(fotos, photos, "alps"),
        f"rows of {photos}, which is no more, that were not found again: 1; "
        f"to drop them: `remove {photos} task=photos`",
    ]


def test_what_was_not_met_again_of_a_source_of_one_task_is_dropped_with_the_source(
    loader: Loader, tmp_path: Path
) -> None:
    alps = tmp_path / "alps"
    alps.mkdir()
    for name in ("a", "b"):
        (alps / f"{name}.jpg").write_text(f"photo {name}")
    ingest(loader, alps)
    (alps / "a.jpg").unlink()
    tyrol = alps.rename(tmp_path / "tyrol")
    expected = [
        f"rows of {alps}, which is no more, that were not found again: 1; to drop them: `remove source={alps}`"
    ]
    foreseen = said(preview(loader.store, tyrol).told)
    assert said(ingest(loader, tyrol).told) == foreseen == expected
