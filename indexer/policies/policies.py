"""Indexing policies: pure functions from what was learned and measured to what is kept and how it is asked."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from engine.errors import UserError
from engine.history import History, Reference, newest_head, settled, versions
from engine.types import ItemId, Modality, PolicyName, ShardKey

MARGIN = 1.0
"""By how many standard errors one head must be likelier than another for `auto` to tell them apart."""


ENOUGH = 2
"""With fewer validation queries `auto` keeps a task's own head."""


@dataclass(frozen=True)
class Placement:
    """How some items of a task are kept and asked.

    Attributes:
        head: the version that embeds the items.
        space: the version in whose space their embeddings then lie: `head`, unless they are mapped.
        queries: the version that embeds the queries.
        items: which items, sorted; None: all of the task.
    """

    head: int
    space: int
    queries: int
    items: tuple[ItemId, ...] | None = None

    def key(self, task: str, modality: Modality) -> ShardKey:
        """Return the key of the shard that holds these items of a task."""
        part = "" if self.items is None else blake2b("".join(self.items).encode(), digest_size=4).hexdigest()
        return ShardKey(task, modality, self.head, self.space, part)


REMAKING: frozenset[PolicyName] = frozenset({"reindex", "partial", "auto"})
"""The policies that embed old items again, or measure them by other heads: they need the features."""

Plan: TypeAlias = Mapping[str, tuple[Placement, ...]]
"""For one direction: the placements of every task, in the order the tasks were learned."""


class Facts(Protocol):
    """What is measured for one direction, for those policies that ask."""

    @property
    def budget(self) -> float:
        """The share of all items that may be embedded again, 0 to 1."""
        ...

    def placed(self, task: str, own: int) -> Mapping[int, Sequence[ItemId]]:
        """Return which items of a task each version embeds now; what is new goes to the task's own version."""
        ...

    def drift(self, task: str, old: int, new: int, items: Sequence[ItemId]) -> NDArray[np.float64]:
        """Return how far items (N,) of a task move from one version to another: 1 - cosine (N,)."""
        ...

    def likelihood(self, task: str, version: int) -> NDArray[np.float64]:
        """Return log p(partner | q, task) of the task's validation queries (Q,) where a version embeds both sides."""
        ...


def reindex(history: History, facts: Facts) -> Plan:
    """Embed every task again by the newest head."""
    newest = newest_head(history)
    return {task: (Placement(newest, newest, newest),) for task in settled(history)}


def no_reindex(history: History, facts: Facts) -> Plan:
    """Leave every task as the head of its own lesson embedded it; ask with the newest head."""
    newest = newest_head(history)
    return {task: (Placement(head, head, newest),) for task, head in settled(history).items()}


def matched(history: History, facts: Facts) -> Plan:
    """Leave every task as it was embedded and ask each with the head that embedded it."""
    return {task: (Placement(head, head, head),) for task, head in settled(history).items()}


def aligned(history: History, facts: Facts) -> Plan:
    """Map every task, as it was embedded, to the space of the newest head; ask with that."""
    newest = newest_head(history)
    return {task: (Placement(head, newest, newest),) for task, head in settled(history).items()}


def partial(history: History, facts: Facts) -> Plan:
    """Embed those items again that have drifted most, until the budget is spent; ask with the newest head."""
    newest = newest_head(history)
    now = {task: facts.placed(task, head) for task, head in settled(history).items()}
    total = sum(len(items) for placed in now.values() for items in placed.values())
    parts = {task: {head: list(items) for head, items in placed.items()} for task, placed in now.items()}
    for task, head, items in _most_drifted(now, facts, newest, math.ceil(round(facts.budget * total, 6))):
        stay = set(parts[task].pop(head)).difference(items)
        parts[task] |= {head: list(stay)} if stay else {}
        parts[task][newest] = [*parts[task].get(newest, ()), *items]
    plan = {}
    for task, held in parts.items():
        plan[task] = tuple(
            Placement(head, head, newest, tuple(sorted(held[head])) if len(held) > 1 else None)
            for head in sorted(held)
        )
    return plan


def auto(history: History, facts: Facts) -> Plan:
    """Take for each task the version that gives its validation pairs the best likelihood."""
    chosen = {task: choice(history, facts, task).version for task in settled(history)}
    return {task: (Placement(head, head, head),) for task, head in chosen.items()}


def referenced(history: History, references: Sequence[Reference]) -> Plan:
    """Return how the heads that one method trained beside a history are asked: the newest embeds all tasks.

    Heads that each learned one task alone are asked for that.
    """
    there = [one for one in references if one.after <= len(history.lessons)]
    if not there:
        return {}
    own = {one.task: one.head for one in there}
    heads = {task: own.get(task) if there[-1].alone else there[-1].head for task in settled(history)}
    return {task: (Placement(head, head, head),) for task, head in heads.items() if head is not None}


@dataclass(frozen=True)
class Choice:
    """Which head version `auto` takes for a task, and why.

    Attributes:
        own: the version of the task's own lesson.
        gain: mean log-likelihood of validation pairs over the own version's; error: its standard error.
        queries: how many validation queries there were; with less than ENOUGH the own version is kept.
    """

    task: str
    version: int
    own: int
    gain: float
    error: float
    queries: int


def choice(history: History, facts: Facts, task: str) -> Choice:
    """Return the task's own version, unless another is likelier beyond noise: then the newest that may be the best.

    Beyond noise is by more than a standard error of the paired difference; what is within one of the likeliest
    version may be the best (the rule of one standard error, Breiman et al. 1984). Newer heads have seen more.
    """
    own = settled(history)[task]
    table = {version: facts.likelihood(task, version) for version in versions(history)}
    queries = len(table[own])
    if queries < ENOUGH:
        return Choice(task, own, own, 0.0, 0.0, queries)
    best = max(table, key=lambda version: (table[version].mean(), version))
    if not _above(table[best] - table[own]):
        return _chosen(task, own, own, table)
    newest = max(version for version in table if not _above(table[best] - table[version]))
    return _chosen(task, newest, own, table)


def _above(gains: NDArray[np.float64]) -> bool:
    """Say whether the mean of paired gains (Q,) is above zero beyond noise."""
    return bool(gains.mean() > MARGIN * gains.std(ddof=1) / math.sqrt(len(gains)))


def _chosen(task: str, version: int, own: int, table: Mapping[int, NDArray[np.float64]]) -> Choice:
    gain = table[version] - table[own]
    error = float(gain.std(ddof=1) / math.sqrt(len(gain)))
    return Choice(task, version, own, float(gain.mean()), error, len(gain))


Policy: TypeAlias = Callable[[History, Facts], Plan]
POLICIES: dict[PolicyName, Policy] = {
    "reindex": reindex,
    "no-reindex": no_reindex,
    "matched": matched,
    "aligned": aligned,
    "partial": partial,
    "auto": auto,
}


def parse_policies(names: Sequence[str]) -> list[PolicyName]:
    """Return the policies of these names, each once."""
    unknown = [name for name in names if name not in POLICIES]
    if unknown:
        raise UserError(f"no policy {unknown[0]!r}; policies are: {', '.join(POLICIES)}")
    return [policy for policy in POLICIES if policy in names]


def _most_drifted(
    now: Mapping[str, Mapping[int, Sequence[ItemId]]], facts: Facts, newest: int, most: int
) -> Iterator[tuple[str, int, list[ItemId]]]:
    """Yield so many items at most, by task and by the version that embeds them, that drift furthest to the newest.

    What drifts as far as another comes in the order of tasks, versions and items.
    """
    groups = [(task, head) for task in sorted(now) for head in now[task] if head != newest]
    if not groups or not most:
        return
    drift = np.concatenate([facts.drift(task, head, newest, now[task][head]) for task, head in groups])
    items = np.concatenate([np.array(now[task][head], np.bytes_) for task, head in groups])
    sizes = [len(now[task][head]) for task, head in groups]
    place = np.repeat(np.arange(len(groups)), sizes)
    moved = np.zeros(len(drift), bool)
    moved[np.lexsort((items, place, -drift))[:most]] = True
    places = np.cumsum(sizes)[:-1]
    for (task, head), held, chosen in zip(
        groups, np.split(items, places), np.split(moved, places), strict=True
    ):
        if chosen.any():
            yield task, head, [item.decode() for item in held[chosen]]
