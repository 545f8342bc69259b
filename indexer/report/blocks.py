"""What the sections of a report are made of: titles, notes, legends and the names that recur in them."""

from collections.abc import Sequence
from html import escape

from engine.types import MergeName, Modality
from indexer.report import theme

TASK_KNOWLEDGE: dict[MergeName | None, str] = {
    None: "task known",
    "raw": "unknown, by cosine",
    "routed": "unknown, by probability",
}
"""What a result says about the task of a query, by its merge."""


def section(title: str, note: str, blocks: Sequence[tuple[str, str]], *, style: str = "") -> str:
    """Return a section: a title, a line of text, and blocks of HTML, titled where there are several.

    Args:
        style: the CSS class of what holds the blocks; `row wide` sets them side by side where there is room.
    """
    several = len(blocks) > 1
    body = "".join(
        f"<div>{f'<h3>{name}</h3>' if several and name else ''}{block}</div>\n" for name, block in blocks
    )
    attribute = f' class="{style}"' if style else ""
    return f'<h2>{title}</h2>\n<p class="note">{note}</p>\n<div{attribute}>{body}</div>\n'


def folded(blocks: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return one block: the first, and the others behind a line to click on."""
    rest = "".join(f"<details><summary>{name}</summary>{block}</details>" for name, block in blocks[1:])
    return [(name, f"<h3>{name}</h3>{block}{rest}" if rest else block) for name, block in blocks[:1]]


def row(figures: Sequence[tuple[str, str]]) -> str:
    """Return captioned figures of HTML side by side, as many as there is room for."""
    cells = "".join(f"<div><h4>{caption}</h4>{figure}</div>" for caption, figure in figures)
    return f'<div class="row">{cells}</div>'


def legend(names: Sequence[str], marks: Sequence[str] = ()) -> str:
    """Return what the colours stand for, by the names (HTML) in their order, and what marks mean."""
    colours = "".join(
        f'<li><i style="background:{theme.variable(n)}"></i>{name}</li>' for n, name in enumerate(names)
    )
    return f'<ul class="legend">{colours}{"".join(f"<li>{mark}</li>" for mark in marks)}</ul>'


def direction_title(query: Modality, target: Modality) -> str:
    """Return a direction's name as HTML: Text to image."""
    name = f"{query} to {target}"
    return escape(name[0].upper() + name[1:])


def plural(count: int, noun: str) -> str:
    """Return a count and its noun."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
