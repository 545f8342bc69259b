"""From settings to a loss and strategies: chains, hyper-parameters, and what there is to choose from."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Literal, get_args, get_origin, get_type_hints

from engine.errors import Setting, UserError
from engine.heads.head import Head
from engine.types import TrainSettings
from training.catalogue import LOSSES
from training.data.history import NOTHING, Past
from training.gradient import Loss, Strategy
from training.losses.anchored import noised
from training.losses.matching import with_scorer
from training.recipes import METHODS, Link, Place, Recipe
from training.strategies.adam import Adam, Decay


def recipe(method: str) -> Recipe:
    """Return the recipe of a name, or of several names joined by +, all their links in one."""
    names = method.split("+")
    known: Mapping[str, Recipe] = {str(name): part for name, part in METHODS.items()}
    for name in names:
        if name not in known:
            raise UserError(f"no method {name!r}; methods are: {', '.join(known)}")
    parts = {name: known[name] for name in names}
    anew = [name for name, part in parts.items() if part.start == "initialisation"]
    if len(anew) > 1:
        raise UserError(f"{anew[0]} and {anew[1]} each say what to train on: choose one")
    links: dict[str, Link] = {}
    for name, part in parts.items():
        for link_name, link in part.links.items():
            if links.setdefault(link_name, link) != link:
                raise UserError(
                    f"{name} cannot be chained in {method}: each uses {link_name!r} in its own way"
                )
    return replace(parts[anew[0] if anew else names[0]], links=links)


def strategies(settings: TrainSettings, past: Past = NOTHING) -> dict[str, Strategy]:
    """Return the links of a method by name, outermost first; links of one place stand as the chain names them.

    Decay stands outside Adam (decoupled), Adam outside whatever may ask `inner` more than once, so that its
    moments advance once a step.
    """
    usual = {"decay": Link("decay", lambda: Decay(settings.weight_decay)), "adam": Link("adam", Adam)}
    links = {**recipe(settings.method).links, **usual}
    if settings.protect and not {"ewc", "mas"} & set(links):
        branch, chain = Setting("protect"), Setting("method")
        raise UserError(
            f"{branch} says which branch ewc or mas guards: add one of them to {chain}", [branch, chain]
        )
    order = sorted(links.items(), key=lambda named: get_args(Place).index(named[1].place))
    return {
        name: link.make(*link.bind(settings, past), **_chosen(settings, name, link.make))
        for name, link in order
    }


def loss(settings: TrainSettings, head: Head) -> Loss:
    """Return the loss with its hyper-parameters bound, and what of the head it needs beside embeddings."""
    function, chosen = LOSSES[settings.loss], _chosen(settings, settings.loss, LOSSES[settings.loss])
    if "temperature" in options(function):
        chosen["temperature"] = settings.temperature
    if settings.loss == "centrobind":
        return partial(function, again=partial(noised, head), **chosen)
    if settings.loss == "pmrl":
        return with_scorer(head, partial(function, **chosen))
    return partial(function, **chosen)


def check(settings: TrainSettings) -> None:
    """Raise where the method, its chain or a hyper-parameter is not to be had; nothing is read."""
    known: dict[str, Callable[..., object]] = {settings.loss: LOSSES[settings.loss]}
    known |= {name: link.make for name, link in recipe(settings.method).links.items()}
    valid = [f"{name}.{option}" for name, make in known.items() for option in options(make)]
    for name in settings.options:
        if name not in valid:
            raise UserError(f"no hyper-parameter {name!r} here; valid are: {', '.join(valid)}")
    _chosen(settings, settings.loss, LOSSES[settings.loss])
    strategies(settings)


def settled(settings: TrainSettings) -> TrainSettings:
    """Return settings that name the temperature once, where `--set infonce.temperature=X` named it again."""
    name = f"{settings.loss}.temperature"
    if name not in settings.options:
        return settings
    rest = {option: value for option, value in settings.options.items() if option != name}
    function = LOSSES[settings.loss]
    if "temperature" not in options(function):
        return settings
    value = float(_checked(function, name, settings.options[name], options(function)["temperature"]))
    return replace(settings, temperature=value, options=rest)


def _chosen(settings: TrainSettings, name: str, make: Callable[..., object]) -> dict[str, int | float | str]:
    """Return what was set of one loss or link, each value of its parameter's type."""
    defaults = options(make)
    return {
        option: _checked(make, f"{name}.{option}", settings.options[f"{name}.{option}"], default)
        for option, default in defaults.items()
        if f"{name}.{option}" in settings.options
    }


def options(function: Callable[..., object]) -> dict[str, int | float | str]:
    """Return the hyper-parameters of a loss or link and their defaults: its keyword-only parameters."""
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
    known = [
        _entry(loss_name, "loss", (function.__doc__ or "").partition("\n")[0], {loss_name: function})
        for loss_name, function in LOSSES.items()
    ]
    for method, found in METHODS.items():
        makes = {link_name: link.make for link_name, link in found.links.items()}
        entry = _entry(method, "method", f"{found.summary} ({found.source})", makes)
        known.append({**entry, "order": found.order})
    wanted = [one for one in known if name in (None, one["name"])]
    if not wanted:
        raise UserError(
            f"no loss or method {name!r}; there are: {', '.join(str(one['name']) for one in known)}"
        )
    return wanted


def _entry(
    name: str, kind: str, summary: str, makes: Mapping[str, Callable[..., object]]
) -> dict[str, object]:
    settable = {
        f"{own}.{option}": value for own, make in makes.items() for option, value in options(make).items()
    }
    return {"name": name, "kind": kind, "summary": summary, "options": settable}


def text(name: str | None = None, *, assign: str = "") -> str:
    """Return the same for people.

    Args:
        assign: stands before each hyper-parameter and its default, to show how one is set.
    """
    lines = []
    for one in describe(name):
        lines.append(f"{one['name']} ({one['kind']}): {one['summary']}")
        if name and one.get("order"):
            lines.append(f"    {one['order']}")
        settings = one["options"]
        assert isinstance(settings, dict)
        lines += [f"    {assign}{option}={default}" for option, default in settings.items()]
    return "\n".join(lines)
