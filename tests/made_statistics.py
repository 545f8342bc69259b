"""Histories and measurements that tests of policies make up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from engine.history import Arrival, History, Lesson
from engine.types import ItemId

STREAM = History((Lesson(1, "sky", 1), Lesson(2, "life", 2), Lesson(3, "places", 3)))
TWICE = History((Lesson(1, "sky", 1), Lesson(2, "life", 2), Lesson(3, "sky", 3)))
LATE = History((Lesson(1, "sky", 1), Lesson(2, "life", 2)), (Arrival("places", 1, 1),))


@dataclass(frozen=True)
class MadeStatistics:
    """Statistics of one direction; what is not named is as if nothing had been measured.

    Attributes:
        drifts: how far each item of a task has moved, from any old version to the newest.
        log_p: the log-likelihood of each task's validation queries, by version.
    """

    drifts: Mapping[str, Mapping[ItemId, float]] = field(default_factory=dict)
    log_p: Mapping[str, Mapping[int, Sequence[float]]] = field(default_factory=dict)

    def items(self, task: str) -> Sequence[ItemId]:
        return sorted(self.drifts.get(task, {}))

    def drift(self, task: str, old: int, new: int, items: Sequence[ItemId]) -> NDArray[np.float64]:
        return np.array([self.drifts[task][item] for item in items])

    def likelihood(self, task: str, version: int) -> NDArray[np.float64]:
        return np.array(self.log_p.get(task, {}).get(version, ()), np.float64)
