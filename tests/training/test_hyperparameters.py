from collections.abc import Callable
from typing import Literal

import pytest

from engine.errors import UserError
from training import hyperparameters

Side = Literal["left", "right"]


def example(x: float, *, share: float = 0.5, rows: int = 3, side: Side = "left", name: str = "") -> None: ...


def refusal(check: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        check()
    return str(caught.value)


def test_hyper_parameters_are_the_keyword_only_parameters() -> None:
    assert hyperparameters.defaults(example) == {"share": 0.5, "rows": 3, "side": "left", "name": ""}


def test_what_is_set_comes_in_the_type_of_its_parameter() -> None:
    options: dict[str, int | float | str] = {
        "example.rows": "7",
        "example.share": 1,
        "example.side": "right",
        "other.rows": "x",
    }
    chosen = hyperparameters.chosen(example, "example", options)
    assert chosen == {"rows": 7, "share": 1.0, "side": "right"}
    assert [type(value) for value in chosen.values()] == [float, int, str]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("sam.share", "much", "sam.share takes a number, not 'much'"),
        ("sam.rows", "1.5", "sam.rows takes a whole number, not '1.5'"),
        ("sam.side", "up", "sam.side is one of left, right, not 'up'"),
    ],
)
def test_a_value_of_another_type_is_refused(name: str, value: str, message: str) -> None:
    assert refusal(lambda: hyperparameters.checked(example, name, value)) == message


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (lambda: hyperparameters.check_at_least("x.rows", 1, 2), "x.rows must be at least 2, not 1"),
        (
            lambda: hyperparameters.check_at_least("x.rows", 1, 2, "why"),
            "x.rows must be at least 2, not 1: why",
        ),
        (lambda: hyperparameters.check_above("x.tau", 0.0, 0), "x.tau must be above 0, not 0.0"),
        (lambda: hyperparameters.check_length("x.rho", 0.0), "x.rho must be a number above 0, not 0.0"),
        (
            lambda: hyperparameters.check_length("x.rho", float("inf")),
            "x.rho must be a number above 0, not inf",
        ),
        (lambda: hyperparameters.check_strength("x.w", -0.1), "x.w must be a number from 0 up, not -0.1"),
        (
            lambda: hyperparameters.check_strength("x.w", float("nan")),
            "x.w must be a number from 0 up, not nan",
        ),
        (lambda: hyperparameters.check_share("x.s", 1.0), "x.s must be from 0 to below 1, not 1.0"),
        (lambda: hyperparameters.check_share("x.s", -0.1), "x.s must be from 0 to below 1, not -0.1"),
    ],
)
def test_a_value_out_of_bounds_is_refused(check: Callable[[], object], message: str) -> None:
    assert refusal(check) == message


@pytest.mark.parametrize(
    "check",
    [
        lambda value: hyperparameters.check_at_least("x", value, 0),
        lambda value: hyperparameters.check_strength("x", value),
        lambda value: hyperparameters.check_share("x", value),
        lambda value: hyperparameters.check_above("x", value + 1e-9, 0),
        lambda value: hyperparameters.check_length("x", value + 1e-9),
    ],
)
def test_a_value_on_the_bound_is_taken(check: Callable[[float], None]) -> None:
    check(0.0)
