"""How a router is made of sums, and how much of its evidence it believes, chosen by validation items."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, optimize

from engine import memory
from indexer.routing.slda import USUAL_TEMPERATURE, Router, doubted, untaught
from indexer.routing.sums import Sums

SHRINKAGES = (0.01, 0.1, 1.0, 10.0, 100.0)
"""How many times the mean variance may be added to the covariance."""

COLDEST, HOTTEST = 0.1, 100.0
"""Between which temperatures are looked for."""

SPREAD = 0.5
"""Standard deviation of log temperature and of decades of shrinkage around the usual; counts as one query each."""


@dataclass(frozen=True)
class Flatness:
    """How much a router holds back."""

    shrinkage: float = 1.0
    temperature: float = USUAL_TEMPERATURE


USUAL = Flatness()


def discriminant(sums: Sums, shrinkage: float, temperature: float = USUAL_TEMPERATURE) -> Router:
    """Return the router whose P is the inverse of the pooled covariance within tasks plus m m^T.

    m is the mean of the tasks' means, what they share: short texts have less of it.

    Args:
        shrinkage: how many times its mean variance is added to the diagonal of the covariance.
    """
    moments = sums.moments()
    if moments is None:
        return replace(untaught(sums.width), shrinkage=shrinkage, temperature=temperature)
    means, within = moments.means, moments.within
    spread = within.trace() / sums.width
    shared = means.mean(axis=1)
    covariance = within + np.outer(shared, shared)
    covariance += np.eye(sums.width) * (shrinkage * spread if spread > 0 else 1.0)
    memory.require(memory.OF_LAPACK)
    precision = linalg.solve(covariance, np.eye(sums.width), assume_a="pos")
    return Router(
        moments.tasks,
        means,
        precision.astype(np.float32),
        precision @ means,
        typical=float((precision * within).sum()) if spread > 0 else float(sums.width),
        shrinkage=shrinkage,
        temperature=temperature,
    )


def fit(sums: Sums, validation: Mapping[str, NDArray[np.float32]], fallback: Flatness = USUAL) -> Router:
    """Return the router under which validation items of each task (N, D) are likeliest, drawn to the usual one.

    Where all of them are told apart with ease they are likely under any, and the sharpest would be the likeliest by
    a hair: then it is the usual one.

    Args:
        fallback: what holds where there are no validation items.
    """
    known = {task: x for task, x in validation.items() if sums.counts.get(task) and len(x)}
    if not known:
        return discriminant(sums, fallback.shrinkage, fallback.temperature)
    if sum(count > 0 for count in sums.counts.values()) == 1:
        return discriminant(sums, USUAL.shrinkage)
    fits = (_fit_temperature(sums, shrinkage, known) for shrinkage in SHRINKAGES)
    return max(fits, key=lambda fit: fit[0])[1]


def _fit_temperature(
    sums: Sums, shrinkage: float, validation: Mapping[str, NDArray[np.float32]]
) -> tuple[float, Router]:
    """Return how good the best router of a shrinkage is, as a log-likelihood less what both settings cost."""
    router = discriminant(sums, shrinkage)
    evidence = np.concatenate([router.evidence(x, router.tasks) for x in validation.values()])  # (N, T)
    column = {task: n for n, task in enumerate(router.tasks)}
    right = [column[task] for task, x in validation.items() for _ in x]

    def cost(log_temperature: float) -> float:
        log_p = doubted(evidence / np.exp(log_temperature), router.doubt)[np.arange(len(right)), right]
        return float(0.5 * ((log_temperature - np.log(USUAL_TEMPERATURE)) / SPREAD) ** 2 - log_p.sum())

    optimum = optimize.minimize_scalar(cost, bounds=(np.log(COLDEST), np.log(HOTTEST)), method="bounded")
    decades = np.log10(shrinkage / USUAL.shrinkage)
    return -float(optimum.fun) - 0.5 * (decades / SPREAD) ** 2, replace(
        router, temperature=float(np.exp(optimum.x))
    )
