"""What drives past: one painter per vehicle, heading right, its wheels on a line."""

from collections.abc import Callable
from typing import Literal

from studies.demo.drawn.canvas import SIDE, Canvas, Colour, Point, clear, mix, rgb
from studies.demo.drawn.facades import LAMP
from studies.demo.drawn.sky import WHITE, Light

Vehicle = Literal["car", "van", "bus", "tram"]


def _wheel(canvas: Canvas, at: Point, radius: float) -> None:
    canvas.disc(at, radius, rgb("#16181c"))
    canvas.disc(at, radius * 0.55, rgb("#b9c0c8"))
    canvas.disc(at, radius * 0.18, rgb("#4a5058"))


def _glass(light: Light) -> Colour:
    return rgb("#ffe3a0") if light.is_dark else light.on("#2e4458")


def _lamps(canvas: Canvas, front: Point, back: Point, light: Light) -> None:
    """Put a headlamp and a tail lamp on; in the dark they shine."""
    if light.is_dark:
        x, y = front
        canvas.polygon([(x, y - 1), (x + 90, y - 4), (x + 90, y + 16), (x, y + 2)], clear(LAMP, 0.2))
        canvas.glow(front, 20, rgb("#fff3c4"), 0.95)
        canvas.glow(back, 15, rgb("#ff4a3a"), 0.8)
    canvas.disc(front, 2.4, rgb("#fff6d8"))
    canvas.disc(back, 2.2, rgb("#d8281e"))


def _car(canvas: Canvas, at: Point, paint: Colour, light: Light) -> None:
    x, y = at
    dark = mix(paint, (0, 0, 0), 0.25)
    roof = [(x - 27, y - 20), (x - 18, y - 34), (x + 12, y - 34), (x + 25, y - 20)]
    canvas.polygon(roof, paint)
    for pane in (
        [(-23, -21), (-16, -31.5), (-4, -31.5), (-4, -21)],
        [(-1, -21), (-1, -31.5), (11, -31.5), (21, -21)],
    ):
        canvas.polygon([(x + dx, y + dy) for dx, dy in pane], _glass(light))
    canvas.rect((x - 42, y - 21, x + 42, y - 5), paint, 6)
    canvas.polygon([(x + 20, y - 21), (x + 38, y - 18), (x + 42, y - 12), (x + 20, y - 12)], paint)
    canvas.rect((x - 42, y - 11, x + 42, y - 5), dark, 3)
    canvas.rect((x - 36, y - 19.5, x + 30, y - 18.3), clear(WHITE, 0.4))
    canvas.line([(x - 3, y - 20), (x - 3, y - 7)], clear((0, 0, 0), 0.3), 0.6)
    canvas.rect((x - 8, y - 16, x - 4.5, y - 15), clear((0, 0, 0), 0.5))
    for dx in (-25, 25):
        canvas.disc((x + dx, y - 6), 10, mix(dark, (0, 0, 0), 0.5))
        _wheel(canvas, (x + dx, y - 5), 8)
    _lamps(canvas, (x + 40, y - 15), (x - 40, y - 15), light)


def _van(canvas: Canvas, at: Point, paint: Colour, light: Light) -> None:
    x, y = at
    dark = mix(paint, (0, 0, 0), 0.22)
    canvas.rect((x - 48, y - 50, x + 20, y - 6), paint, 3)
    canvas.polygon(
        [
            (x + 16, y - 48),
            (x + 30, y - 46),
            (x + 42, y - 25),
            (x + 48, y - 22),
            (x + 48, y - 6),
            (x + 16, y - 6),
        ],
        paint,
    )
    canvas.polygon([(x + 22, y - 42), (x + 29, y - 42), (x + 38, y - 26), (x + 22, y - 26)], _glass(light))
    canvas.rect((x - 48, y - 14, x + 48, y - 6), dark, 2)
    canvas.rect((x - 44, y - 48, x + 14, y - 46.5), clear(WHITE, 0.35))
    canvas.line([(x + 18, y - 47), (x + 18, y - 8)], clear((0, 0, 0), 0.3), 0.7)
    canvas.line([(x - 16, y - 47), (x - 16, y - 8)], clear((0, 0, 0), 0.18), 0.6)
    canvas.rect((x + 22, y - 21, x + 26, y - 19.8), clear((0, 0, 0), 0.5))
    for dx in (-29, 30):
        canvas.disc((x + dx, y - 6), 10.5, mix(dark, (0, 0, 0), 0.55))
        _wheel(canvas, (x + dx, y - 5.5), 8.5)
    _lamps(canvas, (x + 46.5, y - 17), (x - 47, y - 18), light)


def _bus(canvas: Canvas, at: Point, paint: Colour, light: Light) -> None:
    x, y = at
    canvas.rect((x - 66, y - 74, x + 66, y - 6), paint, 5)
    for low in (-62, -34):
        canvas.rect((x - 62, y + low - 4, x + 62, y + low + 12), rgb("#1d2630"), 2)
        for i in range(7):
            left = x - 60.5 + i * 17.5
            canvas.rect((left, y + low - 2.5, left + 15, y + low + 10.5), _glass(light), 1)
            canvas.polygon(
                [
                    (left + 2, y + low + 10),
                    (left + 8, y + low - 2),
                    (left + 11, y + low - 2),
                    (left + 5, y + low + 10),
                ],
                clear(WHITE, 0.14),
            )
    canvas.rect((x - 66, y - 47, x + 66, y - 44), clear(WHITE, 0.75))
    canvas.rect((x + 47, y - 40, x + 60, y - 8), rgb("#1d2630"), 1)
    canvas.rect((x + 48.5, y - 38, x + 53, y - 10), _glass(light))
    canvas.rect((x + 54, y - 38, x + 58.5, y - 10), _glass(light))
    canvas.rect((x - 66, y - 13, x + 66, y - 6), clear((0, 0, 0), 0.25), 2)
    for dx in (-40, 34):
        canvas.disc((x + dx, y - 7), 11, rgb("#14161a"))
        _wheel(canvas, (x + dx, y - 6), 9)
    _lamps(canvas, (x + 64, y - 17), (x - 65, y - 17), light)


def _tram(canvas: Canvas, at: Point, paint: Colour, light: Light) -> None:
    x, y = at
    cream = light.on("#f6ecd6")
    canvas.line([(0, y - 96), (SIDE, y - 96)], rgb("#2a2c30"), 0.8)
    canvas.line([(x - 10, y - 66), (x + 6, y - 82), (x - 6, y - 96)], rgb("#2a2c30"), 1.4)
    canvas.rect((x - 74, y - 66, x + 74, y - 58), mix(paint, (0, 0, 0), 0.3), 4)
    canvas.polygon([(x - 78, y - 30), (x - 72, y - 61), (x + 72, y - 61), (x + 78, y - 30)], cream)
    canvas.rect((x - 79, y - 32, x + 79, y - 9), paint, 5)
    canvas.rect((x - 79, y - 27, x + 79, y - 25.5), mix(cream, paint, 0.25))
    for i in range(8):
        left = x - 68 + i * 17.3
        canvas.rect((left, y - 55, left + 14, y - 36), rgb("#2a2420"), 2)
        canvas.rect((left + 1, y - 54, left + 13, y - 37), _glass(light), 1.5)
    for dx in (-50, 50):
        canvas.rect((x + dx - 8, y - 56, x + dx + 8, y - 8), mix(paint, (0, 0, 0), 0.2), 1)
        canvas.rect((x + dx - 6, y - 53, x + dx - 0.7, y - 12), _glass(light), 1)
        canvas.rect((x + dx + 0.7, y - 53, x + dx + 6, y - 12), _glass(light), 1)
    canvas.rect((x - 70, y - 9, x + 70, y - 3), rgb("#22252a"))
    for dx in (-52, -36, 36, 52):
        _wheel(canvas, (x + dx, y - 3.5), 4.5)
    _lamps(canvas, (x + 77, y - 20), (x - 77, y - 20), light)


VEHICLES: dict[Vehicle, Callable[[Canvas, Point, Colour, Light], None]] = {
    "car": _car,
    "van": _van,
    "bus": _bus,
    "tram": _tram,
}
