"""Pictures whose bytes end early: what can be seen of them, where that is most of it."""

import re

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from engine.errors import Unreadable
from engine.media.depth import described, eight_bits

ENOUGH = 0.75
"""The share of its rows that a picture must have: by less, photos are nearer to others than to themselves."""
END_OF_JPEG = b"\xff\xd9"


def rows_that_are_there(picture: ImageFile.ImageFile, reason: Exception) -> Image.Image:
    """Return a picture that failed to load, from its first decoded row to its last; the others are zeros.

    Raises the reason where none is decoded, Unreadable where too few are.
    """
    picture.tile = []
    try:
        picture.load()
    except (OSError, SyntaxError):
        raise reason from None
    rows: NDArray[np.bool_] = np.any(np.asarray(picture).reshape(picture.height, -1), axis=1)  # (H,)
    if not rows.any():
        raise reason
    if rows.mean() < ENOUGH:
        share = int(100 * rows.mean())
        raise Unreadable(f"broken image: it ends early, {share} % of it can be read") from None
    first, last = (int(row) for row in np.flatnonzero(rows)[[0, -1]])
    shown = eight_bits(picture).crop((0, first, picture.width, last + 1))
    return shown if rows[first : last + 1].all() else _filled(shown, rows[first : last + 1])


def _filled(picture: Image.Image, rows: NDArray[np.bool_]) -> Image.Image:
    """Return an interlaced picture with the row above in the place of each that is missing."""
    above = np.maximum.accumulate(np.where(rows, np.arange(len(rows)), 0))
    pixels = picture.convert("RGBA" if "transparency" in picture.info else "RGB")
    filled = Image.fromarray(np.asarray(pixels)[above])
    filled.info = described(picture)
    return filled


def is_progressive_enough(picture: Image.Image, data: bytes) -> bool:
    """Tell whether a progressive JPEG holds every frequency of every component once: a whole picture, if coarse."""
    start = data.find(b"\xff\xc2")
    if not picture.info.get("progressive") or start < 0:
        return False
    components = set(data[start + 10 : start + 10 + 3 * data[start + 9] : 3])
    scans = [match.start() for match in re.finditer(rb"\xff\xda", data[start:])]
    seen = dict.fromkeys(components, 0)
    for scan in scans[:-1]:  # the last one may be cut
        header = data[start + scan + 4 : start + scan + 16]
        count = header[0] if header else 0
        first, last, refines = (
            header[1 + 2 * count : 4 + 2 * count] if len(header) > 3 + 2 * count else (1, 0, 1)
        )
        for component in header[1 : 1 + 2 * count : 2]:
            if component in seen and not refines >> 4:
                seen[component] += last - first + 1
    return bool(seen) and all(frequencies >= 64 for frequencies in seen.values())
