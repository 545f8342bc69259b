"""The runs of a sweep: every method with every loss, head and seed, each checked before any is trained."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any

from engine.errors import UserError
from engine.types import TrainSettings
from indexer.evaluation.protocol import EvalSettings
from studies.sweeps.spec import Axes, Changes, SweepRun, Variant
from training import lesson as lessons
from training import methods


def runs(axes: Axes, changes: Changes, evaluation: EvalSettings) -> list[SweepRun]:
    """Return every run of the axes, seed by seed within head, loss and method.

    Args:
        changes: what all runs change in the settings of `mneme train`; a hyper-parameter is given to the runs
            that have its link or loss. What a variant changes goes before.
        evaluation: what is measured of every run; a variant may have policies of its own.

    Raises:
        UserError: the settings of a run cannot be trained, or two runs have the same names and seed.
    """
    grid = product(axes.methods, axes.losses, axes.heads, axes.seeds)
    every = [_run(variants, seed, changes, evaluation) for *variants, seed in grid]
    _refuse_twins(every)
    for run in every:
        try:
            lessons.check(methods.settled(run.settings))
        except UserError as error:
            raise UserError(f"{run.name}: {error}") from None
    return every


def prefixes(settings: TrainSettings) -> set[str]:
    """Return what names of hyper-parameters may begin with: the method's links, and the loss."""
    return {*methods.recipe(settings.method).links, settings.loss}


def is_hyper_parameter(name: str) -> bool:
    """Say whether a name of `Changes` is that of a loss's or link's hyper-parameter."""
    return "." in name


def _run(variants: Sequence[Variant], seed: int, changes: Changes, evaluation: EvalSettings) -> SweepRun:
    method, loss, head = variants
    own = {**head.changes, **loss.changes, **method.changes}
    known = prefixes(_settings(own, seed))
    shared = {n: v for n, v in changes.items() if not is_hyper_parameter(n) or n.partition(".")[0] in known}
    return SweepRun(
        method.name,
        loss.name,
        head.name,
        _settings({**shared, **own}, seed),
        replace(evaluation, policies=method.policies or evaluation.policies),
        method.last_only,
    )


def _settings(changes: Changes, seed: int) -> TrainSettings:
    options = {name: value for name, value in changes.items() if is_hyper_parameter(name)}
    fields: dict[str, Any] = {n: value for n, value in changes.items() if not is_hyper_parameter(n)}
    return TrainSettings(task="", seed=seed, options=options, **fields)


def _refuse_twins(every: Sequence[SweepRun]) -> None:
    by_slug: dict[str, SweepRun] = {}
    for run in every:
        twin = by_slug.setdefault(run.slug, run)
        if twin is not run:
            raise UserError(
                f"{twin.name!r} and {run.name!r} would share a file: "
                'give one entry another name, as in {name = "...", ...}'
            )
