from dataclasses import dataclass
from typing import Literal

import pytest

from engine.errors import UserError
from studies.sweeps import fields

COLOUR = Literal["red", "blue"]


@dataclass(frozen=True)
class Settings:
    size: int
    colour: COLOUR = "red"


def test_the_kinds_of_a_dataclass_are_those_it_declares() -> None:
    assert fields.kinds_of(Settings) == {"size": int, "colour": COLOUR}


def test_a_whole_number_is_a_number() -> None:
    value = fields.checked("lr", 1, float)
    assert (value, type(value)) == (1.0, float)


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        (1.5, int, "x must be a whole number, not 1.5"),
        (True, int, "x must be a whole number, not True"),
        (True, float, "x must be a number, not True"),
        (1, bool, "x must be true or false, not 1"),
        (1, str, "x must be a text, not 1"),
        ("a", list, "x must be a list, not 'a'"),
        ([], dict, "x must be a table, not []"),
        (1, COLOUR, "x must be a text, not 1"),
        ("green", COLOUR, "x is one of red, blue, not 'green'"),
    ],
)
def test_a_value_of_another_kind_is_refused(value: object, kind: type, message: str) -> None:
    with pytest.raises(UserError) as caught:
        fields.checked("x", value, kind)
    assert str(caught.value) == message


def test_a_table_says_which_names_it_takes() -> None:
    with pytest.raises(UserError) as caught:
        fields.table("set", {"sise": 1}, fields.kinds_of(Settings))
    assert str(caught.value) == "set has no 'sise'; it takes: size, colour"


def test_what_is_wrong_in_a_list_is_named_by_its_place() -> None:
    with pytest.raises(UserError, match=r"^seed\[1\] must be a whole number, not 'a'$"):
        fields.several("seed", [0, "a"], int)
