"""The contact sheet: queries and their hits as one picture."""

import os
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from engine import media
from engine.errors import Unreadable

MARGIN, ASIDE, CELL, GAP, FOOT = 36, 250, 168, 12, 46
"""In pixels: round the sheet, beside the hits for the query, a hit, between hits, the words beneath a hit."""
COLUMNS = 6
"""Further hits go to the next line."""

INK, PALE, HAIR, CARD, RIGHT = "#1f2328", "#7a828a", "#e6e8ea", "#f5f5f2", "#2e9e5b"
FOLDED = str.maketrans(
    {"–": "-", "—": "-", "−": "-", "×": "x", "ß": "ss", "æ": "ae", "ø": "o", "œ": "oe", "ı": "i"}
)


@dataclass(frozen=True)
class SheetHit:
    """One hit as the sheet shows it: a picture, or where there is no path its caption on a card.

    Attributes:
        right: it is an answer to the query, and marked as such.
        score: cosine, -1 to 1.
    """

    path: Path | None
    caption: str
    right: bool
    score: float


@dataclass(frozen=True)
class QueryStrip:
    """One query and its hits, best first; a query by a picture shows it, another its title alone."""

    title: str
    query_image: Path | None
    hits: Sequence[SheetHit]


def contact_sheet(strips: Sequence[QueryStrip], out: Path) -> None:
    """Draw the strips below one another into a PNG file, at most 1400 pixels wide."""
    columns = max([3, *(min(len(strip.hits), COLUMNS) for strip in strips)])
    width = 2 * MARGIN + ASIDE + columns * (CELL + GAP) - GAP
    heights = [_height(strip, columns) for strip in strips]
    sheet = Image.new("RGB", (width, 2 * MARGIN + sum(heights) + 12), "white")
    pen = ImageDraw.Draw(sheet)
    top = MARGIN
    for strip, height in zip(strips, heights, strict=True):
        _paint_query(sheet, strip, top)
        for i, hit in enumerate(strip.hits):
            at = (MARGIN + ASIDE + i % columns * (CELL + GAP), top + i // columns * (CELL + FOOT))
            _paint_hit(sheet, hit, at)
        top += height
        pen.line((MARGIN, top - 18, width - MARGIN, top - 18), fill=HAIR)
    _paint_legend(pen, (MARGIN + ASIDE, top))
    _write(sheet, out)


def _height(strip: QueryStrip, columns: int) -> int:
    rows = max(1, -(-len(strip.hits) // columns))
    return rows * (CELL + FOOT) + 24


def _paint_query(sheet: Image.Image, strip: QueryStrip, top: int) -> None:
    pen, wide = ImageDraw.Draw(sheet), ASIDE - 36
    if strip.query_image is None:
        for i, line in enumerate(_wrapped(strip.title, 20, wide, 6)):
            pen.text((MARGIN, top + 26 * i), line, fill=INK, font=_font(20))
        return
    sheet.paste(_thumbnail(strip.query_image, strip.title), (MARGIN, top))
    for i, line in enumerate(_wrapped(strip.title, 14, wide, 2)):
        pen.text((MARGIN, top + CELL + 9 + 18 * i), line, fill=INK, font=_font(14))


def _paint_hit(sheet: Image.Image, hit: SheetHit, at: tuple[int, int]) -> None:
    """Paint a hit, its score and its caption; a green bar and dot where it is right."""
    left, top = at
    pen, base = ImageDraw.Draw(sheet), top + CELL
    sheet.paste(_card(hit.caption) if hit.path is None else _thumbnail(hit.path, hit.caption), at)
    if hit.right:
        pen.rectangle((left, base, left + CELL - 1, base + 3), fill=RIGHT)
    score = f"{hit.score:.2f}"
    pen.text((left + CELL, base + 11), score, fill=RIGHT if hit.right else PALE, font=_font(13), anchor="ra")
    if hit.path is not None:
        room = CELL - pen.textlength(score, _font(13)) - 12
        for line in _wrapped(hit.caption, 13, room, 1):
            pen.text((left, base + 11), line, fill=INK if hit.right else PALE, font=_font(13))


def _paint_legend(pen: ImageDraw.ImageDraw, at: tuple[int, int]) -> None:
    left, top = at
    pen.rectangle((left, top + 5, left + 22, top + 8), fill=RIGHT)
    pen.text((left + 30, top), "a right answer", fill=PALE, font=_font(12))
    pen.text((left + 150, top), "number: cosine, best first", fill=PALE, font=_font(12))


def _thumbnail(path: Path, caption: str) -> Image.Image:
    """Return the picture on a square, a card with its caption where it cannot be read."""
    try:
        picture = media.image(media.read(path), side=CELL)
    except Unreadable:
        return _card(caption)
    return ImageOps.pad(picture, (CELL, CELL), Image.Resampling.LANCZOS, color=CARD)


def _card(text: str) -> Image.Image:
    card = Image.new("RGB", (CELL, CELL), CARD)
    pen = ImageDraw.Draw(card)
    for i, line in enumerate(_wrapped(text, 15, CELL - 28, 7)):
        pen.text((14, 13 + 20 * i), line, fill=INK, font=_font(15))
    return card


def _wrapped(text: str, size: int, width: float, most: int) -> list[str]:
    """Break a text into at most so many lines of a width in pixels; what is left out leaves an ellipsis."""
    font, lines, line = _font(size), list[str](), ""
    for word in _plain(text[:500]).split():
        longer = f"{line} {word}".strip()
        if line and font.getlength(longer) > width:
            lines.append(line)
            longer = word
        while len(longer) > 1 and font.getlength(longer) > width:
            fits = next(n for n in range(1, len(longer)) if font.getlength(longer[: n + 1]) > width)
            lines.append(longer[:fits])
            longer = longer[fits:]
        line = longer
    lines = [*lines, line] if line else lines
    if len(lines) <= most:
        return lines
    last = lines[most - 1]
    while last and font.getlength(last + "…") > width:
        last = last[:-1]
    return [*lines[: most - 1], last.rstrip(" ,;:") + "…"]


def _plain(text: str) -> str:
    """Return the text without what the built-in font has no letters for: accents and controls."""
    apart = unicodedata.normalize("NFKD", text.translate(FOLDED))
    return "".join(
        " " if c.isspace() else c for c in apart if unicodedata.category(c)[0] not in "MC" or c.isspace()
    )


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font


def _write(sheet: Image.Image, out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    beside = out.with_name(f".{out.name}.{os.getpid()}")
    with beside.open("wb") as file:
        sheet.save(file, "PNG", optimize=True)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(out)
