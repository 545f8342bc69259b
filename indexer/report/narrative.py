"""What the figures of an evaluation come to, in words."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.evaluation import metrics
from engine.types import MergeName, Modality, PolicyName
from indexer.evaluation.diagnosis import Diagnosis
from indexer.evaluation.results import Result
from indexer.report.plots import figure

LITTLE = 0.005
"""A difference of recall, or of cosine, that is not spoken of."""

MERGES = {"raw": "by cosine", "routed": "by probability"}


@dataclass(frozen=True)
class Finding:
    """What has become of old tasks under a policy, averaged over them after the last lesson.

    Attributes:
        drift: of each modality: 1 - cosine to where its own lesson put it.
        alignment_when_new, alignment: mean cosine of positive pairs, then and now.
        overlap: the share of other tasks' items in the top ten, the task unknown; by the merge named.
    """

    policy: PolicyName
    query: Modality
    target: Modality
    drift: dict[Modality, float]
    alignment_when_new: float
    alignment: float
    merge: MergeName
    overlap: float


def findings(causes: Sequence[Diagnosis], newest: str) -> list[Finding]:
    """Return what has become of all tasks but the newest one."""
    last = max((cause.lesson for cause in causes), default=0)
    held = [cause for cause in causes if cause.lesson == last and cause.task != newest]
    groups = dict.fromkeys((cause.policy, cause.query, cause.target) for cause in held)
    return [
        _mean(
            policy,
            query,
            target,
            [c for c in held if (c.policy, c.query, c.target) == (policy, query, target)],
        )
        for policy, query, target in groups
    ]


def _mean(policy: PolicyName, query: Modality, target: Modality, causes: Sequence[Diagnosis]) -> Finding:
    return Finding(
        policy,
        query,
        target,
        {side: float(np.mean([cause.drift[side] for cause in causes])) for side in (query, target)},
        float(np.mean([cause.alignment_when_new for cause in causes])),
        float(np.mean([cause.alignment for cause in causes])),
        causes[0].merge,
        float(np.mean([cause.overlap for cause in causes])),
    )


def headline(results: Sequence[Result]) -> str:
    """Return what one direction's results at one K come to."""
    measured = [result for result in results if result.final is not None and result.seconds is None]
    known = [result for result in measured if result.task_known]
    blind = [result for result in measured if not result.task_known]
    if not known or not blind:
        return "No query has a right item in the gallery, so nothing can be said."
    best, told = max(known, key=_final), max(blind, key=_final)
    least = min(blind, key=_final)
    name = f"R@{best.k}"
    beside = "" if least is told else f"; {_named(least)}, {figure(least.final)}"
    unknown = f"{_named(told)}, finds {figure(told.final)}{beside}. Chance is {figure(chance(told))}."
    if best.forgetting is None:
        known_alone = f"So far {name} is {figure(best.final)} with the task known. "
        return f"{known_alone}With the task unknown {unknown} What is forgotten shows after another lesson."
    worst = max(known, key=lambda result: result.forgetting or 0.0)
    kept = _lost(best.forgetting)
    fallen = ""
    if worst is not best and (worst.forgetting or 0.0) >= LITTLE:
        fallen = f"; {worst.policy} {_lost(worst.forgetting or 0.0)} ({figure(worst.final)})"
    return (
        f"With the task known, {best.policy} {kept} ({name} {figure(best.final)}){fallen}. "
        f"With the task unknown, {unknown}"
    )


def chance(result: Result) -> float | None:
    """Return what a random order would find, averaged over tasks."""
    return metrics.mean([value for value in result.chance if value is not None])


def verdict(finding: Finding, results: Sequence[Result]) -> str:
    """Return what costs a policy most recall, then what costs it less, and what treats each.

    Drift costs what is forgotten with the task known; overlap costs what is lost by not knowing the task.

    Args:
        results: of the finding's policy and direction, at one K.
    """
    lost = max((result.forgetting or 0.0 for result in results if result.task_known), default=0.0)
    mixed: dict[MergeName, float] = {r.merge: r.confusion or 0.0 for r in results if r.merge}
    said = [(lost, _drift(finding, lost)), (max(mixed.values(), default=0.0), _overlap(mixed))]
    worth = sorted((one for one in said if one[0] >= LITTLE), reverse=True)
    return " ".join(words for _, words in worth) or "Nothing is lost that is worth treating."


def _drift(finding: Finding, lost: float) -> str:
    asks, items = finding.drift[finding.query], finding.drift[finding.target]
    fell = f"the cosine of pairs went from {finding.alignment_when_new:.2f} to {finding.alignment:.2f}"
    if items < LITTLE <= asks:
        return (
            f"Drift between the heads of queries and items costs {figure(lost)} with the task known: queries moved "
            f"by {asks:.2f}, items stayed, and {fell}. Treated by matched, which asks each task with its own head."
        )
    return (
        f"Drift of items costs {figure(lost)} with the task known: they moved by {items:.2f}, queries by {asks:.2f}, "
        f"and {fell}. Treated by matched, which leaves them where they were, or in training by a method that "
        "guards old tasks."
    )


def _overlap(mixed: dict[MergeName, float]) -> str:
    merge: MergeName = max(mixed, key=lambda name: mixed[name]) if mixed else "raw"
    said = f"Overlap of tasks costs {figure(mixed.get(merge))} where the task is unknown, merged {MERGES[merge]}."
    if merge == "raw" and "routed" in mixed:
        return f"{said} Treated by the routed merge: {figure(mixed['routed'])} is left."
    if merge == "raw":
        return f"{said} Treated by the routed merge."
    return f"{said} Treated in training, by negatives of other tasks (crosstask, joint)."


def _lost(forgetting: float) -> str:
    if forgetting >= LITTLE:
        return f"has lost {figure(forgetting)} of what it found"
    return "forgets nothing" if forgetting > -LITTLE else f"has gained {figure(-forgetting)}"


def _named(result: Result) -> str:
    return f"{result.policy}, merged {MERGES[result.merge or 'raw']}"


def _final(result: Result) -> float:
    return result.final or 0.0
