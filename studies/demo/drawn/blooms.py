"""Cut flowers: one painter per kind, its head at a point, facing the viewer."""

import math
from collections.abc import Callable
from random import Random
from typing import Literal

from studies.demo.drawn.canvas import Canvas, Colour, Point, clear, mix, rgb

Kind = Literal["tulip", "daisy", "rose", "poppy", "sunflower", "iris"]

WHITE, BLACK = rgb("#ffffff"), rgb("#000000")


def _petals(canvas: Canvas, at: Point, span: tuple[float, float], count: int, colour: Colour) -> None:
    """Paint a ring of pointed petals between two radii."""
    inner, outer = span
    wide = math.pi / count * 1.15
    for i in range(count):
        a = 2 * math.pi * i / count + 0.2
        reach = outer * (1.0 if i % 2 else 0.93)
        shape = [
            (inner, a - wide * 0.5),
            (reach * 0.7, a - wide),
            (reach * 0.95, a - wide * 0.35),
            (reach, a),
            (reach * 0.95, a + wide * 0.35),
            (reach * 0.7, a + wide),
            (inner, a + wide * 0.5),
        ]
        points = [(at[0] + r * math.cos(t), at[1] + r * math.sin(t)) for r, t in shape]
        canvas.polygon(
            points,
            mix(colour, BLACK, 0.1 * (i % 2) + 0.06 * math.sin(a)) if math.sin(a) > 0 or i % 2 else colour,
        )
        canvas.line([points[0], points[3]], clear(mix(colour, BLACK, 0.35), 0.35), 0.5)


def _daisy(canvas: Canvas, rng: Random, at: Point, colour: Colour) -> None:
    _petals(canvas, at, (3, 17), 15, mix(colour, BLACK, 0.08))
    _petals(canvas, at, (3, 14), 13, mix(colour, WHITE, 0.18))
    canvas.ball(at, 5.6, rgb("#f2b01e"))
    for _ in range(14):
        canvas.disc((at[0] + rng.uniform(-3.5, 3.5), at[1] + rng.uniform(-3.5, 3.5)), 0.6, rgb("#b8740f"))


def _sunflower(canvas: Canvas, rng: Random, at: Point, colour: Colour) -> None:
    _petals(canvas, at, (8, 23), 17, mix(colour, rgb("#b5530a"), 0.35))
    _petals(canvas, at, (8, 20), 15, colour)
    canvas.ball(at, 10.5, rgb("#5a3216"))
    for i in range(60):
        a, r = i * 2.39996, 1.28 * math.sqrt(i)
        tone = rgb("#2e170a") if r < 6 else rgb("#8a5420")
        canvas.disc((at[0] + r * math.cos(a), at[1] + r * math.sin(a)), 0.7, tone)


def _tulip(canvas: Canvas, rng: Random, at: Point, colour: Colour) -> None:
    x, y = at
    dark, pale = mix(colour, BLACK, 0.24), mix(colour, WHITE, 0.2)
    back = [(-11, -15), (-7, -4), (0, -19), (7, -4), (11, -15), (12, 3), (7, 12), (-7, 12), (-12, 3)]
    canvas.polygon([(x + dx, y + dy) for dx, dy in back], dark)
    for side in (-1, 1):
        leaf = [(12, -16), (4, -8), (0, 6), (3, 14), (9, 11), (13.5, 3), (14, -6)]
        canvas.polygon(
            [(x + side * dx, y + dy) for dx, dy in leaf], colour if side < 0 else mix(colour, BLACK, 0.1)
        )
    front = [(0, -13), (6, -4), (7.5, 5), (5, 12), (0, 15), (-5, 12), (-7.5, 5), (-6, -4)]
    canvas.fade([(x + dx, y + dy) for dx, dy in front], [pale, colour, dark])
    canvas.line([(x, y - 10), (x, y + 8)], clear(dark, 0.5), 0.6)


def _rose(canvas: Canvas, rng: Random, at: Point, colour: Colour) -> None:
    dark, pale = mix(colour, BLACK, 0.3), mix(colour, WHITE, 0.22)
    turn = rng.uniform(0, 6)
    for ring, (count, reach, size) in enumerate(((6, 9.5, 8.5), (5, 6.5, 7), (4, 3.8, 5.2), (3, 1.6, 3.4))):
        for i in range(count):
            a = turn + ring * 0.9 + 2 * math.pi * i / count
            spot = (at[0] + reach * math.cos(a), at[1] + reach * math.sin(a))
            canvas.disc((spot[0] + 0.7, spot[1] + 1.2), size, clear(dark, 0.65))
            canvas.disc(spot, size, mix(colour, pale, 0.5 + 0.5 * math.sin(a + 3.6)))
            canvas.disc((spot[0] + 0.5, spot[1] + 0.6), size * 0.82, mix(colour, dark, 0.16 * ring + 0.1))
    canvas.disc(at, 2, dark)


def _poppy(canvas: Canvas, rng: Random, at: Point, colour: Colour) -> None:
    x, y = at
    dark = mix(colour, BLACK, 0.22)
    for dx, dy, r, tone in (
        (0, -7, 12, dark),
        (-9, 1, 12, mix(colour, BLACK, 0.1)),
        (9, 1, 12, mix(colour, BLACK, 0.14)),
        (0, 8, 12.5, colour),
    ):
        canvas.disc((x + dx, y + dy), r, tone, 0.82)
        for i in range(5):
            a = math.atan2(dy, dx) + (i - 2) * 0.3
            canvas.line(
                [(x, y), (x + dx + r * 0.75 * math.cos(a), y + dy + r * 0.62 * math.sin(a))],
                clear(dark, 0.45),
                0.5,
            )
    canvas.disc((x, y + 1), 6, clear(rgb("#1d1420"), 0.85), 0.8)
    canvas.ball((x, y), 3.2, rgb("#a8b858"))
    for i in range(14):
        a = 2 * math.pi * i / 14
        canvas.disc((x + 6.3 * math.cos(a), y + 1 + 5.2 * math.sin(a)), 0.8, rgb("#1d1420"))


def _iris(canvas: Canvas, rng: Random, at: Point, colour: Colour) -> None:
    x, y = at
    dark, pale = mix(colour, BLACK, 0.25), mix(colour, WHITE, 0.28)
    for side in (-1, 1):
        up = [(0, 4), (3, -8), (5, -19), (10, -21), (12, -14), (8, -3)]
        canvas.polygon([(x + side * dx, y + dy) for dx, dy in up], pale if side < 0 else colour)
    canvas.polygon(
        [(x - 5, y + 2), (x - 7, y - 12), (x, y - 24), (x + 7, y - 12), (x + 5, y + 2)],
        mix(colour, WHITE, 0.12),
    )
    for side in (-1, 1):
        fall = [(0, 0), (8, -3), (17, 2), (19, 11), (13, 15), (7, 9)]
        canvas.polygon(
            [(x + side * dx, y + dy) for dx, dy in fall], dark if side > 0 else mix(dark, colour, 0.5)
        )
        canvas.line([(x, y + 1), (x + side * 12, y + 7)], rgb("#f4c430"), 1.8)
    canvas.polygon([(x - 5, y), (x + 5, y), (x + 8, y + 12), (x, y + 21), (x - 8, y + 12)], colour)
    canvas.line([(x, y + 1), (x, y + 12)], rgb("#f4c430"), 2.2)


BLOOMS: dict[Kind, Callable[[Canvas, Random, Point, Colour], None]] = {
    "tulip": _tulip,
    "daisy": _daisy,
    "rose": _rose,
    "poppy": _poppy,
    "sunflower": _sunflower,
    "iris": _iris,
}
