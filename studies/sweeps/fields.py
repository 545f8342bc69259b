"""Tables of a TOML file: their names known, their values of the kind that is wanted."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from engine.errors import UserError

Content: TypeAlias = Mapping[str, Any]
Kinds: TypeAlias = Mapping[str, type]

WORDS: Mapping[type, str] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "a table",
}


def table(where: str, value: object, kinds: Kinds) -> Content:
    """Return a table that holds nothing but these names, each of its kind."""
    if not isinstance(value, dict):
        raise UserError(f"{where} must be a table, not {value!r}")
    for name, held in value.items():
        if name not in kinds:
            raise UserError(f"{where} has no {name!r}; it takes: {', '.join(kinds)}")
        one(f"{where}.{name}", held, kinds[name])
    return value


def one(where: str, value: object, kind: type) -> Any:
    """Return a value of a kind; a whole number is a number too, and true is none."""
    if type(value) is int and kind is float:
        return float(value)
    if type(value) is not kind:
        raise UserError(f"{where} must be {WORDS[kind]}, not {value!r}")
    return value


def several(where: str, values: Sequence[object], kind: type) -> tuple[Any, ...]:
    """Return values that are all of a kind."""
    return tuple(one(f"{where}[{place}]", value, kind) for place, value in enumerate(values))


def choice(where: str, value: Any, choices: Sequence[str]) -> Any:
    """Return a value that is one of the choices."""
    if value not in choices:
        raise UserError(f"{where} is one of {', '.join(choices)}, not {value!r}")
    return value
