"""Bytes of one file in, pixels or samples out, within limits, and a word about what was odd."""

from engine.media.files import MAX_BYTES, modality_at, probe, read, spelled
from engine.media.flags import MEANING, SETTINGS, Flag, collected, raise_flag
from engine.media.images import IMAGE_FORMATS, MAX_PIXELS, image
from engine.media.kinds import NOT_READ, SUFFIXES, Kind, modality_of, sniff
from engine.media.sounds import MAX_SECONDS, SAMPLE_RATE, sound

__all__ = [
    "IMAGE_FORMATS",
    "MAX_BYTES",
    "MAX_PIXELS",
    "MAX_SECONDS",
    "MEANING",
    "NOT_READ",
    "SAMPLE_RATE",
    "SETTINGS",
    "SUFFIXES",
    "Flag",
    "Kind",
    "collected",
    "image",
    "modality_at",
    "modality_of",
    "probe",
    "raise_flag",
    "read",
    "sniff",
    "sound",
    "spelled",
]
