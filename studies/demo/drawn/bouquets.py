"""Bouquets: cut flowers in a vessel on a table, with something beside them."""

from dataclasses import dataclass
from random import Random
from typing import Literal, get_args

from PIL import Image

from studies.demo.drawn.blooms import BLOOMS, Kind
from studies.demo.drawn.canvas import SIDE, Canvas, Colour, Point, clear, mix, rgb
from studies.demo.drawn.tableware import COMPANIES, MOUTH, VESSELS, Company, Vessel
from studies.demo.drawn.words import with_article

Hue = Literal["red", "pink", "white", "yellow", "purple", "orange"]
Glaze = Literal["blue", "white", "green", "black", "terracotta"]
Wall = Literal["mustard", "teal", "pink", "gray", "navy"]
Cloth = Literal["wood", "linen", "checked"]
Side = Literal["left", "right"]

HUES: dict[Hue, str] = {
    "red": "#d92b34",
    "pink": "#f080a8",
    "white": "#f8f4ec",
    "yellow": "#f8c522",
    "purple": "#7a4bc0",
    "orange": "#f2792b",
}
HUES_OF: dict[Kind, tuple[Hue, ...]] = {
    "tulip": ("red", "pink", "white", "yellow", "purple"),
    "daisy": ("pink", "white", "yellow", "orange"),
    "rose": ("red", "pink", "white", "yellow", "orange"),
    "poppy": ("red", "orange", "white", "pink"),
    "sunflower": ("yellow", "orange"),
    "iris": ("purple", "white", "yellow"),
}
GLAZES: dict[Glaze, str] = {
    "blue": "#2f5fae", "white": "#efece4", "green": "#4f8a62", "black": "#2b2d33", "terracotta": "#c0623c",
}  # fmt: skip
WALLS: dict[Wall, str] = {
    "mustard": "#d9a441", "teal": "#3f8c8c", "pink": "#e8b4b0", "gray": "#b4b8ba", "navy": "#27375c",
}  # fmt: skip
PLURALS: dict[Kind, str] = {
    "tulip": "tulips",
    "daisy": "daisies",
    "rose": "roses",
    "poppy": "poppies",
    "sunflower": "sunflowers",
    "iris": "irises",
}
VESSEL_PHRASES: dict[Vessel, tuple[str, ...]] = {
    "round vase": ("round {} vase", "{} round-bellied vase"),
    "bottle": ("{} bottle", "slender {} bottle vase"),
    "jug": ("{} jug", "{} pitcher"),
    "pot": ("{} flowerpot", "{} pot"),
}
COMPANY_PHRASES: dict[Company, tuple[str, ...]] = {
    "lemons": ("two lemons", "a pair of lemons"),
    "pears": ("two pears", "a pair of green pears"),
    "cup": ("a cup of coffee", "a steaming white cup"),
    "candle": ("a burning candle", "a lit candle"),
    "books": ("a stack of books", "three books"),
}
CLOTH_PHRASES: dict[Cloth, tuple[str, ...]] = {
    "wood": ("a wooden table", "bare wood"),
    "linen": ("a white tablecloth", "white linen"),
    "checked": ("a checked tablecloth", "a red and white checked cloth"),
}
NUMBERS = {1: "one", 3: "three", 5: "five", 7: "seven"}
EDGE = 186
"""Where the table meets the wall."""
SEATS: dict[int, tuple[Point, ...]] = {
    1: ((0, -62),),
    3: ((-34, -44), (30, -50), (-2, -78)),
    5: ((-50, -36), (48, -40), (-30, -72), (28, -76), (-1, -42)),
    7: ((-58, -30), (56, -34), (-40, -68), (38, -70), (0, -92), (-17, -36), (20, -40)),
}
"""Where the heads of so many flowers stand, in pixels from the vessel's mouth."""


def _paint_table(canvas: Canvas, rng: Random, cloth: Cloth) -> None:
    base = rgb({"wood": "#9a6a42", "linen": "#f1ece2", "checked": "#f6f1e8"}[cloth])
    canvas.fade([(0, EDGE), (SIDE, EDGE), (SIDE, SIDE), (0, SIDE)], [mix(base, (0, 0, 0), 0.12), base])
    if cloth == "wood":
        for gap in (203, 226):
            canvas.rect((0, gap, SIDE, gap + 1), clear(rgb("#4a2c18"), 0.6))
        for _ in range(46):
            x, y = rng.uniform(-20, SIDE), rng.uniform(EDGE + 2, SIDE)
            canvas.rect(
                (x, y, x + rng.uniform(20, 90), y + 0.6), clear(rgb("#5e3a20"), rng.uniform(0.15, 0.4))
            )
    if cloth == "linen":
        for i in range(7):
            x = -10 + 44 * i + rng.uniform(-8, 8)
            fold = [(x, EDGE), (x + 3, EDGE), (x + 18 + (x - 128) * 0.3, SIDE), (x + (x - 128) * 0.3, SIDE)]
            canvas.polygon(fold, clear(rgb("#b9b0a0"), 0.28))
    if cloth == "checked":
        _check(canvas, rgb("#c8343c"))
    canvas.rect((0, EDGE, SIDE, EDGE + 1.2), clear(mix(base, (255, 255, 255), 0.5), 0.6))


def _check(canvas: Canvas, colour: Colour) -> None:
    """Weave stripes both ways in perspective."""
    for i in range(-14, 15, 2):
        far, near = 128 + 14 * i, 128 + 22 * i
        canvas.polygon([(far, EDGE), (far + 14, EDGE), (near + 22, SIDE), (near, SIDE)], clear(colour, 0.5))
    y: float = EDGE
    step = 6.0
    while y < SIDE:
        canvas.rect((0, y, SIDE, min(y + step, SIDE)), clear(colour, 0.5))
        y, step = y + 2.3 * step, step * 1.25


@dataclass(frozen=True)
class Bouquet:
    """What the captions of a bouquet may mention."""

    kind: Kind
    hue: Hue
    count: int
    vessel: Vessel
    glaze: Glaze
    wall: Wall
    cloth: Cloth
    company: Company
    side: Side

    @property
    def label(self) -> str:
        """Name the kind of flower."""
        return self.kind

    def draw(self, rng: Random) -> Image.Image:
        """Paint it; what no caption mentions is left to chance."""
        canvas = Canvas()
        self._paint_wall(canvas, rng)
        _paint_table(canvas, rng, self.cloth)
        away = 1 if self.side == "left" else -1
        x, y = 128 + away * rng.uniform(18, 26), rng.uniform(226, 234)
        canvas.mist([((x + 12 + 9 * i, y - 1), 20 - 2 * i) for i in range(6)], (20, 10, 20, 130), 4, 0.26)
        high, wide = MOUTH[self.vessel]
        self._paint_flowers(canvas, rng, (x, y - high), wide)
        VESSELS[self.vessel](canvas, (x, y), rgb(GLAZES[self.glaze]))
        self._paint_leaves(canvas, rng, (x, y - high), wide)
        beside = (128 - away * rng.uniform(62, 72), rng.uniform(230, 240))
        canvas.mist([((beside[0] + 8 * i, beside[1] - 1), 20) for i in range(3)], (20, 10, 20, 120), 4, 0.24)
        COMPANIES[self.company](canvas, beside)
        return canvas.finish()

    def _paint_wall(self, canvas: Canvas, rng: Random) -> None:
        wall = rgb(WALLS[self.wall])
        canvas.fade(
            [(0, 0), (SIDE, 0), (SIDE, EDGE), (0, EDGE)],
            [mix(wall, (255, 255, 255), 0.1), wall, mix(wall, (0, 0, 0), 0.14)],
        )
        canvas.glow((rng.uniform(20, 90), rng.uniform(20, 60)), 170, mix(wall, (255, 250, 230), 0.55), 0.8)
        if rng.random() < 0.5:
            slant = rng.uniform(-30, 10)
            for row in range(2):
                for column in range(2):
                    left, top = 30 + slant + 44 * column + 14 * row, 18 + 58 * row
                    pane = [(left, top), (left + 38, top + 8), (left + 51, top + 58), (left + 13, top + 50)]
                    canvas.polygon(pane, clear(rgb("#fff6dc"), 0.22))

    def _paint_flowers(self, canvas: Canvas, rng: Random, mouth: Point, wide: float) -> None:
        stem = rgb("#3f7a3f")
        spread = 0.86 if mouth[1] < 150 else 1
        heads = []
        for dx, dy in SEATS[self.count]:
            at = (mouth[0] + dx * spread + rng.uniform(-3, 3), mouth[1] + dy * spread + rng.uniform(-4, 4))
            foot = (mouth[0] + max(-wide, min(wide, dx * 0.25)), mouth[1] + 2)
            bend = (foot[0] * 0.6 + at[0] * 0.4 - dx * 0.08, foot[1] * 0.45 + at[1] * 0.55)
            canvas.line([foot, bend, at], mix(stem, (0, 0, 0), rng.uniform(0, 0.25)), 2.2)
            heads.append(at)
        for at in heads:
            canvas.mist([((at[0] + 3, at[1] + 4), 13)], (10, 10, 20, 60), 4)
        for at in heads:
            BLOOMS[self.kind](canvas, rng, at, rgb(HUES[self.hue]))

    def _paint_leaves(self, canvas: Canvas, rng: Random, mouth: Point, wide: float) -> None:
        for side in (-1, 1):
            for reach in (30, 20):
                tip = (
                    mouth[0] + side * (wide + reach * rng.uniform(0.8, 1.1)),
                    mouth[1] - reach * rng.uniform(0.3, 1.1),
                )
                foot = (mouth[0] + side * wide * 0.4, mouth[1] + 1)
                middle = ((tip[0] + foot[0]) / 2, (tip[1] + foot[1]) / 2)
                green = rgb(rng.choice(("#4f8a45", "#3d7540", "#68a052")))
                canvas.polygon([foot, (middle[0], middle[1] - 6), tip, (middle[0], middle[1] + 5)], green)
                canvas.polygon([foot, tip, (middle[0], middle[1] + 5)], mix(green, (0, 0, 0), 0.22))

    def describe(self, rng: Random) -> list[str]:
        """Return four captions, each of which leaves something out."""

        def flowers() -> str:
            if self.count == 1:
                return rng.choice((f"a single {self.hue} {self.kind}", f"one {self.hue} {self.kind}"))
            return f"{NUMBERS[self.count]} {self.hue} {PLURALS[self.kind]}"

        vessel = [
            with_article(words.format(self.glaze)) for words in rng.sample(VESSEL_PHRASES[self.vessel], 2)
        ]
        wall = f"{self.wall} wall"
        company, cloth = (
            rng.sample(COMPANY_PHRASES[self.company], 2),
            rng.sample(CLOTH_PHRASES[self.cloth], 2),
        )
        return [
            f"{flowers()} in {vessel[0]} before {with_article(wall)}, {company[0]} to the {self.side}",
            f"{vessel[1]} with {flowers()} on {cloth[0]}, {company[1]} on the {self.side}",
            f"{company[0]} beside {flowers()} in {vessel[1]}, {wall}",
            f"{flowers()} on {cloth[1]} against {with_article(wall)}, with {company[1]}",
        ]


def imagine(rng: Random) -> Bouquet:
    """Draw a bouquet at random."""
    kind = rng.choice(get_args(Kind))
    return Bouquet(
        kind=kind,
        hue=rng.choice(HUES_OF[kind]),
        count=rng.choice(tuple(NUMBERS)),
        vessel=rng.choice(get_args(Vessel)),
        glaze=rng.choice(get_args(Glaze)),
        wall=rng.choice(get_args(Wall)),
        cloth=rng.choice(get_args(Cloth)),
        company=rng.choice(get_args(Company)),
        side=rng.choice(get_args(Side)),
    )
