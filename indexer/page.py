"""Hits as one HTML file that needs nothing else: pictures inside it, no scripts."""

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path

from engine import disk, media
from engine.errors import Unreadable, UserError
from engine.types import Hit

SIDE = 256
STYLE = """
:root { color-scheme: light dark; font: 15px/1.4 system-ui, sans-serif; }
body { margin: 2rem auto; max-width: 72rem; padding: 0 1rem; }
ol { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr)); padding: 0; }
li { list-style: none; border: 1px solid #8884; border-radius: .5rem; overflow: hidden; }
img { aspect-ratio: 1; display: block; object-fit: cover; width: 100%; }
p { margin: .6rem .8rem; overflow-wrap: anywhere; }
small { opacity: .7; }
"""
HEAD = f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>mneme</title>
<style>{STYLE}</style>
"""


def write(path: Path, answers: Sequence[tuple[str, Sequence[Hit]]]) -> None:
    """Write a page of titled answers in one step."""
    sections = [
        f"<h1>{escape(title)}</h1>\n<ol>\n{''.join(map(_card, hits))}</ol>\n" for title, hits in answers
    ]
    try:
        disk.replace(path, (HEAD + "".join(sections)).encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None


def _card(hit: Hit) -> str:
    facts = f"<p><small>{hit.rank} · {hit.score:.3f} · {escape(hit.task)}</small></p>"
    words = escape(hit.path or hit.text or "")
    return f"<li>{_picture(hit)}<p>{words}</p>{facts}</li>\n"


def _picture(hit: Hit) -> str:
    """Return a hit's picture within the page; nothing where it is none or can no longer be read."""
    if hit.modality != "image" or hit.path is None:
        return ""
    try:
        picture = media.image(media.read(Path(hit.path)), side=SIDE)
    except Unreadable:
        return ""
    picture.thumbnail((2 * SIDE, 2 * SIDE))
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=85)
    return f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}">'
