from urllib.parse import unquote

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import ids
from engine.errors import Unreadable
from engine.ids import item_id

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


def test_an_id_comes_back_from_its_key_of_16_bytes() -> None:
    assert (len(ids.to_key(NAMES[3])), ids.from_key(ids.to_key(NAMES[3]))) == (16, NAMES[3])


def test_the_first_key_of_some_digits_is_at_most_that_of_any_id_that_begins_so() -> None:
    assert ids.from_key(ids.first_key("0f3")) == "0f3" + 29 * "0"


def test_ids_that_were_joined_come_apart() -> None:
    assert ids.parts("".join(NAMES[:2])) == NAMES[:2]


def test_an_id_is_32_hex_digits() -> None:
    assert len(item_id("image", b"x")) == 32
    assert int(item_id("image", b"x"), 16) >= 0


def test_the_same_bytes_of_another_modality_are_another_item() -> None:
    assert item_id("image", b"x") != item_id("depth", b"x")


def test_other_bytes_are_another_item() -> None:
    assert item_id("image", b"x") != item_id("image", b"y")


def test_where_a_modality_ends_and_its_bytes_begin_is_part_of_the_id() -> None:
    assert item_id("ab", b"c") != item_id("a", b"bc")


# texts


def test_a_text_is_stored_composed() -> None:
    assert ids.clean_text("cafe\u0301") == "caf\u00e9"


def test_outer_white_space_is_no_part_of_a_text() -> None:
    assert ids.clean_text(" \ta  cat\r\n") == "a  cat"


@pytest.mark.parametrize("text", ["", " \t\r\n", "\u3000"])
def test_a_blank_text_is_refused(text: str) -> None:
    with pytest.raises(Unreadable, match=r"^blank text$"):
        ids.clean_text(text)


def test_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(Unreadable, match="lone surrogate"):
        ids.clean_text("a \ud800 cat")


def test_a_text_over_the_limit_is_refused_by_its_bytes() -> None:
    with pytest.raises(Unreadable, match=r"^text of 24 MiB; the limit is 16 MiB$"):
        ids.clean_text("図" * (8 << 20))


# names


@pytest.mark.parametrize(
    ("spelled", "name"),
    [
        ("cafe\u0301", "caf\u00e9"),
        (" sea ", "sea"),
        ("the\u00a0sea\u3000", "the sea"),
        ("sea\u200d", "sea"),
        (
            "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
            "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        ),  # a Persian word
    ],
)
def test_names_that_look_equal_are_one(spelled: str, name: str) -> None:
    assert ids.checked_name(spelled) == name
    assert ids.clean_name(name) == name


@pytest.mark.parametrize("name", ["", " ", "a\nb", "a\x1b[31m", "a\u202eb", "\udcff", "\u200d", "x" * 256])
def test_a_name_that_could_not_be_shown_is_refused(name: str) -> None:
    with pytest.raises(Unreadable, match=r"^must be 1 to 255 printable characters$"):
        ids.checked_name(name)


@given(st.lists(st.text(min_size=1), min_size=1, max_size=3))
def test_names_that_are_escaped_and_joined_come_apart(names: list[str]) -> None:
    assert [unquote(part) for part in "-".join(ids.escape(name, "-+") for name in names).split("-")] == names
