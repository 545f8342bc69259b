import os
from pathlib import Path

import pytest

from engine import media
from engine.errors import Unreadable
from made_media import photo, picture, recording, saved

# what a file is


@pytest.mark.parametrize(
    ("name", "modality"),
    [
        ("a.jpg", "image"),
        ("A.JPEG", "image"),
        ("a.b.flac", "audio"),
        ("a.oga", "audio"),
        ("a.jfif", "image"),
        ("a.jpe", "image"),
        ("a.avif", "image"),
        ("a.aif", "audio"),
        ("a.caf", "audio"),
        ("a.heic", None),
        ("a.txt", None),
        ("a", None),
    ],
)
def test_a_suffix_promises_a_modality_in_either_case(name: str, modality: str | None) -> None:
    assert media.modality_of(Path(name)) == modality


def test_no_suffix_is_both_read_and_not_read() -> None:
    assert not media.NOT_READ & media.SUFFIXES.keys()


# reading


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"\x00\xffbytes")
    assert media.read(tmp_path / "a.jpg") == b"\x00\xffbytes"


def test_a_path_of_windows_that_leads_nowhere_says_how_paths_are_written(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match=r"^no such file or directory; write / between its folders, not \\$"):
        media.read(tmp_path / "img\\a.jpg")


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    with pytest.raises(Unreadable, match=r"^empty file$"):
        media.read(tmp_path / "a.jpg")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match=r"^no such file or directory$"):
        media.read(tmp_path / "a.jpg")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match=r"^not a regular file$"):
        media.read(tmp_path)


def test_a_pipe_is_refused_unopened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jpg")
    with pytest.raises(Unreadable, match=r"^not a regular file$"):
        media.read(tmp_path / "a.jpg")


def test_a_link_to_an_endless_device_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").symlink_to("/dev/zero")
    with pytest.raises(Unreadable, match=r"^not a regular file$"):
        media.read(tmp_path / "a.jpg")


def test_a_link_to_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").symlink_to("a.jpg")
    with pytest.raises(Unreadable, match="too many levels of symbolic links"):
        media.read(tmp_path / "a.jpg")


def test_a_file_over_the_limit_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "a.wav").open("wb") as file:
        file.truncate(media.MAX_BYTES + (1 << 20))
    with pytest.raises(Unreadable, match=r"^513 MiB; the limit is 512 MiB$"):
        media.read(tmp_path / "a.wav")


# what bytes are


@pytest.mark.parametrize(
    ("data", "name", "modality"),
    [
        *((picture(form), form, "image") for form in media.IMAGE_FORMATS),
        (picture("GIF", "P"), "GIF", "image"),
        (recording("WAV"), "WAV", "audio"),
        (recording("WAVEX"), "WAV", "audio"),
        (recording("RF64"), "RF64", "audio"),
        (recording("W64"), "W64", "audio"),
        (recording("AIFF"), "AIFF", "audio"),
        (recording("CAF"), "CAF", "audio"),
        (recording("AU"), "AU", "audio"),
        (recording("FLAC"), "FLAC", "audio"),
        (recording("OGG"), "OGG", "audio"),
        (recording("MP3"), "MP3", "audio"),
        (b"ID3\x04" + bytes(50), "MP3", "audio"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC", None),
        (b"\0\0\0\x1cftypmif1\0\0\0\0miafheicmif1", "HEIC", None),
        (b"\0\0\0\x1cftypmif1\0\0\0\0miafavifmif1", "AVIF", "image"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0isom", "MP4", None),
        (b"\0\0\0\x18ftypM4A \0\0\0\0isom", "M4A", None),
        (b"%PDF-1.7\n", "PDF", None),
        (b'<?xml version="1.0"?>\n<!-- by hand -->\n<svg xmlns="x">', "SVG", None),
        (b"\x1aE\xdf\xa3" + bytes(20), "Matroska", None),
    ],
)
def test_first_bytes_tell_the_form_and_the_modality(data: bytes, name: str, modality: str | None) -> None:
    assert media.sniff(data[:4096]) == media.Kind(name, modality)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"a text\n" * 20,
        "a text of a spreadsheet".encode("utf-16"),
        b"\xff\xfe<\0?\0x\0m\0l\0",
        b"<html>404</html>",
        b"<?xml version='1.0'?><rss></rss>",
        b"BMW is a make of cars, and not a picture",
        b"P1 is no picture, P2 is",
        bytes(4096),
        b"\xff" * 4096,
        b"PK\3\4" + bytes(100),
        b"\x7fELF" + bytes(100),
        b"\x93NUMPY\x01\0v\0{'descr'",
    ],
)
def test_bytes_that_are_no_medium_are_nothing_known(data: bytes) -> None:
    kind = media.sniff(data)
    assert kind is None or (kind.name == "PPM" and data.startswith(b"P1 "))


def test_a_file_is_probed_by_its_first_bytes(tmp_path: Path) -> None:
    (tmp_path / "photo").write_bytes(saved(photo(), "JPEG"))
    assert media.probe(tmp_path / "photo") == media.Kind("JPEG", "image")


def test_a_pipe_is_probed_unopened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "photo")
    with pytest.raises(Unreadable, match=r"^not a regular file$"):
        media.probe(tmp_path / "photo")


def test_a_link_to_a_device_is_probed_unopened(tmp_path: Path) -> None:
    (tmp_path / "photo").symlink_to("/dev/zero")
    with pytest.raises(Unreadable, match=r"^not a regular file$"):
        media.probe(tmp_path / "photo")
