"""What can be made of the bytes of a medium: arrays, by decoders that are not to be trusted."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from engine import media
from engine.decoding import pictures, sounds
from engine.decoding.limits import LIMITS, DecodingLimits

JobName = Literal["pixels", "samples", "describe picture", "describe sound"]


@dataclass(frozen=True)
class Job:
    """What is wanted of a medium.

    Attributes:
        side: pixels needed along the shorter side, where pixels are wanted.
    """

    name: JobName
    side: int = 0


Array: TypeAlias = NDArray[Any]
Decode: TypeAlias = Callable[[Job, bytes], Array]
"""Does a job, here or elsewhere; raises Unreadable."""

Jobs: TypeAlias = Mapping[str, Callable[[bytes, int, DecodingLimits], Array]]

JOBS: Jobs = {
    "pixels": lambda data, side, limits: np.asarray(
        media.image(data, side=side, max_pixels=limits.max_pixels)
    ),  # (H, W, 3) uint8
    "samples": lambda data, side, limits: media.sound(data, max_seconds=limits.max_seconds),  # (n,)
    "describe picture": lambda data, side, limits: pictures.describe(data, max_pixels=limits.max_pixels),
    "describe sound": lambda data, side, limits: sounds.describe(data, max_seconds=limits.max_seconds),
}


def here(job: Job, data: bytes) -> Array:
    """Do a job in this process, with the usual limits of pixels and seconds and no others."""
    return JOBS[job.name](data, job.side, LIMITS)
