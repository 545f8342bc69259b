"""Shops on the ground floor: a sign, a striped awning, and what stands in the window and before the door."""

from collections.abc import Callable
from random import Random
from typing import Literal

from studies.demo.drawn.canvas import Box, Canvas, Colour, clear, mix, rgb
from studies.demo.drawn.facades import LAMP
from studies.demo.drawn.sky import WHITE, Light

Trade = Literal["bakery", "bookshop", "florist", "café"]

SIGNS: dict[Trade, str] = {"bakery": "BAKERY", "bookshop": "BOOKS", "florist": "FLOWERS", "café": "CAFE"}
BRIGHT = ("#e8453c", "#f6b93b", "#f78fb3", "#7d5fd3", "#ffffff", "#38a3d1", "#f08a4b")


def _loaves(canvas: Canvas, rng: Random, box: Box, light: Light) -> None:
    left, top, right, bottom = box
    for shelf in (0.5, 1):
        y = top + (bottom - top) * shelf
        canvas.rect((left, y - 1.5, right, y), light.on("#7a4f2c"))
        for i in range(5):
            x = left + (right - left) * (i + 0.5) / 5
            crust = light.on(rng.choice(("#d99a4e", "#c47f38", "#e8b872")))
            canvas.ball((x, y - 4.6), 5, crust, 0.62)
            for cut in (-2, 0, 2):
                canvas.line([(x + cut, y - 6.6), (x + cut + 0.8, y - 4)], clear(rgb("#fbe3b4"), 0.9), 0.6)


def _books(canvas: Canvas, rng: Random, box: Box, light: Light) -> None:
    left, top, right, bottom = box
    for shelf in (0.5, 1):
        y = top + (bottom - top) * shelf
        canvas.rect((left, y - 1.5, right, y), light.on("#5a3a26"))
        x = left + 1
        while x < right - 3:
            wide = rng.uniform(2, 3.6)
            spine = light.on(
                rng.choice(("#b23a3a", "#2f5d8a", "#e0b04a", "#3f7a5a", "#6b4a7a", "#ece3cf", "#22303c"))
            )
            canvas.rect((x, y - 1.5 - rng.uniform(7, 10.5), x + wide, y - 1.5), spine)
            x += wide + 0.3


def _flowers(canvas: Canvas, rng: Random, box: Box, light: Light) -> None:
    left, _, right, bottom = box
    for row, y in enumerate((bottom - 2, bottom + 10)):
        for i in range(6):
            x = left + (right - left) * (i + 0.5 + 0.2 * row) / 6
            petal = mix(light.on(rng.choice(BRIGHT)), WHITE, 0.05)
            canvas.polygon([(x - 4, y - 7), (x + 4, y - 7), (x + 3, y), (x - 3, y)], light.on("#8fa0a8"))
            canvas.disc((x, y - 10), 5, light.on("#3f7a46"))
            for _ in range(8):
                canvas.disc((x + rng.uniform(-4.5, 4.5), y - 11 + rng.uniform(-4, 3)), 1.7, petal)


def _tables(canvas: Canvas, rng: Random, box: Box, light: Light) -> None:
    left, _, right, bottom = box
    for part in (0.2, 0.72):
        x, y = left + (right - left) * part + rng.uniform(-2, 2), bottom + 10
        for side in (-1, 1):
            canvas.line(
                [(x + side * 12, y - 15), (x + side * 10, y - 7), (x + side * 11, y)],
                light.on("#2d2a2c"),
                1.2,
            )
            canvas.line(
                [(x + side * 10, y - 7), (x + side * 6, y - 7), (x + side * 6, y)], light.on("#2d2a2c"), 1.2
            )
        canvas.rect((x - 0.7, y - 10, x + 0.7, y), light.on("#2d2a2c"))
        canvas.disc((x, y - 10), 7, light.on("#f4eee2"), 0.22)
        for cup in (-3, 2.5):
            canvas.rect(
                (x + cup - 1.4, y - 13.4, x + cup + 1.4, y - 10.4),
                WHITE if not light.is_dark else rgb("#e8e4da"),
                0.6,
            )


GOODS: dict[Trade, Callable[[Canvas, Random, Box, Light], None]] = {
    "bakery": _loaves,
    "bookshop": _books,
    "florist": _flowers,
    "café": _tables,
}


def paint_shop(canvas: Canvas, rng: Random, box: Box, trade: Trade, light: Light) -> None:
    """Paint the shop's front in a box, without its awning."""
    left, top, right, bottom = box
    wood, door = light.on("#35474b"), right - 20
    glass = LAMP if light.is_dark else mix(light.on("#b4ced4"), WHITE, 0.15)
    warm = mix(glass, rgb("#c98a4a"), 0.35)
    canvas.rect(box, wood)
    if light.is_dark:
        canvas.glow(((left + right) / 2, bottom - 10), 74, LAMP, 0.55)
    window = (left + 4, top + 17, door - 4, bottom - 6)
    canvas.fade([window[:2], (window[2], window[1]), window[2:], (window[0], window[3])], [glass, warm])
    canvas.rect((door, top + 17, right - 4, bottom), light.on("#22302f"))
    canvas.rect((door + 2.5, top + 20, right - 6.5, bottom - 10), glass)
    lit = light if not light.is_dark else _by_lamp(light)
    GOODS[trade](canvas, rng, (window[0], window[1] + 10, window[2], window[3]), lit)
    canvas.letter(((left + right) / 2, top + 6), SIGNS[trade], 11, rgb("#fff0cc"))


def _by_lamp(light: Light) -> Light:
    """Return the light that lamps shed at night."""
    return Light(light.sky, light.sun, light.sun_height, rgb("#f2d2a0"), light.haze, lit=1)


def paint_awning(canvas: Canvas, box: Box, colour: Colour, light: Light) -> None:
    """Paint a striped awning that hangs over the top of a box."""
    left, top, right, bottom = box
    bright = mix(light.on(colour), colour, 0.6)
    pale = mix(light.on("#fffaf0"), WHITE, 0.3)
    stripes = 9
    low, high = (right - left) / stripes, (right - left - 8) / stripes
    for i in range(stripes):
        tone = bright if i % 2 == 0 else pale
        x, up = left + low * i, left + 4 + high * i
        canvas.polygon([(up, top), (up + high, top), (x + low, bottom), (x, bottom)], tone)
        canvas.disc((x + low / 2, bottom), low / 2, mix(tone, (0, 0, 0), 0.12), 0.9)
        canvas.rect((x, bottom - 1, x + low, bottom), mix(tone, (0, 0, 0), 0.12))
