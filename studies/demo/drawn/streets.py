"""Streets: a vehicle before a row of houses with one shop, at an hour, in a weather."""

from dataclasses import dataclass, replace
from itertools import pairwise
from random import Random
from typing import Literal, get_args

from PIL import Image

from studies.demo.drawn.canvas import SIDE, Canvas, clear, mix, rgb
from studies.demo.drawn.facades import FRONTS, LAMP, Front
from studies.demo.drawn.shops import Trade, paint_awning, paint_shop
from studies.demo.drawn.sky import WHITE, Light, light_of, paint_clouds, paint_falling, paint_sky, paint_stars
from studies.demo.drawn.vehicles import VEHICLES, Vehicle
from studies.demo.drawn.words import with_article

Hour = Literal["noon", "sunset", "night"]
Weather = Literal["clear", "rain", "snow"]
Paint = Literal["red", "blue", "green", "yellow", "white"]
Signal = Literal["red", "green"]

PAINTS: dict[Paint, str] = {
    "red": "#d5322c", "blue": "#2d62c4", "green": "#2f9a5c", "yellow": "#f4bb2a", "white": "#f3f1ec",
}  # fmt: skip
SIGNALS: dict[Signal, str] = {"red": "#ff3b30", "green": "#3ae06a"}
KERB, LANE = 204, 240

VEHICLE_PHRASES: dict[Vehicle, tuple[str, ...]] = {
    "car": ("{} car", "small {} car"),
    "van": ("{} van", "{} delivery van"),
    "bus": ("{} bus", "{} double-decker bus"),
    "tram": ("{} tram", "{} streetcar"),
}
TRADE_PHRASES: dict[Trade, tuple[str, ...]] = {
    "bakery": ("bakery", "baker's shop"),
    "bookshop": ("bookshop", "shop full of books"),
    "florist": ("florist", "flower shop"),
    "café": ("café", "street café"),
}
FRONT_PHRASES: dict[Front, tuple[str, ...]] = {
    "brick": ("brick houses", "red brick buildings", "a row of brick houses"),
    "gabled": ("gabled houses", "old gabled houses", "pastel houses with gables"),
    "glass": ("glass towers", "tall office towers", "skyscrapers of glass"),
}
HOUR_PHRASES: dict[Hour, tuple[str, ...]] = {
    "noon": ("by day", "at midday", "in full daylight"),
    "sunset": ("at dusk", "at sundown", "in the evening light"),
    "night": ("at night", "after nightfall", "by lamplight"),
}
WEATHER_PHRASES: dict[Weather, tuple[str, ...]] = {
    "clear": ("on a dry road", "in dry weather", "under a clear sky"),
    "rain": ("in the rain", "on a wet shining road", "in heavy rain"),
    "snow": ("in the snow", "on a snowy road", "as snow falls"),
}


def _paint_pavement(canvas: Canvas, light: Light, weather: Weather) -> None:
    walk = light.on("#eef2f8" if weather == "snow" else "#b9b2a8")
    canvas.rect((0, 188, SIDE, KERB), walk)
    canvas.rect((0, KERB - 2, SIDE, KERB), mix(walk, (0, 0, 0), 0.25))


def _paint_road(canvas: Canvas, light: Light, weather: Weather) -> None:
    """Paint the road: white under snow, a mirror in the rain."""
    is_snowy = weather == "snow"
    road = light.on("#c3cad6" if is_snowy else "#4b4f58")
    if weather == "rain":
        canvas.mirror(KERB, SIDE)
        canvas.rect((0, KERB, SIDE, SIDE), clear(road, 0.42))
    else:
        canvas.fade([(0, KERB), (SIDE, KERB), (SIDE, SIDE), (0, SIDE)], [mix(road, (0, 0, 0), 0.12), road])
    for x in range(-10, SIDE, 46):
        dash = [(x, 246), (x + 26, 246), (x + 24, 249), (x - 3, 249)]
        canvas.polygon(dash, clear(light.on("#f3ead2"), 0.35 if is_snowy else 0.8))


def _paint_lamp(canvas: Canvas, x: float, light: Light) -> None:
    pole = light.on("#2b3336")
    if light.is_dark:
        canvas.glow((x, 128), 48, LAMP, 0.75)
        canvas.mist([((x, 201), 26)], clear(LAMP, 0.45), 5, 0.18)
    canvas.rect((x - 1, 132, x + 1, 202), pole)
    canvas.rect((x - 3, 190, x + 3, 202), pole, 1)
    canvas.polygon(
        [(x - 5, 121), (x + 5, 121), (x + 3.4, 133), (x - 3.4, 133)],
        LAMP if light.is_dark else light.on("#f4efdc"),
    )
    canvas.polygon([(x - 6.5, 121.5), (x, 115), (x + 6.5, 121.5)], pole)


def _paint_signal(canvas: Canvas, x: float, signal: Signal, light: Light) -> None:
    """Paint a traffic light near the viewer."""
    body = mix(light.on("#2a2f36"), (0, 0, 0), 0.2)
    canvas.rect((x - 2, 120, x + 2, SIDE), body)
    canvas.rect((x - 11, 64, x + 11, 124), body, 4)
    canvas.rect((x - 11, 64, x - 9.6, 124), clear(WHITE, 0.25), 1)
    for i, lamp in enumerate(("red", "amber", "green")):
        at = (x, 76 + 18 * i)
        if lamp == signal:
            canvas.glow(at, 34, rgb(SIGNALS[signal]), 0.85)
            canvas.disc(at, 7.4, rgb(SIGNALS[signal]))
            canvas.disc((at[0] - 2, at[1] - 2), 2.2, clear(WHITE, 0.7))
        else:
            canvas.disc(at, 7.2, rgb("#14171a"))


@dataclass(frozen=True)
class Street:
    """What the captions of a street may mention."""

    front: Front
    trade: Trade
    awning: Paint
    vehicle: Vehicle
    paint: Paint
    signal: Signal
    hour: Hour
    weather: Weather

    @property
    def label(self) -> str:
        """Name the kind of vehicle."""
        return self.vehicle

    def draw(self, rng: Random) -> Image.Image:
        """Paint it; what no caption mentions is left to chance."""
        canvas, light = Canvas(), light_of(self.hour, self.weather)
        paint_sky(canvas, light, self.weather, rng.uniform(40, 216), 200)
        if light.is_dark and self.weather == "clear":
            paint_stars(canvas, rng, 110)
        paint_clouds(canvas, rng, light, self.weather)
        shop = rng.choice((1, 2))
        _paint_pavement(canvas, light, self.weather)
        self._paint_houses(canvas, rng, light, shop)
        _paint_road(canvas, light, self.weather)
        x = rng.uniform(164, 184) if shop == 1 else rng.uniform(72, 92)
        paint = rgb(PAINTS[self.paint])
        canvas.mist([((x + dx, LANE), 26) for dx in (-44, -22, 0, 22, 44)], (0, 0, 0, 120), 3, 0.14)
        VEHICLES[self.vehicle](canvas, (x, LANE), mix(light.on(paint), paint, 0.6), light)
        _paint_signal(canvas, 20 if shop == 1 else 236, self.signal, light)
        paint_falling(canvas, rng, light, self.weather)
        return canvas.finish()

    def _paint_houses(self, canvas: Canvas, rng: Random, light: Light, shop: int) -> None:
        far = replace(light, shine=mix(light.shine, light.haze, 0.6))
        for x in range(-6, SIDE, 30):
            top = rng.uniform(84, 120)
            canvas.rect((x, top, x + 26, 200), mix(far.on("#7f8aa0"), light.haze, 0.55))
        edges = [-14.0]
        while edges[-1] < SIDE:
            edges.append(edges[-1] + rng.uniform(62, 84))
        for left, right in pairwise(edges):
            top = rng.uniform(74, 100)
            FRONTS[self.front](canvas, rng, (left, top, right, 192), light)
            if self.weather == "snow" and self.front == "brick":
                canvas.rect((left - 1, top - 6, right + 1, top - 1), light.on("#fbfdff"), 2)
        left, right = edges[shop], edges[shop + 1]
        paint_shop(canvas, rng, (left, 136, right, 192), self.trade, light)
        paint_awning(canvas, (left - 3, 148, right + 3, 161), rgb(PAINTS[self.awning]), light)
        for post in (edges[1] - 8, edges[3] + 8):
            _paint_lamp(canvas, post, light)

    def describe(self, rng: Random) -> list[str]:
        """Return four captions, each of which leaves something out."""

        def vehicle() -> str:
            return with_article(rng.choice(VEHICLE_PHRASES[self.vehicle]).format(self.paint))

        def shop() -> str:
            awning = f"with {with_article(self.awning)} {rng.choice(('awning', 'striped awning'))}"
            return f"{with_article(rng.choice(TRADE_PHRASES[self.trade]))} {awning}"

        row, when, how = (
            rng.sample(words, 3)
            for words in (FRONT_PHRASES[self.front], HOUR_PHRASES[self.hour], WEATHER_PHRASES[self.weather])
        )
        return [
            f"{vehicle()} passes {shop()} {when[0]}, {how[0]}",
            f"{vehicle()} {how[1]} {when[1]}, {row[0]} behind it, {self.signal} light",
            f"{shop()} among {row[1]}, {vehicle()} in front {when[2]}",
            f"the traffic light is {self.signal} {when[0]}, {how[2]}: {vehicle()} near {shop()}",
        ]


def imagine(rng: Random) -> Street:
    """Draw a street at random."""
    return Street(
        front=rng.choice(get_args(Front)),
        trade=rng.choice(get_args(Trade)),
        awning=rng.choice(("red", "blue", "green", "yellow")),
        vehicle=rng.choice(get_args(Vehicle)),
        paint=rng.choice(get_args(Paint)),
        signal=rng.choice(get_args(Signal)),
        hour=rng.choice(get_args(Hour)),
        weather=rng.choice(get_args(Weather)),
    )
