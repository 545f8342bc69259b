import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from PIL import Image, ImageOps

from engine import media
from engine.errors import Unreadable

UPRIGHT_TURNED_LEFT = 6


def saved(picture: Image.Image, format: str, exif: bytes | None = None) -> bytes:
    file = io.BytesIO()
    picture.save(file, format, **({"exif": exif} if exif else {}))
    return file.getvalue()


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


def decoded(data: bytes, side: int = 64) -> NDArray[np.uint8]:
    picture = media.image(data, side=side)
    assert picture.mode == "RGB"
    return np.asarray(picture)


def png_of_size(width: int, height: int) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def tone(rate: int, seconds: float = 1.0, hertz: float = 440.0) -> NDArray[np.float32]:
    return (0.4 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def recorded(samples: NDArray[np.float32], rate: int, format: str = "WAV", subtype: str = "FLOAT") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=format, subtype=subtype)
    return file.getvalue()


def loudest(samples: NDArray[np.float32]) -> float:
    """Return the strongest frequency in hertz."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.fft.rfftfreq(len(samples), 1 / media.SAMPLE_RATE)[spectrum.argmax()])


# what a file is


@pytest.mark.parametrize(
    ("name", "modality"),
    [
        ("a.jpg", "image"),
        ("A.JPEG", "image"),
        ("a.b.flac", "audio"),
        ("a.oga", "audio"),
        ("a.txt", None),
        ("a", None),
    ],
)
def test_a_suffix_promises_a_modality_in_either_case(name: str, modality: str | None) -> None:
    assert media.modality_of(Path(name)) == modality


def test_no_suffix_is_both_read_and_not_read() -> None:
    assert not media.NOT_READ & media.SUFFIXES.keys()


# reading


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"\x00\xffbytes")
    assert media.read(tmp_path / "a.jpg") == b"\x00\xffbytes"


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    with pytest.raises(Unreadable, match=r"^empty file$"):
        media.read(tmp_path / "a.jpg")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match=r"^no such file or directory$"):
        media.read(tmp_path / "a.jpg")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match=r"^not a regular file$"):
        media.read(tmp_path)


def test_a_pipe_is_refused_unopened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jpg")
    with pytest.raises(Unreadable, match=r"^not a regular file$"):
        media.read(tmp_path / "a.jpg")


def test_a_link_to_an_endless_device_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").symlink_to("/dev/zero")
    with pytest.raises(Unreadable, match=r"^not a regular file$"):
        media.read(tmp_path / "a.jpg")


def test_a_link_to_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").symlink_to("a.jpg")
    with pytest.raises(Unreadable, match="too many levels of symbolic links"):
        media.read(tmp_path / "a.jpg")


def test_a_file_over_the_limit_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "a.wav").open("wb") as file:
        file.truncate(media.MAX_BYTES + (1 << 20))
    with pytest.raises(Unreadable, match=r"^513 MiB; the limit is 512 MiB$"):
        media.read(tmp_path / "a.wav")


# pictures


@pytest.mark.parametrize("format", media.IMAGE_FORMATS)
def test_every_format_decodes_to_rgb(format: str) -> None:
    rgb = decoded(saved(Image.new("RGB", (24, 16), (200, 40, 40)), format))
    assert rgb.shape == (16, 24, 3)
    assert np.abs(rgb.astype(int) - (200, 40, 40)).max() < 6


def test_a_picture_held_sideways_comes_upright() -> None:
    sideways = Image.new("RGB", (40, 20), "blue")
    sideways.paste("red", (0, 0, 20, 20))  # its left half will be its top
    rgb = decoded(saved(sideways, "PNG", turned(UPRIGHT_TURNED_LEFT)))
    assert rgb.shape == (40, 20, 3)
    assert rgb[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_made_upright_as_pillow_does(orientation: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    data = saved(Image.fromarray(pixels), "PNG", turned(orientation))
    with Image.open(io.BytesIO(data)) as picture:
        assert np.array_equal(decoded(data), np.asarray(ImageOps.exif_transpose(picture)))


def test_an_orientation_that_does_not_exist_changes_nothing() -> None:
    assert decoded(saved(Image.new("RGB", (40, 20)), "JPEG", turned(99))).shape == (20, 40, 3)


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    deep = Image.fromarray(np.array([[0, 0x8080, 0xFFFF]], np.uint16))
    assert decoded(saved(deep, "PNG"))[0, :, 0].tolist() == [0, 128, 255]


def test_what_is_transparent_is_white() -> None:
    assert decoded(saved(Image.new("RGBA", (4, 4), (0, 0, 0, 0)), "PNG")).min() == 255


def test_gray_with_alpha_is_laid_on_white() -> None:
    assert decoded(saved(Image.new("LA", (4, 4), (0, 0)), "PNG")).min() == 255


def test_a_transparent_colour_of_a_palette_is_white() -> None:
    picture = Image.new("P", (4, 4), 0)
    picture.putpalette([0, 0, 0, 255, 0, 0])
    picture.info["transparency"] = 0
    assert decoded(saved(picture, "PNG")).min() == 255


def test_half_transparent_black_is_gray() -> None:
    assert decoded(saved(Image.new("RGBA", (1, 1), (0, 0, 0, 128)), "PNG"))[0, 0].tolist() == [127, 127, 127]


def test_of_a_moving_picture_the_first_frame_is_seen() -> None:
    file = io.BytesIO()
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    assert decoded(file.getvalue())[0, 0].tolist() == [255, 0, 0]


def test_a_large_jpeg_is_decoded_at_a_fraction_of_its_size() -> None:
    assert decoded(saved(Image.new("RGB", (1600, 800)), "JPEG"), side=64).shape == (200, 400, 3)


def test_a_jpeg_is_never_decoded_below_twice_the_side() -> None:
    assert min(decoded(saved(Image.new("RGB", (1600, 250)), "JPEG"), side=64).shape[:2]) >= 128


def test_a_picture_of_more_pixels_than_the_limit_is_refused_by_its_header() -> None:
    with pytest.raises(Unreadable, match=r"^10001 x 10000 pixels; the limit is 100 megapixels$"):
        media.image(png_of_size(10_001, 10_000), side=64)


def test_a_picture_of_far_more_pixels_is_refused_too() -> None:
    with pytest.raises(Unreadable, match="pixels"):
        media.image(png_of_size(100_000, 100_000), side=64)


def test_bytes_that_are_no_picture_are_refused() -> None:
    with pytest.raises(Unreadable, match=r"^not an image that can be read$"):
        media.image(b"<html>404</html>", side=64)


def test_a_format_outside_the_list_is_refused() -> None:
    with pytest.raises(Unreadable, match=r"^not an image that can be read$"):
        media.image(saved(Image.new("RGB", (4, 4)), "PPM"), side=64)


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_a_picture_cut_in_half_is_refused(format: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    data = saved(Image.fromarray(pixels), format)
    with pytest.raises(Unreadable, match=r"^broken image: "):
        media.image(data[: len(data) // 2], side=64)


def test_a_picture_is_turned_though_its_exif_cannot_be_rewritten() -> None:
    width_as_rational = struct.pack("<HHII", 0x0100, 5, 1, 26)
    orientation = struct.pack("<HHII", 0x0112, 3, 1, UPRIGHT_TURNED_LEFT)
    exif = b"Exif\0\0II*\0\x08\0\0\0\x02\0" + width_as_rational + orientation + b"\0" * 40
    assert decoded(saved(Image.new("RGB", (40, 20)), "JPEG", exif)).shape == (40, 20, 3)


# sounds


@pytest.mark.parametrize(
    ("format", "subtype", "rate"),
    [
        ("WAV", "PCM_16", 44_100),
        ("WAV", "PCM_U8", 8_000),
        ("WAV", "FLOAT", 48_000),
        ("FLAC", "PCM_24", 44_100),
        ("OGG", "VORBIS", 44_100),
        ("OGG", "OPUS", 48_000),
        ("MP3", "MPEG_LAYER_III", 44_100),
    ],
)
def test_every_format_is_heard_at_16_khz_in_one_channel(format: str, subtype: str, rate: int) -> None:
    stereo = np.stack([tone(rate), tone(rate)], axis=1)
    samples = media.sound(recorded(stereo, rate, format, subtype))
    assert samples.dtype == np.float32
    assert samples.shape == pytest.approx((media.SAMPLE_RATE,), rel=0.1)
    assert loudest(samples) == pytest.approx(440, abs=3)


def test_a_sound_at_16_khz_is_left_as_it_is() -> None:
    samples = tone(16_000)
    assert np.array_equal(media.sound(recorded(samples, 16_000)), samples)


def test_channels_are_averaged() -> None:
    left_only = np.stack([tone(16_000), np.zeros(16_000, np.float32)], axis=1)
    assert np.allclose(media.sound(recorded(left_only, 16_000)), tone(16_000) / 2, atol=1e-6)


def test_resampling_keeps_loudness() -> None:
    assert media.sound(recorded(tone(44_100), 44_100)).std() == pytest.approx(tone(44_100).std(), rel=0.01)


def test_a_sound_is_heard_up_to_the_limit() -> None:
    long = recorded(np.zeros(1_000 * (media.MAX_SECONDS + 5), np.float32), 1_000, subtype="PCM_U8")
    assert len(media.sound(long)) == media.MAX_SECONDS * media.SAMPLE_RATE


@pytest.mark.parametrize("rate", [999, 768_001])
def test_a_sample_rate_out_of_range_is_refused(rate: int) -> None:
    with pytest.raises(Unreadable, match=f"^sample rate of {rate} Hz; 1000 to 768000 can be read$"):
        media.sound(recorded(np.zeros(100, np.float32), rate))


def test_more_channels_than_the_limit_are_refused() -> None:
    with pytest.raises(Unreadable, match=r"^65 channels; the limit is 64$"):
        media.sound(recorded(np.zeros((10, 65), np.float32), 16_000))


def test_a_sound_without_samples_is_refused() -> None:
    with pytest.raises(Unreadable, match=r"^a sound without samples$"):
        media.sound(recorded(np.zeros(0, np.float32), 16_000))


def test_a_sound_too_short_to_resample_is_refused() -> None:
    with pytest.raises(Unreadable, match=r"^nothing is left of it at 16 kHz$"):
        media.sound(recorded(np.zeros(1, np.float32), 768_000))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_no_numbers_are_refused(value: float) -> None:
    samples = tone(16_000)
    samples[100] = value
    with pytest.raises(Unreadable, match=r"^samples that are no numbers"):
        media.sound(recorded(samples, 16_000))


def test_channels_of_opposite_infinities_are_refused_without_a_warning() -> None:
    with pytest.raises(Unreadable, match=r"^samples that are no numbers"):
        media.sound(recorded(np.array([[np.inf, -np.inf]] * 10, np.float32), 16_000))


def test_samples_louder_than_full_scale_are_clipped() -> None:
    samples = media.sound(recorded(np.full((1_000, 2), 3e38, np.float32), 16_000))
    assert samples.max() == 1


def test_bytes_that_are_no_sound_are_refused() -> None:
    with pytest.raises(Unreadable, match=r"^broken sound: "):
        media.sound(b"not a sound" * 50)
