import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from engine import media
from engine.errors import Unreadable
from engine.media.depth import scaled
from made_media import cosine, photo, picture, saved, tiff

GRAY = np.asarray(photo().convert("L"))
RGB = np.asarray(photo())
PLAIN_GRAY, PLAIN = saved(photo().convert("L")), saved(photo())
DEFLATE = {"compression": "zlib"}


def rescaled(levels: NDArray[np.uint8], dtype: str, factor: float, less: float = 0) -> NDArray[Any]:
    numbers: NDArray[Any] = (levels.astype(np.float64) * factor - less).astype(dtype)
    return numbers


def deep_png(numbers: NDArray[np.uint16]) -> bytes:
    """Return numbers (H, W, 3) as a PNG of 16 bits a colour, which Pillow cannot write."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in numbers)
    header = struct.pack(">IIBBBBB", numbers.shape[1], numbers.shape[0], 16, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


def with_tags(data: bytes, tags: dict[int, int]) -> bytes:
    """Return a TIFF some of whose tags are other numbers."""
    changed = bytearray(data)
    (page,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, page)
    for entry in range(page + 2, page + 2 + 12 * count, 12):
        (tag,) = struct.unpack_from("<H", data, entry)
        if tag in tags:
            struct.pack_into("<HHII", changed, entry, tag, 4, 1, tags[tag])
    return bytes(changed)


def lzw(numbers: NDArray[np.uint16]) -> bytes:
    """Return numbers (H, W, 3) as a TIFF that is compressed by LZW, written as one gray row each."""
    height, width = numbers.shape[:2]
    flat = Image.frombytes("I;16", (width * 3, height), numbers.astype("<u2").tobytes())
    rows = saved(flat, "TIFF", {"compression": "tiff_lzw", "tiffinfo": {277: 1}})
    return with_tags(rows, {256: width, 277: 3, 262: 2})


GRAYS = {
    "0 to 1": tiff(rescaled(GRAY, "f4", 1 / 255)),
    "0 to 1 with ringing": tiff(rescaled(GRAY, "f4", 1.04 / 255, 0.02)),
    "0 to 1, half precision": tiff(rescaled(GRAY, "f2", 1 / 255)),
    "0 to 1, double precision": tiff(rescaled(GRAY, "f8", 1 / 255)),
    "-1 to 1": tiff(rescaled(GRAY, "f4", 2 / 255, 1)),
    "0 to 255 as floats": tiff(rescaled(GRAY, "f4", 1)),
    "16 bits as floats": tiff(rescaled(GRAY, "f4", 257)),
    "8 bits in 16": tiff(rescaled(GRAY, "u2", 1)),
    "10 bits in 16": tiff(rescaled(GRAY, "u2", 4)),
    "12 bits in 16": tiff(rescaled(GRAY, "u2", 16)),
    "14 bits in 16": tiff(rescaled(GRAY, "u2", 64)),
    "16 bits": tiff(rescaled(GRAY, "u2", 257)),
    "16 bits, big-endian": tiff(rescaled(GRAY, ">u2", 257), {"byteorder": ">"}),
    "16 bits, white is zero": tiff(65535 - rescaled(GRAY, "u2", 257), {"photometric": "miniswhite"}),
    "15 bits, signed": tiff(rescaled(GRAY, "i2", 128)),
    "16 bits about zero": tiff(rescaled(GRAY, "i2", 257, 32768)),
    "7 bits, signed": tiff(rescaled(GRAY, "i1", 0.498)),
    "32 bits": tiff(rescaled(GRAY, "u4", 0x1010101)),
    "24 bits in 32": tiff(rescaled(GRAY, "u4", 0x10101)),
    "31 bits, signed": tiff(rescaled(GRAY, "i4", 0x800000)),
    "20 bits in 32": tiff(rescaled(GRAY, "u4", 4096)),
    "12 bits, deflated": tiff(rescaled(GRAY, "u2", 16), DEFLATE),
    "12 bits in tiles": tiff(rescaled(GRAY, "u2", 16), {"tile": (16, 16)}),
    "12 bits in strips": tiff(rescaled(GRAY, "u2", 16), {"rowsperstrip": 7}),
    "12 bits as PNG": saved(Image.fromarray(rescaled(GRAY, "u2", 16))),
    "16 bits as PNG": saved(Image.fromarray(rescaled(GRAY, "u2", 257))),
    "16 bits as PGM": saved(Image.fromarray(rescaled(GRAY, "u2", 257)), "PPM"),
    "16 bits as JPEG 2000": saved(Image.fromarray(rescaled(GRAY, "u2", 257)), "JPEG2000"),
}
COLOURS = {
    "0 to 1": tiff(rescaled(RGB, "f4", 1 / 255)),
    "0 to 1, deflated": tiff(rescaled(RGB, "f4", 1 / 255), DEFLATE),
    "0 to 255 as floats": tiff(rescaled(RGB, "f4", 1)),
    "12 bits": tiff(rescaled(RGB, "u2", 16)),
    "12 bits, deflated by differences": tiff(rescaled(RGB, "u2", 16), {**DEFLATE, "predictor": True}),
    "12 bits in tiles": tiff(rescaled(RGB, "u2", 16), {"tile": (32, 16)}),
    "16 bits": tiff(rescaled(RGB, "u2", 257)),
    "32 bits": tiff(rescaled(RGB, "u4", 0x1010101)),
    "12 bits in planes": tiff(
        np.moveaxis(rescaled(RGB, "u2", 16), 2, 0), {"photometric": "rgb", "planarconfig": "separate"}
    ),
    "8 bits in planes": tiff(np.moveaxis(RGB, 2, 0), {"photometric": "rgb", "planarconfig": "separate"}),
    "16 bits as PNG": deep_png(rescaled(RGB, "u2", 257)),
    "12 bits as PNG": deep_png(rescaled(RGB, "u2", 16)),
    "12 bits by LZW": lzw(rescaled(RGB, "u2", 16)),
    "16 bits by LZW": lzw(rescaled(RGB, "u2", 257)),
}


@pytest.mark.parametrize("data", GRAYS.values(), ids=GRAYS.keys())
def test_a_gray_picture_is_the_same_at_any_depth_and_range(data: bytes) -> None:
    assert cosine("image", data, PLAIN_GRAY) > 0.99


@pytest.mark.parametrize("data", COLOURS.values(), ids=COLOURS.keys())
def test_a_colour_picture_is_the_same_at_any_depth_and_range(data: bytes) -> None:
    assert cosine("image", data, PLAIN) > 0.99


def test_the_photo_is_unlike_another() -> None:
    assert cosine("image", PLAIN, saved(photo(1))) < 0.9


def test_a_dark_picture_of_0_to_1_stays_dark() -> None:
    dark = GRAY // 10
    assert cosine("image", tiff(rescaled(dark, "f4", 1 / 255)), saved(Image.fromarray(dark))) > 0.99


def test_a_dark_picture_of_8_bits_stretched_to_16_stays_dark() -> None:
    dark = GRAY // 10
    assert cosine("image", tiff(rescaled(dark, "u2", 257)), saved(Image.fromarray(dark))) > 0.99


@pytest.mark.parametrize("top", [65, 300, 1_000, 1_200, 4_000, 5_000, 16_000, 20_000, 60_000])
def test_a_picture_of_16_bits_is_at_most_four_times_too_bright(top: int) -> None:
    brightest = int(scaled(np.array([1, top], np.uint16))[1])
    assert 256 / 4 - 1 <= brightest <= 255
    assert top < 16_384 or abs(brightest - top / 257) <= 1


@pytest.mark.parametrize("dtype", ["u2", "i2", "u4", "i4", "f4"])
def test_a_mask_of_small_numbers_can_be_seen(dtype: str) -> None:
    levels = scaled(np.array([0, 1, 2, 3], dtype) * np.array(1, dtype))
    assert levels.tolist() == [0, 85, 170, 255]


def test_what_stands_for_no_data_is_black_and_no_number() -> None:
    numbers = rescaled(GRAY, "f4", 1)
    numbers[:5] = -9999
    there = np.asarray(media.image(tiff(numbers, {"extratags": [(42113, 2, 6, "-9999", True)]}), side=64))
    assert there[:5].max() == 0
    assert np.abs(there[5:, :, 0].astype(int) - GRAY[5:]).max() <= 1


def test_numbers_that_are_none_are_black() -> None:
    assert scaled(np.array([np.nan, 0.5, np.inf, 1], np.float32)).tolist() == [0, 128, 0, 255]


def test_a_picture_of_no_numbers_is_black() -> None:
    assert scaled(np.full((2, 2), np.nan, np.float32)).max() == 0


# colour spaces


SPACES = {
    "CMYK": picture("TIFF", "CMYK"),
    "CMYK JPEG": picture("JPEG", "CMYK", {"quality": 95}),
    "YCbCr": picture("TIFF", "YCbCr"),
    "Lab": saved(
        ImageCms.profileToProfile(
            photo(), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
        )
        or photo(),
        "TIFF",
    ),
    "alpha, opaque": picture("PNG", "RGBA"),
    "AVIF": picture("AVIF", options={"quality": 95}),
    "WebP": picture("WEBP", options={"lossless": True}),
    "JPEG 2000": picture("JPEG2000"),
    "TGA": picture("TGA"),
    "PPM": picture("PPM"),
    "QOI": picture("QOI"),
    "BMP": picture("BMP"),
}


@pytest.mark.parametrize("data", SPACES.values(), ids=SPACES.keys())
def test_a_picture_is_the_same_in_any_colour_space_and_form(data: bytes) -> None:
    assert cosine("image", data, PLAIN) > 0.97


@pytest.mark.parametrize("form", ["PNG", "GIF", "BMP", "TIFF", "TGA"])
def test_a_palette_is_looked_up(form: str) -> None:
    few = photo().quantize(64)
    assert cosine("image", saved(few, form), saved(few.convert("RGB"))) > 0.999


def test_a_picture_of_one_bit_is_black_and_white() -> None:
    bits = photo().convert("1")
    assert cosine("image", saved(bits), saved(bits.convert("RGB"))) > 0.999


def swapped_profile() -> bytes:
    """Return the profile of a space whose red is sRGB's green, and the other way round."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, green = data.index(b"rXYZ", 128), data.index(b"gXYZ", 128)
    data[red : red + 4], data[green : green + 4] = b"gXYZ", b"rXYZ"
    return bytes(data)


@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP"])
def test_colours_are_those_of_the_profile(form: str) -> None:
    swapped = Image.fromarray(RGB[..., [1, 0, 2]])
    options = {"icc_profile": swapped_profile(), **({"lossless": True} if form == "WEBP" else {})}
    shown = np.asarray(media.image(saved(swapped, form, options), side=64))
    assert np.abs(shown.astype(int) - RGB).max() <= 4


def test_what_is_transparent_is_white_whatever_the_profile() -> None:
    clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    assert (
        np.asarray(media.image(saved(clear, options={"icc_profile": swapped_profile()}), side=64)).min()
        == 255
    )


def test_a_profile_of_srgb_changes_no_pixel() -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    shown = media.image(saved(photo(), options={"icc_profile": srgb}), side=64)
    assert np.array_equal(np.asarray(shown), RGB)


@pytest.mark.parametrize("profile", [b"not a profile" * 10, swapped_profile()[:200]])
def test_a_broken_profile_is_ignored(profile: bytes) -> None:
    shown = media.image(saved(photo(), options={"icc_profile": profile}), side=64)
    assert np.array_equal(np.asarray(shown), RGB)


def test_a_profile_of_another_space_is_ignored() -> None:
    shown = media.image(picture("JPEG", "CMYK", {"icc_profile": swapped_profile(), "quality": 95}), side=64)
    assert np.abs(np.asarray(shown).astype(int) - RGB).mean() < 10


# TIFFs


@pytest.mark.parametrize(("dtype", "factor"), [("u2", 257), ("u4", 0x1010101)])
def test_inks_are_the_same_at_any_depth(dtype: str, factor: float) -> None:
    inks = rescaled(np.asarray(photo().convert("CMYK")), dtype, factor)
    assert cosine("image", tiff(inks, {"photometric": "separated"}), PLAIN) > 0.99


def test_of_several_wide_pages_the_first_is_seen_and_the_file_flagged() -> None:
    pages = np.stack([rescaled(RGB, "u2", 16), rescaled(RGB[::-1], "u2", 16)])
    with media.collected() as flags:
        shown = media.image(tiff(pages, {"photometric": "rgb"}), side=64)
    assert np.abs(np.asarray(shown).astype(int) - RGB).max() <= 1
    assert flags == {"frames"}


def test_a_tiff_held_sideways_comes_upright_at_any_depth() -> None:
    turned = np.rot90(rescaled(RGB, "u2", 16))
    upright = media.image(tiff(turned, {"extratags": [(274, 3, 1, 6, True)]}), side=64)
    assert upright.size == photo().size
    assert np.abs(np.asarray(upright).astype(int) - RGB).max() <= 1


def test_a_wide_picture_with_alpha_is_laid_on_white() -> None:
    alpha = np.zeros((*GRAY.shape, 1), np.uint16)
    clear = np.dstack([rescaled(RGB, "u2", 257), alpha])
    assert np.asarray(media.image(tiff(clear, {"extrasamples": ["unassalpha"]}), side=64)).min() == 255


def test_a_tiff_that_unpacks_to_more_than_it_says_is_refused() -> None:
    packed = zlib.compress(bytes(100 << 20), 9)
    honest = tiff(rescaled(RGB, "u2", 16), {**DEFLATE, "rowsperstrip": 1000})
    bomb = with_tags(honest, {273: len(honest), 279: len(packed)}) + packed
    with pytest.raises(Unreadable, match=r"^broken image: more data than its header says$"):
        media.image(bomb, side=64)


def test_a_tiff_of_more_pixels_than_the_limit_is_refused() -> None:
    data = with_tags(tiff(rescaled(RGB, "u4", 16)), {256: 20_000, 257: 20_000})
    with pytest.raises(
        Unreadable, match=r"^20000 x 20000 pixels; the limit is `max_pixels=100000000`, which can be raised$"
    ):
        media.image(data, side=64)


def test_of_several_pages_the_first_is_seen_and_the_file_flagged() -> None:
    data = saved(photo(), "TIFF", {"save_all": True, "append_images": [photo(1)]})
    with media.collected() as flags:
        shown = media.image(data, side=64)
    assert np.array_equal(np.asarray(shown), RGB)
    assert flags == {"frames"}


# what stands beside the pixels


def with_chunk(name: bytes, data: bytes) -> bytes:
    chunk = struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    return PLAIN[:33] + chunk + PLAIN[33:]


CHUNKS = {
    "a packed text": with_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * (8 << 20))),
    "a packed text of another language": with_chunk(
        b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(b"x" * (8 << 20))
    ),
    "a text": with_chunk(b"tEXt", b"Comment\0" + b"x" * (2 << 20)),
    "a profile": with_chunk(b"iCCP", b"wide\0\0" + zlib.compress(b"x" * (8 << 20))),
    "a text that does not unpack": with_chunk(b"zTXt", b"Comment\0\0" + b"\xff" * 100),
    "a text of a wrong sum": with_chunk(b"tEXt", b"Comment\0hello").replace(b"hello", b"hullo"),
}


@pytest.mark.parametrize("data", CHUNKS.values(), ids=CHUNKS.keys())
def test_large_or_broken_chunks_beside_the_pixels_of_a_png_are_ignored(data: bytes) -> None:
    assert np.array_equal(np.asarray(media.image(data, side=64)), RGB)


@pytest.mark.parametrize("rest", [b"junk", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff"])
def test_a_broken_exif_is_ignored(rest: bytes) -> None:
    assert media.image(picture("JPEG", options={"exif": b"Exif\0\0" + rest}), side=64).size == photo().size


def test_a_form_is_told_by_content_and_not_by_what_it_is_called() -> None:
    for form in media.IMAGE_FORMATS:
        with Image.open(io.BytesIO(picture(form))) as opened:
            assert media.sniff(picture(form)) == media.Kind(str(opened.format), "image")
