"""Embeddings in the plane, as a policy has them: t-SNE (van der Maaten and Hinton 2008)."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from engine.types import PolicyName
from indexer.evaluation.runs import Trial
from indexer.report.plots import Scatter

MOST = 600
"""Most points of a map, about: every task has its share of each kind, and one point at least."""

FEWEST = 5
PERPLEXITY = 30.0
ITERATIONS = 500
"""Half of what scikit-learn takes; so few points have settled by then."""


def scatter(trial: Trial, policy: PolicyName) -> Scatter | None:
    """Return a map of queries and items after the last lesson; None of fewer than 5 different points.

    An id is a digest, so the first ones of a task are a fair sample.
    """
    plan = trial.states[policy][-1].plan
    share = max(1, MOST // (2 * max(1, len(plan))))
    rows: list[NDArray[np.float32]] = []
    tasks: list[int] = []
    is_query: list[bool] = []
    for number, (task, placements) in enumerate(plan.items()):
        queries, items = [], []
        if len(trial.eval_set.queries[task]):
            queries = [trial.queries.embed(task, placements[0].queries)]
        if len(trial.eval_set.galleries[task]):
            items = [trial.galleries.shard(task, placement).vectors for placement in placements]
        for kind, parts in ((True, queries), (False, items)):
            for part in first_rows(parts, share):
                rows.append(part)
                tasks += [number] * len(part)
                is_query += [kind] * len(part)
    places = project(np.concatenate(rows)) if rows else None
    return None if places is None else Scatter(places, np.array(tasks), np.array(is_query))


def first_rows(parts: Sequence[NDArray[np.float32]], share: int) -> list[NDArray[np.float32]]:
    """Return so many rows of all parts together, of each as much as it holds of the whole."""
    total = sum(map(len, parts))
    return [part[: max(1, share * len(part) // total) if total > share else None] for part in parts]


def project(rows: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """Return rows (N, E) as places (N, 2); None of fewer than 5 different ones."""
    different = len(np.unique(rows, axis=0))
    if different < FEWEST:
        return None
    from sklearn.manifold import TSNE

    perplexity = min(PERPLEXITY, (different - 1) / 3)
    plane = TSNE(perplexity=perplexity, init="pca", random_state=0, max_iter=ITERATIONS)
    places: NDArray[np.float32] = plane.fit_transform(rows)
    return places
