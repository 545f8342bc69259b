"""The axes of a sweep, and the runs that are their product."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, TypeAlias, get_args

from engine.errors import UserError
from engine.types import (
    Gallery,
    HeadForm,
    Keep,
    LossName,
    MergeName,
    PolicyName,
    Relevance,
    Split,
    TrainSettings,
)
from indexer.evaluation.protocol import EvalSettings
from indexer.policies.policies import parse_policies
from studies.sweeps.fields import Content, Kinds, choice, one, several, table
from training import lesson as lessons
from training import methods

Changes: TypeAlias = Mapping[str, int | float | str]

AXES: Kinds = dict.fromkeys(("method", "loss", "head", "policy", "merge", "seed"), list)
EVALUATE: Kinds = {"k": list, "split": str, "gallery": str, "relevance": str}
ENTRY: Mapping[str, Kinds] = {
    "method": {"name": str, "method": str, "protect": str, "last_only": bool, "policy": list, "set": dict},
    "loss": {"name": str, "loss": str, "set": dict},
    "head": {"name": str, "head": str, "shared_top": bool, "set": dict},
}
LESSON = (
    "epochs",
    "lr",
    "batch_size",
    "temperature",
    "weight_decay",
    "patience",
    "warmup",
    "keep",
    "protect",
)
"""What `set` may name beside dotted hyper-parameters."""
OWN_FORM: Content = {"name": "default"}
"""The head where none is named: that of `mneme train`."""


@dataclass(frozen=True)
class Run:
    """One training over the whole stream, under the names that tables show.

    Attributes:
        settings: of every lesson, whose task the stream names.
        setting: what is measured once all is learned.
        last_only: the last lesson alone is trained in full and judged, for a method that starts anew each time.
    """

    method: str
    loss: str
    head: str
    settings: TrainSettings
    setting: EvalSettings
    last_only: bool = False

    @property
    def name(self) -> str:
        """The run in words."""
        return f"{self.method}, {self.loss}, {self.head}, seed {self.settings.seed}"

    @property
    def slug(self) -> str:
        """The run as the name of a file."""
        names = (re.sub(r"[^a-z0-9.+]+", "-", name.lower()) for name in (self.method, self.loss, self.head))
        return f"{'_'.join(names)}_seed{self.settings.seed}"


def runs(axes: object, changes: Changes, evaluate: object) -> list[Run]:
    """Return every run of the axes, each checked before any is made."""
    given = table("axes", axes, AXES)
    empty = [axis for axis, held in given.items() if not held]
    if empty:
        raise UserError(f"axes.{empty[0]} is empty")
    setting = _setting(given, evaluate)
    found = [
        _run((method, loss, head), seed, changes, setting)
        for method, loss, head, seed in product(
            _entries("method", given.get("method", [TrainSettings.method])),
            _entries("loss", given.get("loss", [TrainSettings.loss])),
            _entries("head", given.get("head", [OWN_FORM])),
            several("axes.seed", given.get("seed", [TrainSettings.seed]), int),
        )
    ]
    _refuse_twins(found)
    for run in found:
        try:
            lessons.check(methods.settled(run.settings))
        except UserError as error:
            raise UserError(f"{run.name}: {error}") from None
    return found


def links(run: Run) -> set[str]:
    """Return the names that a run's hyper-parameters may begin with."""
    return _links(run.settings.method, run.settings.loss)


def changes(where: str, given: object) -> dict[str, int | float | str]:
    """Return what a `set` table says, with dotted names for tables within it."""
    found: dict[str, int | float | str] = {}
    for name, value in one(where, given, dict).items():
        if isinstance(value, dict):
            found |= {f"{name}.{inner}": _plain(f"{where}.{name}.{inner}", v) for inner, v in value.items()}
        elif "." in name:
            found[name] = _plain(f"{where}.{name}", value)
        elif name in LESSON:
            found[name] = one(f"{where}.{name}", value, type(getattr(TrainSettings, name)))
        else:
            raise UserError(
                f"{where} has no {name!r}; it takes: {', '.join(LESSON)}, and dotted names such as 'ewc.weight'"
            )
    if "keep" in found:
        choice(f"{where}.keep", found["keep"], get_args(Keep))
    return found


def _plain(where: str, value: object) -> int | float | str:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise UserError(f"{where} must be a number or a text, not {value!r}")
    return value


def _setting(axes: Content, evaluate: object) -> EvalSettings:
    """Return what is measured of every run."""
    given, usual = table("evaluate", evaluate, EVALUATE), EvalSettings()
    ks = several("evaluate.k", given.get("k", usual.ks), int)
    if not ks or min(ks) < 1:
        raise UserError(f"evaluate.k takes numbers from 1, not {list(ks)}")
    merges = several("axes.merge", axes.get("merge", usual.merges), str)
    return EvalSettings(
        policies=_policies("axes.policy", axes.get("policy", usual.policies)),
        merges=[choice("axes.merge", merge, get_args(MergeName)) for merge in merges],
        ks=sorted(set(ks)),
        split=choice("evaluate.split", given.get("split", usual.split), get_args(Split)),
        gallery=choice("evaluate.gallery", given.get("gallery", usual.gallery), get_args(Gallery)),
        relevance=choice("evaluate.relevance", given.get("relevance", usual.relevance), get_args(Relevance)),
        details=False,
    )


def _policies(where: str, names: Sequence[object]) -> Sequence[PolicyName]:
    found = parse_policies(several(where, names, str))
    if not found:
        raise UserError(f"{where} is empty")
    return found


def _entries(axis: str, given: Sequence[object]) -> list[Content]:
    """Return the entries of an axis as tables with a name."""
    where = f"axes.{axis}"
    found: list[Content] = []
    for entry in given:
        held = table(where, {axis: entry} if isinstance(entry, str) else entry, ENTRY[axis])
        if axis not in held and (axis != "head" or "name" not in held):
            raise UserError(f"{where} has an entry without {axis}: {dict(held)}")
        found.append({"name": held.get(axis), **held})
    return found


def _run(
    entries: tuple[Content, Content, Content], seed: int, general: Changes, setting: EvalSettings
) -> Run:
    """Return one run; a dotted name of `general` is for those runs that have its method or loss."""
    method, loss, head = entries
    chain, loss_name = method["method"], choice("axes.loss", loss["loss"], get_args(LossName))
    form = choice("axes.head", head["head"], get_args(HeadForm)) if "head" in head else None
    own = _links(chain, loss_name)
    wanted = {n: v for n, v in general.items() if "." not in n or n.partition(".")[0] in own}
    for entry in (head, loss, method):
        wanted |= changes(f"{entry['name']}.set", entry.get("set", {}))
    lesson: dict[str, Any] = {name: value for name, value in wanted.items() if "." not in name}
    options = {name: value for name, value in wanted.items() if "." in name}
    if "protect" in method:
        lesson["protect"] = method["protect"]
    settings = TrainSettings(
        task="", method=chain, loss=loss_name, form=form, shared_top=head.get("shared_top"), seed=seed
    )
    if "policy" in method:
        setting = replace(setting, policies=_policies(f"{method['name']}.policy", method["policy"]))
    return Run(
        method["name"],
        loss["name"],
        head["name"],
        replace(settings, options=options, **lesson),
        setting,
        method.get("last_only", False),
    )


def _links(chain: str, loss: str) -> set[str]:
    return {*methods.recipe(chain).links, loss}


def _refuse_twins(found: Sequence[Run]) -> None:
    by_slug: dict[str, Run] = {}
    for run in found:
        twin = by_slug.setdefault(run.slug, run)
        if twin is not run:
            raise UserError(
                f"{twin.name!r} and {run.name!r} would share a file: "
                'give one entry another name, as in {name = "...", ...}'
            )
