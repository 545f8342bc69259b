"""Item ids as arrays: 32 hex digits as bytes, whose order is that of the strings."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from engine.types import ItemId

Ids = NDArray[np.bytes_]
DIGITS = 32
DTYPE = np.dtype(f"S{DIGITS}")


def encode(ids: Sequence[ItemId]) -> Ids:
    """Return ids as an array (N,)."""
    return np.array(ids, DTYPE)


def decode(ids: Ids) -> list[ItemId]:
    """Return the ids of an array (N,) as strings."""
    return [id.decode() for id in ids.tolist()]


def to_digits(ids: Ids) -> NDArray[np.uint8]:
    """Return the digits (N, 32) of ids (N,), as files that know no strings keep them."""
    return np.ascontiguousarray(ids, DTYPE).view(np.uint8).reshape(-1, DIGITS)


def from_digits(digits: NDArray[np.uint8]) -> Ids:
    """Return the ids (N,) whose digits (N, 32) are given."""
    ids: Ids = np.ascontiguousarray(digits).view(DTYPE).reshape(-1)
    return ids
