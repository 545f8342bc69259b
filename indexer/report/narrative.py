"""What the figures of an evaluation come to, in words."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.types import MergeName, Modality, PolicyName
from indexer.evaluation.diagnosis import Diagnosis
from indexer.evaluation.results import Result

LITTLE = 0.005
"""A difference of recall, or of cosine, that is not spoken of."""

MERGES: dict[MergeName, str] = {"raw": "by cosine", "routed": "by probability"}


@dataclass(frozen=True)
class MeanCause:
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


def mean_causes(causes: Sequence[Diagnosis], newest: str) -> list[MeanCause]:
    """Return the mean over all tasks but the newest one, for each policy and direction, after the last lesson."""
    last = max((cause.lesson for cause in causes), default=0)
    groups: dict[tuple[PolicyName, Modality, Modality], list[Diagnosis]] = {}
    for cause in causes:
        if cause.lesson == last and cause.task != newest:
            groups.setdefault((cause.policy, cause.query, cause.target), []).append(cause)
    return [_mean(*names, group) for names, group in groups.items()]


def _mean(policy: PolicyName, query: Modality, target: Modality, causes: Sequence[Diagnosis]) -> MeanCause:
    return MeanCause(
        policy,
        query,
        target,
        {
            modality: float(np.mean([cause.drift[modality] for cause in causes]))
            for modality in (query, target)
        },
        float(np.mean([cause.alignment_when_new for cause in causes])),
        float(np.mean([cause.alignment for cause in causes])),
        causes[0].merge,
        float(np.mean([cause.overlap for cause in causes])),
    )


def headline(results: Sequence[Result]) -> str:
    """Return what one direction's results at one K come to; references are left out."""
    policies = [result for result in results if result.final is not None and result.seconds is None]
    known = [result for result in policies if result.task_known]
    unknown = [result for result in policies if not result.task_known]
    if not known or not unknown:
        return "No query has a right item in the gallery, so nothing can be said."
    outlook = " What is forgotten shows after another lesson." if known[0].forgetting is None else ""
    return f"{_task_known(known)} {_task_unknown(unknown)}{outlook}"


def _task_known(results: Sequence[Result]) -> str:
    """Return what the policy that finds most has lost, and what the one that lost most has."""
    best = max(results, key=_recall)
    if best.forgetting is None:
        return f"So far R@{best.k} is {share(best.final)} with the task known."
    worst = max(results, key=_forgetting)
    contrast = ""
    if worst is not best and _forgetting(worst) >= LITTLE:
        contrast = f"; {worst.policy} {_lost(_forgetting(worst))} ({share(worst.final)})"
    return f"With the task known, {best.policy} {_lost(best.forgetting)} (R@{best.k} {share(best.final)}){contrast}."


def _task_unknown(results: Sequence[Result]) -> str:
    """Return which policy and merge find most, and which find least."""
    best, worst = max(results, key=_recall), min(results, key=_recall)
    contrast = "" if worst is best else f"; {_policy_and_merge(worst)}, {share(worst.final)}"
    return (
        f"With the task unknown, {_policy_and_merge(best)}, finds {share(best.final)}{contrast}. "
        f"Chance is {share(best.mean_chance)}."
    )


def explanation(cause: MeanCause, results: Sequence[Result]) -> str:
    """Return what costs a policy most recall, then what costs it less, and what treats each.

    Drift costs what is forgotten with the task known; overlap costs what is lost by not knowing the task.

    Args:
        results: of the cause's policy and direction, at one K.
    """
    forgetting = max((_forgetting(result) for result in results if result.task_known), default=0.0)
    confusion: dict[MergeName, float] = {r.merge: r.confusion or 0.0 for r in results if r.merge}
    sentences = [
        (forgetting, _drift(cause, forgetting)),
        (max(confusion.values(), default=0.0), _overlap(confusion)),
    ]
    dearest_first = sorted((pair for pair in sentences if pair[0] >= LITTLE), reverse=True)
    return " ".join(words for _, words in dearest_first) or "Nothing is lost that is worth treating."


def _drift(cause: MeanCause, forgetting: float) -> str:
    queries, items = cause.drift[cause.query], cause.drift[cause.target]
    cosine = f"the cosine of pairs went from {cause.alignment_when_new:.2f} to {cause.alignment:.2f}"
    if items < LITTLE <= queries:
        return (
            f"Drift between the heads of queries and items costs {share(forgetting)} with the task known: queries "
            f"moved by {queries:.2f}, items stayed, and {cosine}. Treated by matched, which asks each task with its "
            "own head."
        )
    return (
        f"Drift of items costs {share(forgetting)} with the task known: they moved by {items:.2f}, queries by "
        f"{queries:.2f}, and {cosine}. Treated by matched, which leaves them where they were, or in training by a "
        "method that guards old tasks."
    )


def _overlap(confusion: dict[MergeName, float]) -> str:
    """Return what the merge costs that costs most.

    Args:
        confusion: of each merge, the recall lost by not knowing the task.
    """
    worst: MergeName = max(confusion, key=lambda merge: confusion[merge]) if confusion else "raw"
    cost = f"Overlap of tasks costs {share(confusion.get(worst))} where the task is unknown, merged {MERGES[worst]}."
    if worst == "raw" and "routed" in confusion:
        return f"{cost} Treated by the routed merge: {share(confusion['routed'])} is left."
    if worst == "raw":
        return f"{cost} Treated by the routed merge."
    return f"{cost} Treated in training, by negatives of other tasks (crosstask, joint)."


def share(value: float | None) -> str:
    """Return a share with three decimals and no zero before them: .392; a dash for None."""
    if value is None:
        return "-"
    digits = f"{round(value, 3) + 0.0:.3f}"  # the sum turns -0 into 0
    return digits.replace("0.", ".", 1) if digits.lstrip("-").startswith("0") else digits


def _lost(forgetting: float) -> str:
    if forgetting >= LITTLE:
        return f"has lost {share(forgetting)} of what it found"
    return "forgets nothing" if forgetting > -LITTLE else f"has gained {share(-forgetting)}"


def _policy_and_merge(result: Result) -> str:
    return f"{result.policy}, merged {MERGES[result.merge or 'raw']}"


def _recall(result: Result) -> float:
    return result.final or 0.0


def _forgetting(result: Result) -> float:
    return result.forgetting or 0.0
