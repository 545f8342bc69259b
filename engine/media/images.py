"""Pictures: bytes of any form, depth and colour space to upright RGB on white."""

import io
import logging
import struct

import numpy as np
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from engine.errors import Unreadable, beyond
from engine.media.colour import srgb
from engine.media.cut import END_OF_JPEG, is_progressive_enough, rows_that_are_there
from engine.media.depth import brightened, eight_bits, gives_upper_bytes, may_be_dark
from engine.media.flags import raise_flag
from engine.media.kinds import sniff
from engine.media.png import bare
from engine.media.tiff import decode as decode_tiff
from engine.media.tiff import is_beyond_pillow

for _library in ("PIL", "tifffile"):  # they log what they raise too, to stderr where nobody else listens
    logging.getLogger(_library).addHandler(logging.NullHandler())

IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF", "JPEG2000", "PPM", "TGA", "QOI")

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes a picture of each EXIF orientation upright."""

MAX_PIXELS = 100_000_000

CODING_NOISE = 2
"""Levels of 255 by which the pixels of one colour may differ."""

BROKEN = (
    *(OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError),
    *(ArithmeticError, RuntimeError, struct.error),
)
"""What decoders raise when bytes are not what they say; a lack of memory, or a fault of ours, is not among it."""


def image(data: bytes, *, side: int, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode a picture to RGB, upright, on white where it is transparent; what is odd about it is flagged.

    Args:
        side: how many pixels the caller needs along the shorter side; a larger JPEG is decoded at a
            fraction of its size, never below twice this.
        max_pixels: what is larger is refused.
    """
    kind = sniff(data)
    if not kind or kind.modality != "image":
        raise Unreadable("not an image that can be read" + (f": it is {kind.name}" if kind else ""))
    try:
        picture = _decoded(data, kind.name, side, max_pixels)
    except UnidentifiedImageError:
        raise Unreadable("not an image that can be read") from None
    except Image.DecompressionBombError:
        raise beyond("more pixels than are read", "max_pixels", max_pixels) from None
    except BROKEN as error:
        raise Unreadable(f"broken image: {_one_line(error)}") from None
    if _is_constant(picture):
        raise_flag("constant")
    return picture


def _decoded(data: bytes, kind: str, side: int, max_pixels: int) -> Image.Image:
    """Decode the bytes of a kind of picture; where its metadata stands in the way, without that."""
    try:
        return _rgb(_upright(_loaded(data, kind, side, max_pixels)))
    except (ValueError, UnidentifiedImageError):
        if kind == "TIFF":
            return _rgb(_upright(decode_tiff(data, max_pixels)))
        if kind != "PNG":
            raise
    return _rgb(_upright(_loaded(bare(data), kind, side, max_pixels)))


def _loaded(data: bytes, kind: str, side: int, max_pixels: int) -> Image.Image:
    """Decode the pixels of a picture, as far as they go."""
    picture = _opened(data, kind, side, max_pixels)
    if kind != "JPEG" and getattr(picture, "is_animated", False):
        raise_flag("frames")
    if kind == "TIFF" and is_beyond_pillow(picture):
        return decode_tiff(data, max_pixels)
    only_upper_bytes = gives_upper_bytes(picture)
    try:
        picture.load()
    except (OSError, SyntaxError) as error:
        raise_flag("incomplete")
        if is_progressive_enough(picture, data):
            picture = _opened(data + END_OF_JPEG, kind, side, max_pixels)
            picture.load()
            return picture
        return rows_that_are_there(picture, error)
    if only_upper_bytes and may_be_dark(picture):
        return brightened(picture, _opened(data, kind, side, max_pixels))
    return picture


def _opened(data: bytes, kind: str, side: int, max_pixels: int) -> ImageFile.ImageFile:
    """Read the header of a picture and refuse too many pixels; nothing is decoded yet."""
    picture: ImageFile.ImageFile = Image.open(io.BytesIO(data), formats=(kind,))
    width, height = picture.size
    if width * height > max_pixels:
        raise beyond(f"{width} x {height} pixels", "max_pixels", max_pixels)
    picture.draft("RGB", (2 * side, 2 * side))
    return picture


def _upright(picture: Image.Image) -> Image.Image:
    """Turn a picture as its EXIF says; Pillow's own `exif_transpose` fails where the EXIF cannot be rewritten."""
    try:
        turn = TURNS.get(picture.getexif().get(ExifTags.Base.Orientation, 1))
    except BROKEN:  # an EXIF that cannot be read says nothing
        return picture
    return picture if turn is None else picture.transpose(turn)


def _rgb(picture: Image.Image) -> Image.Image:
    picture = eight_bits(picture)
    profile = picture.info.get("icc_profile")
    if picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        rgba = picture.convert("RGBA")
        if profile:
            flat = srgb(rgba.convert("RGB"), profile)
            flat.putalpha(rgba.getchannel("A"))
            rgba = flat
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    if profile:
        return srgb(picture, profile)
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def _is_constant(picture: Image.Image) -> bool:
    """Tell whether no pixel differs from another by more than coding noise; a few tell of most pictures."""
    width, height = picture.size
    first = picture.getpixel((0, 0))
    if any(picture.getpixel((width * i // 7, height * i // 7)) != first for i in range(1, 7)):
        return False
    return int(np.ptp(np.asarray(picture), axis=(0, 1)).max()) <= CODING_NOISE


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
