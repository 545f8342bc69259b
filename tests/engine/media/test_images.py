import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
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
    with pytest.raises(
        Unreadable, match=r"^10001 x 10000 pixels; the limit is `max_pixels=100000000`, which can be raised$"
    ):
        media.image(png_of_size(10_001, 10_000), side=64)


def test_a_picture_of_far_more_pixels_is_refused_too() -> None:
    with pytest.raises(Unreadable, match="pixels"):
        media.image(png_of_size(100_000, 100_000), side=64)


def test_bytes_that_are_no_picture_are_refused() -> None:
    with pytest.raises(Unreadable, match=r"^not an image that can be read$"):
        media.image(b"<html>404</html>", side=64)


@pytest.mark.parametrize("form", ["ICO", "PCX", "SGI", "EPS", "PDF"])
def test_a_form_outside_the_list_is_refused(form: str) -> None:
    with pytest.raises(Unreadable, match=r"^not an image that can be read"):
        media.image(saved(Image.new("RGB", (16, 16)), form), side=64)


def test_a_sound_is_no_picture_and_the_message_says_what_it_is() -> None:
    with pytest.raises(Unreadable, match=r"^not an image that can be read: it is FLAC$"):
        media.image(b"fLaC" + bytes(100), side=64)


def test_pillow_and_tifffile_log_nothing_to_stderr() -> None:
    code = "import logging, engine.media\nfor name in ('PIL.Tiff', 'tifffile'): logging.getLogger(name).error('odd')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_the_limit_of_pixels_can_be_set() -> None:
    picture = saved(Image.new("RGB", (16, 16)), "PNG")
    assert media.image(picture, side=64, max_pixels=256).size == (16, 16)
    with pytest.raises(Unreadable, match=r"^16 x 16 pixels; the limit is `max_pixels=255`"):
        media.image(picture, side=64, max_pixels=255)


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
