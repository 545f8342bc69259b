"""The queries that are forgotten most: whose right item has fallen furthest since their task was taught."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.types import ItemId, Modality, PolicyName
from indexer.evaluation.runs import Trial
from indexer.policies.plan import Plan

MOST = 2048
"""Most queries of a task that are looked at."""

BLOCK = 256
"""Queries whose cosines with all items are held at a time."""


@dataclass(frozen=True)
class Regression:
    """A query that found its right item when its task was new, the task known.

    Attributes:
        right: the item that was ranked highest, then, of all that are right.
        before, after: rank of the best right item, from 1.
        top_before, top_after: what stood first.
    """

    query: Modality
    target: Modality
    policy: PolicyName
    task: str
    asked: ItemId
    right: ItemId
    before: int
    after: int
    top_before: ItemId
    top_after: ItemId


@dataclass(frozen=True)
class Ranks:
    """Of queries (Q,): the place and the rank (from 1) of the best right item, and the place of the first hit."""

    right: NDArray[np.intp]
    rank: NDArray[np.intp]
    top: NDArray[np.intp]


def regressions(trial: Trial, policy: PolicyName, k: int) -> list[Regression]:
    """Return every query that found something right among its first k and now ranks it lower, worst first."""
    fallen = [
        regression
        for task in trial.eval_set.queries
        for regression in _compared(trial, policy, task)
        if regression.before <= k and regression.after > regression.before
    ]
    return sorted(fallen, key=lambda regression: (regression.before - regression.after, regression.asked))


def _compared(trial: Trial, policy: PolicyName, task: str) -> Iterator[Regression]:
    """Yield where a task's queries find their right items, when it was taught last and now."""
    plans, row = [state.plan for state in trial.states[policy]], _taught(trial, policy, task)
    if row == len(plans) - 1 or task not in plans[row] or not len(trial.eval_set.queries[task]):
        return
    items = trial.eval_set.galleries[task].astype(str)
    then, now = (_ranks(trial, plan, task) for plan in (plans[row], plans[-1]))
    for n, asked in enumerate(trial.eval_set.queries[task][:MOST].astype(str)):
        yield Regression(
            trial.query,
            trial.target,
            policy,
            task,
            str(asked),
            right=str(items[then.right[n]]),
            before=int(then.rank[n]),
            after=int(now.rank[n]),
            top_before=str(items[then.top[n]]),
            top_after=str(items[now.top[n]]),
        )


def _ranks(trial: Trial, plan: Plan, task: str) -> Ranks:
    """Return how a plan ranks the right items of a task's queries in the task's own gallery."""
    query_rows = trial.queries.embed(task, plan[task][0].queries)
    gallery = trial.galleries.vectors(task, plan[task]).astype(np.float64).T  # (E, N)
    queries = trial.eval_set.queries[task][:MOST]
    parts = []
    for start in range(0, len(queries), BLOCK):
        block = queries[start : start + BLOCK]
        scores = query_rows[start : start + len(block)].astype(np.float64) @ gallery  # (B, N)
        right = np.full(scores.shape, -np.inf)
        places = trial.eval_set.qrels.matches(block, trial.eval_set.galleries[task])
        right[places] = scores[places]
        rank = 1 + (scores > right.max(axis=1, keepdims=True)).sum(axis=1)
        parts.append((right.argmax(axis=1), rank, scores.argmax(axis=1)))
    return Ranks(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _taught(trial: Trial, policy: PolicyName, task: str) -> int:
    """Return the row of a task's last lesson; of one that was never learned, the row of its arrival."""
    numbers = [lesson.number for lesson in trial.history.lessons if lesson.task == task]
    numbers += [arrival.after for arrival in trial.history.arrivals if arrival.task == task]
    return next((row for row, state in enumerate(trial.states[policy]) if state.lesson >= max(numbers)), 0)
