"""Tables of a TOML file: their names known, their values of the kind that is wanted."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, get_args, get_type_hints

from engine.errors import UserError

Content: TypeAlias = Mapping[str, Any]
Kinds: TypeAlias = Mapping[str, Any]
"""By name: str, int, float, bool, list, dict, or a Literal of texts."""

WORDS: Mapping[type, str] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "a table",
}


def kinds_of(settings: type) -> Kinds:
    """Return what kind each field of a dataclass is declared to be, by name and in its order."""
    hints = get_type_hints(settings)
    return {field.name: hints[field.name] for field in dataclasses.fields(settings)}


def table(where: str, content: object, kinds: Kinds) -> Content:
    """Return a table that holds nothing but these names, each of its kind."""
    if not isinstance(content, dict):
        raise UserError(f"{where} must be a table, not {content!r}")
    for name, value in content.items():
        if name not in kinds:
            raise UserError(f"{where} has no {name!r}; it takes: {', '.join(kinds)}")
        checked(f"{where}.{name}", value, kinds[name])
    return content


def checked(where: str, value: object, kind: Any) -> Any:
    """Return a value of a kind; a whole number is a number too, and true is none."""
    choices = get_args(kind)
    if type(value) is int and kind is float:
        return float(value)
    if type(value) is not (str if choices else kind):
        raise UserError(f"{where} must be {WORDS[str if choices else kind]}, not {value!r}")
    if choices and value not in choices:
        raise UserError(f"{where} is one of {', '.join(choices)}, not {value!r}")
    return value


def several(where: str, values: Sequence[object], kind: type) -> tuple[Any, ...]:
    """Return values that are all of a kind."""
    return tuple(checked(f"{where}[{place}]", value, kind) for place, value in enumerate(values))
