"""The backbone that needs no download: fixed descriptors through a fixed random projection to 512 numbers."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from math import sqrt
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from engine import media
from engine.backbones import Backbone, Features, Prepared
from engine.errors import Unreadable
from engine.types import Modality

WIDTH = 512
SIDE = 128
TEXT_LIMIT = 4096
BUCKETS = 1 << 15
SEEDS: dict[Modality, int] = {"image": 1, "text": 2, "audio": 3}


@dataclass(frozen=True)
class Builtin:
    """Colour and gradients of a picture, n-grams of a text, log-mel statistics of a sound."""

    spec: str = "builtin"
    id: str = "builtin-1"
    aligned: bool = False

    @property
    def widths(self) -> Mapping[Modality, int]:
        return dict.fromkeys(DESCRIBE, WIDTH)

    def prepare(self, modality: Modality, data: bytes) -> Prepared:
        return DESCRIBE[modality](data)

    def encode(self, modality: Modality, batch: Sequence[Prepared]) -> Features:
        rows = np.stack([np.asarray(row, np.float32) for row in batch])  # (N, D)
        if modality != "text":
            rows = rows @ projection(modality, rows.shape[1])
        return unit(rows)


def load() -> Backbone:
    """Return the built-in backbone."""
    return Builtin()


@cache
def projection(modality: Modality, width: int) -> NDArray[np.float32]:
    """Return the fixed Gaussian matrix (width, 512) of a modality."""
    rng = np.random.Generator(np.random.PCG64(SEEDS[modality]))
    return rng.standard_normal((width, WIDTH), np.float32) / np.float32(sqrt(WIDTH))


@cache
def signs() -> NDArray[np.int8]:
    """Return the fixed sign matrix (buckets, 512) of hashed n-grams (Achlioptas 2003)."""
    rng = np.random.Generator(np.random.PCG64(SEEDS["text"]))
    return rng.integers(0, 2, (BUCKETS, WIDTH), np.int8) * np.int8(2) - np.int8(1)


def unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale rows (N, D) to unit length; a row of zeros stays."""
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def describe_image(data: bytes) -> NDArray[np.float32]:
    """Return oriented gradients and the colour layout of a picture."""
    from skimage.color import rgb2lab
    from skimage.feature import hog

    picture = media.image(data, side=SIDE).resize((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=2.0)
    gray = np.asarray(picture.convert("L"), np.float32) / 255
    gradients = hog(gray, 9, (16, 16), (2, 2), transform_sqrt=True)
    layout = rgb2lab(np.asarray(picture.resize((8, 8), Image.Resampling.BOX)))
    layout = (layout - (50, 0, 0)) / (50, 50, 50)
    return np.concatenate([gradients - gradients.mean(), 0.5 * layout.ravel(), [0.1]]).astype(np.float32)


def describe_text(data: bytes) -> NDArray[np.float32]:
    """Return the projected word and character n-grams of a text."""
    try:
        text = data.decode()[:TEXT_LIMIT]
    except UnicodeDecodeError:
        raise Unreadable("text that is not UTF-8") from None
    counts = Counter(crc32(gram.encode()) % BUCKETS for gram in _grams(text.lower()))
    weights = np.sqrt(np.fromiter(counts.values(), np.float32))
    z: NDArray[np.float32] = weights @ signs()[list(counts)].astype(np.float32)
    return z


def _grams(text: str) -> list[str]:
    words = text.split()
    pairs = [f"{a} {b}" for a, b in pairwise(words)]
    padded = [f"<{word}>" for word in words]
    characters = [word[i : i + n] for word in padded for n in (3, 4, 5) for i in range(len(word) - n + 1)]
    return words + pairs + characters


def describe_sound(data: bytes) -> NDArray[np.float32]:
    """Return the mean, spread and change of the log-mel bands of a sound."""
    samples = media.sound(data)
    frame, hop = 512, 256
    padded = np.pad(samples, (0, max(0, 2 * frame - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, frame)[::hop]
    power = np.abs(np.fft.rfft(frames * np.hanning(frame).astype(np.float32))) ** 2  # (frames, 257)
    mel = np.log10(power @ mel_bands(64, frame) + 1e-6)
    change = np.diff(mel, axis=0)
    parts = [mel.mean(0) + 2, mel.std(0), np.abs(change).mean(0), mel.max(0) + 1]
    return np.concatenate(parts).astype(np.float32)


@cache
def mel_bands(bands: int, frame: int) -> NDArray[np.float32]:
    """Return triangular filters (frame // 2 + 1, bands), equally wide on the mel scale."""
    top = 2595 * np.log10(1 + media.SAMPLE_RATE / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, bands + 2) / 2595) - 1)
    hertz = np.fft.rfftfreq(frame, 1 / media.SAMPLE_RATE)[:, None]
    rise = (hertz - edges[:-2]) / np.diff(edges)[:-1]
    fall = (edges[2:] - hertz) / np.diff(edges)[1:]
    return np.maximum(0, np.minimum(rise, fall)).astype(np.float32)


DESCRIBE: dict[Modality, Callable[[bytes], NDArray[np.float32]]] = {
    "image": describe_image,
    "text": describe_text,
    "audio": describe_sound,
}
