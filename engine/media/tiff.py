"""TIFFs that Pillow cannot open, or not rightly: wide colours, planes, floats of several channels."""

import io
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, TiffImagePlugin

from engine.errors import Unreadable, beyond
from engine.media.depth import (
    BITS,
    FORMAT,
    NODATA,
    PHOTOMETRIC,
    UNSIGNED,
    WHITE_IS_ZERO,
    nothing,
    scaled,
    with_alpha,
)

ORIENTATION, PROFILE = 274, 34675  # tags
RAW, DEFLATE = 1, (8, 32946)
BYTES_A_PIXEL = 4
"""So many bytes of numbers are read for each pixel that is allowed, however many there are."""
GRAY, COLOURS, PALETTE, INKS = (0, 1), (1, 2), 3, 5
"""Values of the photometric tag."""
ALPHA = (1, 2)

MALFORMED = (
    *(SyntaxError, LookupError, TypeError, AttributeError, EOFError, RuntimeError),
    *(ArithmeticError, AssertionError, MemoryError, struct.error),
)


def is_beyond_pillow(picture: TiffImagePlugin.TiffImageFile | Any) -> bool:
    """Tell whether Pillow would read an opened TIFF wrongly: several wide colours, or signed small ones."""
    tags = picture.tag_v2
    bits, form = tags.get(BITS, (1,)), tags.get(FORMAT, (UNSIGNED,))
    wide = max(bits) > 8 and len(bits) > 1 and tags.get(PHOTOMETRIC) in (*GRAY, *COLOURS)
    readable = picture.info.get("compression") == "raw" or picture.info.get("compression", "").endswith(
        "deflate"
    )
    return readable and (wide or (max(bits) == 8 and form[0] != UNSIGNED))


def decode(data: bytes, max_pixels: int) -> Image.Image:
    """Decode the first page of a TIFF to 8 bits; not compressed, or by deflate.

    Args:
        max_pixels: what is larger is refused.
    """
    import tifffile

    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            if not file.pages:
                raise Unreadable("broken image: a TIFF without a page")
            page: Any = file.pages[0]
            if page.imagewidth * page.imagelength > max_pixels:
                raise beyond(f"{page.imagewidth} x {page.imagelength} pixels", "max_pixels", max_pixels)
            _check(page, data, max_pixels)
            samples = np.asarray(page.asarray(maxworkers=1))
            return _picture(page, samples)
    except (OSError, ValueError, zlib.error) as error:
        raise Unreadable(f"broken image: {' '.join(str(error).split())[:120]}") from None
    except MALFORMED:
        raise Unreadable("broken image: damaged tags of a TIFF") from None


def _check(page: Any, data: bytes, max_pixels: int) -> None:
    """Refuse what cannot be decoded, or would unpack to more than its header says."""
    if page.compression != RAW and page.compression not in DEFLATE:
        raise Unreadable(f"a TIFF of {page.bitspersample} bits, compressed by {page.compression.name}")
    if page.photometric not in (*GRAY, *COLOURS, PALETTE, INKS):
        raise Unreadable(f"a TIFF of colours as {getattr(page.photometric, 'name', page.photometric)}")
    if page.dtype is None or page.dtype.kind not in "uif" or page.imagedepth != 1:
        raise Unreadable("a TIFF whose numbers are no colours")
    size = max(page.nbytes, page.size * page.dtype.itemsize)
    if size > BYTES_A_PIXEL * max_pixels:
        raise beyond(
            f"{size >> 20} MiB, as much as {size // BYTES_A_PIXEL} pixels may have", "max_pixels", max_pixels
        )
    if page.compression != RAW:
        rows, columns = (
            (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, page.imagewidth)
        )
        most = min(rows, max(page.imagelength, page.tilelength)) * columns
        most *= page.samplesperpixel * page.dtype.itemsize
        for start, length in zip(page.dataoffsets, page.databytecounts, strict=False):
            piece = zlib.decompressobj()
            piece.decompress(data[start : start + length], min(most, BYTES_A_PIXEL * max_pixels) + 1)
            if piece.unconsumed_tail:
                raise Unreadable("broken image: more data than its header says")


def _picture(page: Any, samples: NDArray[Any]) -> Image.Image:
    """Return the samples of a page as a picture of 8 bits; which way is up stands in its EXIF."""
    if page.planarconfig == 2 and samples.ndim == 3:
        samples = np.moveaxis(samples, 0, -1)
    samples = samples.reshape(page.imagelength, page.imagewidth, -1)  # (H, W, S)
    count = samples.shape[2]
    missing = nothing(page.tags.valueof(NODATA))
    if page.photometric == PALETTE:
        table = np.asarray(page.colormap)  # (3, 2 ** bits) of 16 bits
        colours = (table[:, samples[..., 0]] >> 8).astype(np.uint8)
        picture = Image.fromarray(np.ascontiguousarray(np.moveaxis(colours, 0, -1)))
    elif page.photometric == INKS and count >= 4:
        picture = Image.frombytes(
            "CMYK", (page.imagewidth, page.imagelength), scaled(samples[..., :4]).tobytes()
        )
    elif count >= 3:
        has_alpha = count > 3 and page.extrasamples and page.extrasamples[0] in ALPHA
        picture = with_alpha(samples[..., : 4 if has_alpha else 3], nothing=missing)
    else:
        gray = scaled(samples[..., 0], nothing=missing)
        picture = Image.fromarray(255 - gray if page.photometric == WHITE_IS_ZERO else gray)
    profile = page.tags.valueof(PROFILE)
    if isinstance(profile, bytes):
        picture.info["icc_profile"] = profile
    picture.getexif()[ExifTags.Base.Orientation] = int(page.tags.valueof(ORIENTATION, 1))
    return picture
