"""Depth: numbers of any width and range to 8 bits, by the scale that they speak for (docs/decisions/0017)."""

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

WHITE = 1.0
OVERSHOOT = 1.5
"""Floats up to here are 0 to 1 with some ringing above white."""
RINGING = 0.1
"""Numbers below zero, down to this part of the largest, are ringing below black."""
SCALES = tuple(2.0**bits - 1 for bits in (8, 10, 12, 14, 16, 24, 32))
SIGNED_SCALES = tuple(sorted({*SCALES, *(2.0**bits - 1 for bits in (7, 15, 31))}))
"""What white is in the widths that cameras, scanners and programs write."""
DARKEST = 4
"""A picture whose largest number is a smaller part of white than one in so many is not of that scale."""
STRETCHED = {"u2": 0x101, "u4": 0x1010101}
"""8 bits repeated to fill 2 or 4 bytes are multiples of this, by type."""

Numbers = NDArray[Any]

NATIVE = {"little": "B", "big": "L"}[sys.byteorder]
OTHER_BYTES = {
    f"{mode};16{order}": f"{mode};16{other}"
    for mode in ("RGB", "RGBA")
    for order, other in (("B", "L"), ("L", "B"), ("N", NATIVE))
}
"""Pillow's raw forms of 16 bits, of which it keeps the upper bytes, and those by which it keeps the lower."""

BITS, PHOTOMETRIC, FORMAT, NODATA = 258, 262, 339, 42113  # tags of TIFF
WHITE_IS_ZERO = 0
UNSIGNED = 1


def eight_bits(picture: Image.Image) -> Image.Image:
    """Return a picture whose grays are wider than 8 bits in 8 bits; any other as it is."""
    if picture.mode != "F" and not picture.mode.startswith("I"):
        return picture
    numbers = np.asarray(picture)
    tags = getattr(picture, "tag_v2", {})
    bits, is_unsigned = tags.get(BITS, (16,))[0], tags.get(FORMAT, (UNSIGNED,))[0] == UNSIGNED
    white = 2.0**bits - 1 if 8 < bits < 16 else 0xFFFF if picture.format in ("JPEG2000", "PPM") else None
    if tags and numbers.dtype == np.int32:
        numbers = (
            numbers.view(np.uint32) if is_unsigned else numbers.astype(np.int16 if bits == 16 else np.int32)
        )
    gray = scaled(numbers, white=white if picture.mode != "F" else None, nothing=nothing(tags.get(NODATA)))
    flipped = tags.get(PHOTOMETRIC) == WHITE_IS_ZERO
    shown = Image.fromarray(255 - gray if flipped else gray)
    shown.info = described(picture)
    return shown


def described(picture: Image.Image) -> dict[str | tuple[int, int], Any]:
    """Return what a picture says about itself that holds at any depth: its profile and its EXIF."""
    return {key: picture.info[key] for key in ("icc_profile", "exif") if key in picture.info}


def nothing(tag: object) -> float | None:
    """Return the number that stands for no data, as GDAL writes it into a TIFF."""
    try:
        return float(str(tag).strip("\0 "))
    except ValueError:
        return None


def scaled(
    numbers: Numbers, *, white: float | None = None, nothing: float | None = None
) -> NDArray[np.uint8]:
    """Scale numbers to 0 to 255 (the same shape).

    Args:
        white: the number that is white, where the file says so.
        nothing: the number that stands for no data; it is black, as are NaN and infinities.
    """
    there = np.isfinite(numbers) if numbers.dtype.kind == "f" else np.ones((), bool)
    if nothing is not None:
        there = there & (numbers != nothing)
    known = numbers if there.all() else numbers[np.broadcast_to(there, numbers.shape)]
    if not known.size:
        return np.zeros(numbers.shape, np.uint8)
    low, high = (0.0, white) if white else value_range(known)
    with np.errstate(all="ignore"):  # what is not there may overflow
        levels: NDArray[np.floating] = numbers.astype(
            np.float32 if numbers.dtype.itemsize <= 4 else np.float64
        )
        levels -= low
        levels *= 255 / max(high - low, 1e-30)
        levels += 0.5
        np.clip(levels, 0, 255, out=levels)
        levels[~np.broadcast_to(there, levels.shape)] = 0
    return levels.astype(np.uint8)


def value_range(numbers: Numbers) -> tuple[float, float]:
    """Return the numbers that are black and white, judged by the least and the largest and by the type."""
    least, largest = float(numbers.min()), float(numbers.max())
    if least < -RINGING * max(largest, 0):
        return least, largest
    if numbers.dtype.kind == "f" and 1 / 255 <= largest <= OVERSHOOT:
        return 0.0, WHITE
    if unit := STRETCHED.get(numbers.dtype.str[1:]):
        is_dark = largest * DARKEST < 255 * unit
        if is_dark and not (numbers % numbers.dtype.type(unit)).any():
            return 0.0, 255.0 * unit
    scales = SIGNED_SCALES if numbers.dtype.kind == "i" else SCALES
    white = next((scale for scale in scales if largest <= scale), largest)
    return 0.0, white if largest * DARKEST >= white else largest


def gives_upper_bytes(picture: ImageFile.ImageFile) -> bool:
    """Tell whether Pillow will give the upper 8 of 16 bits a colour; ask before the picture is loaded."""
    return len(picture.tile) == 1 and _raw_form(picture) in OTHER_BYTES


def _raw_form(picture: ImageFile.ImageFile) -> str:
    args = picture.tile[0].args or ""
    return args if isinstance(args, str) else str(args[0])


def may_be_dark(upper: Image.Image) -> bool:
    """Tell whether the upper bytes of a picture are so low that its numbers may be of fewer than 16 bits."""
    return int(np.asarray(upper)[..., :3].max()) < 256 // DARKEST


def brightened(upper: Image.Image, again: ImageFile.ImageFile) -> Image.Image:
    """Return a picture of 16 bits a colour by the scale of its numbers, not of 16 bits.

    Args:
        upper: the upper bytes.
        again: the same file, opened, to read the lower bytes from.
    """
    (tile,) = again.tile
    other = OTHER_BYTES[_raw_form(again)]
    again.tile = [tile._replace(args=(other, *tile.args[1:]) if isinstance(tile.args, tuple) else other)]
    again.load()
    picture = with_alpha(np.asarray(upper).astype(np.uint16) << 8 | np.asarray(again))
    picture.info = described(upper)
    return picture


def with_alpha(numbers: Numbers, *, nothing: float | None = None) -> Image.Image:
    """Return numbers (H, W, 3 or 4) as a picture, the fourth as its alpha, by a scale of its own."""
    levels = scaled(numbers[..., :3], nothing=nothing)
    if numbers.shape[2] > 3:
        levels = np.dstack([levels, scaled(numbers[..., 3])])
    return Image.fromarray(levels)
