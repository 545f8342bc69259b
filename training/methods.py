"""METHODS and LOSSES by name: what each is made of, its hyper-parameters and its source."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, get_args, get_origin, get_type_hints

from engine.errors import UserError
from engine.types import MethodName, Settings
from training.gradient import Loss, Strategy
from training.losses import LOSSES
from training.steps import Adam, Decay


@dataclass(frozen=True)
class Recipe:
    """A training method.

    Attributes:
        start: train on from the newest head, or from the initialisation.
        pairs: of the task alone, or of every task learned so far and the task.
        negatives: within a batch, all other rows or those of the row's own task.
    """

    summary: str
    source: str
    start: Literal["parent", "initialisation"] = "parent"
    pairs: Literal["task", "history"] = "task"
    negatives: Literal["all", "task"] = "all"
    links: Callable[[Settings], Sequence[Strategy]] = lambda settings: ()


METHODS: Mapping[MethodName, Recipe] = {
    "finetune": Recipe("train the newest head on the task alone", "the usual baseline"),
    "joint": Recipe(
        "train anew on every task learned so far together",
        "the upper bound of Wang et al. 2021, with cross-task negatives",
        start="initialisation",
        pairs="history",
    ),
    "joint-intra": Recipe(
        "as joint, with negatives from a row's own task only",
        "Wang et al. 2021, without cross-task negatives",
        start="initialisation",
        pairs="history",
        negatives="task",
    ),
    "experts": Recipe(
        "train anew on the task alone: one head per task",
        "the upper bound for a known task; ask with --policy matched",
        start="initialisation",
    ),
}


def strategies(settings: Settings) -> list[Strategy]:
    """Return the links of a method, outermost first.

    Decay stands outside Adam (decoupled), Adam outside whatever may ask `inner` more than once, so that its
    moments advance once a step.
    """
    return [Decay(settings.weight_decay), Adam(), *METHODS[settings.method].links(settings)]


def loss(settings: Settings) -> Loss:
    """Return the loss with its hyper-parameters bound, or raise at an unknown name."""
    function = LOSSES[settings.loss]
    known = options(function)
    chosen: dict[str, int | float | str] = {}
    if "temperature" in known:
        chosen["temperature"] = settings.temperature
    valid = [f"{settings.loss}.{name}" for name in known]
    for name, value in settings.options.items():
        if name not in valid:
            raise UserError(f"no hyper-parameter {name!r} here; valid are: {', '.join(valid)}")
        short = name.partition(".")[2]
        chosen[short] = _checked(function, name, value, known[short])
    return partial(function, **chosen)


def settled(settings: Settings) -> Settings:
    """Return settings that name the temperature once, where `--set infonce.temperature=X` named it again."""
    name = f"{settings.loss}.temperature"
    if name not in settings.options:
        return settings
    rest = {option: value for option, value in settings.options.items() if option != name}
    function = LOSSES[settings.loss]
    value = float(_checked(function, name, settings.options[name], options(function)["temperature"]))
    return replace(settings, temperature=value, options=rest)


def options(function: Callable[..., object]) -> dict[str, int | float | str]:
    """Return the hyper-parameters of a loss and their defaults: its keyword-only parameters."""
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def _checked(
    function: Callable[..., object], name: str, value: int | float | str, default: int | float | str
) -> int | float | str:
    """Return a value of the parameter's type, or raise where it has none."""
    kind = get_type_hints(function)[name.partition(".")[2]]
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise UserError(f"{name} is one of {', '.join(get_args(kind))}, not {value!r}")
        return value
    try:
        return type(default)(value)
    except ValueError:
        number = "a whole number" if isinstance(default, int) else "a number"
        raise UserError(f"{name} takes {number}, not {value!r}") from None


def describe(name: str | None = None) -> list[dict[str, object]]:
    """Return what there is to know of every loss and method, or of one."""
    known: list[dict[str, object]] = [
        {
            "name": loss_name,
            "kind": "loss",
            "summary": (function.__doc__ or "").partition("\n")[0],
            "options": {f"{loss_name}.{option}": default for option, default in options(function).items()},
        }
        for loss_name, function in LOSSES.items()
    ]
    known += [
        {"name": method, "kind": "method", "summary": f"{recipe.summary} ({recipe.source})", "options": {}}
        for method, recipe in METHODS.items()
    ]
    found = [one for one in known if name in (None, one["name"])]
    if not found:
        raise UserError(
            f"no loss or method {name!r}; there are: {', '.join(str(one['name']) for one in known)}"
        )
    return found


def text(name: str | None = None) -> str:
    """Return the same for people."""
    lines = []
    for one in describe(name):
        lines.append(f"{one['name']} ({one['kind']}): {one['summary']}")
        settings = one["options"]
        assert isinstance(settings, dict)
        lines += [f"    --set {option}={default}" for option, default in settings.items()]
    return "\n".join(lines)
