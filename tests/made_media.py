"""Pictures and sounds that are made: a photo and a sound, in any form."""

import io
from typing import Any

import numpy as np
import soundfile
import tifffile
from numpy.typing import NDArray
from PIL import Image

from engine.backbones import builtin
from engine.types import Modality

RATE = 16_000


def photo(seed: int = 0, width: int = 96, height: int = 72) -> Image.Image:
    """Return a picture with areas, edges and grain, as photos have; its levels go from 0 to 255."""
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 256, (4, 5, 3), np.uint8))
    pixels = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    pixels[height // 3 : height // 2, width // 4 : width // 2] = (255, 255, 250)
    pixels[height // 2 : height // 2 + 6, : width // 3] = (0, 0, 5)
    grain = generator.integers(-12, 13, pixels.shape)
    return Image.fromarray((pixels + grain).clip(0, 255).astype(np.uint8))


def sound(seed: int = 0, seconds: float = 1.0, rate: int = RATE) -> NDArray[np.float32]:
    """Return a gliding tone with noise that comes and goes (n,), -0.5 to 0.5."""
    generator, t = np.random.default_rng(seed), np.arange(int(seconds * rate)) / rate
    tone = np.sin(2 * np.pi * (300 * t + 400 * t**2)) * np.sin(2 * np.pi * 3 * t) ** 2
    samples: NDArray[np.float32] = (0.4 * tone + 0.02 * generator.standard_normal(len(t))).astype(np.float32)
    return samples


def picture(form: str, mode: str = "RGB", options: dict[str, Any] | None = None) -> bytes:
    """Return the photo as Pillow saves it."""
    return saved(photo().convert(mode), form, options)


def saved(shown: Image.Image, form: str = "PNG", options: dict[str, Any] | None = None) -> bytes:
    file = io.BytesIO()
    shown.save(file, form, **(options or {}))
    return file.getvalue()


def tiff(numbers: NDArray[Any], options: dict[str, Any] | None = None) -> bytes:
    """Return numbers (H, W) or (H, W, 3) as a TIFF of their type."""
    file = io.BytesIO()
    kind = "rgb" if numbers.ndim == 3 else "minisblack"
    tifffile.imwrite(file, numbers, **{"photometric": kind, **(options or {})})
    return file.getvalue()


def recording(
    form: str, subtype: str | None = None, samples: NDArray[Any] | None = None, rate: int = RATE
) -> bytes:
    """Return the sound, or samples (n,) or (n, channels), as libsndfile saves it."""
    file = io.BytesIO()
    soundfile.write(file, sound() if samples is None else samples, rate, format=form, subtype=subtype)
    return file.getvalue()


def cosine(modality: Modality, one: bytes, other: bytes) -> float:
    """Return how alike two media are to the built-in backbone, -1 to 1."""
    backbone = builtin.load()
    x, y = backbone.encode(modality, [backbone.prepare(modality, data) for data in (one, other)])
    return float(x @ y / np.linalg.norm(x) / np.linalg.norm(y))
