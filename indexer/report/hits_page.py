"""Hits as one HTML file that needs nothing else."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from engine.types import Hit
from indexer.report import html

SIDE = 256
STYLE = """
ol { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr)); padding: 0; }
li { list-style: none; border: 1px solid #8884; border-radius: .5rem; overflow: hidden; }
img { aspect-ratio: 1; display: block; object-fit: cover; width: 100%; }
p { margin: .6rem .8rem; overflow-wrap: anywhere; }
"""


def write(path: Path, answers: Sequence[tuple[str, Sequence[Hit]]]) -> None:
    """Write a page of titled answers in one step."""
    sections = [
        f"<h1>{escape(title)}</h1>\n<ol>\n{''.join(map(_card, hits))}</ol>\n" for title, hits in answers
    ]
    html.write(path, "mneme", STYLE, "".join(sections))


def _card(hit: Hit) -> str:
    figures = f"<p><small>{hit.rank} · {hit.score:.3f} · {escape(hit.task)}</small></p>"
    picture = html.picture(Path(hit.path), SIDE) if hit.modality == "image" and hit.path else ""
    return f"<li>{picture}<p>{escape(hit.path or hit.text or '')}</p>{figures}</li>\n"
