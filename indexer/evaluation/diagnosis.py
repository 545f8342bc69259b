"""Why tasks are forgotten: the three causes that Wang, Herranz and van de Weijer 2021 name, measured."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.evaluation.splits import of_task
from engine.history import settled, up_to
from engine.ids import decode
from engine.types import AllTasks, MergeName, Modality, PolicyName
from indexer.evaluation.embedded import Vectors
from indexer.evaluation.protocol import EvalSet
from indexer.evaluation.runs import Trial, judge

TOP = 10
"""How many items of a run are looked at for those of other tasks."""

MOST = 2048
"""Most positive pairs of a task that are looked at."""


@dataclass(frozen=True)
class Diagnosis:
    """What has become of a task by a lesson under a policy: drift, loss of alignment, overlap with other tasks.

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


def diagnoses(trial: Trial, policy: PolicyName, merge: MergeName) -> Iterator[Diagnosis]:
    """Yield what has become of every task that is indexed and has positive pairs, lesson by lesson."""
    for state in trial.states[policy]:
        judged = judge(state, trial.queries, trial.galleries, AllTasks(merge))
        own = settled(up_to(trial.history, state.lesson))
        for task, placements in state.plan.items():
            pairs = positives(trial.eval_set, task)
            if not len(pairs):
                continue
            queries = trial.queries.embed(task, placements[0].queries)
            items = trial.galleries.vectors(task, placements)
            queries_when_new = trial.queries.embed(task, own[task])
            items_when_new = trial.galleries.embed(task, own[task])
            yield Diagnosis(
                policy=policy,
                query=trial.query,
                target=trial.target,
                lesson=state.lesson,
                task=task,
                drift={
                    trial.query: _drift(queries_when_new, queries),
                    trial.target: _drift(items_when_new, items),
                },
                alignment=_alignment(queries, items, pairs),
                alignment_when_new=_alignment(queries_when_new, items_when_new, pairs),
                merge=merge,
                overlap=float(judged[task].strangers[:, :TOP].mean()),
            )


def positives(eval_set: EvalSet, task: str) -> NDArray[np.intp]:
    """Return the places (P, 2) of positive pairs among a task's queries and its gallery, MOST of them at most."""
    row = {id: n for n, id in enumerate(decode(eval_set.queries[task]))}
    column = {id: n for n, id in enumerate(decode(eval_set.galleries[task]))}
    places = [
        (row[query], column[item])
        for pair in of_task(eval_set.groups, task)
        for query in pair.items.get(eval_set.query, ())
        if query in row
        for item in pair.items.get(eval_set.target, ())
        if item in column
    ]
    return np.array(places[:MOST], np.intp).reshape(-1, 2)


def _drift(before: Vectors, now: Vectors) -> float:
    """Return how far rows (N, E) have moved: the mean of 1 - cosine, 0 to 2."""
    return float(1 - (before.astype(np.float64) * now).sum(axis=1).mean())


def _alignment(queries: Vectors, items: Vectors, pairs: NDArray[np.intp]) -> float:
    """Return the mean cosine of pairs (P, 2) of rows of queries (Q, E) and of items (N, E)."""
    return float((queries[pairs[:, 0]].astype(np.float64) * items[pairs[:, 1]]).sum(axis=1).mean())
