"""Why tasks are forgotten: the three causes that Wang, Herranz and van de Weijer 2021 name, measured."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.evaluation.splits import of_task
from engine.history import settled, up_to
from engine.types import MergeName, Modality, PolicyName
from indexer.evaluation.runs import Direction
from indexer.policies.plan import Plan

TOP = 10
MOST = 2048
"""Most positive pairs of a task that are looked at."""


@dataclass(frozen=True)
class Cause:
    """What has become of a task by a lesson, as a policy asks it.

    Attributes:
        drift: of each modality, how far its embeddings have moved since the task's own lesson: 1 - cosine.
        alignment, alignment_when_new: mean cosine of positive pairs, now and at the task's own lesson.
        overlap: the share of other tasks' items in the top ten, the task unknown; by the merge named.
    """

    policy: PolicyName
    query: Modality
    target: Modality
    lesson: int
    task: str
    drift: Mapping[Modality, float]
    alignment: float
    alignment_when_new: float
    merge: MergeName
    overlap: float


def causes(direction: Direction, policy: PolicyName, merge: MergeName) -> Iterator[Cause]:
    """Yield the causes of every lesson and task that was there by then and has queries."""
    for row, plan in enumerate(direction.plans(policy)):
        lesson = direction.after[row]
        own = settled(up_to(direction.history, lesson))
        for task in plan:
            pairs = _pairs(direction, task)
            if not len(pairs):
                continue
            asked, items = sides(direction, plan, task)
            before, there = direction.queries(task, own[task]), _whole(direction, task, own[task])
            yield Cause(
                policy=policy,
                query=direction.query,
                target=direction.target,
                lesson=lesson,
                task=task,
                drift={direction.query: _drift(before, asked), direction.target: _drift(there, items)},
                alignment=_alignment(asked, items, pairs),
                alignment_when_new=_alignment(before, there, pairs),
                merge=merge,
                overlap=direction.strangers(plan, row, task, merge, TOP),
            )


def _pairs(direction: Direction, task: str) -> NDArray[np.intp]:
    """Return the places (P, 2) of positive pairs among a task's queries and targets."""
    queries, targets = direction.exam.queries[task], direction.exam.targets[task]
    place = {id.decode(): n for n, id in enumerate(queries)}
    other = {id.decode(): n for n, id in enumerate(targets)}
    found = [
        (place[q], other[t])
        for pair in of_task(direction.exam.groups, task)
        for q in pair.items.get(direction.query, ())
        if q in place
        for t in pair.items.get(direction.target, ())
        if t in other
    ]
    return np.array(found[:MOST], np.intp).reshape(-1, 2)


def sides(direction: Direction, plan: Plan, task: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return a task's queries and items (in the order of their ids) as a plan has them."""
    parts = [direction.gallery(one.key(task, direction.target), one) for one in plan[task]]
    ids, rows = (np.concatenate(held) for held in zip(*((p.ids, p.vectors) for p in parts), strict=True))
    return direction.queries(task, plan[task][0].queries), rows[np.argsort(ids)]


def _whole(direction: Direction, task: str, head: int) -> NDArray[np.float32]:
    ids = [id.decode() for id in direction.exam.targets[task]]
    return direction.reader.embed(direction.target, ids, head)


def _drift(before: NDArray[np.float32], now: NDArray[np.float32]) -> float:
    return float(1 - (before.astype(np.float64) * now).sum(axis=1).mean())


def _alignment(asked: NDArray[np.float32], items: NDArray[np.float32], pairs: NDArray[np.intp]) -> float:
    return float((asked[pairs[:, 0]].astype(np.float64) * items[pairs[:, 1]]).sum(axis=1).mean())
