"""Sounds: bytes of any form, depth, rate and number of channels to mono samples at 16 kHz."""

import io
import re
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import Unreadable
from engine.media.flags import raise_flag
from engine.media.kinds import sniff
from engine.media.mp3 import ends_early as mp3_ends_early

SAMPLE_RATE = 16_000
MAX_SECONDS = 60
"""Sounds are heard up to here; the rest is not read."""
MAX_SAMPLES = 100_000_000
"""So many numbers are read at most, of all channels, where no more seconds are asked for."""
MAX_CHANNELS = 64
RATES = (100, 10_000_000)
"""Hertz that can be read."""

QUIET = 1e-6
"""A channel with this part of the power of the loudest, 60 dB less, is silent."""
HEADROOM = 8.0
"""Floats above 1 up to here (18 dB) are loud; above they are of another scale."""
FULL_SCALES = (2.0**15, 2.0**23, 2.0**31)
"""Full scale where integers were written as floats."""
SILENCE = 2 / 2**15
"""Samples that differ by no more, a step of 16 bits either way, are silence."""

CUT = re.compile(r"^ *(?:data|SSND|riff|Riff size|Data Size) *: (\d+) \(should be (\d+)\)", re.MULTILINE)
UNENDING = 0x7FFFFFFF
"""Lengths from here on are written by programs that do not know them yet."""
ENDED_EARLY = re.compile("lacks an end-of-stream bit|ended unexpectedly|truncated file")


def sound(data: bytes, *, max_seconds: int = MAX_SECONDS) -> NDArray[np.float32]:
    """Decode a sound to mono samples (n,) at 16 kHz, -1 to 1, at most so many seconds; odd ones are flagged."""
    import soundfile

    kind = sniff(data)
    if kind and kind.modality != "audio":
        raise Unreadable(f"not a sound that can be read: it is {kind.name}")
    try:
        with soundfile.SoundFile(_stream(data)) as file:
            rate = file.samplerate
            samples = _samples(file, data, max_seconds)
    except soundfile.LibsndfileError as error:
        raise Unreadable(f"broken sound: {error.error_string}") from None
    if not samples.size:
        raise Unreadable("a sound without samples")
    if not np.isfinite(samples).all():
        raise Unreadable("samples that are no numbers (NaN or infinite)")
    mono = mixed(within_full_scale(samples))
    if np.ptp(mono) <= SILENCE:
        raise_flag("silent")
    return _resampled(mono, rate)


def _stream(data: bytes) -> SimpleNamespace:
    """Return bytes as a file for libsndfile, which seeks to before their start where headers are damaged.

    BytesIO raises at that, and cffi would print the traceback of what cannot pass through C.
    """
    stream = io.BytesIO(data)

    def seek(offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: stream.tell(), io.SEEK_END: len(data)}[whence]
        return stream.seek(max(0, start + offset))

    return SimpleNamespace(read=stream.read, readinto=stream.readinto, tell=stream.tell, seek=seek)


def _samples(file: Any, data: bytes, max_seconds: int) -> NDArray[np.float32]:
    """Read the samples (n, channels) of an open file, as far as they go and are heard."""
    import soundfile

    least, most = RATES
    if not least <= file.samplerate <= most:
        raise Unreadable(f"sample rate of {file.samplerate} Hz; {least} to {most} can be read")
    if file.channels > MAX_CHANNELS:
        raise Unreadable(f"{file.channels} channels; the limit is {MAX_CHANNELS}")
    most = MAX_SAMPLES * max(max_seconds, MAX_SECONDS) // MAX_SECONDS
    heard = min(max_seconds * file.samplerate, most // file.channels)
    samples = np.empty((min(heard, file.frames), file.channels), np.float32)
    try:
        count = len(file.read(out=samples))
    except soundfile.LibsndfileError:
        count = min(file.tell(), len(samples))
        if count <= 0:
            raise
    if count == heard < file.frames:
        raise_flag("long sound")
    if count < len(samples) or _ends_early(file, data):
        raise_flag("incomplete")
    return samples[:count]


def _ends_early(file: Any, data: bytes) -> bool:
    """Tell whether the bytes of a file end before its sound does, by what libsndfile noted on opening it."""
    if file.format == "MP3":
        return mp3_ends_early(data)
    if file.format == "OGG" and _last_page_is_cut(data):
        return True
    notes = file.extra_info
    lengths = [(int(told), int(is_)) for told, is_ in CUT.findall(notes)]
    return any(is_ < told < UNENDING for told, is_ in lengths) or bool(ENDED_EARLY.search(notes))


def _last_page_is_cut(data: bytes) -> bool:
    """Tell whether the last page of an Ogg is longer than the bytes that are there."""
    start = data.rfind(b"OggS")
    segments = data[start + 27 : start + 27 + data[start + 26]] if len(data) > start + 26 else b""
    return not segments or start + 27 + len(segments) + sum(segments) > len(data)


def within_full_scale(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return samples scaled to -1 to 1 where they go beyond: the loudest to 1, or as the integers they were."""
    peak = float(max(samples.max(), -samples.min()))
    if peak <= 1:
        return samples
    scale = peak if peak <= HEADROOM else next((full for full in FULL_SCALES if peak <= full), peak)
    return samples / np.float32(scale)


def mixed(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mean (n,) of channels (n, C) that sound, turned where they would cancel each other out.

    Of C channels that have nothing in common the mean keeps 1 / C of their mean power. Where it keeps less than
    half of that, each channel that runs against the loudest is turned first.
    """
    if samples.shape[1] == 1:
        return samples[:, 0]
    power = np.einsum("nc,nc->c", samples, samples)
    sounding = power > QUIET * power.max()
    if sounding.any() and not sounding.all():
        samples, power = samples[:, sounding], power[sounding]
    mean: NDArray[np.float32] = samples.mean(axis=1)
    if float(mean @ mean) < power.mean() / len(power) / 2:
        against = samples.T @ samples[:, power.argmax()] < 0
        mean = (samples * np.where(against, np.float32(-1), np.float32(1))).mean(axis=1)
    return mean


def _resampled(mono: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
    if rate == SAMPLE_RATE:
        return mono
    import soxr

    resampled: NDArray[np.float32] = soxr.resample(mono, rate, SAMPLE_RATE).astype(np.float32)
    if not resampled.size:
        raise Unreadable("nothing is left of it at 16 kHz")
    return resampled
