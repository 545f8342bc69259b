"""What people put into a landscape: one painter per landmark, its foot at a point."""

import math
from collections.abc import Callable
from typing import Literal

from studies.demo.drawn.canvas import Canvas, Colour, Point, clear, mix, rgb
from studies.demo.drawn.sky import Light

Landmark = Literal["cabin", "windmill", "lighthouse", "tent", "balloon", "sailboat"]

LAMP = rgb("#ffd46b")


def _window(canvas: Canvas, at: Point, size: float, light: Light) -> None:
    x, y = at
    if light.is_dark:
        canvas.glow((x, y), size * 4, LAMP, 0.55)
    canvas.rect((x - size, y - size, x + size, y + size), LAMP if light.is_dark else light.on("#33475e"))
    canvas.rect((x - 0.4, y - size, x + 0.4, y + size), light.on("#f4efe6"))
    canvas.rect((x - size, y - 0.4, x + size, y + 0.4), light.on("#f4efe6"))


def _cabin(canvas: Canvas, foot: Point, colour: Colour, light: Light) -> None:
    x, y = foot
    wall, dark = light.on(colour), light.on(mix(colour, (0, 0, 0), 0.3))
    roof = light.on("#4a3a3a")
    canvas.mist([((x, y), 34)], (0, 0, 0, 70), 3, 0.16)
    canvas.rect((x + 13, y - 50, x + 19, y - 30), light.on("#7a5a50"))
    canvas.rect((x - 30, y - 27, x - 4, y), dark)
    canvas.polygon([(x - 4, y), (x - 4, y - 27), (x + 12, y - 44), (x + 28, y - 27), (x + 28, y)], wall)
    for row in range(1, 7):
        canvas.rect((x - 30, y - row * 4, x + 28, y - row * 4 + 0.5), clear((0, 0, 0), 0.12))
    canvas.polygon([(x - 34, y - 26), (x - 20, y - 46), (x + 12, y - 46), (x - 3, y - 26)], roof)
    canvas.line([(x - 6, y - 25), (x + 12, y - 45), (x + 31, y - 25)], mix(roof, (255, 255, 255), 0.18), 3)
    canvas.rect((x + 14, y - 17, x + 22, y), light.on("#3d2a22"))
    _window(canvas, (x + 4, y - 15), 3.6, light)
    _window(canvas, (x - 17, y - 15), 3.6, light)


def _windmill(canvas: Canvas, foot: Point, colour: Colour, light: Light) -> None:
    x, y = foot
    wall, dark = light.on(colour), light.on(mix(colour, (0, 0, 0), 0.28))
    canvas.mist([((x, y), 24)], (0, 0, 0, 70), 3, 0.18)
    canvas.polygon([(x - 17, y), (x - 10, y - 56), (x + 10, y - 56), (x + 17, y)], wall)
    canvas.polygon([(x + 3, y), (x + 2, y - 56), (x + 10, y - 56), (x + 17, y)], dark)
    canvas.disc((x, y - 56), 11.5, light.on("#5a4440"), 0.85)
    canvas.rect((x - 15, y - 24, x + 15, y - 22), light.on("#5a4440"))
    canvas.rect((x - 5, y - 13, x + 4, y), light.on("#3d2a22"), 1)
    _window(canvas, (x - 1, y - 37), 3, light)
    hub = (x - 1, y - 57)
    for quarter in range(4):
        a = math.radians(32 + 90 * quarter)
        along, across = (math.cos(a), math.sin(a)), (-math.sin(a), math.cos(a))
        tip = (hub[0] + 40 * along[0], hub[1] + 40 * along[1])
        root = (hub[0] + 9 * along[0], hub[1] + 9 * along[1])
        cloth = [
            root,
            tip,
            (tip[0] + 8 * across[0], tip[1] + 8 * across[1]),
            (root[0] + 8 * across[0], root[1] + 8 * across[1]),
        ]
        canvas.polygon(cloth, clear(light.on("#f7efdd"), 0.92))
        canvas.line([hub, tip], light.on("#4a3a30"), 1.6)
    canvas.disc(hub, 2.6, light.on("#3a2c26"))


def _lighthouse(canvas: Canvas, foot: Point, colour: Colour, light: Light) -> None:
    x, y = foot
    wall = light.on(colour)
    other = light.on("#4a5a6c" if min(colour) > 200 else "#f6f2ea")
    canvas.mist([((x, y), 22)], (0, 0, 0, 70), 3, 0.18)
    for i in range(5):
        low, high = y - 14 * i, y - 14 * (i + 1)
        a, b = 13 - 1.1 * i, 13 - 1.1 * (i + 1)
        tone = wall if i % 2 == 0 else other
        canvas.polygon([(x - a, low), (x - b, high), (x + b, high), (x + a, low)], tone)
        canvas.polygon(
            [(x + a * 0.25, low), (x + b * 0.25, high), (x + b, high), (x + a, low)], clear((0, 0, 0), 0.2)
        )
    canvas.rect((x - 11, y - 73, x + 11, y - 70), light.on("#39424e"))
    if light.is_dark:
        for spread in (14, 24, 34):
            for far in (-260, 260):
                beam = [(x, y - 79), (x + far, y - 90 - spread), (x + far, y - 90 + spread)]
                canvas.polygon(beam, clear(LAMP, 0.09))
        canvas.glow((x, y - 79), 30, LAMP, 0.9)
    canvas.rect((x - 6, y - 85, x + 6, y - 73), LAMP if light.is_dark else light.on("#ffe9a8"))
    canvas.rect((x - 0.6, y - 85, x + 0.6, y - 73), light.on("#39424e"))
    canvas.polygon([(x - 9, y - 85), (x, y - 95), (x + 9, y - 85)], wall)
    canvas.rect((x - 4, y - 11, x + 3, y), light.on("#39424e"), 1)


def _tent(canvas: Canvas, foot: Point, colour: Colour, light: Light) -> None:
    x, y = foot
    canvas.mist([((x, y), 36)], (0, 0, 0, 80), 3, 0.16)
    if light.is_dark:
        canvas.glow((x, y - 14), 62, LAMP, 0.6)
    lit = mix(rgb("#ffe0a0"), colour, 0.72) if light.is_dark else light.on(colour)
    dark = mix(lit, (0, 0, 0), 0.3)
    canvas.line([(x - 44, y + 1), (x - 2, y - 41)], light.on("#d8d2c4"), 0.7)
    canvas.polygon([(x - 34, y), (x - 10, y - 38), (x + 4, y - 40), (x - 14, y)], dark)
    canvas.polygon([(x - 14, y), (x + 4, y - 40), (x + 34, y)], lit)
    canvas.polygon(
        [(x + 2, y), (x + 4, y - 30), (x + 18, y)], rgb("#ffedb8") if light.is_dark else light.on("#3b332e")
    )
    canvas.polygon([(x + 4, y - 30), (x + 18, y), (x + 25, y)], mix(lit, (255, 255, 255), 0.3))


def _balloon(canvas: Canvas, foot: Point, colour: Colour, light: Light) -> None:
    x, y = foot[0], min(foot[1] - 92, 92)
    tone = mix(light.on(colour), colour, 0.55)
    pale = rgb("#c3cbd8" if min(colour) > 200 else "#fff4dc")
    pale = mix(light.on(pale), pale, 0.5)
    if light.is_dark:
        canvas.glow((x, y + 10), 70, LAMP, 0.5)
    canvas.line([(x - 22, y + 16), (x - 5, y + 48)], light.on("#4a3a30"), 0.7)
    canvas.line([(x + 22, y + 16), (x + 5, y + 48)], light.on("#4a3a30"), 0.7)
    skirt = [(x - 26, y + 12), (x + 26, y + 12), (x + 7, y + 38), (x - 7, y + 38)]
    canvas.polygon(skirt, tone)
    canvas.disc((x, y - 4), 31, tone, 1.03)
    for width, gore in ((21, pale), (10.5, tone)):
        canvas.disc((x, y - 4), width, gore, 32 / width)
        canvas.polygon(
            [
                (x - width * 0.9, y + 11),
                (x + width * 0.9, y + 11),
                (x + width * 0.27, y + 38),
                (x - width * 0.27, y + 38),
            ],
            gore,
        )
    canvas.mist([((x + 16, y + 6), 17)], (20, 10, 30, 80), 6, 1.3)
    canvas.glow((x - 11, y - 16), 20, (255, 255, 255), 0.4)
    canvas.rect((x - 6, y + 47, x + 6, y + 56), light.on("#7a4f2c"), 1.5)


def _sailboat(canvas: Canvas, foot: Point, colour: Colour, light: Light) -> None:
    x, y = foot[0], foot[1] - 26
    sail = light.on(colour)
    for i in range(7):
        canvas.disc(
            (x + (3 if i % 2 else -3), y + 8 + 4.5 * i), 24 - 2.6 * i, clear(sail, 0.32 - 0.03 * i), 0.1
        )
    canvas.polygon([(x - 30, y - 5), (x + 30, y - 5), (x + 21, y + 7), (x - 22, y + 7)], light.on("#5b3a28"))
    canvas.rect((x - 30, y - 6, x + 31, y - 3.5), light.on("#f2e6d0"))
    canvas.rect((x - 1, y - 70, x + 0.6, y - 5), light.on("#4a3a30"))
    canvas.polygon([(x + 2, y - 68), (x + 31, y - 10), (x + 2, y - 10)], sail)
    canvas.polygon([(x - 3, y - 62), (x - 3, y - 10), (x - 24, y - 10)], mix(sail, (0, 0, 0), 0.2))


LANDMARKS: dict[Landmark, Callable[[Canvas, Point, Colour, Light], None]] = {
    "cabin": _cabin,
    "windmill": _windmill,
    "lighthouse": _lighthouse,
    "tent": _tent,
    "balloon": _balloon,
    "sailboat": _sailboat,
}
