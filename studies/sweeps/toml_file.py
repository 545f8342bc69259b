"""Sweeps as TOML files describe them."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine.errors import UserError
from engine.types import HeadForm, LossName, MergeName, PolicyName, TrainSettings
from indexer.evaluation.protocol import EvalSettings
from indexer.policies.policies import parse_policies
from studies.sweeps import grid
from studies.sweeps.fields import Content, Kinds, checked, kinds_of, several, table
from studies.sweeps.spec import Axes, Spec, Step, Variant

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TABLES: Kinds = dict.fromkeys(("stream", "axes", "set", "evaluate", "quick"), dict)
STREAM: Kinds = {
    **{"steps": list, "source": str, "tasks": list, "modalities": list},
    **{"backbone": list, "dim": int},
}
STEP: Kinds = {"source": str, "task": str, "modalities": list}
AXES: Kinds = dict.fromkeys(("method", "loss", "head", "policy", "merge", "seed"), list)
EVALUATE: Kinds = {
    "k": list,
    **{name: kinds_of(EvalSettings)[name] for name in ("split", "gallery", "relevance")},
}
QUICK: Kinds = {**AXES, "steps": list, "tasks": list, "set": dict}
ENTRY: Mapping[str, Kinds] = {
    "method": {"name": str, "method": str, "protect": str, "last_only": bool, "policy": list, "set": dict},
    "loss": {"name": str, "loss": str, "set": dict},
    "head": {"name": str, "head": str, "shared_top": bool, "set": dict},
}
CHOICES: Kinds = {"method": str, "loss": LossName, "head": HeadForm}
FIELDS = {
    "method": "method",
    "protect": "protect",
    "loss": "loss",
    "head": "form",
    "shared_top": "shared_top",
}
"""The field of `TrainSettings` that a name in an entry stands for."""
ELSEWHERE = ("task", "modalities", "method", "loss", "form", "shared_top", "seed", "options")
"""The fields of `TrainSettings` that stream and axes give; `set` may name all others."""
SET: Kinds = {name: kind for name, kind in kinds_of(TrainSettings).items() if name not in ELSEWHERE}


def load(path: Path) -> Spec:
    """Read a sweep; what is wrong with any of its runs is said before anything is trained."""
    with _naming(path):
        return _whole(_read(path), path.parent)


def load_quick(path: Path) -> Spec:
    """Read a sweep as its `quick` table shrinks it, with the first seed only."""
    with _naming(path):
        content = _read(path)
        _whole(content, path.parent)
        return _spec(_quicker(content), path.parent)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Say in every error of which file it is."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _read(path: Path) -> Content:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError((error.strerror or str(error)).lower()) from None
    except ValueError as error:
        raise UserError(f"no TOML: {error}") from None
    return table("the file", content, TABLES)


def _whole(content: Content, folder: Path) -> Spec:
    """Return the full sweep, in which every hyper-parameter that is set reaches a run, of the quick one too."""
    spec = _spec(content, folder)
    known = set[str]().union(*(grid.prefixes(run.settings) for run in spec.runs))
    quick = table("quick", content.get("quick", {}), QUICK)
    for where, given in (("set", content.get("set", {})), ("quick.set", quick.get("set", {}))):
        for name in _changes(where, given):
            prefix = name.partition(".")[0]
            if grid.is_hyper_parameter(name) and prefix not in known:
                raise UserError(f"{where} names {name}, but no run has a method or loss {prefix!r}")
    return spec


def _spec(content: Content, folder: Path) -> Spec:
    stream = table("stream", content.get("stream", {}), STREAM)
    steps = [_step(step, stream, folder) for step in _steps(stream)]
    if not steps:
        raise UserError('no steps: give [stream] steps = [{source = "...", task = "..."}, ...]')
    given = table("axes", content.get("axes", {}), AXES)
    empty = [axis for axis, entries in given.items() if not entries]
    if empty:
        raise UserError(f"axes.{empty[0]} is empty")
    changes = _changes("set", content.get("set", {}))
    runs = grid.runs(_axes(given), changes, _evaluation(given, content.get("evaluate", {})))
    backbones = several("stream.backbone", stream.get("backbone", []), str)
    return Spec(steps, runs, backbones, stream.get("dim"))


def _steps(stream: Content) -> list[Content]:
    """Return the steps as tables: as they stand in the file, or those that one source and its tasks stand for."""
    if "steps" in stream and stream.keys() & {"source", "tasks"}:
        raise UserError("stream has steps: each names its source and task, stream itself names none")
    if ("source" in stream) != ("tasks" in stream):
        raise UserError("stream takes source and tasks together, or steps")
    steps = stream.get("steps") or [
        {"source": stream["source"], "task": task} for task in stream.get("tasks", [])
    ]
    for step in steps:
        lacking = {"source", "task"} - table("a step", step, STEP).keys()
        if lacking:
            raise UserError(f"a step has no {min(lacking)}: {step}")
    return steps


def _step(step: Content, stream: Content, folder: Path) -> Step:
    source = (folder / step["source"]).absolute()
    if not source.exists():
        raise UserError(f"no such file or folder: {source}")
    modalities = step.get("modalities", stream.get("modalities", []))
    return Step(source, step["task"], several("modalities", modalities, str))


def _axes(given: Content) -> Axes:
    usual = Axes()
    methods, losses, heads = (
        [_variant(axis, entry) for entry in given[axis]] if axis in given else default
        for axis, default in (("method", usual.methods), ("loss", usual.losses), ("head", usual.heads))
    )
    return Axes(methods, losses, heads, several("axes.seed", given.get("seed", usual.seeds), int))


def _variant(axis: str, entry: object) -> Variant:
    """Return an entry of an axis: a table, or the name alone of a method, loss or head."""
    where = f"axes.{axis}"
    given = table(where, {axis: entry} if isinstance(entry, str) else entry, ENTRY[axis])
    if axis not in given and (axis != "head" or "name" not in given):
        raise UserError(f"{where} has an entry without {axis}: {dict(given)}")
    if axis in given:
        checked(where, given[axis], CHOICES[axis])
    name = given.get("name", given.get(axis))
    changes = _changes(f"{name}.set", given.get("set", {}))
    changes |= {FIELDS[key]: value for key, value in given.items() if key in FIELDS}
    policies = _policies(f"{name}.policy", given["policy"]) if "policy" in given else ()
    return Variant(name, changes, policies, given.get("last_only", False))


def _changes(where: str, given: object) -> dict[str, int | float | str]:
    """Return what a `set` table changes, with dotted names for tables within it."""
    changes: dict[str, int | float | str] = {}
    for name, value in checked(where, given, dict).items():
        if isinstance(value, dict):
            changes |= {f"{name}.{inner}": _plain(f"{where}.{name}.{inner}", v) for inner, v in value.items()}
        elif grid.is_hyper_parameter(name):
            changes[name] = _plain(f"{where}.{name}", value)
        elif name in SET:
            changes[name] = checked(f"{where}.{name}", value, SET[name])
        else:
            raise UserError(
                f"{where} has no {name!r}; it takes: {', '.join(SET)}, and dotted names such as 'ewc.weight'"
            )
    return changes


def _plain(where: str, value: object) -> int | float | str:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise UserError(f"{where} must be a number or a text, not {value!r}")
    return value


def _evaluation(axes: Content, evaluate: object) -> EvalSettings:
    """Return what is measured of every run; what the file does not say is as `mneme evaluate` has it."""
    given, usual = dict(table("evaluate", evaluate, EVALUATE)), EvalSettings()
    ks = several("evaluate.k", given.pop("k", usual.ks), int)
    if not ks or min(ks) < 1:
        raise UserError(f"evaluate.k takes numbers from 1, not {list(ks)}")
    merges = several("axes.merge", axes.get("merge", usual.merges), str)
    return EvalSettings(
        policies=_policies("axes.policy", axes.get("policy", usual.policies)),
        merges=[checked("axes.merge", merge, MergeName) for merge in merges],
        ks=sorted(set(ks)),
        details=False,
        **given,
    )


def _policies(where: str, names: Sequence[object]) -> Sequence[PolicyName]:
    policies = parse_policies(several(where, names, str))
    if not policies:
        raise UserError(f"{where} is empty")
    return policies


def _quicker(content: Content) -> Content:
    """Return a file's content with what its `quick` table puts in place, where an entry may be told by its name."""
    quick: Mapping[str, Any] = content.get("quick", {})
    axes = dict(content.get("axes", {}))
    for axis in AXES.keys() & quick.keys():
        named = {e["name"]: e for e in axes.get(axis, []) if isinstance(e, dict) and "name" in e}
        axes[axis] = [named.get(entry, entry) if isinstance(entry, str) else entry for entry in quick[axis]]
    axes["seed"] = axes.get("seed", [TrainSettings.seed])[:1]
    stream = dict(content["stream"])
    steps = _steps({"steps": quick["steps"]} if "steps" in quick else stream)
    if "tasks" in quick:
        unknown = [task for task in quick["tasks"] if task not in [step["task"] for step in steps]]
        if unknown:
            raise UserError(f"quick.tasks names {unknown[0]!r}, which no step has")
        steps = [step for step in steps if step["task"] in quick["tasks"]]
    rest = {name: value for name, value in stream.items() if name not in ("source", "tasks")}
    changes = {**content.get("set", {}), **quick.get("set", {})}
    return {**content, "axes": axes, "stream": {**rest, "steps": steps}, "set": changes}
