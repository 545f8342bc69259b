"""What is measured of one direction: how far items drift, how likely partners are, and the temperatures of shards."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from engine.evaluation.qrels import qrels_of
from engine.evaluation.splits import Groups, distinct
from engine.ids import Ids
from engine.types import ItemId, Modality
from indexer.embeddings.embeddings import EmbeddingCache, Vectors
from indexer.policies.plan import Placement
from indexer.routing import calibration

TEMPERATURE = 0.07
"""Of a task without validation pairs."""

MOST_QUERIES = 512
"""Most validation queries of a task that are looked at."""


@dataclass(frozen=True)
class Validation:
    """The validation pairs of a task: queries (Q,), the targets of all (N,), and which is right (Q, N)."""

    queries: Ids
    targets: Ids
    right: NDArray[np.bool_]


@dataclass
class DirectionStatistics:
    """The statistics of one direction; each is measured when it is first asked for, and kept.

    Attributes:
        groups: all pairs, of every split.
        items: the target items of a task that are indexed, sorted.
    """

    embeddings: EmbeddingCache
    groups: Groups
    query: Modality
    target: Modality
    items: Callable[[str], Sequence[ItemId]]
    _validation: dict[str, Validation] = field(default_factory=dict)
    _likelihood: dict[tuple[str, Placement], NDArray[np.float64]] = field(default_factory=dict)
    _temperature: dict[tuple[str, Placement], float] = field(default_factory=dict)

    def drift(self, task: str, old: int, new: int, items: Sequence[ItemId]) -> NDArray[np.float64]:
        """Return how far items (N,) of a task move from one version to another: 1 - cosine (N,), 0 to 2."""
        ids = list(self.items(task))
        before, after = (self.embeddings.embed(self.target, ids, head) for head in (old, new))
        drift = 1 - np.einsum("ne,ne->n", before, after, dtype=np.float64)
        of_items: NDArray[np.float64] = drift[np.searchsorted(ids, items)]
        return of_items

    def likelihood(self, task: str, version: int) -> NDArray[np.float64]:
        """Return log p(partner | q, task) of the task's validation queries (Q,), at their best temperature.

        Queries and items are embedded by the same version.
        """
        placement = Placement(version, version, version)
        if (task, placement) not in self._likelihood:
            validation, tau = self.validation(task), self.temperature(task, placement)
            self._likelihood[task, placement] = (
                calibration.likelihood(self._cosines(task, placement), validation.right, tau)
                if len(validation.queries)
                else np.zeros(0)
            )
        return self._likelihood[task, placement]

    def temperature(self, task: str, placement: Placement) -> float:
        """Return what the cosines of a task's shard are to be divided by to be log-likelihoods."""
        whole = Placement(placement.head, placement.space, placement.queries)
        if (task, whole) not in self._temperature:
            validation = self.validation(task)
            self._temperature[task, whole] = (
                calibration.temperature(self._cosines(task, whole), validation.right, TEMPERATURE)
                if len(validation.queries)
                else TEMPERATURE
            )
        return self._temperature[task, whole]

    def validation(self, task: str) -> Validation:
        """Return the validation pairs of a task; without queries where fewer than two items can be told apart."""
        if task not in self._validation:
            pairs = self.groups.get((task, "val"), ())
            queries, targets = (distinct(pairs, modality) for modality in (self.query, self.target))
            qrels = qrels_of(pairs, "pair", (self.query, self.target))
            queries = queries[qrels.count(queries, targets) > 0][:MOST_QUERIES]
            if len(targets) < 2 or self.query == self.target:
                queries = queries[:0]
            every = np.broadcast_to(targets, (len(queries), len(targets)))
            self._validation[task] = Validation(queries, targets, qrels.right(queries, every))
        return self._validation[task]

    def _cosines(self, task: str, placement: Placement) -> NDArray[np.float64]:
        """Return the cosines (Q, N) of a task's validation queries and targets."""
        validation = self.validation(task)
        queries = self._embed(self.query, validation.queries, placement.queries, placement.queries)
        targets = self._embed(self.target, validation.targets, placement.head, placement.space)
        return queries.astype(np.float64) @ targets.astype(np.float64).T

    def _embed(self, modality: Modality, ids: Ids, head: int, space: int) -> Vectors:
        return self.embeddings.embed(modality, [id.decode() for id in ids], head, space)
