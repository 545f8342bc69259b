"""The land: ridges, mountains, trees, dunes, water."""

import math
from collections.abc import Sequence
from random import Random

from studies.demo.drawn.canvas import SIDE, Canvas, Colour, Point, between, clear, mix, rgb
from studies.demo.drawn.sky import WHITE, Light

Ridge = list[Point]
"""A skyline: its points stand `STEP` pixels apart."""
STEP = 4


def ridge(rng: Random, height: float, swing: float, waves: float = 1.5) -> Ridge:
    """Return a rolling skyline from the left edge to the right.

    Args:
        height: its mean, in pixels below the top.
        swing: pixels it rises and falls.
        waves: about how many hills it has.
    """
    parts = [(waves * 2**i, swing / 2.1**i, rng.uniform(0, 2 * math.pi)) for i in range(3)]
    xs = range(-STEP, SIDE + 2 * STEP + 1, STEP)
    return [(x, height - sum(a * math.sin(2 * math.pi * f * x / SIDE + p) for f, a, p in parts)) for x in xs]


def below(line: Sequence[Point], bottom: float = SIDE) -> list[Point]:
    """Return the polygon between a skyline and `bottom`."""
    return [*line, (line[-1][0], bottom), (line[0][0], bottom)]


def height_at(line: Sequence[Point], x: float) -> float:
    """Return how far below the top a ridge stands at `x`."""
    return line[min(max(round((x - line[0][0]) / STEP), 0), len(line) - 1)][1]


def _jagged(rng: Random, a: Point, b: Point, rough: float) -> list[Point]:
    inner = [between(a, b, t / 6) for t in range(1, 6)]
    return [a, *((x + rng.uniform(-rough, rough), y + rng.uniform(-rough, rough) * 0.6) for x, y in inner), b]


def paint_mountain(canvas: Canvas, rng: Random, peak: Point, base: float, tones: tuple[Colour, ...]) -> None:
    """Paint one mountain, bright on its left side, with snow on its top.

    Args:
        tones: rock in light, rock in shade, snow in light, snow in shade, haze at the foot.
    """
    high = base - peak[1]
    rough = high * 0.045
    left = _jagged(rng, peak, (peak[0] - high * rng.uniform(0.95, 1.25), base), rough)
    right = _jagged(rng, peak, (peak[0] + high * rng.uniform(0.95, 1.25), base), rough)
    spine = _jagged(rng, peak, (peak[0] + high * rng.uniform(-0.1, 0.25), base), rough * 2.4)
    canvas.fade([*left, *reversed(spine)], [tones[0], tones[0], tones[4]])
    canvas.fade([*spine, *reversed(right)], [tones[1], tones[1], tones[4]])
    for edge, tone in ((left, tones[2]), (right, tones[3])):
        down = [between(edge[2], spine[2], t / 6) for t in range(1, 6)]
        teeth = [(x, y + (high * 0.09 if i % 2 else -high * 0.03)) for i, (x, y) in enumerate(down)]
        canvas.polygon([*edge[:3], *teeth, *reversed(spine[:3])], tone)


def paint_range(canvas: Canvas, rng: Random, light: Light, base: float, distance: float) -> None:
    """Paint a row of mountains, those at the back first."""
    rock, snow = ("#8b8fa6", "#f7f9ff")
    tones = (
        light.on(rock, distance),
        light.on("#585f80", distance * 0.9),
        light.on(snow, distance * 0.5),
        light.on("#aebbd8", distance * 0.7),
        mix(light.on(rock, distance), light.haze, 0.75),
    )
    peaks = [(x + rng.uniform(-16, 16), base - rng.uniform(52, 104)) for x in range(-10, 290, 62)]
    for peak in sorted(peaks, key=lambda point: point[1]):
        paint_mountain(canvas, rng, peak, base, tones)


def paint_pine(canvas: Canvas, foot: Point, height: float, colour: Colour, is_snowy: bool) -> None:
    """Paint a fir of four tiers, its right side in shade."""
    x, y = foot
    canvas.rect(
        (x - height * 0.03, y - height * 0.16, x + height * 0.03, y + 1), mix(colour, rgb("#2a1a12"), 0.7)
    )
    for tier in range(4):
        top, low = y - height * (0.46 + 0.18 * tier), y - height * (0.1 + 0.18 * tier)
        half = height * (0.27 - 0.055 * tier)
        canvas.polygon([(x, top), (x - half, low), (x + half, low)], colour)
        canvas.polygon([(x, top), (x + half * 0.1, low), (x + half, low)], mix(colour, (0, 0, 0), 0.25))
        if is_snowy:
            edge = [(x - half * 0.62, low - height * 0.1), (x - half * 0.1, low - height * 0.15)]
            canvas.polygon([(x, top), *edge, (x + half * 0.45, low - height * 0.14)], clear(WHITE, 0.85))


def paint_tree(canvas: Canvas, rng: Random, foot: Point, height: float, colour: Colour) -> None:
    """Paint a round leafy tree."""
    x, y = foot
    trunk = mix(colour, rgb("#3a2418"), 0.75)
    canvas.polygon(
        [
            (x - height * 0.05, y),
            (x - 0.6, y - height * 0.6),
            (x + 0.6, y - height * 0.6),
            (x + height * 0.05, y),
        ],
        trunk,
    )
    crown = ((-0.2, 0.52, 0.17), (0.2, 0.52, 0.17), (0, 0.6, 0.25), (-0.12, 0.74, 0.19), (0.13, 0.76, 0.19))
    for shade, size, lift in ((0.3, 1.0, 0.0), (0.0, 0.84, 0.05), (0.24, 0.45, 0.11)):
        tone = mix(colour, WHITE if lift > 0.1 else (0, 0, 0), shade)
        for dx, dy, r in crown:
            wobble = rng.uniform(0.85, 1.15)
            canvas.disc(
                (x + (dx - lift * 0.7) * height, y - (dy + lift) * height), r * size * height * wobble, tone
            )


def paint_cactus(canvas: Canvas, foot: Point, height: float, colour: Colour) -> None:
    """Paint a saguaro with two arms."""
    x, y = foot
    w = height * 0.085
    dark = mix(colour, (0, 0, 0), 0.25)
    for side, reach, low, high in ((-1, 0.24, 0.42, 0.72), (1, 0.22, 0.34, 0.6)):
        path = [
            (x, y - height * low),
            (x + side * height * reach, y - height * low),
            (x + side * height * reach, y - height * high),
        ]
        canvas.line(path, colour if side < 0 else dark, w * 1.5)
        for at in path[1:]:
            canvas.disc(at, w * 0.75, colour if side < 0 else dark)
    canvas.rect((x - w, y - height, x + w, y + 1), colour, w)
    canvas.rect((x + w * 0.2, y - height * 0.96, x + w, y + 1), clear(dark, 0.8), w * 0.4)


def paint_dune(canvas: Canvas, crest: Sequence[Point], tones: tuple[Colour, Colour, Colour]) -> None:
    """Paint a dune, bright on its windward side, with a shaded slip face to the right of each summit.

    Args:
        tones: sand in light, sand at the foot, sand in shade.
    """
    canvas.fade(below(crest), tones[:2])
    for i in range(2, len(crest) - 2):
        is_summit = crest[i][1] <= min(crest[i - 1][1], crest[i + 1][1], crest[i - 2][1], crest[i + 2][1])
        if is_summit:
            run = [point for point in crest[i:] if point[0] < crest[i][0] + 70]
            x, y = crest[i]
            curve = [
                (x + 46 * t + 16 * math.sin(math.pi * t), y + 58 * t**1.4) for t in (1, 0.8, 0.6, 0.4, 0.2)
            ]
            canvas.fade([*run, *curve], [tones[2], mix(tones[2], tones[1], 0.6)])


def paint_water(
    canvas: Canvas, rng: Random, light: Light, band: tuple[float, float], sun_x: float | None
) -> None:
    """Paint open water between two heights, with ripples and the sun's path where `sun_x` is given."""
    top, bottom = band
    deep = mix(light.on("#1c6a9c"), light.sky[0], 0.35)
    far = mix(light.sky[-1], light.on("#3f9cc0"), 0.45)
    canvas.fade([(0, top), (SIDE, top), (SIDE, bottom), (0, bottom)], [far, mix(far, deep, 0.6), deep])
    paint_ripples(canvas, rng, light, band)
    if sun_x is None:
        return
    for _ in range(90):
        t = rng.random()
        y = top + (bottom - top) * t
        x = sun_x + rng.gauss(0, 3 + 15 * t)
        half = rng.uniform(1.5, 3 + 8 * t)
        canvas.disc((x, y), half, clear(light.sun, rng.uniform(0.35, 0.8)), 0.16)


def paint_ripples(canvas: Canvas, rng: Random, light: Light, band: tuple[float, float]) -> None:
    """Streak a water surface with light and dark, larger towards the viewer."""
    top, bottom = band
    for _ in range(70):
        t = rng.random() ** 0.8
        at = (rng.uniform(0, SIDE), top + (bottom - top) * t)
        tone = mix(light.sky[-1], WHITE, 0.3) if rng.random() < 0.6 else light.sky[0]
        canvas.disc(at, rng.uniform(4, 8 + 16 * t), clear(tone, rng.uniform(0.08, 0.3)), 0.07)
