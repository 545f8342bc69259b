import io
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from engine import media
from engine.errors import Unreadable
from made_media import RATE, cosine, photo, picture, recording, saved, sound, tiff

WIDE = np.asarray(photo().convert("L")).astype(np.uint16) * 16
LARGE = photo(0, 320, 240)
CUT_TO_NINE_TENTHS = {
    "JPEG": saved(LARGE, "JPEG", {"quality": 95}),
    "PNG": picture("PNG"),
    "GIF": picture("GIF", "P", {"interlace": 0}),
    "TIFF": picture("TIFF"),
    "TIFF in deflated strips": tiff(np.asarray(LARGE), {"compression": "zlib", "rowsperstrip": 8}),
    "TIFF of 12 bits": tiff(WIDE),
    "PPM": picture("PPM"),
}
LONG = sound(seconds=8)
SOUNDS = {
    "WAV": recording("WAV", samples=LONG),
    "WAV of floats": recording("WAV", "FLOAT", LONG),
    "AIFF": recording("AIFF", samples=LONG),
    "AU": recording("AU", samples=LONG),
    "W64": recording("W64", samples=LONG),
    "RF64": recording("RF64", samples=LONG),
    "VOC": recording("VOC", samples=LONG),
    "FLAC": recording("FLAC", samples=LONG),
    "Vorbis": recording("OGG", "VORBIS", LONG),
    "Opus": recording("OGG", "OPUS", LONG),
    "MP3": recording("MP3", samples=LONG),
}


def seen(data: bytes) -> tuple[Image.Image, set[media.Flag]]:
    with media.collected() as flags:
        shown = media.image(data, side=64)
    return shown, set(flags)


def heard(data: bytes) -> tuple[int, set[media.Flag]]:
    """Return how many samples a sound has, and its flags."""
    with media.collected() as flags:
        samples = media.sound(data)
    return len(samples), set(flags)


# pictures


@pytest.mark.parametrize("data", CUT_TO_NINE_TENTHS.values(), ids=CUT_TO_NINE_TENTHS.keys())
def test_a_picture_cut_short_is_seen_down_to_its_last_row_and_flagged(data: bytes) -> None:
    whole, nothing = seen(data)
    shown, flags = seen(data[: len(data) * 9 // 10])
    assert nothing == set()
    assert flags == {"incomplete"}
    assert 0.74 <= shown.height / whole.height <= 0.95
    top = np.asarray(whole)[: shown.height - 16].astype(int)
    assert np.abs(np.asarray(shown)[: shown.height - 16] - top).max() <= 1


@pytest.mark.parametrize("data", CUT_TO_NINE_TENTHS.values(), ids=CUT_TO_NINE_TENTHS.keys())
def test_of_half_a_picture_too_little_is_left(data: bytes) -> None:
    with pytest.raises(Unreadable, match=r"^broken image: "):
        media.image(data[: len(data) // 2], side=64)


def test_of_a_picture_kept_from_its_foot_upwards_the_foot_is_seen() -> None:
    data = picture("BMP")
    shown, flags = seen(data[: len(data) * 9 // 10])
    assert flags == {"incomplete"}
    assert 0.85 <= shown.height / 72 <= 0.95
    assert np.array_equal(np.asarray(shown)[-50:], np.asarray(photo())[-50:])


def test_rows_that_are_missing_between_others_are_as_those_above() -> None:
    data = picture("GIF", "P", {"interlace": 1})
    shown, flags = seen(data[: len(data) * 9 // 10])
    whole = np.asarray(media.image(data, side=64)).astype(int)
    assert flags == {"incomplete"}
    assert shown.height >= 71
    assert np.abs(np.asarray(shown)[-3:].mean((1, 2)) - whole[-3:].mean((1, 2))).max() < 40


def test_how_much_of_a_picture_is_left_is_said() -> None:
    data = picture("PPM")
    with pytest.raises(Unreadable, match=r"^broken image: it ends early, (48|49|50) % of it can be read$"):
        media.image(data[: len(data) // 2], side=64)


def test_a_progressive_jpeg_is_whole_once_every_frequency_came() -> None:
    data = saved(LARGE, "JPEG", {"progressive": True, "quality": 90})
    shown, flags = seen(data[: len(data) * 3 // 4])
    assert flags == {"incomplete"}
    assert shown.size == (320, 240)
    assert cosine("image", saved(shown), saved(LARGE)) > 0.9


def test_a_progressive_jpeg_is_refused_before_that() -> None:
    data = saved(LARGE, "JPEG", {"progressive": True})
    with pytest.raises(Unreadable, match=r"^broken image: "):
        media.image(data[: len(data) // 5], side=64)


@pytest.mark.parametrize("form", ["WEBP", "AVIF", "JPEG2000"])
def test_forms_that_are_read_whole_or_not_are_refused(form: str) -> None:
    data = picture(form)
    with pytest.raises(Unreadable, match=r"^broken image: |^not an image"):
        media.image(data[: len(data) * 9 // 10], side=64)


def test_a_picture_with_bytes_behind_its_end_is_not_flagged() -> None:
    assert seen(picture("JPEG") + b"PK\3\4" * 500)[1] == set()


# sounds


@pytest.mark.parametrize("data", SOUNDS.values(), ids=SOUNDS.keys())
def test_a_whole_sound_is_not_flagged(data: bytes) -> None:
    assert heard(data)[1] == set()


@pytest.mark.parametrize("share", [0.97, 0.7, 0.5])
@pytest.mark.parametrize("data", SOUNDS.values(), ids=SOUNDS.keys())
def test_a_sound_cut_short_is_heard_as_far_as_it_goes_and_flagged(data: bytes, share: float) -> None:
    length, flags = heard(data[: int(len(data) * share)])
    assert flags == {"incomplete"}
    assert share - 0.15 < length / (8 * RATE) < share + 0.05


def test_an_mp3_that_does_not_tell_its_length_is_flagged_by_its_last_frame() -> None:
    told = recording("MP3", samples=LONG)
    start = told.index(b"\xff\xf3", 4)
    untold = told[start:]
    assert heard(untold)[1] == set()
    assert heard(untold[: len(untold) // 2 + 7])[1] == {"incomplete"}


def test_an_mp3_with_tags_at_both_ends_is_not_flagged() -> None:
    tag = b"ID3\x04\0\0\0\0\x02\x00" + bytes(256)
    assert heard(tag + recording("MP3", samples=LONG) + b"TAG" + bytes(125))[1] == set()


@pytest.mark.parametrize("length", [0xFFFFFFFF, 0x7FFFFFFF])
def test_a_wav_that_was_streamed_is_not_flagged(length: int) -> None:
    data = bytearray(recording("WAV"))
    at = data.index(b"data") + 4
    data[at : at + 4] = length.to_bytes(4, "little")
    assert heard(bytes(data)) == (RATE, set())


def test_a_wav_with_bytes_behind_its_end_is_not_flagged() -> None:
    assert heard(recording("WAV") + b"LIST" + bytes(100))[1] == set()


# other flags


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF"])
def test_a_picture_of_one_colour_is_flagged(form: str) -> None:
    assert seen(saved(Image.new("RGB", (40, 30), (200, 30, 90)), form))[1] == {"constant"}


def test_a_white_drawing_on_nothing_is_flagged() -> None:
    drawn = Image.new("RGBA", (40, 30), (0, 0, 0, 0))
    drawn.paste((255, 255, 255, 255), (5, 5, 20, 20))
    assert seen(saved(drawn))[1] == {"constant"}


def test_a_picture_of_two_colours_is_not_flagged() -> None:
    drawn = Image.new("RGB", (40, 30), "red")
    drawn.putpixel((39, 3), (0, 0, 0))
    assert seen(saved(drawn))[1] == set()


def test_a_moving_picture_is_flagged() -> None:
    assert seen(saved(photo(), "GIF", {"save_all": True, "append_images": [photo(1)]}))[1] == {"frames"}


@pytest.mark.parametrize("level", [0, 0.25])
def test_a_silent_sound_is_flagged(level: float) -> None:
    assert heard(recording("WAV", samples=np.full(RATE, level, np.float32)))[1] == {"silent"}


def test_a_quiet_sound_is_not_flagged() -> None:
    assert heard(recording("WAV", samples=sound() / 2_000))[1] == set()


def test_a_sound_longer_than_is_heard_is_flagged() -> None:
    data = recording("WAV", "PCM_U8", sound(seconds=61, rate=2_000), rate=2_000)
    assert heard(data) == (media.MAX_SECONDS * RATE, {"long sound"})


def test_flags_are_heard_by_the_innermost_who_asked() -> None:
    with media.collected() as outer, media.collected() as inner:
        media.image(saved(Image.new("RGB", (4, 4))), side=64)
    assert (outer, inner) == (set(), {"constant"})


def test_nobody_need_ask_for_flags() -> None:
    assert media.image(io.BytesIO(saved(Image.new("RGB", (4, 4)))).getvalue(), side=64).size == (4, 4)


def test_every_flag_has_a_meaning() -> None:
    assert set(media.MEANING) == set(get_args(media.Flag))
