"""What each system under evaluation would have indexed after every lesson, in one direction."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from engine.history import Arrival, History, Reference, newest_head, settled, up_to
from engine.types import PolicyName
from indexer.policies.plan import Indexed, ItemsByHead, Plan, Statistics
from indexer.policies.policies import POLICIES, referenced


@dataclass(frozen=True)
class IndexPolicy:
    """An indexing policy that was followed from the first lesson on.

    Attributes:
        budget: what `partial` embeds again after each lesson, a share of all items, 0 to 1.
    """

    name: PolicyName
    budget: float = 0.0


@dataclass(frozen=True)
class ReferenceHeads:
    """The heads that one method trained beside the history, to compare the policies with.

    Attributes:
        name: of the method.
        heads: in the order of training.
    """

    name: str
    heads: tuple[Reference, ...]


System: TypeAlias = IndexPolicy | ReferenceHeads
"""What is compared: TREC's word for what makes a run."""


def lesson_numbers(history: History) -> list[int]:
    """Return the numbers of the lessons; 0 alone where there are none."""
    return [lesson.number for lesson in history.lessons] or [0]


def plans(system: System, history: History, statistics: Statistics, tasks: Collection[str]) -> list[Plan]:
    """Return what a system has indexed of some tasks after every lesson; without lessons, by the untrained head."""
    budget = system.budget if isinstance(system, IndexPolicy) else 0.0
    by_lesson: list[Plan] = []
    for number in lesson_numbers(history):
        before = _by_head(by_lesson[-1], statistics) if by_lesson else {}
        by_lesson.append(_plan(system, up_to(history, number), statistics, Indexed(before, budget), tasks))
    return by_lesson


def with_later_tasks(
    system: System,
    history: History,
    statistics: Statistics,
    tasks: Collection[str],
    by_lesson: Sequence[Plan],
) -> Iterator[Plan]:
    """Yield the plan after each lesson if all later tasks had been indexed by then, without being learned.

    Args:
        by_lesson: the plans after each lesson as they were.
    """
    for number, plan in zip(lesson_numbers(history), by_lesson, strict=True):
        known = up_to(history, number)
        later = dict.fromkeys(lesson.task for lesson in history.lessons if lesson.number > number)
        arrivals = [Arrival(task, number, newest_head(known)) for task in later if task not in settled(known)]
        wide = replace(known, arrivals=(*known.arrivals, *arrivals))
        yield _plan(system, wide, statistics, Indexed(_by_head(plan, statistics)), tasks)


def seconds(system: System, plan: Plan) -> float | None:
    """Return how long the heads of a plan were trained (s); None of a policy, which uses those of the history."""
    if isinstance(system, IndexPolicy):
        return None
    used = {placement.head for placements in plan.values() for placement in placements}
    return sum(reference.seconds for reference in system.heads if reference.head in used)


def _plan(
    system: System, history: History, statistics: Statistics, indexed: Indexed, tasks: Collection[str]
) -> Plan:
    if isinstance(system, IndexPolicy):
        plan = POLICIES[system.name](history, statistics, indexed)
    else:
        plan = referenced(history, system.heads)
    return {task: placements for task, placements in plan.items() if task in tasks}


def _by_head(plan: Plan, statistics: Statistics) -> dict[str, ItemsByHead]:
    """Return which items of each task each head embeds."""
    return {
        task: {
            placement.head: statistics.items(task) if placement.items is None else placement.items
            for placement in placements
        }
        for task, placements in plan.items()
    }
