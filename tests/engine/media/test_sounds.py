import io

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from engine import media
from engine.errors import Unreadable
from made_media import RATE, cosine, recording, sound


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
    both = np.stack([tone(16_000), tone(16_000, hertz=990)], axis=1)
    assert np.allclose(media.sound(recorded(both, 16_000)), both.mean(axis=1), atol=1e-6)


def test_resampling_keeps_loudness() -> None:
    assert media.sound(recorded(tone(44_100), 44_100)).std() == pytest.approx(tone(44_100).std(), rel=0.01)


def test_a_sound_is_heard_up_to_the_limit() -> None:
    long = recorded(np.zeros(1_000 * (media.MAX_SECONDS + 5), np.float32), 1_000, subtype="PCM_U8")
    assert len(media.sound(long)) == media.MAX_SECONDS * media.SAMPLE_RATE


def test_a_sound_is_heard_as_far_as_is_asked_for() -> None:
    long = recorded(np.zeros(1_000 * (media.MAX_SECONDS + 5), np.float32), 1_000, subtype="PCM_U8")
    assert len(media.sound(long, max_seconds=media.MAX_SECONDS + 2)) == 62 * media.SAMPLE_RATE


def test_more_numbers_are_read_where_more_seconds_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.media.sounds.MAX_SAMPLES", 30 * 1_000)
    long = recorded(np.zeros(1_000 * (media.MAX_SECONDS + 5), np.float32), 1_000, subtype="PCM_U8")
    assert len(media.sound(long, max_seconds=2 * media.MAX_SECONDS)) == 60 * media.SAMPLE_RATE


@pytest.mark.parametrize("rate", [99, 10_000_001])
def test_a_sample_rate_out_of_range_is_refused(rate: int) -> None:
    with pytest.raises(Unreadable, match=f"^sample rate of {rate} Hz; 100 to 10000000 can be read$"):
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


# the same sound however it is kept


PLAIN = recording("WAV")
SOUND = sound()
SILENT = np.zeros_like(SOUND)
OTHER = np.roll(sound(1), 3_000)
CHANNELS = {
    "both the same": [SOUND, SOUND],
    "opposite phase": [SOUND, -SOUND],
    "opposite phase, one quieter": [SOUND, -0.8 * SOUND],
    "left only": [SOUND, SILENT],
    "right only": [SILENT, SOUND],
    "one of six": [SILENT, SILENT, SOUND, SILENT, SILENT, SILENT],
    "six, every other turned": [SOUND, -SOUND] * 3,
    "seven, three turned": [SOUND, -SOUND] * 3 + [SOUND],
    "opposite phase and a hum 70 dB below": [SOUND, -SOUND, OTHER * 3e-4],
}


@pytest.mark.parametrize("channels", CHANNELS.values(), ids=CHANNELS.keys())
def test_a_sound_keeps_its_energy_however_it_lies_in_channels(channels: list[NDArray[np.float32]]) -> None:
    data = recording("WAV", "FLOAT", np.stack(channels, axis=1))
    assert cosine("audio", data, PLAIN) > 0.99
    assert media.sound(data).std() == pytest.approx(SOUND.std(), rel=0.11)


def test_channels_that_have_nothing_in_common_are_averaged() -> None:
    apart = np.stack([SOUND, OTHER], axis=1)
    assert np.array_equal(media.sound(recording("WAV", "FLOAT", apart)), apart.mean(axis=1))


def test_the_sound_is_unlike_another() -> None:
    assert cosine("audio", PLAIN, recording("WAV", samples=tone(RATE))) < 0.5


DEPTHS = {
    "24 bits": recording("WAV", "PCM_24"),
    "32 bits": recording("WAV", "PCM_32"),
    "floats": recording("WAV", "FLOAT"),
    "doubles": recording("WAV", "DOUBLE"),
    "16 bits as floats": recording("WAV", "FLOAT", SOUND * 32_768),
    "24 bits as floats": recording("WAV", "FLOAT", SOUND * 8_388_608),
    "32 bits as floats": recording("WAV", "DOUBLE", SOUND.astype(np.float64) * 2**31),
    "AIFF": recording("AIFF"),
    "CAF": recording("CAF"),
    "Apple lossless": recording("CAF", "ALAC_16"),
    "AU": recording("AU"),
    "W64": recording("W64"),
    "RF64": recording("RF64"),
    "FLAC": recording("FLAC"),
    "A-law": recording("WAV", "ALAW"),
}


@pytest.mark.parametrize("data", DEPTHS.values(), ids=DEPTHS.keys())
def test_a_sound_is_the_same_at_any_depth_and_in_any_form(data: bytes) -> None:
    assert cosine("audio", data, PLAIN) > 0.99


def test_a_sound_of_8_bits_is_the_same_but_for_its_noise() -> None:
    noisy = SOUND + 0.05 * np.random.default_rng(0).standard_normal(len(SOUND)).astype(np.float32)
    assert cosine("audio", recording("WAV", "PCM_U8", noisy), recording("WAV", samples=noisy)) > 0.999


def test_floats_beyond_full_scale_are_scaled_and_keep_their_shape() -> None:
    loud = media.sound(recording("WAV", "FLOAT", SOUND * 5))
    assert np.abs(loud).max() == pytest.approx(1)
    assert np.allclose(loud * np.abs(SOUND).max(), SOUND, atol=1e-6)


@pytest.mark.parametrize("rate", [200, 4_000, 96_000, 192_000, 1_000_000, 4_000_000])
def test_very_low_and_very_high_rates_are_heard(rate: int) -> None:
    samples = media.sound(recording("WAV", samples=tone(rate, hertz=60), rate=rate))
    assert len(samples) == pytest.approx(RATE, abs=RATE // 100)
    assert loudest(samples) == pytest.approx(60, abs=3)


def test_no_more_numbers_are_read_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.media.sounds.MAX_SAMPLES", RATE)
    with media.collected() as flags:
        samples = media.sound(recording("WAV", samples=np.stack([SOUND, SOUND], axis=1)))
    assert len(samples) == RATE // 2
    assert flags == {"long sound"}


def test_a_picture_is_no_sound_and_the_message_says_what_it_is() -> None:
    with pytest.raises(Unreadable, match=r"^not a sound that can be read: it is PNG$"):
        media.sound(b"\x89PNG\r\n\x1a\n" + bytes(100))
