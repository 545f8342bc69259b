"""The backbone that needs no download: fixed descriptors through fixed random projections to 512 numbers."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from engine import media
from engine.backbones import Backbone, Features, Prepared
from engine.decoding.jobs import Decode, Job, here
from engine.errors import Unreadable
from engine.types import Modality

WIDTH = 512

TEXT_LIMIT = 8192
"""Characters of a text that are read."""
QUIET_WEIGHT = 0.3
QUIET_WORDS = """
a all also an and are as at be been but by can each for from has have he her his in into is it its may more most
not of on one or other over she some than that the their then there these they this those through to under was
were when where which while who with between image photo photograph picture shows showing shown
"""
"""Words that say little in a caption."""

JOBS: Mapping[Modality, Job] = {"image": Job("describe picture"), "audio": Job("describe sound")}


@dataclass(frozen=True)
class Builtin:
    """Colours and gradients of pictures, n-grams of texts, log-mel statistics of sounds."""

    spec: str = "builtin"
    id: str = "builtin-1"
    aligned: bool = False
    digest: str = ""

    @property
    def widths(self) -> Mapping[Modality, int]:
        return dict.fromkeys(("image", "text", "audio"), WIDTH)

    def prepare(self, modality: Modality, data: bytes, decode: Decode = here) -> Prepared:
        return describe_text(data) if modality == "text" else decode(JOBS[modality], data)

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


def describe_text(data: bytes) -> NDArray[np.float32]:
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
    row: NDArray[np.float32] = np.fromiter(weights.values(), np.float32) @ (2 * bits.astype(np.float32) - 1)
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
