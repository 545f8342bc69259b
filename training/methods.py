"""From settings to a loss and strategies: LOSSES, chains of methods, and what there is to choose from."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import get_args

from torch import Tensor

from engine.errors import Setting, UserError
from engine.heads.head import Head
from engine.types import LossName, TrainSettings
from training import hyperparameters
from training.data.history import NO_PAST, PastTasks
from training.gradient import Loss, Strategy
from training.losses.anchored import centrobind, fabind, noised
from training.losses.gram import gram
from training.losses.pairwise import infonce, triplet
from training.losses.pmrl import pmrl, with_scorer
from training.recipes import METHODS, Link, Place, Recipe
from training.strategies.adam import Adam, Decay

LOSSES: Mapping[LossName, Callable[..., Tensor]] = {
    "triplet": triplet,
    "infonce": infonce,
    "fabind": fabind,
    "centrobind": centrobind,
    "pmrl": pmrl,
    "gram": gram,
}
"""Pure functions of unit embeddings and the batch's bookkeeping, one value per row (B,)."""


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


def strategies(settings: TrainSettings, past: PastTasks = NO_PAST) -> dict[str, Strategy]:
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
        name: link.make(
            *link.bind(settings, past), **hyperparameters.chosen(link.make, name, settings.options)
        )
        for name, link in order
    }


def loss(settings: TrainSettings, head: Head) -> Loss:
    """Return the loss with its hyper-parameters bound, and what of the head it needs beside embeddings."""
    function = LOSSES[settings.loss]
    chosen = hyperparameters.chosen(function, settings.loss, settings.options)
    if "temperature" in hyperparameters.defaults(function):
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
    valid = [f"{name}.{own}" for name, make in known.items() for own in hyperparameters.defaults(make)]
    for name in settings.options:
        if name not in valid:
            raise UserError(f"no hyper-parameter {name!r} here; valid are: {', '.join(valid)}")
    hyperparameters.chosen(LOSSES[settings.loss], settings.loss, settings.options)
    strategies(settings)


def settled(settings: TrainSettings) -> TrainSettings:
    """Return settings that name the temperature once, where an option of the loss (`infonce.temperature`) did too."""
    name, function = f"{settings.loss}.temperature", LOSSES[settings.loss]
    if name not in settings.options or "temperature" not in hyperparameters.defaults(function):
        return settings
    rest = {option: value for option, value in settings.options.items() if option != name}
    value = float(hyperparameters.checked(function, name, settings.options[name]))
    return replace(settings, temperature=value, options=rest)


def describe(name: str | None = None) -> list[dict[str, object]]:
    """Return what there is to know of every loss and method, or of one."""
    known = [
        _entry(loss_name, "loss", (function.__doc__ or "").partition("\n")[0], {loss_name: function})
        for loss_name, function in LOSSES.items()
    ]
    for method, parts in METHODS.items():
        makes = {link_name: link.make for link_name, link in parts.links.items()}
        entry = _entry(method, "method", f"{parts.summary} ({parts.source})", makes)
        known.append({**entry, "order": parts.order})
    wanted = [entry for entry in known if name in (None, entry["name"])]
    if not wanted:
        names = ", ".join(str(entry["name"]) for entry in known)
        raise UserError(f"no loss or method {name!r}; there are: {names}")
    return wanted


def _entry(
    name: str, kind: str, summary: str, makes: Mapping[str, Callable[..., object]]
) -> dict[str, object]:
    settable = {
        f"{own}.{option}": default
        for own, make in makes.items()
        for option, default in hyperparameters.defaults(make).items()
    }
    return {"name": name, "kind": kind, "summary": summary, "options": settable}


def text(name: str | None = None, *, assign: str = "") -> str:
    """Return the same for people.

    Args:
        assign: stands before each hyper-parameter and its default, to show how one is set.
    """
    lines = []
    for entry in describe(name):
        lines.append(f"{entry['name']} ({entry['kind']}): {entry['summary']}")
        if name and entry.get("order"):
            lines.append(f"    {entry['order']}")
        options = entry["options"]
        assert isinstance(options, dict)
        lines += [f"    {assign}{option}={default}" for option, default in options.items()]
    return "\n".join(lines)
