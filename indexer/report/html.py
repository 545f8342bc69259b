"""What every page that mneme writes has in common: one file, no scripts, texts escaped, pictures inside it."""

import base64
import io
from html import escape
from pathlib import Path

from engine import media
from engine.errors import Unreadable, UserError
from engine.storage import files

BASE = """
:root { color-scheme: light dark; font: 15px/1.4 system-ui, sans-serif; }
body { margin: 2rem auto; max-width: 72rem; padding: 0 1rem; }
small { opacity: .7; }
"""


def write(path: Path, title: str, style: str, body: str) -> None:
    """Write a page in one step; the body is HTML, the title is text.

    Raises:
        UserError: the file cannot be written.
    """
    head = (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{escape(title)}</title>\n<style>{BASE}{style}</style>\n"
    )
    try:
        files.replace(path, (head + body).encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None


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
    return escape("".join(c if c.isprintable() else "\N{WHITE SQUARE}" for c in short))
