"""What a shard answered to queries, kept so that it need not be asked again."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.ranking.fusion import Candidates, Scores
from engine.types import ShardKey


@dataclass(frozen=True)
class Answered:
    """A shard whose answers to some queries are known; what is found has the numbers that the judge gives it."""

    key: ShardKey
    found: Candidates
    log_z: Scores

    def search(self, queries: NDArray[np.float32], k: int) -> Candidates:
        """Return what was found."""
        return self.found

    def log_partition(self, queries: NDArray[np.float32], tau: float, best: Scores) -> Scores:
        """Return the queries' log partition (Q,)."""
        return self.log_z

    @property
    def nbytes(self) -> int:
        """How much memory the answers take."""
        return self.found.scores.nbytes + self.found.ids.nbytes + self.log_z.nbytes

    def split(self, counts: Sequence[int]) -> list["Answered"]:
        """Return the answers to so many queries, to the next so many, ..."""
        places = np.cumsum(counts)[:-1]
        parts = (np.split(held, places) for held in (self.found.scores, self.found.ids, self.log_z))
        return [
            Answered(self.key, Candidates(scores, ids), log_z)
            for scores, ids, log_z in zip(*parts, strict=True)
        ]


def joined(answers: Sequence[Answered]) -> Answered:
    """Return the answers of one shard to several blocks of queries as one."""
    scores = np.concatenate([one.found.scores for one in answers])
    ids = np.concatenate([one.found.ids for one in answers])
    log_z = np.concatenate([one.log_z for one in answers])
    return Answered(answers[0].key, Candidates(scores, ids), log_z)
