import os
import threading
from pathlib import Path

import pytest

from engine.errors import UserError
from engine.storage import output


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_link_stays_a_link_and_what_it_leads_to_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "a.html").touch(mode=0o640)
    (tmp_path / "a.html").symlink_to("disk/a.html")
    output.write(tmp_path / "a.html", b"new")
    assert (tmp_path / "a.html").is_symlink()
    assert (tmp_path / "disk" / "a.html").read_bytes() == b"new"
    assert (tmp_path / "disk" / "a.html").stat().st_mode & 0o777 == 0o640


def test_a_fifo_stays_one_and_its_reader_gets_the_bytes(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    output.write(tmp_path / "pipe", b"new")
    reader.join()
    assert read == [b"new"]
    assert (tmp_path / "pipe").is_fifo()


def test_a_device_is_written_through() -> None:
    output.write(Path("/dev/null"), b"new")
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize("path", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_the_stream_of_this_process_is_written_to_where_it_stands(
    path: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    os.write(1, b"before ")
    output.write(Path(path), b"new")
    os.write(1, b" after")
    assert capfd.readouterr().out == "before new after"


def test_a_full_device_is_one_line() -> None:
    with pytest.raises(UserError, match="cannot write /dev/full: no space left on device"):
        output.write(Path("/dev/full"), b"new")


def test_a_folder_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"cannot write {tmp_path}: is a directory"):
        output.write(tmp_path, b"new")


def test_what_a_killed_run_left_of_a_file_is_dropped_with_the_next_one(tmp_path: Path) -> None:
    (tmp_path / f".a.html.{'0' * 32}").touch()
    output.write(tmp_path / "a.html", b"new")
    assert names(tmp_path) == ["a.html"]
