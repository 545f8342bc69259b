"""Bytes of one file in, pixels or samples out, within limits."""

import io
import stat
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from engine.errors import Unreadable
from engine.types import Modality

IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
SUFFIXES: dict[str, Modality] = {
    **dict.fromkeys((".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"), "image"),
    **dict.fromkeys((".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3"), "audio"),
}
NOT_READ = frozenset({".svg", ".heic", ".avif", ".pdf", ".m4a", ".mp4", ".mov", ".avi", ".mkv", ".webm"})
"""Suffixes of media that cannot be read: they are reported, where other files are passed over."""

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

MAX_BYTES = 512 << 20
MAX_PIXELS = 100_000_000
SAMPLE_RATE = 16_000
MAX_SECONDS = 60
"""Sounds are heard up to here; the rest is not read."""


def modality_of(path: Path) -> Modality | None:
    """Return what a file's suffix promises, None where it is no medium."""
    return SUFFIXES.get(path.suffix.lower())


def read(path: Path) -> bytes:
    """Return the bytes of a regular file; a pipe, a device or a folder is refused unopened."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise Unreadable("not a regular file")
        if status.st_size > MAX_BYTES:
            raise Unreadable(f"{status.st_size >> 20} MiB; the limit is {MAX_BYTES >> 20} MiB")
        data = path.read_bytes()
    except OSError as error:
        raise Unreadable((error.strerror or str(error)).lower()) from None
    if not data:
        raise Unreadable("empty file")
    return data


def image(data: bytes, *, side: int) -> Image.Image:
    """Decode a picture to RGB, upright, on white where it is transparent.

    Args:
        side: how many pixels the caller needs along the shorter side; a larger JPEG is decoded at a
            fraction of its size, never below twice this.
    """
    try:
        picture = Image.open(io.BytesIO(data), formats=IMAGE_FORMATS)
        width, height = picture.size
        if width * height > MAX_PIXELS:
            raise Unreadable(f"{width} x {height} pixels; the limit is {MAX_PIXELS // 10**6} megapixels")
        picture.draft("RGB", (2 * side, 2 * side))
        picture.load()
        return _rgb(_upright(picture))
    except UnidentifiedImageError:
        raise Unreadable("not an image that can be read") from None
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError) as error:
        raise Unreadable(f"broken image: {_one_line(error)}") from None
    except Image.DecompressionBombError:
        raise Unreadable("more pixels than the limit") from None


def _upright(picture: Image.Image) -> Image.Image:
    """Turn a picture as its EXIF says; Pillow's own `exif_transpose` fails where the EXIF cannot be rewritten."""
    turn = TURNS.get(picture.getexif().get(ExifTags.Base.Orientation, 1))
    return picture if turn is None else picture.transpose(turn)


def _rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I"):
        gray = np.asarray(picture).astype(np.float32) / 257
        return Image.fromarray(gray.clip(0, 255).astype(np.uint8)).convert("RGB")
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        rgba = picture.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return picture.convert("RGB")


def sound(data: bytes) -> NDArray[np.float32]:
    """Decode a sound to mono samples (n,) at 16 kHz, -1 to 1, at most MAX_SECONDS of it."""
    import soundfile

    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            rate = file.samplerate
            if not 1_000 <= rate <= 768_000:
                raise Unreadable(f"sample rate of {rate} Hz; 1000 to 768000 can be read")
            if file.channels > 64:
                raise Unreadable(f"{file.channels} channels; the limit is 64")
            samples = file.read(MAX_SECONDS * rate, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise Unreadable(f"broken sound: {error.error_string}") from None
    if not samples.size:
        raise Unreadable("a sound without samples")
    if not np.isfinite(samples).all():
        raise Unreadable("samples that are no numbers (NaN or infinite)")
    mono: NDArray[np.float32] = samples.clip(-1, 1).mean(axis=1)  # (n,)
    return _resampled(mono, rate)


def _resampled(mono: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
    if rate == SAMPLE_RATE:
        return mono
    import soxr

    resampled: NDArray[np.float32] = soxr.resample(mono, rate, SAMPLE_RATE).astype(np.float32)
    if not resampled.size:
        raise Unreadable("nothing is left of it at 16 kHz")
    return resampled


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
