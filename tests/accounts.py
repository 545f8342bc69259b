"""Whether a row holds what was written for it: every value in the place that its column's name gives it."""

import datetime
import decimal
import math
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from unicodedata import normalize

import numpy as np
from numpy.typing import NDArray

from engine.sources.base import Row
from engine.sources.tables.columns import OTHER_NAMES

TEXT = {"text", "texts", *OTHER_NAMES["text"]}
FILE = {"file_name", *OTHER_NAMES["file"], "image", "audio", "video"}
LABELS = {"labels", *OTHER_NAMES["labels"]}
DATES = (datetime.date, datetime.time, datetime.timedelta, decimal.Decimal, uuid.UUID)
"""Kept as strings, in whatever form."""


def differences(row: Row, written: Mapping[str, Any], *, literal: bool = False) -> list[str]:
    """Return the columns whose value a row does not hold.

    Args:
        literal: every cell is a string; several labels stand in one, `a; b`.
    """
    return [
        name
        for name, value in written.items()
        if not _is_nothing(value) and not _holds(row, name, value, literal)
    ]


def _holds(row: Row, name: str, value: Any, literal: bool) -> bool:
    plain = "_".join(name.strip().lower().replace("-", " ").split())
    if name in row.other:
        return same(row.other[name], value)
    if any(isinstance(part, DATES) for part in _flat(value)):
        return plain in ("id", "task", "split", *LABELS, *TEXT, *FILE)
    strings = [_string(part) for part in _flat(value)]
    if plain in ("id", "task", "split"):
        return getattr(row, plain) in (strings[0], _nfc(strings[0])) and len(strings) == 1
    if plain in TEXT and plain not in {modality.lower() for modality in row.features}:
        return {_nfc(text) for text in strings} <= {*row.texts}
    if plain in LABELS:
        cut = [part for text in strings for part in (text.split(";") if literal else [text])]
        return {_nfc(label) for label in cut if label.strip()} == {*row.labels} or _is_multi_hot(value, row)
    if plain in FILE and any(path.name for path in {**row.media, **row.origins}.values()):
        paths = [str(path) for path in {**row.media, **row.origins}.values()]
        return all(any(path.endswith(text.split("/")[-1]) for path in paths) for text in strings)
    return any(map(_is_vector([*_flat(value, keep_nulls=True)]), row.features.values()))


def _is_vector(values: Sequence[Any]) -> Callable[[NDArray[np.float32]], bool]:
    """Return a function that says whether an array holds these numbers."""
    if not all(isinstance(value, int | float) and abs(value) < 1e39 for value in values):
        return lambda array: False
    numbers = np.array(values, np.float32)
    return lambda array: np.array_equal(numbers, array)


def _is_multi_hot(value: Any, row: Row) -> bool:
    ones = [str(place) for place, number in enumerate(_flat(value)) if number == 1]
    return row.labels == tuple(ones)


def same(kept: object, written: object) -> bool:
    """Say whether a field is kept as it was written, as far as JSON can say it."""
    if isinstance(written, DATES):
        return isinstance(kept, str) and bool(kept)
    if isinstance(written, dict):
        return isinstance(kept, dict) and all(same(kept.get(name), part) for name, part in written.items())
    if isinstance(written, list | tuple):
        return isinstance(kept, list) and len(kept) == len(written) and all(map(same, kept, written))
    if isinstance(written, bytes):
        return kept == written.decode()
    if isinstance(written, float) and not math.isfinite(written):
        return kept is None
    return type(kept) is type(written) and kept == written


def _flat(value: Any, *, keep_nulls: bool = False) -> Iterator[Any]:
    if isinstance(value, list | tuple):
        for part in value:
            yield from _flat(part, keep_nulls=keep_nulls)
    elif isinstance(value, bytes):
        yield value.decode(errors="replace")
    elif keep_nulls or not (value is None or (isinstance(value, float) and not math.isfinite(value))):
        yield value


def _is_nothing(value: Any) -> bool:
    return not [
        part for part in _flat(value) if not isinstance(part, str) or part.strip()
    ] and not isinstance(value, Mapping)


def _string(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value if isinstance(value, str) else str(value)


def _nfc(text: str) -> str:
    return normalize("NFC", text).strip()
