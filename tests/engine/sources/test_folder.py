import os
from pathlib import Path

import pytest

from engine.sources import open_source
from engine.sources.base import Row
from engine.types import Skipped


def read(folder: Path) -> list[Row | Skipped]:
    return list(open_source(folder).rows())


def row(folder: Path) -> Row:
    (row,) = read(folder)
    assert isinstance(row, Row), row
    return row


def skipped(folder: Path) -> tuple[str, str]:
    (skipped,) = read(folder)
    assert isinstance(skipped, Skipped), skipped
    assert skipped.line is None
    return Path(skipped.path).name, skipped.reason


def nest(folder: Path, name: str, depth: int) -> None:
    """Make folders one inside the other, deeper than a path can say."""
    handle = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=handle)
        deeper = os.open(name, os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = deeper
    os.close(handle)


def test_a_text_above_folders_of_media_is_left_out_and_one_beside_them_is_a_row(tmp_path: Path) -> None:
    for name in ("photos/alps/a.png", "README.txt", "photos/notes.txt", "poems/one.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("words")
    collection = open_source(tmp_path)
    assert [row.name for row in collection.rows()] == ["photos/alps/a.png", "poems/one.txt"]
    assert collection.notes == ["2 text files stand beside no medium and are left out, like README.txt"]


def test_a_picture_alone_is_a_row_named_by_its_path_inside(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.jpg").touch()
    assert row(tmp_path) == Row("deep/a.jpg", media={"image": tmp_path / "deep" / "a.jpg"})


def test_a_sound_is_a_row(tmp_path: Path) -> None:
    (tmp_path / "a.WAV").touch()
    assert row(tmp_path).media == {"audio": tmp_path / "a.WAV"}


@pytest.mark.parametrize("name", ["a.txt", "a.TXT", "a.caption", "a.jpg.txt", "a.jpg.caption"])
def test_the_text_beside_a_picture_is_its_text_one_a_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.jpg").touch()
    (tmp_path / name).write_bytes(b"\xef\xbb\xbfa cat \r\n\r\na dog\na cat\n")
    assert row(tmp_path).texts == ("a cat", "a dog")


@pytest.mark.parametrize("text", ["", " \n\n"])
def test_a_picture_beside_a_text_of_nothing_has_no_text(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.jpg").touch()
    (tmp_path / "a.txt").write_text(text)
    assert row(tmp_path).texts == ()


def test_a_text_file_alone_is_a_row_of_texts(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a cat\na dog\n")
    assert row(tmp_path) == Row("a.txt", texts=("a cat", "a dog"))


@pytest.mark.parametrize("text", ["", " \n\n"])
def test_a_text_file_of_nothing_is_skipped(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.txt").write_text(text)
    assert skipped(tmp_path) == ("a.txt", "no text in it")


def test_a_text_that_is_not_utf8_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("café".encode("latin-1"))
    assert skipped(tmp_path) == ("a.txt", "a.txt is not UTF-8")


def test_a_picture_whose_text_is_not_utf8_is_skipped_for_that(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    (tmp_path / "a.txt").write_bytes("café".encode("latin-1"))
    assert skipped(tmp_path) == ("a.jpg", "a.txt is not UTF-8")


def test_a_picture_and_a_sound_of_one_name_share_their_text(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    (tmp_path / "a.wav").touch()
    (tmp_path / "a.txt").write_text("a cat")
    assert [row.texts for row in read(tmp_path) if isinstance(row, Row)] == [("a cat",), ("a cat",)]


def test_rows_come_in_the_order_of_their_paths(tmp_path: Path) -> None:
    (tmp_path / "c.jpg").touch()
    (tmp_path / "a.jpg").touch()
    (tmp_path / "b.wav").touch()
    assert [row.name for row in read(tmp_path) if isinstance(row, Row)] == ["a.jpg", "b.wav", "c.jpg"]


@pytest.mark.parametrize(
    "suffix",
    ["mp4", "heic", "heif", "jxl", "dng", "cr2", "nef", "arw", "psd", "svg", "aac", "m4a", "wma", "amr"],
)
def test_media_that_cannot_be_read_are_reported(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"a.{suffix.upper()}").touch()
    assert skipped(tmp_path) == (f"a.{suffix.upper()}", f".{suffix} files cannot be read")


def test_files_that_are_no_media_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "README.md").touch()
    (tmp_path / "no_suffix").touch()
    assert read(tmp_path) == []


def test_a_hidden_file_is_read(tmp_path: Path) -> None:
    (tmp_path / ".a.jpg").touch()
    assert row(tmp_path).name == ".a.jpg"


def test_a_hidden_folder_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / ".mneme").mkdir()
    (tmp_path / ".mneme" / "a.jpg").touch()
    assert read(tmp_path) == []


def test_a_folder_with_the_name_of_a_picture_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").mkdir()
    assert read(tmp_path) == []


def test_a_link_to_a_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(".")
    (tmp_path / "a.jpg").touch()
    assert row(tmp_path).name == "a.jpg"


def test_a_link_inside_the_folder_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    (tmp_path / "b.jpg").symlink_to("a.jpg")
    assert len([row for row in read(tmp_path) if isinstance(row, Row)]) == 2


def test_a_link_out_of_the_folder_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "secret.jpg").touch()
    (tmp_path / "source" / "a.jpg").symlink_to("../secret.jpg")
    assert skipped(tmp_path / "source") == ("a.jpg", "leaves the source's folder")


def test_a_text_that_is_a_link_out_of_the_folder_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "source" / "a.jpg").touch()
    (tmp_path / "source" / "a.txt").symlink_to("../secret.txt")
    assert skipped(tmp_path / "source") == ("a.jpg", "a.txt: leaves the source's folder")


def test_links_in_a_ring_are_skipped(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").symlink_to("b.jpg")
    (tmp_path / "b.jpg").symlink_to("a.jpg")
    assert [type(row) for row in read(tmp_path)] == [Skipped, Skipped]


def test_a_name_that_is_not_utf8_is_read(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.jpg")).touch()
    assert os.fsencode(row(tmp_path).name) == b"caf\xe9.jpg"


def test_a_folder_that_cannot_be_listed_is_reported(tmp_path: Path) -> None:
    nest(tmp_path, "x" * 250, 20)
    (skipped,) = read(tmp_path)
    assert isinstance(skipped, Skipped)
    assert skipped.reason == "file name too long"


def test_a_folder_is_a_task_of_its_own_name(tmp_path: Path) -> None:
    (tmp_path / "my.photos").mkdir()
    assert open_source(tmp_path / "my.photos").default_task == "my.photos"


def test_a_linked_folder_is_read_once_and_said_to_be(tmp_path: Path) -> None:
    source, elsewhere = tmp_path / "source", tmp_path / "elsewhere"
    source.mkdir()
    elsewhere.mkdir()
    (elsewhere / "a.jpg").touch()
    (elsewhere / "b.jpg").symlink_to("a.jpg")
    (source / "linked").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(source)
    collection = open_source(source)
    assert [row.name for row in collection.rows() if isinstance(row, Row)] == ["linked/a.jpg", "linked/b.jpg"]
    assert collection.notes == ["1 linked folder is read as if it stood here, like linked"]


def test_files_without_a_suffix_are_counted_together(tmp_path: Path) -> None:
    for name in ("a.jpg", "LICENSE", "Makefile", "x.docx"):
        (tmp_path / name).touch()
    collection = open_source(tmp_path)
    list(collection.rows())
    assert collection.notes == ["files that are no media are passed over: 1 .docx, 2 without a suffix"]
