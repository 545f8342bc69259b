"""Pages as one file that needs nothing else: no scripts, texts escaped, pictures inside it; and the page of hits."""

import base64
import io
import math
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path

from engine import media
from engine.errors import Unreadable
from engine.storage import output
from engine.types import Hit

BASE = """
:root { color-scheme: light dark; font: 15px/1.4 system-ui, sans-serif; }
body { margin: 2rem auto; max-width: 72rem; padding: 0 1rem; }
small { opacity: .7; }
"""
BOX = "\N{WHITE SQUARE}"
STEERING = re.compile(
    "[\0-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]"
)
"""Controls but tab and line feed, and marks of direction; joiners stay, which emoji and many scripts need."""

HIT_SIDE = 256
MOST_COPIES = 5
"""Other paths of a hit that its card names."""

HITS_STYLE = """
ol { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr)); padding: 0; }
li { list-style: none; border: 1px solid #8884; border-radius: .5rem; overflow: hidden; }
img { aspect-ratio: 1; display: block; object-fit: cover; width: 100%; }
p { margin: .6rem .8rem; overflow-wrap: anywhere; }
"""


def write(path: Path, title: str, style: str, body: str) -> None:
    """Write a page in one step; the body is HTML, the title is text; a box stands for what steers its reader.

    Raises:
        UserError: the file cannot be written.
    """
    head = (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{escape(title)}</title>\n<style>{BASE}{style}</style>\n"
    )
    output.write(path, STEERING.sub(BOX, head + body).encode("utf-8", "backslashreplace"))


def write_hits(path: Path, answers: Sequence[tuple[str, Sequence[Hit]]]) -> None:
    """Write a page of titled answers in one step."""
    lists = [f"<h1>{escape(title)}</h1>\n<ol>\n{''.join(map(_card, hits))}</ol>\n" for title, hits in answers]
    write(path, "mneme", HITS_STYLE, "".join(lists))


def _card(hit: Hit) -> str:
    probability = "" if hit.log_p is None else f" · p {math.exp(hit.log_p):#.2g}"
    figures = f"<p><small>{hit.rank} · {hit.score:.3f} · {escape(hit.task)}{probability}</small></p>"
    image = picture(Path(hit.path), HIT_SIDE) if hit.modality == "image" and hit.path else ""
    others = [f"also {path}" for path in hit.paths[1 : 1 + MOST_COPIES]]
    others += [f"and {len(hit.paths) - 1 - MOST_COPIES} more"] if len(hit.paths) > 1 + MOST_COPIES else []
    copies = "".join(f"<p><small>{escape(line)}</small></p>" for line in others)
    return f"<li>{image}<p>{escape(hit.path or hit.text or '')}</p>{copies}{figures}</li>\n"


def picture(path: Path, side: int) -> str:
    """Return a picture within the page, no side above 2 x `side` pixels; nothing where it cannot be read."""
    try:
        image = media.image(media.read(path), side=side)
    except Unreadable:
        return ""
    image.thumbnail((2 * side, 2 * side))
    data = io.BytesIO()
    image.save(data, "JPEG", quality=85)
    return f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}">'


def words(text: str, most: int) -> str:
    """Return a text on one line, escaped, shortened to so many characters; what cannot be printed is a box."""
    line = " ".join(text[: 2 * most].split())
    short = line if len(line) <= most else line[: most - 1] + "…"
    return escape("".join(c if c.isprintable() else BOX for c in short))
