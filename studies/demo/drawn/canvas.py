"""Paper to draw on: positions in picture pixels, painted larger and reduced, so that edges are smooth."""

from collections.abc import Sequence
from functools import cache

import numpy as np
from PIL import Image, ImageChops, ImageColor, ImageDraw, ImageFilter, ImageFont

SIDE = 256
SCALE = 2
COARSE = 2
"""Soft things are painted at this fraction of the picture's size, blurred, then enlarged."""

Colour = tuple[int, ...]
"""Red, green, blue and perhaps opacity, 0 to 255."""
Point = tuple[float, float]
Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""


def rgb(name: str) -> Colour:
    """Return the colour of a hexadecimal or CSS name."""
    return ImageColor.getrgb(name)[:3]


def mix(a: Colour, b: Colour, t: float) -> Colour:
    """Return the colour that lies `t` of the way from `a` to `b`."""
    return tuple(round(x + (y - x) * t) for x, y in zip(a[:3], b[:3], strict=True))


def tint(colour: Colour, light: Colour) -> Colour:
    """Return the colour of a surface as it looks in coloured light."""
    return tuple(x * y // 255 for x, y in zip(colour[:3], light[:3], strict=True))


def clear(colour: Colour, opacity: float) -> Colour:
    """Return the colour with an opacity, 0 to 1."""
    return (*colour[:3], round(255 * opacity))


def gray(colour: Colour) -> Colour:
    """Return the gray that is as bright as the colour."""
    return (round(0.3 * colour[0] + 0.59 * colour[1] + 0.11 * colour[2]),) * 3


def between(a: Point, b: Point, t: float) -> Point:
    """Return the point that lies `t` of the way from `a` to `b`."""
    return a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t


def ramp(stops: Sequence[Colour], size: tuple[int, int]) -> Image.Image:
    """Return evenly spaced colours, blended from top to bottom."""
    at = np.linspace(0, len(stops) - 1, size[1])
    columns = [np.interp(at, range(len(stops)), [stop[c] for stop in stops]) for c in range(3)]
    strip = np.stack(columns, axis=-1).round().astype(np.uint8)[:, None]  # (height, 1, 3)
    return Image.fromarray(strip).resize(size, Image.Resampling.NEAREST)


@cache
def _halo() -> Image.Image:
    """Return a disc of light that dies away towards its rim."""
    x = np.linspace(-1, 1, 128)
    reach = np.hypot(x, x[:, None]).clip(0, 1)
    return Image.fromarray((255 * (1 - reach) ** 2).astype(np.uint8))


@cache
def _vignette() -> Image.Image:
    x = np.linspace(-1, 1, SIDE)
    reach = np.hypot(x, x[:, None])
    dark = (255 - 18 * reach**2.5).astype(np.uint8)
    return Image.fromarray(dark).convert("RGB")


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


class Canvas:
    """One picture in the making, white at first."""

    def __init__(self) -> None:
        self.paper = Image.new("RGB", (SIDE * SCALE, SIDE * SCALE), "white")
        self._pen = ImageDraw.Draw(self.paper, "RGBA")

    def polygon(self, points: Sequence[Point], colour: Colour) -> None:
        """Fill a polygon."""
        self._pen.polygon([(x * SCALE, y * SCALE) for x, y in points], fill=colour)

    def rect(self, box: Box, colour: Colour, radius: float = 0) -> None:
        """Fill a rectangle, its corners rounded by `radius`."""
        left, top, right, bottom = (round(v * SCALE) for v in box)
        if right <= left or bottom <= top:
            return
        inside = (left, top, right - 1, bottom - 1)
        if radius:
            self._pen.rounded_rectangle(inside, radius * SCALE, fill=colour)
        else:
            self._pen.rectangle(inside, fill=colour)

    def disc(self, at: Point, radius: float, colour: Colour, squash: float = 1) -> None:
        """Fill an ellipse that is `squash` times as high as it is wide."""
        x, y = at[0] * SCALE, at[1] * SCALE
        w, h = radius * SCALE, radius * squash * SCALE
        self._pen.ellipse((x - w, y - h, x + w, y + h), fill=colour)

    def line(self, points: Sequence[Point], colour: Colour, width: float = 1) -> None:
        """Draw a line through points."""
        path = [(x * SCALE, y * SCALE) for x, y in points]
        self._pen.line(path, fill=colour, width=max(1, round(width * SCALE)), joint="curve")

    def fade(self, points: Sequence[Point], stops: Sequence[Colour]) -> None:
        """Fill a polygon with colours that blend from its top to its bottom."""
        xs = [round(x * SCALE) for x, _ in points]
        ys = [round(y * SCALE) for _, y in points]
        left, top = max(0, min(xs)), min(ys)
        size = (min(max(xs), SIDE * SCALE) - left + 1, max(ys) - top + 1)
        if size[0] < 1 or size[1] < 1:
            return
        mask = Image.new("L", size)
        ImageDraw.Draw(mask).polygon([(x - left, y - top) for x, y in zip(xs, ys, strict=True)], fill=255)
        self.paper.paste(ramp(stops, size), (left, top), mask)

    def ball(self, at: Point, radius: float, colour: Colour, squash: float = 1) -> None:
        """Fill an ellipse as a round body lit from the upper left."""
        self.disc(at, radius, mix(colour, (0, 0, 0), 0.2), squash)
        w, h = round(radius * SCALE * 2), round(radius * SCALE * 2 * squash)
        left, top = round((at[0] - radius) * SCALE), round((at[1] - radius * squash) * SCALE)
        mask = Image.new("L", (w + 1, h + 1))
        ImageDraw.Draw(mask).ellipse((0, 0, w, h), fill=255)
        light = _halo().resize((round(w * 1.7), round(h * 1.7)), Image.Resampling.BILINEAR)
        shine = Image.new("L", mask.size)
        shine.paste(light, (round(-0.52 * w), round(-0.55 * h)))
        self.paper.paste(
            mix(colour, (255, 255, 255), 0.22)[:3], (left, top), ImageChops.multiply(mask, shine)
        )

    def letter(self, at: Point, text: str, size: float, colour: Colour) -> None:
        """Write a line of text around a point."""
        place = (at[0] * SCALE, at[1] * SCALE)
        self._pen.text(place, text, fill=colour, font=_font(round(size * SCALE)), anchor="mm")

    def glow(self, at: Point, radius: float, colour: Colour, strength: float = 1) -> None:
        """Shed light around a point."""
        size = round(2 * radius * SCALE)
        corner = (round((at[0] - radius) * SCALE), round((at[1] - radius) * SCALE))
        halo = _halo().point([round(v * strength) for v in range(256)])
        self.paper.paste(colour[:3], corner, halo.resize((size, size), Image.Resampling.BILINEAR))

    def mist(
        self, discs: Sequence[tuple[Point, float]], colour: Colour, blur: float, squash: float = 1
    ) -> None:
        """Paint discs (centre, radius) as one soft cloud or shadow."""
        mask = Image.new("L", (SIDE // COARSE, SIDE // COARSE))
        pen = ImageDraw.Draw(mask)
        opacity = colour[3] if len(colour) > 3 else 255
        for (x, y), r in discs:
            box = (x - r, y - r * squash, x + r, y + r * squash)
            pen.ellipse([v / COARSE for v in box], fill=opacity)
        mask = mask.filter(ImageFilter.GaussianBlur(blur / COARSE))
        extent = mask.getbbox()
        if extent is None:
            return
        by = COARSE * SCALE
        part = mask.crop(extent)
        part = part.resize((part.width * by, part.height * by), Image.Resampling.BILINEAR)
        self.paper.paste(colour[:3], (extent[0] * by, extent[1] * by), part)

    def mirror(self, line: float, bottom: float) -> None:
        """Let what stands above `line` be seen again below it, as in still water, down to `bottom`."""
        y, depth = round(line * SCALE), round((bottom - line) * SCALE)
        above = self.paper.crop((0, max(0, y - depth), self.paper.width, y))
        image = above.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
        small = image.resize((image.width // 2, image.height // 4), Image.Resampling.BOX)
        self.paper.paste(small.resize(image.size, Image.Resampling.BICUBIC), (0, y))

    def finish(self) -> Image.Image:
        """Return the picture at its final size."""
        return ImageChops.multiply(self.paper.reduce(SCALE), _vignette())
