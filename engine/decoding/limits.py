"""How much of a medium is decoded, and what decoding one may take."""

from dataclasses import dataclass

from engine.media import MAX_PIXELS, MAX_SECONDS


@dataclass(frozen=True)
class DecodingLimits:
    """What decoding one file may take; each above zero.

    Attributes:
        max_pixels: of a picture; one of more is skipped.
        max_seconds: of a sound; what follows is not heard.
        max_time: seconds on the clock that a process of its own may work on a file.
        max_memory: bytes that such a process may take for it; kept where the system is Linux.
    """

    max_pixels: int = MAX_PIXELS
    max_seconds: int = MAX_SECONDS
    max_time: float = 60
    max_memory: int = 4 << 30


LIMITS = DecodingLimits()
