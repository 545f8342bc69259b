import io
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from PIL import Image

from engine import media
from engine.backbones import Features, builtin
from engine.decoding import pictures, sounds
from engine.errors import Unreadable
from engine.types import Modality

TRANSPOSED = 6  # the EXIF orientation of a camera held upright
RATE = 16_000
ROUNDING = 1e-6  # relative to numbers of about 1: float32, whose sums a processor may order otherwise


def embed(modality: Modality, *items: bytes) -> Features:
    backbone = builtin.load()
    return backbone.encode(modality, [backbone.prepare(modality, data) for data in items])


def cosine(modality: Modality, one: bytes, other: bytes) -> float:
    x, y = embed(modality, one, other)
    return float(x @ y / np.linalg.norm(x) / np.linalg.norm(y))


def png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def flac(samples: NDArray[np.float32]) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format="FLAC")
    return file.getvalue()


def plain(colour: str) -> bytes:
    return png(Image.new("RGB", (40, 30), colour))


def noise(seed: int = 0, *, low: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(low, 256, (6, 8, 3), np.uint8)
    return Image.fromarray(pixels).resize((160, 120), Image.Resampling.BICUBIC)


def stripes(turned: bool) -> bytes:
    pixels = np.tile(np.repeat(np.array([30, 220], np.uint8), 8), 8)[None].repeat(128, axis=0)
    return png(Image.fromarray(pixels.T.copy() if turned else pixels).convert("RGB"))


def tone(hertz: float, seconds: float = 1.0) -> bytes:
    return flac(0.4 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * RATE)) / RATE).astype(np.float32))


EXTREMES = {
    "black picture": ("image", plain("black")),
    "grey picture": ("image", plain("#808080")),
    "white picture": ("image", plain("white")),
    "one pixel": ("image", png(Image.new("RGB", (1, 1), "red"))),
    "one row of pixels": ("image", png(Image.new("RGB", (3000, 1), "red"))),
    "punctuation": ("text", b"?!... --"),
    "an emoji": ("text", "\N{CAT FACE}".encode()),
    "one letter": ("text", b"a"),
    "silence": ("audio", flac(np.zeros(RATE, np.float32))),
    "one sample": ("audio", flac(np.full(1, 0.5, np.float32))),
    "a minute": ("audio", flac(np.zeros(61 * RATE, np.float32))),
}


def test_a_text_longer_than_is_read_is_flagged() -> None:
    with media.collected() as flags:
        builtin.load().prepare("text", b"word " * 1_638 + b"a")
        assert flags == set()
        builtin.load().prepare("text", b"word " * 1_638 + b"abc")
    assert flags == {"long"}


@pytest.mark.parametrize(("modality", "data"), EXTREMES.values(), ids=EXTREMES.keys())
def test_features_of_extremes_are_finite_and_not_zero(modality: Modality, data: bytes) -> None:
    features = embed(modality, data)
    assert np.isfinite(features).all()
    assert np.abs(features).sum() > 0


def test_features_of_an_empty_text_are_zeros() -> None:
    assert not embed("text", b"").any()


@pytest.mark.parametrize(
    ("modality", "data"), [("image", plain("red")), ("text", b"a dog"), ("audio", tone(440))]
)
def test_features_are_512_float32_numbers_as_promised(modality: Modality, data: bytes) -> None:
    features = embed(modality, data, data)
    assert features.shape == (2, builtin.load().widths[modality])
    assert features.dtype == np.float32


def test_numbers_are_about_one_in_size() -> None:
    np.testing.assert_allclose(np.square(embed("text", b"a dog", b"two")).mean(axis=1), 1, rtol=1e-5)


def test_a_rotated_jpeg_embeds_like_its_upright_reference() -> None:
    upright, exif = noise(), Image.Exif()
    exif[0x0112] = TRANSPOSED
    file = io.BytesIO()
    upright.transpose(Image.Transpose.ROTATE_90).save(file, "JPEG", quality=95, exif=exif)
    assert cosine("image", file.getvalue(), png(upright)) > 0.99


@pytest.mark.parametrize(
    ("modality", "data"), [("image", png(noise())), ("text", b"two red birds"), ("audio", tone(440))]
)
def test_the_same_bytes_give_the_same_numbers(modality: Modality, data: bytes) -> None:
    np.testing.assert_allclose(embed(modality, data), embed(modality, data), atol=ROUNDING)


def test_another_process_finds_the_same_numbers_for_a_text() -> None:
    code = (
        "from engine.backbones import builtin; b = builtin.load();"
        "print(b.encode('text', [b.prepare('text', b'two red birds')]).tobytes().hex())"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    elsewhere = np.frombuffer(bytes.fromhex(printed), np.float32)
    np.testing.assert_allclose(elsewhere, embed("text", b"two red birds")[0], atol=ROUNDING)


def test_a_text_needs_neither_skimage_nor_librosa_nor_sklearn_nor_torch() -> None:
    code = (
        "import sys; from engine.backbones import builtin; b = builtin.load();"
        "b.encode('text', [b.prepare('text', b'a dog')]);"
        "print({'skimage', 'librosa', 'sklearn', 'scipy', 'soundfile', 'torch'} & set(sys.modules))"
    )
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert seen.strip() == "set()"


def test_texts_that_share_words_are_closer_than_others() -> None:
    near = cosine("text", b"a brown dog runs on the lawn", b"the lawn where a brown dog sleeps")
    assert near > cosine("text", b"a brown dog runs on the lawn", b"two ships in a harbour at night") + 0.2


def test_a_misspelt_word_is_closer_than_another_word() -> None:
    assert cosine("text", b"helicopter", b"helicoptre") > cosine("text", b"helicopter", b"submarine") + 0.2


def test_words_that_say_little_count_less() -> None:
    assert cosine("text", b"the dog", b"a dog") > cosine("text", b"the dog", b"the cat")


def test_case_does_not_matter() -> None:
    assert cosine("text", b"Red BIRD", b"red bird") > 0.9999


@pytest.mark.parametrize("text", [b"a" * (1 << 20), b"word " * (1 << 18)], ids=["one word", "many words"])
def test_a_megabyte_of_text_is_read_up_to_the_limit(text: bytes) -> None:
    assert (embed("text", text) == embed("text", text[: builtin.TEXT_LIMIT])).all()


def test_bytes_that_are_no_text_are_unreadable() -> None:
    with pytest.raises(Unreadable, match="not UTF-8"):
        builtin.load().prepare("text", b"\xff\xfe")


def test_pictures_of_like_colours_are_closer_than_others() -> None:
    light = png(noise(1, low=180))
    assert cosine("image", light, png(noise(2, low=180))) > cosine("image", light, plain("black")) + 0.2


def test_pictures_of_the_same_direction_are_closer_than_others() -> None:
    upright = embed("image", stripes(turned=False), stripes(turned=True))
    shifted = Image.open(io.BytesIO(stripes(turned=False))).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    flipped = embed("image", png(shifted))[0]
    assert flipped @ upright[0] > flipped @ upright[1]


def test_tones_of_like_pitch_are_closer_than_others() -> None:
    assert cosine("audio", tone(440), tone(450, 2.0)) > cosine("audio", tone(440), tone(4000))


def test_mel_filters_leave_no_gap_between_the_lowest_and_the_highest_band() -> None:
    filters = sounds.mel_filters()
    np.testing.assert_allclose(filters[40:240].sum(axis=1), 1, atol=1e-5)


def test_local_histograms_count_each_cell_apart() -> None:
    codes = np.zeros((pictures.SIDE, pictures.SIDE), int)
    codes[: pictures.SIDE // pictures.GRID, : pictures.SIDE // pictures.GRID] = 1
    histograms = pictures.histograms(codes, 2).reshape(pictures.GRID**2, 2)
    assert histograms[0].tolist() == [0, 1]
    assert (histograms[1:] == [1, 0]).all()


CHINESE = [
    "一辆红色的公共汽车停在雨中的街道上",
    "两只黑猫在厨房的窗台上睡觉",
    "桌子上有一杯咖啡和一本书",
    "孩子们在公园里放风筝",
]


@pytest.mark.parametrize(("query", "place"), [("红色公共汽车", 0), ("黑猫", 1), ("咖啡", 2), ("风筝", 3)])
def test_a_word_is_found_in_a_text_of_a_script_without_spaces(query: str, place: int) -> None:
    rows = np.stack([builtin.describe_text(text.encode()) for text in (query, *CHINESE)])
    cosines = rows[1:] @ rows[0] / np.linalg.norm(rows[1:], axis=1)
    assert int(cosines.argmax()) == place


def test_words_of_scripts_with_spaces_stay_whole() -> None:
    assert list(builtin.words("two 黑猫们, 두 고양이 ไทย")) == [
        "two",
        "黑猫",
        "猫们",
        ",",
        "두",
        "고양이",
        "ไท",
        "ทย",
    ]
