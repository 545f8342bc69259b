"""What stands on a table: vases, and the small things beside them."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Literal

from studies.demo.drawn.canvas import Canvas, Colour, Point, clear, mix, rgb

Vessel = Literal["round vase", "bottle", "jug", "pot"]
Company = Literal["lemons", "pears", "cup", "candle", "books"]

WHITE, BLACK = rgb("#ffffff"), rgb("#000000")


def _turned(canvas: Canvas, foot: Point, profile: list[Point], colour: Colour) -> None:
    """Paint a body turned on a wheel, lit from the left.

    Args:
        profile: half widths at heights above the foot, in pixels, from the foot up.
    """
    x, y = foot
    steps = 14
    for i in range(steps):
        a, b = math.cos(math.pi * i / steps), math.cos(math.pi * (i + 1) / steps)
        shade = 0.62 + 0.5 * math.sin(math.pi * (i + 0.5) / steps + 0.55) if i > 2 else 0.9 + 0.08 * i
        tone = mix(BLACK, colour, min(shade, 1)) if shade < 1 else mix(colour, WHITE, (shade - 1) * 1.6)
        strip = [(x - w * a, y - h) for w, h in profile] + [(x - w * b, y - h) for w, h in reversed(profile)]
        canvas.polygon(strip, tone)
    wide, high = profile[-1]
    canvas.disc((x, y - high), wide, mix(colour, BLACK, 0.55), 0.22)


def _smooth(knots: list[Point]) -> list[Point]:
    """Return a rounder profile through the knots (half width, height)."""
    for _ in range(2):
        cut = [knots[0]]
        for a, b in pairwise(knots):
            cut += [
                (a[0] * 0.75 + b[0] * 0.25, a[1] * 0.75 + b[1] * 0.25),
                (a[0] * 0.25 + b[0] * 0.75, a[1] * 0.25 + b[1] * 0.75),
            ]
        knots = [*cut, knots[-1]]
    return knots


def _shine(canvas: Canvas, at: Point, size: float) -> None:
    canvas.disc(at, size, clear(WHITE, 0.4), 2.4)


def _round(canvas: Canvas, foot: Point, colour: Colour) -> None:
    _turned(
        canvas, foot, _smooth([(15, 0), (26, 8), (33, 24), (28, 40), (13, 50), (11, 58), (15, 64)]), colour
    )
    _shine(canvas, (foot[0] - 17, foot[1] - 29), 3)


def _bottle(canvas: Canvas, foot: Point, colour: Colour) -> None:
    _turned(canvas, foot, _smooth([(17, 0), (20, 4), (21, 34), (18, 46), (8, 56), (7, 76), (9, 82)]), colour)
    _shine(canvas, (foot[0] - 11, foot[1] - 26), 2.2)


def _jug(canvas: Canvas, foot: Point, colour: Colour) -> None:
    x, y = foot
    dark = mix(colour, BLACK, 0.25)
    loop = [(x + 20 + 20 * math.sin(t / 8 * math.pi), y - 58 + 40 * t / 8) for t in range(9)]
    canvas.line(loop, dark, 5)
    _turned(
        canvas, foot, _smooth([(17, 0), (25, 6), (27, 22), (22, 42), (15, 54), (17, 68), (20, 72)]), colour
    )
    canvas.polygon([(x - 19, y - 73), (x - 30, y - 77), (x - 17, y - 60)], mix(colour, WHITE, 0.1))
    _shine(canvas, (x - 14, y - 24), 2.6)


def _pot(canvas: Canvas, foot: Point, colour: Colour) -> None:
    _turned(canvas, foot, [(19, 0), (28, 44)], colour)
    _turned(canvas, (foot[0], foot[1] - 42), [(31, 0), (32, 14)], colour)
    x, y = foot
    canvas.polygon(
        [(x - 28, y - 42), (x + 28, y - 42), (x + 27, y - 38), (x - 27, y - 38)], clear(BLACK, 0.25)
    )


VESSELS: dict[Vessel, Callable[[Canvas, Point, Colour], None]] = {
    "round vase": _round,
    "bottle": _bottle,
    "jug": _jug,
    "pot": _pot,
}
MOUTH: dict[Vessel, tuple[float, float]] = {
    "round vase": (64, 11), "bottle": (82, 5), "jug": (72, 14), "pot": (56, 26),
}  # fmt: skip
"""How high above the foot a vessel opens, and half how wide, in pixels."""


def _lemons(canvas: Canvas, foot: Point) -> None:
    for dx, dy in ((-13, -6), (11, -3)):
        x, y = foot[0] + dx, foot[1] + dy - 8
        for side in (-1, 1):
            canvas.disc((x + side * 13.5, y), 3.4, rgb("#e0b21c"), 0.8)
        canvas.ball((x, y), 13.5, rgb("#ffdc3c"), 0.8)
        canvas.disc((x - 5, y - 5), 2.6, clear(WHITE, 0.55), 0.6)


def _pears(canvas: Canvas, foot: Point) -> None:
    for dx, dy, tone in ((-11, -4, "#a9b83f"), (13, 0, "#c2c24a")):
        x, y = foot[0] + dx, foot[1] + dy - 12
        canvas.line([(x + 1, y - 20), (x + 4, y - 29)], rgb("#5a3a20"), 1.8)
        canvas.ball((x + 0.5, y - 14), 7.6, rgb(tone), 1.2)
        canvas.ball((x, y), 13, rgb(tone), 0.95)
        canvas.disc((x + 6, y + 3), 5, clear(rgb("#d8683a"), 0.3))
        canvas.disc((x - 5, y - 5), 2.4, clear(WHITE, 0.45), 1.4)


def _cup(canvas: Canvas, foot: Point) -> None:
    x, y = foot
    canvas.disc((x, y - 1), 26, rgb("#d9dde2"), 0.24)
    canvas.disc((x, y - 2.5), 25, rgb("#f5f4f0"), 0.22)
    canvas.line([(x + 15, y - 22), (x + 25, y - 21), (x + 23, y - 11), (x + 12, y - 8)], rgb("#dcdcd8"), 3.2)
    _turned(canvas, (x, y - 2), _smooth([(8, 0), (14, 6), (17, 24)]), rgb("#f5f4f0"))
    canvas.disc((x, y - 26), 15.4, rgb("#4a2a18"), 0.22)
    for dx in (-5, 4):
        steam = [(x + dx + 2.4 * math.sin(t * 0.9 + dx), y - 31 - 3 * t) for t in range(8)]
        canvas.line(steam, clear(WHITE, 0.4), 1.6)


def _candle(canvas: Canvas, foot: Point) -> None:
    x, y = foot
    canvas.disc((x, y - 2), 20, rgb("#8a6a2e"), 0.24)
    canvas.disc((x, y - 3.5), 19, rgb("#c9a24a"), 0.22)
    _turned(canvas, (x, y - 3), [(8, 0), (8, 50)], rgb("#f4ecd8"))
    canvas.glow((x, y - 63), 58, rgb("#ffcf6a"), 0.8)
    canvas.line([(x, y - 53), (x, y - 58)], rgb("#3a2a20"), 1)
    canvas.polygon([(x, y - 74), (x + 4.4, y - 62), (x, y - 56), (x - 4.4, y - 62)], rgb("#ffb02e"))
    canvas.polygon([(x, y - 68), (x + 2.2, y - 61), (x, y - 57), (x - 2.2, y - 61)], rgb("#fff6d0"))


def _books(canvas: Canvas, foot: Point) -> None:
    x, y = foot
    for i, (cover, dx, wide) in enumerate((("#7a3b46", 0, 31), ("#2f5a62", 3, 28), ("#c8943c", -3, 29))):
        low = y - 12 * i
        canvas.rect((x + dx - wide, low - 11, x + dx + wide, low), rgb(cover), 1.5)
        canvas.rect((x + dx - wide + 4, low - 9, x + dx + wide + 1, low - 2), rgb("#f0e8d4"))
        for line in (-7, -5, -3.5):
            canvas.rect(
                (x + dx - wide + 4, low + line, x + dx + wide + 1, low + line + 0.5),
                clear(rgb("#a89878"), 0.7),
            )
        canvas.rect((x + dx - wide, low - 11, x + dx - wide + 6, low), mix(rgb(cover), BLACK, 0.15), 1.5)


COMPANIES: dict[Company, Callable[[Canvas, Point], None]] = {
    "lemons": _lemons,
    "pears": _pears,
    "cup": _cup,
    "candle": _candle,
    "books": _books,
}
