import os
import subprocess
import sys
import threading
from contextlib import suppress

import pytest

from engine import media
from made_media import recording, sound

CODE = """
import os, sys
from engine import media
with media.caught() as lines:
    os.write(2, b"from C\\nfrom C\\nand more\\n")
    print("from Python", file=sys.stderr)
os.write(2, b"after\\n")
print(lines)
"""


def test_what_c_prints_is_handed_over_and_what_python_prints_goes_on() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stderr == "from Python\nafter\n"
    assert done.stdout == "['from C', 'and more']\n"


def test_pillow_and_tifffile_log_nothing_to_stderr() -> None:
    code = "import logging, engine.media\nfor name in ('PIL.Tiff', 'tifffile'): logging.getLogger(name).error('odd')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_an_error_puts_everything_back() -> None:
    before, kept = sys.stderr, []
    with suppress(ZeroDivisionError), media.caught() as lines:
        kept.append(lines)
        os.write(2, b"from C\n")
        1 / 0  # noqa: B018
    assert sys.stderr is before
    assert kept == [["from C"]]


def test_within_another_it_does_nothing() -> None:
    with media.caught() as outer:
        with media.caught() as inner:
            os.write(2, b"from C\n")
        os.write(2, b"later\n")
    assert (outer, inner) == (["from C", "later"], [])


def test_what_other_threads_print_is_caught() -> None:
    with media.caught() as lines:
        thread = threading.Thread(target=os.write, args=(2, b"from a thread\n"))
        thread.start()
        thread.join()
    assert lines == ["from a thread"]


def test_a_closed_stderr_is_no_obstacle() -> None:
    code = "import os, sys; os.close(2); from engine import media\nwith media.caught() as lines: print(lines)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_what_mpg123_prints_about_an_mp3_cut_short_is_caught(capfd: pytest.CaptureFixture[str]) -> None:
    data = recording("MP3", samples=sound(seconds=8))
    with media.caught() as lines:
        media.sound(data[: len(data) // 2])
    assert len(lines) == 1
    assert "Xing stream size" in lines[0]
    assert capfd.readouterr().err == ""


def test_lines_without_end_are_cut_off() -> None:
    with media.caught() as lines:
        os.write(2, b"x\n" * 10 + b"".join(b"%d\n" % i for i in range(5_000)))
    assert lines[:2] == ["x", "0"]
    assert len(lines) == 1_000
