import os
import re
import subprocess
import sys
from pathlib import Path

import matplotlib
import pytest
from matplotlib.figure import Figure

from indexer.report import theme

ROOT = Path(__file__).parents[3]
HEX = re.compile(r"#[0-9a-fA-F]{6}\b")


def drawn(label: str = "a line", colour: str = theme.TEXT) -> str:
    """Return a line in a colour, with a text beside it, as an SVG element."""
    with theme.drawing():
        figure = Figure(figsize=(2, 1))
        axes = figure.add_axes((0.1, 0.1, 0.8, 0.8))
        axes.plot([1, 2, 3], [1, 3, 2], color=colour, marker="o")
        axes.set_xlabel("a text")
        return theme.svg(figure, label)


def test_a_figure_takes_all_its_colours_from_the_page() -> None:
    assert HEX.findall(drawn()) == []


@pytest.mark.parametrize(
    ("colour", "name"), [(theme.TEXT, "text"), (theme.MUTED, "muted"), (theme.LINE, "line")]
)
def test_a_stand_in_becomes_the_variable_it_stands_for(colour: str, name: str) -> None:
    assert f"stroke: var(--{name}); stroke-width" in drawn(colour=colour)


def test_a_line_has_the_colour_of_its_number() -> None:
    assert "stroke: var(--c3)" in drawn(colour=theme.stand_in(3))


def test_colours_repeat_after_nine() -> None:
    assert [theme.variable(n) for n in (0, 8, 9)] == ["var(--c0)", "var(--c8)", "var(--c0)"]
    assert (theme.stand_in(9), theme.stand_in(10)) == (theme.stand_in(0), theme.stand_in(1))


def test_text_stays_text_in_the_font_of_the_page() -> None:
    svg = drawn()

    assert re.search(r">\s*a text\s*</text>", svg)
    assert set(re.findall(r"font-family: ([^;\"]*)", svg)) <= {"inherit"}


def test_a_figure_says_what_it_shows_and_how_wide_it_is_for_its_height() -> None:
    assert drawn("<a> line").startswith(
        '<svg role="img" aria-label="&lt;a&gt; line" viewBox="0 0 144 72" xmlns'
    )


def test_a_figure_has_no_style_and_no_document_of_its_own() -> None:
    assert re.findall(r"<style|<\?xml|<!DOCTYPE|<metadata", drawn()) == []


def test_numbers_have_two_decimals_at_most() -> None:
    assert [number for tag in re.findall("<[^>]*>", drawn()) for number in re.findall(r"\.\d{3,}", tag)] == []


def test_every_id_that_is_left_is_referred_to() -> None:
    svg = drawn()

    assert set(re.findall(r' id="([^"]*)"', svg)) == set(re.findall(r"#([\w-]+)", svg)) != set()


def test_the_same_figure_gives_the_same_bytes() -> None:
    assert drawn() == drawn()


def test_the_users_own_settings_are_not_drawn_with_and_come_back() -> None:
    plain = drawn()

    with matplotlib.rc_context({"font.size": 30, "axes.edgecolor": "#ff0000", "svg.fonttype": "path"}):
        assert drawn() == plain
        assert matplotlib.rcParams["font.size"] == 30


def test_drawing_leaves_nothing_in_the_home_folder(tmp_path: Path) -> None:
    program = """
import io
from indexer.report import theme
with theme.drawing():
    from matplotlib.figure import Figure
    Figure().savefig(io.BytesIO(), format="svg")
"""
    (tmp_path / "home").mkdir()
    given = ("MPLCONFIGDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")
    env = {name: value for name, value in os.environ.items() if name not in given}
    subprocess.run(
        [sys.executable, "-c", program], check=True, env={**env, "HOME": str(tmp_path / "home")}, cwd=ROOT
    )
    assert list((tmp_path / "home").iterdir()) == []


def test_every_variable_of_the_style_has_a_colour_by_light_and_by_dark() -> None:
    day, night = theme.css_variables().split("@media (prefers-color-scheme: dark)")
    used = {*re.findall(r"var\(--(\w+)", theme.STYLE), *(f"c{n}" for n in range(9))} - {"share"}

    assert used <= set(re.findall(r"--(\w+): #", day))
    assert used <= set(re.findall(r"--(\w+): #", night))
    assert "--c0: #0b62c4;" in day
    assert "--c0: #6ea8fe;" in night
