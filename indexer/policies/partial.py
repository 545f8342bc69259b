"""The policy `partial`: embed those items again that have drifted most, until a budget is spent."""

import math
from collections.abc import Iterator, Mapping

import numpy as np

from engine.history import History, newest_head, settled
from engine.types import ItemId
from indexer.policies.plan import Indexed, ItemsByHead, Placement, Plan, Statistics


def partial(history: History, statistics: Statistics, indexed: Indexed) -> Plan:
    """Embed those items again that have drifted most, until the budget is spent; search with the newest head.

    It goes on from what is indexed: items that an earlier run embedded again stay so and cost nothing. Tasks
    without any item have no placement.
    """
    newest = newest_head(history)
    before = {
        task: _with_new(indexed.by_head.get(task, {}), set(statistics.items(task)), own)
        for task, own in settled(history).items()
    }
    total = sum(len(items) for by_head in before.values() for items in by_head.values())
    most = math.ceil(round(indexed.budget * total, 6))
    after = {task: {head: list(items) for head, items in by_head.items()} for task, by_head in before.items()}
    for task, head, items in _most_drifted(before, statistics, newest, most):
        staying = set(after[task].pop(head)).difference(items)
        after[task] |= {head: list(staying)} if staying else {}
        after[task][newest] = [*after[task].get(newest, ()), *items]
    return {
        task: tuple(
            Placement(head, head, newest, tuple(sorted(by_head[head])) if len(by_head) > 1 else None)
            for head in sorted(by_head)
        )
        for task, by_head in after.items()
    }


def _with_new(by_head: ItemsByHead, items: set[ItemId], own: int) -> dict[int, list[ItemId]]:
    """Return which of a task's items each version embeds; those that none does yet are its own version's."""
    known = {head: sorted(items & set(ids)) for head, ids in by_head.items()}
    new = items - {id for ids in known.values() for id in ids}
    if new:
        known[own] = sorted([*known.get(own, []), *new])
    return {head: ids for head, ids in known.items() if ids}


def _most_drifted(
    by_head: Mapping[str, ItemsByHead], statistics: Statistics, newest: int, most: int
) -> Iterator[tuple[str, int, list[ItemId]]]:
    """Yield so many items at most, by task and by the version that embeds them, that drift furthest to the newest.

    What drifts as far as another comes in the order of tasks, versions and items.
    """
    groups = [(task, head) for task in sorted(by_head) for head in by_head[task] if head != newest]
    if not groups or not most:
        return
    drift = np.concatenate(
        [statistics.drift(task, head, newest, by_head[task][head]) for task, head in groups]
    )
    items = np.concatenate([np.array(by_head[task][head], np.bytes_) for task, head in groups])
    sizes = [len(by_head[task][head]) for task, head in groups]
    group = np.repeat(np.arange(len(groups)), sizes)
    is_moved = np.zeros(len(drift), bool)
    is_moved[np.lexsort((items, group, -drift))[:most]] = True
    starts = np.cumsum(sizes)[:-1]
    for (task, head), ids, moved in zip(
        groups, np.split(items, starts), np.split(is_moved, starts), strict=True
    ):
        if moved.any():
            yield task, head, [id.decode() for id in ids[moved]]
