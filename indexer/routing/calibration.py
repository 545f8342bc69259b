"""What makes cosines likelihoods: temperatures, fitted on validation pairs."""

import numpy as np
from numpy.typing import NDArray
from scipy import optimize
from scipy.special import log_softmax

from engine.ranking.fusion import Scores

COLDEST, HOTTEST = 0.005, 1.0
"""Between which temperatures are looked for."""

SPREAD = 0.5
"""Standard deviation of log tau that is expected around the usual temperature; counts as one query."""


def likelihood(cosines: Scores, right: NDArray[np.bool_], tau: float) -> Scores:
    """Return log p(partner | q) of each query (Q,): the mean over its right items of a softmax of cosine / tau.

    Args:
        cosines: (Q, N).
        right: (Q, N), at least one in each row.
    """
    log_p = log_softmax(cosines / tau, axis=1)
    mean: Scores = np.where(right, log_p, 0).sum(axis=1) / right.sum(axis=1)
    return mean


def temperature(cosines: Scores, right: NDArray[np.bool_], usual: float) -> float:
    """Return the tau under which right items are likeliest, drawn to the usual one by as much as one query."""

    def cost(log_tau: float) -> float:
        surprise = -likelihood(cosines, right, float(np.exp(log_tau))).sum()
        return float(surprise + 0.5 * ((log_tau - np.log(usual)) / SPREAD) ** 2)

    optimum = optimize.minimize_scalar(cost, bounds=(np.log(COLDEST), np.log(HOTTEST)), method="bounded")
    return float(np.exp(optimum.x))
