"""The page's colours and style, and its figures as SVG, which take both from the page; their text stays text.

A figure is drawn in stand-in colours, which become the page's CSS variables when it is written.
"""

import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from html import escape
from importlib import import_module
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEXT, MUTED, LINE = (f"#01020{n}" for n in range(3))
VARIABLES = {TEXT: "text", MUTED: "muted", LINE: "line"}
LIGHT = {"text": "#1c2128", "muted": "#5b6470", "line": "#d3d8df", "back": "#ffffff", "heat": "#f09a4a"}
DARK = {"text": "#e4e8ee", "muted": "#9aa4b2", "line": "#39414d", "back": "#14181e", "heat": "#b3581a"}
PALE = ["#0b62c4", "#c2410c", "#15803d", "#9333ea", "#be185d", "#a16207", "#0e7490", "#4d7c0f", "#64748b"]
BRIGHT = ["#6ea8fe", "#fb923c", "#4ade80", "#c084fc", "#f472b6", "#fbbf24", "#22d3ee", "#a3e635", "#94a3b8"]
STYLE = """
:root { background: var(--back); color: var(--text); }
h1 { font-size: 1rem; font-weight: 600; color: var(--muted); margin: 0; }
h2 { border-top: 1px solid var(--line); font-size: 1.25rem; margin: 2.5rem 0 .3rem; padding-top: 1.2rem; }
h3 { font-size: 1rem; margin: 1.4rem 0 .4rem; }
h4 { color: var(--muted); font-size: .85rem; font-weight: 500; margin: 0; }
p { max-width: 46rem; margin: .4rem 0; overflow-wrap: anywhere; }
.lead { font-size: 1.35rem; line-height: 1.4; max-width: 54rem; }
.note { color: var(--muted); font-size: .9rem; }
.row { display: grid; gap: 1rem 1.5rem; grid-template-columns: repeat(auto-fill, minmax(min(17rem, 100%), 1fr)); }
.wide { grid-template-columns: repeat(auto-fit, minmax(min(25rem, 100%), 1fr)); }
.scroll { overflow-x: auto; }
svg { display: block; height: auto; width: 100%; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; margin: .3rem 0; }
th, td { border-bottom: 1px solid var(--line); padding: .25rem .45rem; text-align: right; }
th { color: var(--muted); font-weight: 500; }
th:first-child, td:first-child { text-align: left; white-space: nowrap; }
summary { cursor: pointer; font-weight: 600; margin: 1rem 0 .4rem; }
.best { font-weight: 700; text-decoration: underline; text-underline-offset: .2em; }
.heat { border-collapse: separate; border-spacing: 2px; font-size: .75rem; table-layout: fixed; width: 100%; }
.heat th, .heat td { border: 0; height: 1.6rem; overflow: hidden; padding: 0; text-align: center; }
.heat td { background: color-mix(in srgb, var(--heat) var(--share, 0%), transparent); }
.heat th { text-overflow: ellipsis; vertical-align: bottom; white-space: nowrap; }
.heat th:first-child { text-align: left; vertical-align: middle; width: 6rem; }
.heat span { display: inline-block; max-height: 6rem; overflow: hidden; padding-top: .3rem; rotate: 180deg;
  text-overflow: ellipsis; writing-mode: vertical-rl; }
.fine { border-spacing: 0; }
.fine td { height: .5rem; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; font-size: .88rem; margin: .4rem 0 .8rem; padding: 0; }
.legend li { list-style: none; overflow-wrap: anywhere; }
.legend i { border-radius: 50%; display: inline-block; height: .7em; margin-right: .4em; width: .7em; }
.fall { display: grid; gap: .6rem; grid-template-columns: repeat(4, minmax(0, 1fr)); margin: 1rem 0 1.6rem; }
.fall > p { grid-column: 1 / -1; margin: 0; }
.fall figure { margin: 0; font-size: .88rem; overflow-wrap: anywhere; }
.fall figcaption { color: var(--muted); font-size: .8rem; margin-bottom: .2rem; }
.fall img { aspect-ratio: 4 / 3; border-radius: .3rem; display: block; object-fit: cover; width: 100%; }
@media (max-width: 40rem) { .fall { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  th, td { padding: .25rem .2rem; }
  .lead { font-size: 1.15rem; } }
"""
RC: dict[Any, object] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "mneme",
    "text.usetex": False,
    "text.color": TEXT,
    "font.size": 9,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 9,
    "xtick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.color": LINE,
    "ytick.labelcolor": MUTED,
}
NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))


@contextmanager
def drawing() -> Iterator[None]:
    """Draw in stand-in colours, whatever the user's own settings of matplotlib are."""
    _import()
    import matplotlib

    with matplotlib.rc_context(RC):
        yield


@cache
def _import() -> None:
    """Import matplotlib, which else keeps a list of fonts in the home folder, and makes one for its settings."""
    name = "MPLCONFIGDIR"
    with TemporaryDirectory() as folder:
        chosen = os.environ.setdefault(name, folder)
        import_module("matplotlib.font_manager")
        if chosen == folder:
            del os.environ[name]


def stand_in(number: int) -> str:
    """Return what a figure draws in for the colour of task or line `number`, from 0."""
    return f"#0103{number % len(PALE):02x}"


def variable(number: int) -> str:
    """Return the CSS variable of the colour of task or line `number`, from 0; colours repeat after nine."""
    return f"var(--c{number % len(PALE)})"


def css_variables() -> str:
    """Return the style that gives every variable its colour, by light and by dark."""
    light = {**LIGHT, **{f"c{n}": colour for n, colour in enumerate(PALE)}}
    dark = {**DARK, **{f"c{n}": colour for n, colour in enumerate(BRIGHT)}}
    by_day, by_night = (
        "".join(f" --{name}: {colour};" for name, colour in colours.items()) for colours in (light, dark)
    )
    return f":root {{{by_day} }}\n@media (prefers-color-scheme: dark) {{ :root {{{by_night} }} }}\n"


def svg(figure: "Figure", label: str) -> str:
    """Return a figure as an SVG element that fills the width it is given.

    Args:
        label: what it shows, for those who cannot see it.
    """
    text = io.StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata=NO_METADATA)
    whole = text.getvalue()
    element = re.sub(
        r"<defs>\s*<style.*?</style>\s*</defs>", "", whole[whole.index("<svg") :], flags=re.DOTALL
    )
    element = re.sub(r"<[^>]*>", lambda tag: _tag(tag[0]), element)
    size = re.search(r'viewBox="[^"]*"', element)
    attributes = f'role="img" aria-label="{escape(label)}" {size[0] if size else ""}'
    opening = f'<svg {attributes} xmlns:xlink="http://www.w3.org/1999/xlink">'
    return re.sub(r"<svg[^>]*>", lambda _: opening, element, count=1)


def _tag(tag: str) -> str:
    """Return a tag with the page's colours and font, short numbers, and only those ids that are referred to."""
    tag = re.sub(r"(\.\d\d)\d+", r"\1", tag)
    tag = re.sub(r"\s+", " ", tag)
    tag = re.sub(r"font-family: [^;\"]*", "font-family: inherit", tag)
    tag = re.sub(r'<g id="[^"]*"', "<g", tag)
    tag = re.sub(r"#0103([0-9a-f]{2})\b", lambda colour: variable(int(colour[1], 16)), tag)
    return re.sub(r"#01020[0-2]\b", lambda colour: f"var(--{VARIABLES[colour[0]]})", tag)
