"""Mutated files of every kind: each is read, flagged, or refused in one line; none takes long or prints."""

import random
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from engine import media
from engine.errors import Unreadable
from made_media import photo, picture, recording, saved, sound, tiff

EACH = 8
"""Mutations of each file."""
EDGES = (b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\x01\0\0")

RGB = np.asarray(photo())
EXIF = Image.Exif()
EXIF[0x0112] = 6
STEREO = np.stack([sound(), sound(1)], axis=1)
PICTURES = {
    **{form: picture(form) for form in media.IMAGE_FORMATS},
    "palette": picture("PNG", "P"),
    "progressive": picture("JPEG", options={"progressive": True}),
    "exif": picture("JPEG", options={"exif": EXIF.tobytes()}),
    "CMYK": picture("JPEG", "CMYK"),
    "LZW": picture("TIFF", options={"compression": "tiff_lzw"}),
    "fax": picture("TIFF", "1", {"compression": "group4"}),
    "run lengths": picture("TGA", options={"compression": "tga_rle"}),
    "16 bits": saved(Image.fromarray(RGB[..., 0].astype(np.uint16) * 16)),
    "wide": tiff(RGB.astype(np.uint16) * 16),
    "floats": tiff(RGB.astype(np.float64) / 255, {"compression": "zlib"}),
    "differences": tiff(
        RGB.astype(np.uint16) * 16, {"compression": "zlib", "predictor": True, "tile": (16, 16)}
    ),
}
SOUNDS = {
    **{
        form: recording(form, samples=STEREO)
        for form in ("WAV", "AIFF", "CAF", "W64", "AU", "FLAC", "MP3", "VOC")
    },
    "floats": recording("WAV", "FLOAT", STEREO),
    "differences": recording("WAV", "IMA_ADPCM", STEREO),
    "Vorbis": recording("OGG", "VORBIS", STEREO),
    "Opus": recording("OGG", "OPUS", STEREO),
}


def mutated(data: bytes, chance: random.Random) -> bytes:
    """Return bytes with some of them changed, cut off, left out, put in or moved, mostly near the start."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 5, 20))):
        near = min(200, len(changed)) if chance.random() < 0.5 else len(changed)
        at, how = chance.randrange(near), chance.randrange(6)
        if how == 0:
            changed[at] ^= 1 << chance.randrange(8)
        elif how == 1:
            changed[at : at + 4] = chance.choice(EDGES)
        elif how == 2:
            del changed[max(20, at) :]
        elif how == 3:
            del changed[at : at + chance.randrange(1, 60)]
        elif how == 4:
            changed[at:at] = chance.randbytes(chance.randrange(1, 30))
        else:
            start = chance.randrange(len(changed))
            changed[at : at + 8] = changed[start : start + 8]
        changed += bytes(max(0, 20 - len(changed)))
    return bytes(changed)


def read_or_refused(decode: Callable[[bytes], NDArray[Any]], data: bytes) -> NDArray[Any] | str:
    """Return what comes of a file, or the reason why nothing does; it takes no more than seconds."""
    started = time.process_time()
    try:
        return decode(data)
    except Unreadable as error:
        return str(error)
    finally:
        assert time.process_time() - started < 5


@pytest.mark.parametrize("seed", range(EACH))
@pytest.mark.parametrize("data", PICTURES.values(), ids=PICTURES.keys())
def test_a_mutated_picture_is_read_or_refused_in_one_line(
    data: bytes, seed: int, capfd: pytest.CaptureFixture[str]
) -> None:
    change = mutated(data, random.Random(seed))
    came = read_or_refused(lambda data: np.asarray(media.image(data, side=64)), change)
    assert (came.shape[2:] == (3,) and came.size > 0) if isinstance(came, np.ndarray) else "\n" not in came
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("seed", range(EACH))
@pytest.mark.parametrize("data", SOUNDS.values(), ids=SOUNDS.keys())
def test_a_mutated_sound_is_heard_or_refused_in_one_line(
    data: bytes, seed: int, capfd: pytest.CaptureFixture[str]
) -> None:
    came = read_or_refused(media.sound, mutated(data, random.Random(seed)))
    assert np.isfinite(came).all() if isinstance(came, np.ndarray) else "\n" not in came
    assert "Traceback" not in capfd.readouterr().err
