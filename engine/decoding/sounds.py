"""Sounds as statistics of their log-mel bands."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from engine import media

Row = NDArray[np.float32]

FRAME = 512
HOP = 256
BANDS = 64


def describe(data: bytes, *, max_seconds: int = media.MAX_SECONDS) -> Row:
    """Return mean, spread, maximum and mean change of a sound's log-mel bands (256,)."""
    bands = log_mel(media.sound(data, max_seconds=max_seconds))
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
