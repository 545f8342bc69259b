import numpy as np

from engine import ids

NAMES = [f"{n:032x}" for n in (1, 15, 16, 255)]


def test_ids_come_back_from_an_array_as_they_were() -> None:
    assert ids.decode(ids.encode(NAMES)) == NAMES


def test_ids_come_back_from_their_digits_as_they_were() -> None:
    digits = ids.to_digits(ids.encode(NAMES))
    assert digits.shape == (4, 32)
    assert ids.decode(ids.from_digits(digits)) == NAMES


def test_no_ids_are_an_empty_array() -> None:
    assert ids.encode([]).shape == (0,)
    assert ids.encode([]).dtype == ids.DTYPE


def test_an_array_has_the_order_of_the_strings() -> None:
    assert ids.decode(np.sort(ids.encode(NAMES[::-1]))) == sorted(NAMES)
