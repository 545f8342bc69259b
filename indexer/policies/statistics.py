"""What is measured of one direction for the policies that ask, and the temperatures of its shards."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from engine.evaluation.qrels import qrels_of
from engine.evaluation.splits import Groups, distinct
from engine.ids import Ids
from engine.types import ItemId, Modality
from indexer.embeddings.embeddings import EmbeddingCache, Vectors
from indexer.policies.policies import Placement
from indexer.routing import calibration

TEMPERATURE = 0.07
"""Of a task without validation pairs."""

MOST = 512
"""Most validation queries of a task that are looked at."""


@dataclass(frozen=True)
class Validation:
    """The validation pairs of a task: queries (Q,), the targets of all (N,), and which is right (Q, N)."""

    queries: Ids
    targets: Ids
    right: NDArray[np.bool_]


@dataclass
class Measured:
    """Facts of one direction; each is measured when it is first asked for.

    Attributes:
        groups: all pairs, of every split.
        items: the target items of a task that are indexed, sorted.
        now: which of them each head version embeds, as far as they are indexed already.
        budget: the share of all items that `partial` may embed again.
    """

    reader: EmbeddingCache
    groups: Groups
    query: Modality
    target: Modality
    items: Callable[[str], Sequence[ItemId]]
    now: Mapping[str, Mapping[int, Sequence[ItemId]]] = field(default_factory=dict)
    budget: float = 0.0
    _validation: dict[str, Validation] = field(default_factory=dict)
    _likelihood: dict[tuple[str, Placement], NDArray[np.float64]] = field(default_factory=dict)
    _temperature: dict[tuple[str, Placement], float] = field(default_factory=dict)

    def standing(self, now: Mapping[str, Mapping[int, Sequence[ItemId]]], budget: float) -> "Measured":
        """Return the same facts, where something else is indexed already."""
        return replace(self, now=now, budget=budget)

    def placed(self, task: str, own: int) -> dict[int, list[ItemId]]:
        """Return which items of a task each version embeds now; those that none does yet are its own version's."""
        here = set(self.items(task))
        found = {head: sorted(here & set(ids)) for head, ids in self.now.get(task, {}).items()}
        fresh = here - {id for ids in found.values() for id in ids}
        if fresh:
            found[own] = sorted([*found.get(own, []), *fresh])
        return {head: ids for head, ids in found.items() if ids}

    def drift(self, task: str, old: int, new: int, items: Sequence[ItemId]) -> NDArray[np.float64]:
        """Return how far items (N,) of a task move from one version to another: 1 - cosine (N,)."""
        ids = list(self.items(task))
        before, after = (self.reader.embed(self.target, ids, head) for head in (old, new))
        drift = 1 - np.einsum("ne,ne->n", before, after, dtype=np.float64)
        found: NDArray[np.float64] = drift[np.searchsorted(ids, items)]
        return found

    def likelihood(self, task: str, version: int) -> NDArray[np.float64]:
        """Return log p(partner | q, task) of the task's validation queries (Q,), at their best temperature."""
        placement = Placement(version, version, version)
        if (task, placement) not in self._likelihood:
            held, tau = self.validation(task), self.temperature(task, placement)
            self._likelihood[task, placement] = (
                calibration.likelihood(self._cosines(task, placement), held.right, tau)
                if len(held.queries)
                else np.zeros(0)
            )
        return self._likelihood[task, placement]

    def temperature(self, task: str, placement: Placement) -> float:
        """Return what the cosines of a task's shard are to be divided by to be log-likelihoods."""
        whole = Placement(placement.head, placement.space, placement.queries)
        if (task, whole) not in self._temperature:
            held = self.validation(task)
            self._temperature[task, whole] = (
                calibration.temperature(self._cosines(task, whole), held.right, TEMPERATURE)
                if len(held.queries)
                else TEMPERATURE
            )
        return self._temperature[task, whole]

    def validation(self, task: str) -> Validation:
        """Return the validation pairs of a task; without queries where fewer than two items can be told apart."""
        if task not in self._validation:
            pairs = self.groups.get((task, "val"), ())
            queries, targets = (distinct(pairs, modality) for modality in (self.query, self.target))
            qrels = qrels_of(pairs, "pair", (self.query, self.target))
            queries = queries[qrels.count(queries, targets) > 0][:MOST]
            if len(targets) < 2 or self.query == self.target:
                queries = queries[:0]
            every = np.broadcast_to(targets, (len(queries), len(targets)))
            self._validation[task] = Validation(queries, targets, qrels.right(queries, every))
        return self._validation[task]

    def _cosines(self, task: str, placement: Placement) -> NDArray[np.float64]:
        held = self.validation(task)
        asked = self._embed(self.query, held.queries, placement.queries, placement.queries)
        found = self._embed(self.target, held.targets, placement.head, placement.space)
        return asked.astype(np.float64) @ found.astype(np.float64).T

    def _embed(self, modality: Modality, ids: Ids, head: int, space: int) -> Vectors:
        return self.reader.embed(modality, [id.decode() for id in ids], head, space)
