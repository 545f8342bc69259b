import base64
import io
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from engine.errors import UserError
from engine.types import Hit
from indexer.report import html

HIT = Hit(2, 0.51234, "0" * 32, "text", "<sky>", ("<sky>",), None, "<b>a moon</b>", 1)


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

    with pytest.raises(UserError, match=f"^cannot write {re.escape(str(path))}: no such file or directory$"):
        html.write(path, "mneme", "", "")


@pytest.fixture
def picture(tmp_path: Path) -> Hit:
    """A hit whose picture can be read."""
    path = tmp_path / "red.png"
    Image.new("RGB", (40, 30), "red").save(path)
    return replace(HIT, modality="image", path=str(path), text=None)


def hits_page(folder: Path, *answers: tuple[str, list[Hit]]) -> str:
    html.write_hits(folder / "hits.html", answers)
    return (folder / "hits.html").read_text()


def test_a_page_holds_its_pictures_and_their_names(tmp_path: Path, picture: Hit) -> None:
    page = hits_page(tmp_path, ("red", [picture]))

    assert 'src="data:image/jpeg;base64,' in page
    assert f"<p>{picture.path}</p>" in page


def test_a_hit_says_its_rank_cosine_and_task(tmp_path: Path) -> None:
    assert "<small>2 · 0.512 · &lt;sky&gt;</small>" in hits_page(tmp_path, ("moon", [HIT]))


def test_a_page_runs_nothing_that_a_text_says(tmp_path: Path) -> None:
    page = hits_page(tmp_path, ("<script>", [HIT]))

    assert "<p>&lt;b&gt;a moon&lt;/b&gt;</p>" in page
    assert "<script>" not in page


def test_every_query_has_its_title_and_its_hits_in_their_order(tmp_path: Path) -> None:
    page = hits_page(tmp_path, ("one", [HIT, replace(HIT, text="a sun")]), ("two", []))

    assert re.findall("<h1>(.*?)</h1>|<p>([^<]*)</p>", page) == [
        ("one", ""),
        ("", "&lt;b&gt;a moon&lt;/b&gt;"),
        ("", "a sun"),
        ("two", ""),
    ]


def test_a_picture_that_has_gone_leaves_its_name(tmp_path: Path) -> None:
    page = hits_page(
        tmp_path, ("gone", [replace(HIT, modality="image", path=str(tmp_path / "gone.png"), text=None)])
    )

    assert "gone.png" in page
    assert "<img" not in page


def test_a_text_from_a_file_is_not_taken_for_a_picture(tmp_path: Path, picture: Hit) -> None:
    assert "<img" not in hits_page(tmp_path, ("red", [replace(picture, modality="text")]))


def test_a_page_steers_nobody_by_its_texts_or_names(tmp_path: Path) -> None:
    evil = "red \x1b[31m alarm \x07\u202e"
    page = hits_page(tmp_path, (evil, [replace(HIT, text=evil), replace(HIT, path=f"{evil}.png")]))

    assert page.count("red □[31m alarm □□") == 3
    assert "👩\u200d🔬" in hits_page(tmp_path, ("👩\u200d🔬", []))


def test_a_hit_that_is_ordered_by_its_probability_says_it(tmp_path: Path) -> None:
    page = hits_page(tmp_path, ("moon", [replace(HIT, log_p=math.log(0.83))]))

    assert "<small>2 · 0.512 · &lt;sky&gt; · p 0.83</small>" in page
