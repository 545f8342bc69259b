"""Light and weather: what the hour and the clouds do to every colour, and what falls from above."""

from dataclasses import dataclass, replace
from random import Random
from typing import Literal

from studies.demo.drawn.canvas import SIDE, Canvas, Colour, Point, clear, gray, mix, rgb, tint

Hour = Literal["dawn", "noon", "sunset", "night"]
Weather = Literal["clear", "cloudy", "rain", "snow", "fog"]

WHITE = rgb("#ffffff")


@dataclass(frozen=True)
class Light:
    """The colours of an hour."""

    sky: tuple[Colour, ...]
    """From the zenith down to the horizon."""
    sun: Colour
    sun_height: float
    """Pixels below the top."""
    shine: Colour
    """What falls on every surface."""
    haze: Colour
    """What far things fade into."""
    lit: float = 0
    """Share of the windows with a lamp behind them."""

    @property
    def is_dark(self) -> bool:
        return self.lit > 0.5

    def on(self, surface: str | Colour, distance: float = 0) -> Colour:
        """Return a surface's colour in this light, hazier the farther away it is (0 to 1)."""
        colour = rgb(surface) if isinstance(surface, str) else surface
        return mix(tint(colour, self.shine), self.haze, distance)


LIGHTS: dict[Hour, Light] = {
    "dawn": Light(
        sky=(rgb("#7d8fc4"), rgb("#b9a6cf"), rgb("#f3bfc6"), rgb("#ffe3cf")),
        sun=rgb("#fff6e0"), sun_height=108, shine=rgb("#f0d6e2"), haze=rgb("#f3c6cc"),
    ),
    "noon": Light(
        sky=(rgb("#2f7fd6"), rgb("#5ea6ea"), rgb("#a5d3f5"), rgb("#e3f3fb")),
        sun=rgb("#fffdf0"), sun_height=42, shine=rgb("#ffffff"), haze=rgb("#c3deee"),
    ),
    "sunset": Light(
        sky=(rgb("#3a2c68"), rgb("#963c78"), rgb("#ec5f3c"), rgb("#ffc75f")),
        sun=rgb("#ffeaa0"), sun_height=118, shine=rgb("#d08a78"), haze=rgb("#f0885a"), lit=0.3,
    ),
    "night": Light(
        sky=(rgb("#08102e"), rgb("#122250"), rgb("#243c76"), rgb("#46639e")),
        sun=rgb("#f6f3dc"), sun_height=44, shine=rgb("#6076a8"), haze=rgb("#34508a"), lit=0.6,
    ),
}  # fmt: skip

DULL: dict[Weather, float] = {"clear": 0, "cloudy": 0.12, "rain": 0.55, "snow": 0.4, "fog": 0.5}
"""How gray each weather makes the sky, 0 to 1."""


def light_of(hour: Hour, weather: Weather) -> Light:
    """Return the light of an hour, dulled by the weather."""
    light, dull = LIGHTS[hour], DULL[weather]
    dim = 0.85 if weather == "rain" else 1.12 if weather in ("snow", "fog") else 1

    def dulled(colour: Colour) -> Colour:
        return tuple(min(255, round(v * dim)) for v in mix(colour, gray(colour), dull))

    return replace(
        light,
        sky=tuple(dulled(colour) for colour in light.sky),
        shine=mix(light.shine, dulled(light.shine), 0.7),
        haze=dulled(light.haze),
    )


def paint_sky(canvas: Canvas, light: Light, weather: Weather, sun_x: float, horizon: float) -> None:
    """Paint the sky down to the horizon, its sun or moon, and stars."""
    canvas.fade([(0, 0), (SIDE, 0), (SIDE, horizon), (0, horizon)], light.sky)
    if weather in ("rain", "fog"):
        return
    at = (sun_x, light.sun_height)
    veil = 0.55 if weather == "snow" else 1
    if light.is_dark:
        canvas.glow(at, 70, rgb("#8fa8dc"), 0.45 * veil)
        canvas.disc(at, 14, light.sun)
        for x, y, r in ((-5, -3, 3.4), (4, 4, 2.6), (3, -6, 1.8), (-4, 6, 1.6)):
            canvas.disc((at[0] + x, at[1] + y), r, clear(rgb("#c9c8b8"), 0.55))
        return
    canvas.glow(at, 120, light.sun, 0.75 * veil)
    canvas.glow(at, 46, WHITE, 0.7 * veil)
    canvas.disc(at, 15, clear(light.sun, veil))


def paint_stars(canvas: Canvas, rng: Random, depth: float) -> None:
    """Scatter stars from the top to `depth`."""
    for _ in range(90):
        at = (rng.uniform(0, SIDE), depth * rng.random() ** 1.3)
        size = rng.choice((0.5, 0.5, 0.7, 1.1))
        canvas.disc(at, size, clear(WHITE, rng.uniform(0.35, 1)))


def paint_clouds(canvas: Canvas, rng: Random, light: Light, weather: Weather) -> None:
    """Paint heaps of cloud, or the closed cover that rain and snow fall from."""
    if weather in ("clear", "fog"):
        return
    below = mix(light.sky[-1], light.sky[0], 0.35 if weather == "cloudy" else 0.75)
    above = mix(light.sky[-1], WHITE, 0.1 if light.is_dark else 0.78)
    if weather in ("rain", "snow"):
        for row in range(3):
            lid = [
                ((x + rng.uniform(-12, 12), rng.uniform(-8, 12) + 15 * row), rng.uniform(18, 32))
                for x in range(0, 280, 34)
            ]
            canvas.mist(lid, clear(mix(below, light.sky[0], 0.3 * (2 - row)), 0.8), 6, 0.6)
        return
    for i in range(rng.randint(3, 4)):
        at = (SIDE * (i + rng.uniform(0.15, 0.85)) / 4 + 10, rng.uniform(26, 84))
        _heap(canvas, rng, at, (above, below))


def _heap(canvas: Canvas, rng: Random, at: Point, colours: tuple[Colour, Colour]) -> None:
    size = rng.uniform(0.75, 1.25)
    puffs = []
    for i in range(-3, 4):
        r = size * (15 - 3.1 * abs(i)) * rng.uniform(0.8, 1.15)
        puffs.append(((at[0] + 12 * i * size, at[1] - r * 0.35), r))
    canvas.mist([((x, y + 4), r) for (x, y), r in puffs], clear(colours[1], 0.75), 3.2, 0.7)
    canvas.mist(puffs, clear(colours[0], 0.95), 2.2, 0.72)


def paint_falling(canvas: Canvas, rng: Random, light: Light, weather: Weather) -> None:
    """Let rain or snow fall in front of everything, or fog lie over it."""
    if weather == "rain":
        colour = mix(light.haze, WHITE, 0.55)
        for _ in range(150):
            x, y, length = rng.uniform(-10, SIDE + 20), rng.uniform(-10, SIDE), rng.uniform(7, 17)
            canvas.line([(x, y), (x - length * 0.28, y + length)], clear(colour, rng.uniform(0.2, 0.55)), 0.6)
    if weather == "snow":
        for _ in range(170):
            near = rng.random() ** 2.5
            at = (rng.uniform(0, SIDE), rng.uniform(0, SIDE))
            canvas.disc(at, 0.7 + 2.0 * near, clear(WHITE, rng.uniform(0.65, 0.95)))
    if weather == "fog":
        for y in (112, 150, 186):
            bank = [
                ((x + rng.uniform(-20, 20), y + rng.uniform(-9, 9)), rng.uniform(26, 44))
                for x in range(0, 290, 42)
            ]
            canvas.mist(bank, clear(mix(light.haze, WHITE, 0.12 if light.is_dark else 0.5), 0.5), 9, 0.38)
