"""House fronts: one painter per kind of building."""

from collections.abc import Callable
from random import Random
from typing import Literal

from studies.demo.drawn.canvas import Box, Canvas, clear, mix, rgb
from studies.demo.drawn.sky import WHITE, Light

Front = Literal["brick", "gabled", "glass"]

LAMP = rgb("#ffd680")


def _panes(canvas: Canvas, rng: Random, box: Box, light: Light) -> None:
    """Paint one window with its frame; after sunset many are lit."""
    left, top, right, bottom = box
    is_lit = rng.random() < light.lit
    glass = mix(LAMP, rgb("#ff9f4a"), rng.uniform(0, 0.5)) if is_lit else light.on("#5d7c98")
    canvas.rect((left - 1, top - 1, right + 1, bottom + 1.6), light.on("#f1ebe0"))
    canvas.rect(box, glass)
    if not is_lit:
        canvas.polygon(
            [(left, bottom), (left, (top + bottom) / 2), (right, top), (right, (top + bottom) / 2)],
            clear(light.sky[-1], 0.3),
        )
    middle = (left + right) / 2
    canvas.rect((middle - 0.4, top, middle + 0.4, bottom), light.on("#f1ebe0"))
    canvas.rect(
        (left, (top * 2 + bottom) / 3 - 0.4, right, (top * 2 + bottom) / 3 + 0.4), light.on("#f1ebe0")
    )


def _rows(canvas: Canvas, rng: Random, box: Box, light: Light) -> None:
    """Fill a wall with windows."""
    left, top, right, bottom = box
    columns, floors = max(2, round((right - left) / 19)), max(1, round((bottom - top) / 27))
    wide, high = (right - left) / columns, (bottom - top) / floors
    for row in range(floors):
        for column in range(columns):
            x, y = left + wide * (column + 0.5), top + high * (row + 0.5)
            _panes(canvas, rng, (x - 4.2, y - 7, x + 4.2, y + 7), light)


def _brick(canvas: Canvas, rng: Random, box: Box, light: Light) -> None:
    left, top, right, bottom = box
    wall = light.on(rng.choice(("#a8523f", "#96483a", "#b4614a", "#8d4a40")))
    canvas.fade(
        [(left, top), (right, top), (right, bottom), (left, bottom)], [wall, mix(wall, (0, 0, 0), 0.18)]
    )
    for y in range(round(top) + 3, round(bottom), 4):
        canvas.rect((left, y, right, y + 0.5), clear(WHITE, 0.13))
    for x in (left + 10, right - 18):
        canvas.rect((x, top - 12, x + 8, top), mix(wall, (0, 0, 0), 0.3))
    canvas.rect((left - 1, top - 3, right + 1, top + 3), light.on("#e6d9c6"))
    _rows(canvas, rng, (left + 3, top + 5, right - 3, bottom), light)


def _gabled(canvas: Canvas, rng: Random, box: Box, light: Light) -> None:
    left, top, right, bottom = box
    wall = light.on(rng.choice(("#f0c9a8", "#e9dcae", "#bcd6c8", "#c3cfe6", "#efc2c2")))
    middle, eave = (left + right) / 2, top + 20
    canvas.rect((left, eave, right, bottom), wall)
    steps = [
        (left, eave),
        (left, eave - 6),
        (left + 8, eave - 6),
        (left + 8, eave - 14),
        (left + 16, eave - 14),
        (left + 16, eave - 24),
    ]
    mirrored = [(left + right - x, y) for x, y in reversed(steps)]
    canvas.polygon([*steps, (middle, eave - 34), *mirrored], wall)
    canvas.line([*steps, (middle, eave - 34), *mirrored], light.on("#fdf8ee"), 1.6)
    _panes(canvas, rng, (middle - 4, eave - 16, middle + 4, eave - 4), light)
    canvas.rect((left, eave, right, eave + 1.5), light.on("#fdf8ee"))
    canvas.rect((right - 2, eave, right, bottom), clear((0, 0, 0), 0.12))
    _rows(canvas, rng, (left + 3, eave + 2, right - 3, bottom), light)


def _glass(canvas: Canvas, rng: Random, box: Box, light: Light) -> None:
    left, top, right, bottom = box
    top = top - rng.uniform(14, 66)
    body = light.on(rng.choice(("#7fa6bf", "#6f97b4", "#8fb3bf")))
    canvas.fade(
        [(left, top), (right, top), (right, bottom), (left, bottom)],
        [mix(body, light.sky[i], 0.55) for i in (0, 1, 2, 3)],
    )
    wide = (right - left) / 7
    for row in range(round((bottom - top) / 8)):
        for column in range(7):
            is_lit = rng.random() < light.lit * 0.6
            x, y = left + wide * column, top + 8 * row
            if is_lit or rng.random() < 0.3:
                tone = clear(LAMP, rng.uniform(0.6, 1)) if is_lit else clear(WHITE, rng.uniform(0.04, 0.2))
                canvas.rect((x + 0.5, y + 1.5, x + wide - 0.5, min(y + 7.5, bottom)), tone)
    for column in range(8):
        canvas.rect(
            (left + wide * column - 0.4, top, left + wide * column + 0.4, bottom), clear((15, 30, 50), 0.45)
        )
    for y in range(round(top), round(bottom), 8):
        canvas.rect((left, y, right, y + 1), clear((15, 30, 50), 0.4))
    canvas.rect((right - 6, top, right, bottom), clear((0, 0, 0), 0.14))


FRONTS: dict[Front, Callable[[Canvas, Random, Box, Light], None]] = {
    "brick": _brick,
    "gabled": _gabled,
    "glass": _glass,
}
