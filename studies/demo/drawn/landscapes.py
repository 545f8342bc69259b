"""Landscapes: a landmark somewhere wide, at an hour, in a weather."""

from dataclasses import dataclass, replace
from random import Random
from typing import Literal, get_args

from PIL import Image

from studies.demo.drawn.canvas import SIDE, Canvas, mix, rgb
from studies.demo.drawn.landmarks import LANDMARKS, Landmark
from studies.demo.drawn.places import HORIZON, PLACES, Place, Scene
from studies.demo.drawn.sky import (
    WHITE,
    Hour,
    Weather,
    light_of,
    paint_clouds,
    paint_falling,
    paint_sky,
    paint_stars,
)
from studies.demo.drawn.terrain import height_at
from studies.demo.drawn.words import with_article

Paint = Literal["red", "white", "yellow", "blue"]
Side = Literal["left", "right"]

PAINTS: dict[Paint, str] = {"red": "#d8362f", "white": "#f6f2ea", "yellow": "#f5bd2b", "blue": "#2f6fd0"}
LANDMARKS_OF: dict[Place, tuple[Landmark, ...]] = {
    "mountains": ("cabin", "tent", "balloon", "windmill"),
    "hills": ("cabin", "tent", "balloon", "windmill"),
    "sea": ("lighthouse", "lighthouse", "sailboat", "sailboat", "balloon", "tent"),
    "lake": ("cabin", "tent", "balloon", "sailboat"),
    "desert": ("tent", "balloon", "windmill", "cabin"),
    "forest": ("cabin", "tent", "balloon"),
}
DRY: tuple[Weather, ...] = ("clear", "cloudy", "fog")

LANDMARK_PHRASES: dict[Landmark, tuple[str, ...]] = {
    "cabin": ("{} cabin", "little {} house", "{} wooden hut"),
    "windmill": ("{} windmill", "big {} windmill"),
    "lighthouse": ("{} lighthouse", "{} striped lighthouse"),
    "tent": ("{} tent", "small {} tent"),
    "balloon": ("{} hot-air balloon", "{} balloon"),
    "sailboat": ("sailboat with {} sails", "boat under {} sail"),
}
PLACE_PHRASES: dict[Place, tuple[str, ...]] = {
    "mountains": ("in the mountains", "below snowy peaks", "in a mountain valley"),
    "hills": ("among rolling hills", "in hilly country", "in the hills"),
    "sea": ("by the sea", "on the coast", "at the seaside"),
    "lake": ("by a mountain lake", "beside a still lake", "at a quiet lake"),
    "desert": ("in the desert", "among sand dunes", "between dunes and cactuses"),
    "forest": ("in a pine forest", "among tall firs", "in the woods"),
}
HOUR_PHRASES: dict[Hour, tuple[str, ...]] = {
    "dawn": ("at dawn", "at daybreak", "in the light of dawn"),
    "noon": ("at noon", "in the middle of the day", "in broad daylight"),
    "sunset": ("at sunset", "as the sun goes down", "in a fiery sunset"),
    "night": ("at night", "after dark", "late at night"),
}
WEATHER_PHRASES: dict[Weather, tuple[str, ...]] = {
    "clear": ("under a clear sky", "without a cloud in the sky", "in clear weather"),
    "cloudy": ("under drifting clouds", "with clouds in the sky", "beneath heaps of cloud"),
    "rain": ("in the rain", "in pouring rain", "in wet weather"),
    "snow": ("in falling snow", "while it snows", "in the snow"),
    "fog": ("in the fog", "in thick mist", "half hidden by fog"),
}


@dataclass(frozen=True)
class Landscape:
    """What the captions of a landscape may mention."""

    place: Place
    landmark: Landmark
    paint: Paint
    side: Side
    hour: Hour
    weather: Weather

    @property
    def label(self) -> str:
        """Name the kind of place."""
        return self.place

    def draw(self, rng: Random) -> Image.Image:
        """Paint it; what no caption mentions is left to chance."""
        canvas, light = Canvas(), light_of(self.hour, self.weather)
        x = rng.uniform(62, 78) if self.side == "left" else rng.uniform(178, 194)
        sun_x = SIDE - x + rng.uniform(-16, 16)
        paint_sky(canvas, light, self.weather, sun_x, HORIZON + 44)
        if light.is_dark and self.weather in ("clear", "cloudy"):
            paint_stars(canvas, rng, HORIZON)
        paint_clouds(canvas, rng, light, self.weather)
        sun_shows = self.weather in ("clear", "cloudy")
        ground = PLACES[self.place](Scene(canvas, rng, light, sun_x, sun_shows, self.weather == "snow"))
        clearer = replace(light, shine=mix(light.shine, WHITE, 0.5))
        foot = (x, height_at(ground, x) + 8)
        LANDMARKS[self.landmark](canvas, foot, rgb(PAINTS[self.paint]), clearer)
        paint_falling(canvas, rng, light, self.weather)
        return canvas.finish()

    def describe(self, rng: Random) -> list[str]:
        """Return four captions, the last of which leaves something out."""

        def a_thing() -> str:
            return with_article(rng.choice(LANDMARK_PHRASES[self.landmark]).format(self.paint))

        where, when, sky = (
            rng.sample(words, 3)
            for words in (PLACE_PHRASES[self.place], HOUR_PHRASES[self.hour], WEATHER_PHRASES[self.weather])
        )
        return [
            f"{a_thing()} {where[0]} {when[0]}, {sky[0]}, on the {self.side}",
            f"{where[1]} {when[1]}, {sky[1]}: {a_thing()} to the {self.side}",
            f"on the {self.side} is {a_thing()}, {where[2]}, {sky[2]} {when[2]}",
            rng.choice((f"{a_thing()} {where[0]}, {sky[1]}", f"{a_thing()} {when[0]} {where[1]}")),
        ]


def imagine(rng: Random) -> Landscape:
    """Draw a landscape at random."""
    place = rng.choice(get_args(Place))
    return Landscape(
        place=place,
        landmark=rng.choice(LANDMARKS_OF[place]),
        paint=rng.choice(get_args(Paint)),
        side=rng.choice(get_args(Side)),
        hour=rng.choice(get_args(Hour)),
        weather=rng.choice(DRY if place == "desert" else get_args(Weather)),
    )
