"""Hyper-parameters of losses and strategies: which there are, and what values they take."""

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias, get_args, get_origin, get_type_hints

from engine.errors import UserError

Value: TypeAlias = int | float | str


def defaults(function: Callable[..., object]) -> dict[str, Value]:
    """Return the hyper-parameters of a loss or strategy and their defaults: its keyword-only parameters."""
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def chosen(function: Callable[..., object], name: str, options: Mapping[str, Value]) -> dict[str, Value]:
    """Return what is set of one loss or strategy, each value of its parameter's type.

    Args:
        options: values by dotted name, those of other losses and strategies too (`triplet.margin`).
    """
    return {
        parameter: checked(function, f"{name}.{parameter}", options[f"{name}.{parameter}"])
        for parameter in defaults(function)
        if f"{name}.{parameter}" in options
    }


def checked(function: Callable[..., object], name: str, value: Value) -> Value:
    """Return a value of the type of a hyper-parameter, given by its dotted name; raise where it has none."""
    parameter = name.partition(".")[2]
    choices, default = get_type_hints(function)[parameter], defaults(function)[parameter]
    if get_origin(choices) is Literal:
        if value not in get_args(choices):
            raise UserError(f"{name} is one of {', '.join(get_args(choices))}, not {value!r}")
        return value
    try:
        return type(default)(value)
    except ValueError:
        number = "a whole number" if isinstance(default, int) else "a number"
        raise UserError(f"{name} takes {number}, not {value!r}") from None


def check_at_least(name: str, value: float, least: int, why: str = "") -> None:
    """Refuse a value below the least it may be."""
    if not value >= least:
        raise UserError(f"{name} must be at least {least}, not {value}{why and ': '}{why}")


def check_above(name: str, value: float, bound: int) -> None:
    """Refuse a value that is not above a bound."""
    if not value > bound:
        raise UserError(f"{name} must be above {bound}, not {value}")


def check_length(name: str, value: float) -> None:
    """Refuse a value that is not above 0 or not finite."""
    if not 0 < value < math.inf:
        raise UserError(f"{name} must be a number above 0, not {value}")


def check_strength(name: str, value: float) -> None:
    """Refuse a value below 0 or not finite."""
    if not 0 <= value < math.inf:
        raise UserError(f"{name} must be a number from 0 up, not {value}")


def check_share(name: str, value: float) -> None:
    """Refuse a value outside 0 to below 1."""
    if not 0 <= value < 1:
        raise UserError(f"{name} must be from 0 to below 1, not {value}")
