"""Described regions of images: which of them shows an object, and their crops as files."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from PIL import Image

SMALLEST = 16
"""Pixels a side: a smaller crop shows nothing."""

Box = tuple[int, int, int, int]
"""Left, top, width, height; pixels."""


@dataclass(frozen=True)
class Photo:
    """One image file; sizes in pixels."""

    path: Path
    width: int
    height: int


@dataclass(frozen=True)
class Region:
    """A described part of an image."""

    id: int
    box: Box
    phrase: str


@dataclass(frozen=True)
class Pair:
    """A region and the category of the object in it."""

    image: int
    category: str
    region: Region


def matched(
    image: int, boxes: Sequence[tuple[str, Box]], regions: Sequence[Region], least: float
) -> list[Pair]:
    """Pair each category in an image with the region that overlaps an object of it best; no region twice."""
    ranked = [
        (-share, region.id, category, region)
        for category, box in boxes
        for region in regions
        if min(region.box[2:]) >= SMALLEST and (share := iou(box, region.box)) >= least
    ]
    pairs: dict[str, Pair] = {}
    taken: set[int] = set()
    for _, id_, category, region in sorted(ranked, key=lambda ranking: ranking[:3]):
        if category not in pairs and id_ not in taken:
            pairs[category] = Pair(image, category, region)
            taken.add(id_)
    return list(pairs.values())


def iou(a: Box, b: Box) -> float:
    """Return the intersection of two boxes over their union, 0 to 1."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / (a[2] * a[3] + b[2] * b[3] - shared)


def clipped(box: Mapping[str, Any], photo: Photo) -> Box:
    """Return what of a region lies in its image."""
    left, top = max(box["x"], 0), max(box["y"], 0)
    right, bottom = min(box["x"] + box["width"], photo.width), min(box["y"] + box["height"], photo.height)
    return left, top, right - left, bottom - top


def cut(pairs: Sequence[Pair], photos: Mapping[int, Photo], out: Path) -> set[str]:
    """Save the crop of every pair that is not there yet; return the crops that are there."""
    (out / "images").mkdir(parents=True, exist_ok=True)
    done: set[str] = set()
    for image, group in groupby(sorted(pairs, key=lambda pair: pair.image), lambda pair: pair.image):
        crops = {crop_path(pair.region): pair.region.box for pair in group}
        absent = [path for path in crops if not (out / path).is_file()]
        if absent:
            whole = _opened(photos[image].path)
            if whole is None:
                continue
            for path in absent:
                left, top, width, height = crops[path]
                part = out / f"{path}.part"
                whole.crop((left, top, left + width, top + height)).save(part, "JPEG", quality=95)
                part.replace(out / path)
        done |= crops.keys()
    return done


def _opened(photo: Path) -> Image.Image | None:
    """Return the picture, or say on stderr why it is skipped."""
    try:
        with Image.open(photo) as picture:
            return picture.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        print(f"skipped {photo}: {error}", file=sys.stderr)
        return None


def crop_path(region: Region) -> str:
    """Return where in its folder the crop of a region stands."""
    return f"images/{region.id}.jpg"
