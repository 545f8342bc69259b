from pathlib import Path

import pytest
from PIL import Image

from studies.demo.sheet import CELL, FOOT, QueryStrip, SheetHit, _wrapped, contact_sheet


def picture(folder: Path, name: str, colour: str) -> Path:
    path = folder / name
    Image.new("RGB", (64, 48), colour).save(path)
    return path


def text(caption: str, *, right: bool = False) -> SheetHit:
    return SheetHit(None, caption, right, 0.5)


def drawn(strips: list[QueryStrip], out: Path) -> Image.Image:
    contact_sheet(strips, out)
    with Image.open(out) as sheet:
        assert sheet.format == "PNG"
        return sheet.convert("RGB")


def colours(sheet: Image.Image) -> set[object]:
    return {colour for _, colour in sheet.getcolors(1 << 20) or []}


def test_a_sheet_with_six_hits_a_row_is_at_most_1400_pixels_wide(tmp_path: Path) -> None:
    sheet = drawn([QueryStrip("a query", None, [text("a card")] * 6)], tmp_path / "sheet.png")
    assert 1300 < sheet.width <= 1400


def test_each_strip_adds_the_same_height(tmp_path: Path) -> None:
    strip = QueryStrip("a query", None, [text("a card")] * 6)
    one = drawn([strip], tmp_path / "one.png").height
    two = drawn([strip] * 2, tmp_path / "two.png").height
    three = drawn([strip] * 3, tmp_path / "three.png").height
    assert three - two == two - one >= CELL


def test_the_seventh_hit_goes_to_the_next_line(tmp_path: Path) -> None:
    six = drawn([QueryStrip("a query", None, [text("a card")] * 6)], tmp_path / "six.png")
    seven = drawn([QueryStrip("a query", None, [text("a card")] * 7)], tmp_path / "seven.png")
    assert (seven.width, seven.height) == (six.width, six.height + CELL + FOOT)


def test_the_query_picture_and_a_hit_are_on_the_sheet(tmp_path: Path) -> None:
    query, hit = picture(tmp_path, "q.png", "#cc2244"), picture(tmp_path, "h.png", "#2244cc")
    sheet = drawn(
        [QueryStrip("a picture", query, [SheetHit(hit, "sky", False, 0.4)])], tmp_path / "sheet.png"
    )
    assert {(0xCC, 0x22, 0x44), (0x22, 0x44, 0xCC)} <= colours(sheet)


def test_only_a_right_hit_is_marked(tmp_path: Path) -> None:
    wrong = drawn([QueryStrip("a query", None, [text("a card")])], tmp_path / "wrong.png")
    right = drawn([QueryStrip("a query", None, [text("a card", right=True)])], tmp_path / "right.png")
    bar = [(300, 36 + CELL + 1), (400, 36 + CELL + 1)]
    assert [right.getpixel(at) for at in bar] == [(0x2E, 0x9E, 0x5B)] * 2
    assert [wrong.getpixel(at) for at in bar] == [(255, 255, 255)] * 2


@pytest.mark.parametrize(
    "title",
    [
        "",
        "word " * 500,
        "x" * 5000,
        "naïve Straße 漢字 😀 \u202e\x00\n\t",
        "\ud800 lone",
        "ﷺ" * 30,
        "e\u0301" * 99,
    ],
)
def test_no_title_overflows_its_column_or_crashes(title: str, tmp_path: Path) -> None:
    sheet = drawn([QueryStrip(title, None, [text(title)])], tmp_path / "sheet.png")
    between_title_and_hits = sheet.crop((252, 36, 284, 36 + CELL))
    assert colours(between_title_and_hits) == {(255, 255, 255)}


def test_a_long_text_ends_in_an_ellipsis() -> None:
    lines = _wrapped("one two three " * 40, 14, 120, 3)
    assert len(lines) == 3
    assert lines[-1].endswith("…")


def test_a_short_text_is_left_whole() -> None:
    assert " ".join(_wrapped("a red cabin by a lake", 14, 80, 9)) == "a red cabin by a lake"


def test_a_hit_whose_file_is_gone_becomes_a_card(tmp_path: Path) -> None:
    gone = QueryStrip("a query", None, [SheetHit(tmp_path / "gone.jpg", "sky", False, 0.1)])
    sheet = drawn([gone], tmp_path / "sheet.png")
    assert sheet.getpixel((300, 150)) == (0xF5, 0xF5, 0xF2)


def test_a_sheet_without_strips_is_still_a_picture(tmp_path: Path) -> None:
    assert drawn([], tmp_path / "sheet.png").width > 0


def test_nothing_but_the_sheet_is_left_in_the_folder(tmp_path: Path) -> None:
    contact_sheet([QueryStrip("a query", None, [])], tmp_path / "new" / "sheet.png")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["sheet.png"]
