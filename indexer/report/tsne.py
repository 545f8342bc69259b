"""Embeddings in the plane, as a policy has them: t-SNE (van der Maaten and Hinton 2008)."""

import numpy as np
from numpy.typing import NDArray

from engine.types import PolicyName
from indexer.evaluation.runs import Trial
from indexer.report.plots import Cloud

MOST = 600
"""Most points of a map."""

FEWEST = 5
PERPLEXITY = 30.0
ITERATIONS = 500
"""Half of what scikit-learn takes; so few points have settled by then."""


def embedding(trial: Trial, policy: PolicyName) -> Cloud | None:
    """Return a map of queries and items after the last lesson; None of fewer than 5 different points.

    An id is a digest, so the first ones of a task are a fair sample.
    """
    plan = trial.states[policy][-1].plan
    share = max(1, MOST // (2 * max(1, len(plan))))
    rows: list[NDArray[np.float32]] = []
    tasks: list[int] = []
    asks: list[bool] = []
    for number, (task, placements) in enumerate(plan.items()):
        held = (
            [trial.queries.embed(task, placements[0].queries)[:share]]
            if len(trial.eval_set.queries[task])
            else []
        )
        items = [
            trial.galleries.shard(task, place).vectors
            for place in placements
            if len(trial.eval_set.galleries[task])
        ]
        sides = [*((True, part) for part in held), *((False, part) for part in _first(items, share))]
        for asking, part in sides:
            rows.append(part)
            tasks += [number] * len(part)
            asks += [asking] * len(part)
    places = _plane(np.concatenate(rows)) if rows else None
    return None if places is None else Cloud(places, np.array(tasks), np.array(asks))


def _first(parts: list[NDArray[np.float32]], share: int) -> list[NDArray[np.float32]]:
    """Return so many rows of a task's parts together, of each as much as it holds of the whole."""
    total = sum(map(len, parts))
    return [part[: max(1, share * len(part) // total) if total > share else None] for part in parts]


def _plane(rows: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """Return rows (N, E) as places (N, 2)."""
    different = len(np.unique(rows, axis=0))
    if different < FEWEST:
        return None
    from sklearn.manifold import TSNE

    perplexity = min(PERPLEXITY, (different - 1) / 3)
    plane = TSNE(perplexity=perplexity, init="pca", random_state=0, max_iter=ITERATIONS)
    found: NDArray[np.float32] = plane.fit_transform(rows)
    return found
