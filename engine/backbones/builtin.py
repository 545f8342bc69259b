"""The backbone that needs no download: fixed descriptors through fixed random projections to 512 numbers."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from engine import media
from engine.backbones import Backbone, Features, Prepared
from engine.errors import Unreadable
from engine.types import Modality

Row = NDArray[np.float32]

WIDTH = 512

SIDE = 64
"""Pictures are described at this many pixels a side."""
GRID = 4
"""Local statistics are taken in this many cells along either side."""

TEXT_LIMIT = 8192
"""Characters of a text that are read."""
QUIET_WEIGHT = 0.3
QUIET_WORDS = """
a all also an and are as at be been but by can each for from has have he her his in into is it its may more most
not of on one or other over she some than that the their then there these they this those through to under was
were when where which while who with between image photo photograph picture shows showing shown
"""
"""Words that say little in a caption."""

FRAME = 512
HOP = 256
BANDS = 64


@dataclass(frozen=True)
class Builtin:
    """Colours and gradients of pictures, n-grams of texts, log-mel statistics of sounds."""

    spec: str = "builtin"
    id: str = "builtin-1"
    aligned: bool = False
    digest: str = ""

    @property
    def widths(self) -> Mapping[Modality, int]:
        return dict.fromkeys(DESCRIPTORS, WIDTH)

    def prepare(self, modality: Modality, data: bytes) -> Prepared:
        return DESCRIPTORS[modality](data)

    def encode(self, modality: Modality, batch: Sequence[Prepared]) -> Features:
        rows = np.stack([np.asarray(row, np.float32) for row in batch])  # (N, D)
        return scaled(rows if modality == "text" else rows @ projection(modality, rows.shape[1]))


def load() -> Backbone:
    """Return the built-in backbone."""
    return Builtin()


def scaled(rows: NDArray[np.float32]) -> Features:
    """Scale rows (N, 512) to length sqrt(512), numbers of about 1 as heads like them; zeros stay zeros."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    features: Features = (rows * np.sqrt(rows.shape[1]) / np.maximum(lengths, 1e-12)).astype(np.float32)
    return features


@cache
def projection(modality: Modality, width: int) -> NDArray[np.float32]:
    """Return the fixed Gaussian matrix (width, 512) of a modality, seeded by its name."""
    generator = np.random.Generator(np.random.PCG64(list(modality.encode())))
    return generator.standard_normal((width, WIDTH), np.float32)


def describe_image(data: bytes) -> Row:
    """Return local colours, oriented energies, texture and shape of a picture (2977,)."""
    picture = media.image(data, side=SIDE)
    width, height = picture.size
    square = picture.resize((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=2.0)
    gray = np.asarray(square.convert("L"))
    aspect = np.clip(np.log(width / height), -1.5, 1.5)
    parts = (colours(np.asarray(square)), energies(gray), texture(gray), [0.5 * aspect])
    return np.concatenate(parts, dtype=np.float32)


def colours(rgb: NDArray[np.uint8]) -> Row:
    """Return the roots of 4 x 6 x 6 Lab histograms, one a cell; unit length (2304,)."""
    from skimage.color import rgb2lab

    lab = rgb2lab(rgb) / (100, 120, 120) + np.array([0, 0.5, 0.5])
    light, green_red, blue_yellow = np.moveaxis(np.clip(lab, 0, 0.999) * (4, 6, 6), 2, 0).astype(int)
    return np.sqrt(histograms(light * 36 + green_red * 6 + blue_yellow, 144) / GRID**2)


def energies(gray: NDArray[np.uint8]) -> Row:
    """Return the log energy of 4 scales x 8 orientations in each cell (512,), as GIST (Oliva 2001)."""
    pixels = gray.astype(np.float32) / 255
    spectrum = np.fft.fft2(pixels - pixels.mean())
    responses = np.abs(np.fft.ifft2(spectrum * gabor_bank()))  # (32, SIDE, SIDE)
    cell = SIDE // GRID
    energy = responses.reshape(-1, GRID, cell, GRID, cell).mean((2, 4)).ravel()
    return centred(np.log(energy + 1e-3).astype(np.float32))


@cache
def gabor_bank() -> NDArray[np.float32]:
    """Return log-Gabor filters in the frequency domain (32, SIDE, SIDE), zero at frequency zero."""
    y, x = np.meshgrid(np.fft.fftfreq(SIDE), np.fft.fftfreq(SIDE), indexing="ij")
    scale = np.log(np.hypot(x, y) + 1e-9) - np.log([1 / 4, 1 / 8, 1 / 16, 1 / 32])[:, None, None]
    turn = np.angle(np.exp(1j * (np.arctan2(y, x) - np.arange(8)[:, None, None] * np.pi / 8)))
    radial, angular = np.exp(-((scale / 0.46) ** 2) / 2), np.exp(-((turn / 0.28) ** 2) / 2)
    bank: NDArray[np.float32] = (radial[:, None] * angular).reshape(-1, SIDE, SIDE).astype(np.float32)
    return bank


def texture(gray: NDArray[np.uint8]) -> Row:
    """Return the roots of the cells' histograms of uniform local binary patterns (160,)."""
    from skimage.feature import local_binary_pattern

    codes: NDArray[np.int_] = local_binary_pattern(gray, 8, 1, "uniform").astype(int)  # type: ignore[no-untyped-call]
    return 0.5 * centred(np.sqrt(histograms(codes, 10)))


def histograms(codes: NDArray[np.int_], size: int) -> Row:
    """Return how often each code below `size` stands in each cell (GRID * GRID * size,); a cell sums to 1."""
    cell = np.arange(SIDE) * GRID // SIDE
    cells = cell[:, None] * GRID + cell
    counts = np.bincount((cells * size + codes).ravel(), minlength=GRID * GRID * size)
    return counts.astype(np.float32) / np.float32((SIDE // GRID) ** 2)


def centred(row: Row) -> Row:
    """Return a row less its mean, at unit length; a constant row gives zeros."""
    rest: Row = row - row.mean()
    return rest / max(float(np.linalg.norm(rest)), 0.1)


def describe_text(data: bytes) -> Row:
    """Return the weighted sum of 512 signs for each n-gram of a text (512,).

    The signs are the bits of the n-gram's digest: a random projection (Achlioptas 2003) without a matrix.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise Unreadable("text that is not UTF-8") from None
    if len(text) > TEXT_LIMIT:
        media.raise_flag("long")
    weights = grams(text[:TEXT_LIMIT])
    digests = b"".join(blake2b(gram.encode(), digest_size=WIDTH // 8).digest() for gram in weights)
    bits = np.unpackbits(np.frombuffer(digests, np.uint8)).reshape(-1, WIDTH)
    row: Row = np.fromiter(weights.values(), np.float32) @ (2 * bits.astype(np.float32) - 1)
    return row


UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
"""Scripts that set no spaces between words: Thai, Lao, Burmese, Khmer, Kana, Han (Hangul does)."""


def grams(text: str) -> dict[str, float]:
    """Return the words, five-letter stems and character 3- to 5-grams of a text with their weights."""
    quiet = frozenset(QUIET_WORDS.split())
    weights: defaultdict[str, float] = defaultdict(float)
    for word, count in Counter(words(text.casefold())).items():
        weight = count**0.5 * (QUIET_WEIGHT if word in quiet or not word[0].isalnum() else 1.0)
        weights[word] += weight
        weights["^" + word[:5]] += weight
        padded = f"<{word}>"
        pieces = [padded[i : i + n] for n in (3, 4, 5) for i in range(len(padded) - n + 1)]
        for piece in pieces:
            weights["#" + piece] += weight / 2 / len(pieces) ** 0.5
    return weights


def words(text: str) -> Iterator[str]:
    """Yield the words of a text, and its marks; where a script sets no spaces, every two letters that follow."""
    for run in re.findall(rf"[{UNSPACED}]+|(?:(?![{UNSPACED}])\w)+|[^\w\s]", text):
        if re.match(f"[{UNSPACED}]", run) and len(run) > 1:
            yield from (run[place : place + 2] for place in range(len(run) - 1))
        else:
            yield run


def describe_sound(data: bytes) -> Row:
    """Return mean, spread, maximum and mean change of a sound's log-mel bands (256,)."""
    bands = log_mel(media.sound(data))
    change = np.abs(np.diff(bands, axis=0)).mean(0)
    return np.concatenate([bands.mean(0) + 2, bands.std(0), bands.max(0) + 1, change], dtype=np.float32)


def log_mel(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the log10 power of each frame of 32 ms in each mel band (frames, 64), -6 for silence."""
    padded = np.pad(samples, (0, max(0, 2 * FRAME - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, FRAME)[::HOP]
    spectrum = np.abs(np.fft.rfft(frames * np.hanning(FRAME).astype(np.float32)))  # (frames, 257)
    power: NDArray[np.float32] = np.log10((spectrum**2).astype(np.float32) @ mel_filters() + 1e-6)
    return power


@cache
def mel_filters() -> NDArray[np.float32]:
    """Return triangular filters (257, 64), equally wide on the mel scale up to 8 kHz."""
    top = 2595 * np.log10(1 + media.SAMPLE_RATE / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, BANDS + 2) / 2595) - 1)
    hertz = np.fft.rfftfreq(FRAME, 1 / media.SAMPLE_RATE)[:, None]
    rise = (hertz - edges[:-2]) / np.diff(edges)[:-1]
    fall = (edges[2:] - hertz) / np.diff(edges)[1:]
    return np.maximum(0, np.minimum(rise, fall)).astype(np.float32)


DESCRIPTORS: Mapping[Modality, Callable[[bytes], Row]] = {
    "image": describe_image,
    "text": describe_text,
    "audio": describe_sound,
}
