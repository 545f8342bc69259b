"""The policy `auto`: for each task the head version, of all there are, that suits its validation pairs best."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.history import History, settled, versions
from indexer.policies.plan import Indexed, Placement, Plan, Statistics

MARGIN = 1.0
"""By how many standard errors one head must be likelier than another for `auto` to tell them apart."""

FEWEST_QUERIES = 2
"""With fewer validation queries `auto` keeps a task's own head."""


@dataclass(frozen=True)
class Choice:
    """Which head version `auto` takes for a task, and why.

    Attributes:
        own: the version of the task's own lesson.
        gain: mean log-likelihood of validation pairs over the own version's; error: its standard error.
        queries: how many validation queries there were; with less than FEWEST_QUERIES the own version is kept.
    """

    task: str
    version: int
    own: int
    gain: float
    error: float
    queries: int


def auto(history: History, statistics: Statistics, indexed: Indexed) -> Plan:
    """Take for each task the version that gives its validation pairs the best likelihood."""
    chosen = {task: choose(history, statistics, task).version for task in settled(history)}
    return {task: (Placement(head, head, head),) for task, head in chosen.items()}


def choose(history: History, statistics: Statistics, task: str) -> Choice:
    """Return the task's own version, unless another is likelier beyond noise: then the newest that may be the best.

    Beyond noise is by more than a standard error of the paired difference; what is within one of the likeliest
    version may be the best (the rule of one standard error, Breiman et al. 1984). Newer heads have seen more.
    """
    own = settled(history)[task]
    log_p = {version: statistics.likelihood(task, version) for version in versions(history)}
    queries = len(log_p[own])
    if queries < FEWEST_QUERIES:
        return Choice(task, own, own, 0.0, 0.0, queries)
    best = max(log_p, key=lambda version: (log_p[version].mean(), version))
    if not _is_likelier(log_p[best] - log_p[own]):
        return _explained(task, own, own, log_p)
    newest = max(version for version in log_p if not _is_likelier(log_p[best] - log_p[version]))
    return _explained(task, newest, own, log_p)


def _is_likelier(gains: NDArray[np.float64]) -> bool:
    """Say whether the mean of paired gains (Q,) is above zero beyond noise."""
    return bool(gains.mean() > MARGIN * gains.std(ddof=1) / math.sqrt(len(gains)))


def _explained(task: str, version: int, own: int, log_p: Mapping[int, NDArray[np.float64]]) -> Choice:
    gains = log_p[version] - log_p[own]
    error = float(gains.std(ddof=1) / math.sqrt(len(gains)))
    return Choice(task, version, own, float(gains.mean()), error, len(gains))
