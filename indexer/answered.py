"""What a shard answered to queries, kept so that it need not be asked again."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.merge import Candidates, Scores, Spread
from engine.types import ShardKey


@dataclass(frozen=True)
class Answered:
    """A shard whose answers to some queries are known; what is found has the numbers that the judge gives it."""

    key: ShardKey
    found: Candidates
    cosines: Spread

    def search(self, queries: NDArray[np.float32], k: int) -> Candidates:
        """Return what was found."""
        return self.found

    def log_partition(self, queries: NDArray[np.float32], tau: float) -> Scores:
        """Return the queries' log partition (Q,)."""
        return self.cosines.log_partition(tau)

    @property
    def nbytes(self) -> int:
        """How much memory the answers take."""
        return self.found.scores.nbytes + self.found.ids.nbytes + 2 * self.cosines.mean.nbytes

    def split(self, counts: Sequence[int]) -> list["Answered"]:
        """Return the answers to so many queries, to the next so many, ..."""
        places = np.cumsum(counts)[:-1]
        both, spread = self.found, self.cosines
        parts = (np.split(held, places) for held in (both.scores, both.ids, spread.mean, spread.variance))
        return [
            Answered(self.key, Candidates(scores, ids), Spread(spread.rows, mean, variance))
            for scores, ids, mean, variance in zip(*parts, strict=True)
        ]


def joined(answers: Sequence[Answered]) -> Answered:
    """Return the answers of one shard to several blocks of queries as one."""
    found, spreads = [one.found for one in answers], [one.cosines for one in answers]
    return Answered(
        answers[0].key,
        Candidates(np.concatenate([one.scores for one in found]), np.concatenate([one.ids for one in found])),
        Spread(
            spreads[0].rows,
            np.concatenate([one.mean for one in spreads]),
            np.concatenate([one.variance for one in spreads]),
        ),
    )
