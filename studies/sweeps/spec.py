"""The file that describes a sweep: tasks in their order, and every run that is to be made of them."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import UserError
from engine.types import Modality, TrainSettings
from studies.sweeps import grid
from studies.sweeps.fields import Content, Kinds, several, table
from studies.sweeps.grid import Run

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
QUICK: Kinds = {**grid.AXES, "steps": list, "tasks": list, "set": dict}


@dataclass(frozen=True)
class Step:
    """One lesson of the stream; no modalities named: all that the task's pairs hold."""

    source: Path
    task: str
    modalities: tuple[Modality, ...] = ()


@dataclass(frozen=True)
class Spec:
    """A whole sweep; backbones and width as `--backbone` and `--dim` give them."""

    steps: Sequence[Step]
    runs: Sequence[Run]
    backbones: Sequence[str] = ()
    width: int | None = None


def load(path: Path) -> Spec:
    """Read a sweep; what is wrong with any of its runs is said before anything is trained."""
    with _naming(path):
        return _checked(_read(path), path.parent)


def load_quick(path: Path) -> Spec:
    """Read a sweep as its `quick` table shrinks it, with the first seed only."""
    with _naming(path):
        content = _read(path)
        _checked(content, path.parent)
        return _spec(_quicker(content), path.parent)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
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


def _checked(content: Content, folder: Path) -> Spec:
    """Return the full sweep, in which every dotted name of `set` reaches a run, and the quick one's too."""
    spec = _spec(content, folder)
    known = set[str]().union(*(grid.links(run) for run in spec.runs))
    quick = table("quick", content.get("quick", {}), QUICK)
    for where, given in (("set", content.get("set", {})), ("quick.set", quick.get("set", {}))):
        for name in grid.changes(where, given):
            first, dot, _ = name.partition(".")
            if dot and first not in known:
                raise UserError(f"{where} names {name}, but no run has a method or loss {first!r}")
    return spec


def _spec(content: Content, folder: Path) -> Spec:
    stream = table("stream", content.get("stream", {}), STREAM)
    steps = [_step(step, stream, folder) for step in _steps(stream)]
    if not steps:
        raise UserError('no steps: give [stream] steps = [{source = "...", task = "..."}, ...]')
    changes = grid.changes("set", content.get("set", {}))
    runs = grid.runs(content.get("axes", {}), changes, content.get("evaluate", {}))
    backbones = several("stream.backbone", stream.get("backbone", []), str)
    return Spec(steps, runs, backbones, stream.get("dim"))


def _steps(stream: Content) -> list[Content]:
    """Return the steps as tables: as they stand in the file, or those that one source and its tasks stand for."""
    if "steps" in stream and stream.keys() & {"source", "tasks"}:
        raise UserError("stream has steps: each names its source and task, stream itself names none")
    if ("source" in stream) != ("tasks" in stream):
        raise UserError("stream takes source and tasks together, or steps")
    given = stream.get("steps") or [
        {"source": stream["source"], "task": task} for task in stream.get("tasks", [])
    ]
    for step in given:
        lacking = {"source", "task"} - table("a step", step, STEP).keys()
        if lacking:
            raise UserError(f"a step has no {min(lacking)}: {step}")
    return given


def _step(step: Content, stream: Content, folder: Path) -> Step:
    source = (folder / step["source"]).absolute()
    if not source.exists():
        raise UserError(f"no such file or folder: {source}")
    modalities = step.get("modalities", stream.get("modalities", []))
    return Step(source, step["task"], several("modalities", modalities, str))


def _quicker(content: Content) -> Content:
    """Return a file's content with what its `quick` table puts in place; an entry may be told by its name."""
    quick: Mapping[str, Any] = content.get("quick", {})
    axes = dict(content.get("axes", {}))
    for axis in grid.AXES.keys() & quick.keys():
        named = {one["name"]: one for one in axes.get(axis, []) if isinstance(one, dict) and "name" in one}
        axes[axis] = [named.get(one, one) if isinstance(one, str) else one for one in quick[axis]]
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
