"""Indexing policies: pure functions from what was learned to which shards are kept and how they are asked."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from engine.errors import UserError
from engine.types import History, PolicyName


@dataclass(frozen=True)
class Placement:
    """Which head embeds a task's items, and which head embeds the queries put to them."""

    items: int
    queries: int


Plan: TypeAlias = Mapping[str, Placement]


def reindex(history: History) -> Plan:
    """Embed every task again by the newest head."""
    newest = newest_head(history)
    return {task: Placement(newest, newest) for task in _settled(history)}


def no_reindex(history: History) -> Plan:
    """Leave every task as the head of its own lesson embedded it; ask with the newest head."""
    newest = newest_head(history)
    return {task: Placement(head, newest) for task, head in _settled(history).items()}


def matched(history: History) -> Plan:
    """Leave every task as it was embedded and ask each with the head that embedded it."""
    return {task: Placement(head, head) for task, head in _settled(history).items()}


POLICIES: dict[PolicyName, Callable[[History], Plan]] = {
    "reindex": reindex,
    "no-reindex": no_reindex,
    "matched": matched,
}


def newest_head(history: History) -> int:
    """Return the head of the last lesson, 0 before the first."""
    return history.lessons[-1].head if history.lessons else 0


def up_to(history: History, lessons: int) -> History:
    """Return the history as it stood after so many lessons."""
    return History(
        tuple(lesson for lesson in history.lessons if lesson.number <= lessons),
        tuple(arrival for arrival in history.arrivals if arrival.after <= lessons),
    )


def _settled(history: History) -> dict[str, int]:
    """Return the head that each task was embedded by when it was last learned, else when it arrived."""
    heads = {arrival.task: arrival.head for arrival in history.arrivals}
    return heads | {lesson.task: lesson.head for lesson in history.lessons}


def parse_policies(names: Sequence[str]) -> list[PolicyName]:
    """Return the policies of these names, each once."""
    unknown = [name for name in names if name not in POLICIES]
    if unknown:
        raise UserError(f"no policy {unknown[0]!r}; policies are: {', '.join(POLICIES)}")
    return [policy for policy in POLICIES if policy in names]
