"""Wide places: one painter per kind of land, each returning the near ground that a landmark can stand on."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Literal

from studies.demo.drawn.canvas import SIDE, Canvas, Colour, mix, rgb
from studies.demo.drawn.sky import Light
from studies.demo.drawn.terrain import (
    Ridge,
    below,
    height_at,
    paint_cactus,
    paint_dune,
    paint_pine,
    paint_range,
    paint_ripples,
    paint_tree,
    paint_water,
    ridge,
)

Place = Literal["mountains", "hills", "sea", "lake", "desert", "forest"]

HORIZON = 142


@dataclass(frozen=True)
class Scene:
    """What a painter of places is given."""

    canvas: Canvas
    rng: Random
    light: Light
    sun_x: float
    sun_shows: bool
    is_snowy: bool

    def land(self, colour: str, distance: float = 0) -> Colour:
        """Return the ground's colour; snow hides what grows."""
        ground = mix(rgb(colour), rgb("#f4f7fd"), 0.86 if self.is_snowy else 0)
        return self.light.on(ground, distance)

    def leaf(self, colour: str, distance: float = 0) -> Colour:
        """Return a tree's colour; snow lies lightly on it."""
        return self.light.on(mix(rgb(colour), rgb("#f4f7fd"), 0.3 if self.is_snowy else 0), distance)


def _layer(scene: Scene, line: Ridge, colour: str, distance: float) -> None:
    top = scene.land(colour, distance)
    foot = mix(top, scene.light.haze, 0.32) if distance else mix(top, (0, 0, 0), 0.3)
    scene.canvas.fade(below(line), [top, foot])


def _pines(scene: Scene, line: Ridge, count: int, height: float, distance: float) -> None:
    xs = sorted(scene.rng.uniform(-6, SIDE + 6) for _ in range(count))
    for x in xs:
        tall = height * scene.rng.uniform(0.7, 1.25)
        foot = (x, height_at(line, x) + 3)
        tone = scene.leaf(scene.rng.choice(("#2f5a44", "#3a6a4a", "#27503f")), distance)
        paint_pine(scene.canvas, foot, tall, tone, scene.is_snowy)


def _mountains(scene: Scene) -> Ridge:
    paint_range(scene.canvas, scene.rng, scene.light, HORIZON + 44, 0.34)
    far = ridge(scene.rng, 168, 7)
    _layer(scene, far, "#5f8a5a", 0.3)
    _pines(scene, far, 26, 20, 0.28)
    near = ridge(scene.rng, 204, 6, 1)
    _layer(scene, near, "#7aa653", 0)
    _pines(scene, ridge(scene.rng, 250, 3), 7, 44, 0)
    return near


def _hills(scene: Scene) -> Ridge:
    fields = ("#a9bf6a", "#8fb45c", "#c9b85e", "#7da552", "#93b85a")
    for i, height in enumerate((134, 148, 164, 182)):
        line = ridge(scene.rng, height, 11, scene.rng.uniform(1, 2.2))
        _layer(scene, line, scene.rng.choice(fields), 0.62 - 0.17 * i)
        for _ in range(scene.rng.randint(2, 4)):
            x = scene.rng.uniform(0, SIDE)
            foot = (x, height_at(line, x) + 2)
            paint_tree(scene.canvas, scene.rng, foot, 9 + 4.5 * i, scene.leaf("#4f7a3c", 0.5 - 0.14 * i))
    near = ridge(scene.rng, 206, 6, 1)
    _layer(scene, near, "#86b04e", 0)
    for _ in range(150):
        at = (scene.rng.uniform(0, SIDE), scene.rng.uniform(222, SIDE))
        tone = scene.rng.choice(("#f3e27a", "#f6f0e4", "#b8d068", "#5f8a3c"))
        scene.canvas.disc(at, scene.rng.uniform(0.6, 1.5), scene.land(tone))
    return near


def _sea(scene: Scene) -> Ridge:
    far = [(x, y) for x, y in ridge(scene.rng, HORIZON - 3, 7, 1.2)]
    _layer(scene, far, "#6f8f8a", 0.6)
    paint_water(
        scene.canvas, scene.rng, scene.light, (HORIZON, 232), scene.sun_x if scene.sun_shows else None
    )
    near = ridge(scene.rng, 212, 5, 0.7)
    foam = [(x, y - 2.5) for x, y in near]
    scene.canvas.polygon(below(foam), (*scene.light.on("#ffffff"), 170))
    _layer(scene, near, "#e6cf9c", 0)
    for _ in range(60):
        at = (scene.rng.uniform(0, SIDE), scene.rng.uniform(224, SIDE))
        scene.canvas.disc(at, scene.rng.uniform(0.5, 1.6), scene.land("#b99a66"), 0.5)
    return near


def _lake(scene: Scene) -> Ridge:
    paint_range(scene.canvas, scene.rng, scene.light, HORIZON + 8, 0.42)
    shore = ridge(scene.rng, HORIZON, 4, 2)
    _layer(scene, shore, "#5c8458", 0.25)
    _pines(scene, shore, 34, 17, 0.22)
    scene.canvas.mirror(HORIZON + 6, 236)
    veil = (*mix(scene.light.on("#2f6f8f"), scene.light.sky[1], 0.4), 92)
    scene.canvas.rect((0, HORIZON + 6, SIDE, 236), veil)
    paint_ripples(scene.canvas, scene.rng, scene.light, (HORIZON + 10, 226))
    near = ridge(scene.rng, 212, 4, 1)
    _layer(scene, near, "#6f9a50", 0)
    _pines(scene, ridge(scene.rng, 254, 3), 5, 40, 0)
    return near


def _desert(scene: Scene) -> Ridge:
    land, canvas = scene.land, scene.canvas
    for x in (scene.rng.uniform(10, 100), scene.rng.uniform(140, 240)):
        w, h = scene.rng.uniform(22, 40), scene.rng.uniform(24, 44)
        mesa = [
            (x - w - 9, 160),
            (x - w, HORIZON - h + 8),
            (x - w + 5, HORIZON - h),
            (x + w, HORIZON - h),
            (x + w + 10, 160),
        ]
        canvas.fade(mesa, [land("#b5623f", 0.35), land("#c98a5c", 0.6)])
    for i, height in enumerate((150, 172)):
        distance = 0.4 - 0.2 * i
        crest = ridge(scene.rng, height, 9 + 3 * i, 1.8 - 0.4 * i)
        paint_dune(
            canvas, crest, (land("#eeb468", distance), land("#dc9650", distance), land("#a8623a", distance))
        )
    near = ridge(scene.rng, 206, 7, 0.9)
    paint_dune(canvas, near, (land("#f0b768"), land("#d08a48"), land("#a8623a")))
    for x in (scene.rng.uniform(6, 40), scene.rng.uniform(110, 146), scene.rng.uniform(216, 250)):
        foot = (x, height_at(near, x) + scene.rng.uniform(4, 34))
        paint_cactus(canvas, foot, scene.rng.uniform(24, 46), scene.leaf("#4f8a5a"))
    return near


def _forest(scene: Scene) -> Ridge:
    for i, height in enumerate((150, 166, 184)):
        line = ridge(scene.rng, height, 5, 2)
        _pines(scene, line, 22 - 4 * i, 62 + 12 * i, 0.62 - 0.2 * i)
        _layer(scene, line, "#3f6a4c", 0.5 - 0.17 * i)
    near = ridge(scene.rng, 206, 4, 1)
    _layer(scene, near, "#4f7d46", 0)
    for x in (scene.rng.uniform(-8, 14), scene.rng.uniform(112, 142), scene.rng.uniform(242, 262)):
        foot = (x, scene.rng.uniform(226, 262))
        paint_pine(scene.canvas, foot, scene.rng.uniform(105, 150), scene.leaf("#25503c"), scene.is_snowy)
    return near


PLACES: dict[Place, Callable[[Scene], Ridge]] = {
    "mountains": _mountains,
    "hills": _hills,
    "sea": _sea,
    "lake": _lake,
    "desert": _desert,
    "forest": _forest,
}
