import base64
import io
import re
from pathlib import Path

import pytest
from PIL import Image

from engine.errors import UserError
from indexer.report import html


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a\n moon\t", "a moon"),
        ("12345678", "12345678"),
        ("123456789", "1234567…"),
        ("<b>", "&lt;b&gt;"),
        ("a\x00b", "a□b"),
    ],
)
def test_words_are_one_escaped_line_that_is_not_too_long(text: str, line: str) -> None:
    assert html.words(text, 8) == line


def test_a_long_text_is_shortened_after_its_spaces_are() -> None:
    assert html.words("a     bcd" + "e" * 100, 6) == "a bcd…"


def decoded(element: str) -> Image.Image:
    (data,) = re.findall('src="data:image/jpeg;base64,([^"]*)"', element)
    return Image.open(io.BytesIO(base64.b64decode(data)))


@pytest.mark.parametrize(("size", "expected"), [((400, 100), (80, 20)), ((10, 20), (10, 20))])
def test_a_picture_is_at_most_twice_as_large_as_it_is_shown(
    tmp_path: Path, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    Image.new("RGB", size, "red").save(tmp_path / "red.png")

    with decoded(html.picture(tmp_path / "red.png", 40)) as picture:
        assert (picture.format, picture.size) == ("JPEG", expected)


def test_a_picture_that_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")

    assert html.picture(tmp_path / "broken.png", 40) == ""


def test_a_page_has_its_title_as_text_and_its_own_style(tmp_path: Path) -> None:
    html.write(tmp_path / "page.html", "<a & b>", "p { color: red; }\n", "<p>c</p>")

    page = (tmp_path / "page.html").read_text()
    assert page.startswith("<!doctype html>\n")
    assert "<title>&lt;a &amp; b&gt;</title>" in page
    assert page.endswith("small { opacity: .7; }\np { color: red; }\n</style>\n<p>c</p>")


def test_a_name_that_is_no_text_is_written_by_its_bytes(tmp_path: Path) -> None:
    html.write(tmp_path / "page.html", "mneme", "", "broken \udcff name")

    assert "broken \\udcff name" in (tmp_path / "page.html").read_text()


def test_a_page_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "no" / "page.html"

    with pytest.raises(UserError, match=f"^cannot write {re.escape(str(path))}: No such file or directory$"):
        html.write(path, "mneme", "", "")
