"""Features of three tasks, each a cloud around a place of its own."""

import numpy as np
from numpy.typing import NDArray

from indexer.routing.sums import Sums

WIDTH = 5
TASKS = ("sky", "life", "places")


def drawn(task: str, rows: int, seed: int = 0) -> NDArray[np.float32]:
    """Return features (N, 5) of a task."""
    generator = np.random.default_rng([seed, TASKS.index(task)])
    features: NDArray[np.float32] = (
        generator.normal(size=(rows, WIDTH)) + 3 * np.eye(WIDTH)[TASKS.index(task)]
    ).astype(np.float32)
    return features


def summed(*batches: tuple[str, NDArray[np.float32]]) -> Sums:
    """Return the sums over features of tasks."""
    sums = Sums(WIDTH)
    for task, features in batches:
        sums.add(task, features)
    return sums


def of_all(rows: int, seed: int = 0) -> Sums:
    """Return the sums over so many features of every task."""
    return summed(*((task, drawn(task, rows, seed)) for task in TASKS))
