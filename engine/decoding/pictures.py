"""Pictures as local colours, oriented energies, texture and shape."""

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from engine import media

Row = NDArray[np.float32]

SIDE = 64
"""Pictures are described at this many pixels a side."""
GRID = 4
"""Local statistics are taken in this many cells along either side."""


def describe(data: bytes, *, max_pixels: int = media.MAX_PIXELS) -> Row:
    """Return local colours, oriented energies, texture and shape of a picture (2977,)."""
    picture = media.image(data, side=SIDE, max_pixels=max_pixels)
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
