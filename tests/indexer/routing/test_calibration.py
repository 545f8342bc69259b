import numpy as np
import pytest
from numpy.typing import NDArray

from indexer.routing import calibration
from indexer.routing.calibration import COLDEST, HOTTEST, SPREAD

COSINES = np.array([[0.5, 0.1, -0.2]])
PARTNER = np.array([[True, False, False]])


def test_the_likelihood_is_that_of_a_softmax() -> None:
    expected = 0.5 / 0.1 - np.log(np.exp(COSINES / 0.1).sum())
    assert calibration.likelihood(COSINES, PARTNER, 0.1) == pytest.approx([expected])


def test_each_query_has_a_softmax_of_its_own() -> None:
    both = calibration.likelihood(np.repeat(COSINES, 2, 0) * [[1.0], [-1.0]], np.repeat(PARTNER, 2, 0), 0.1)
    each = [calibration.likelihood(sign * COSINES, PARTNER, 0.1)[0] for sign in (1, -1)]
    assert both == pytest.approx(each)


def test_several_right_items_count_with_their_mean() -> None:
    both = calibration.likelihood(COSINES, np.array([[True, True, False]]), 0.1)
    each = [calibration.likelihood(COSINES, np.array([row]), 0.1)[0] for row in ([1, 0, 0], [0, 1, 0])]
    assert both == pytest.approx([np.mean(each)])


def test_the_temperature_that_drew_the_partners_is_found_again() -> None:
    generator = np.random.default_rng(0)
    cosines = generator.uniform(-1, 1, (4000, 12))
    p = np.exp(cosines / 0.2)
    p /= p.sum(axis=1, keepdims=True)
    partner = (p.cumsum(axis=1) > generator.random((4000, 1))).argmax(axis=1)
    right = np.arange(12) == partner[:, None]
    assert calibration.temperature(cosines, right, 0.07) == pytest.approx(0.2, rel=0.05)


@pytest.mark.parametrize("usual", [0.02, 0.07, 0.5])
def test_without_queries_the_temperature_is_the_usual_one(usual: float) -> None:
    found = calibration.temperature(np.zeros((0, 3)), np.zeros((0, 3), bool), usual)
    assert found == pytest.approx(usual, rel=1e-3)


def cost(tau: float, cosines: NDArray[np.float64], right: NDArray[np.bool_], usual: float) -> float:
    """Return the surprise at the partners and at a temperature, whose logarithm is normal about the usual one's."""
    surprise = -calibration.likelihood(cosines, right, tau).sum()
    return float(surprise + (np.log(tau) - np.log(usual)) ** 2 / (2 * SPREAD**2))


@pytest.mark.parametrize("queries", [1, 5])
def test_the_temperature_makes_partners_and_itself_likeliest(queries: int) -> None:
    cosines = np.tile([[0.5, 0.45, -0.2]], (queries, 1))
    right = np.tile([[False, True, False]], (queries, 1))
    found = calibration.temperature(cosines, right, 0.07)
    grid = np.exp(np.linspace(np.log(COLDEST), np.log(HOTTEST), 4001))
    best = min(grid, key=lambda tau: cost(tau, cosines, right, 0.07))
    assert found == pytest.approx(best, rel=2e-3)  # the grid's step


@pytest.mark.parametrize(("partner", "bound"), [(1, 1.0), (0, 0.005)])
def test_a_temperature_beyond_the_bounds_is_not_looked_for(partner: int, bound: float) -> None:
    cosines = np.tile([[0.02, -0.02]] if partner == 0 else [[0.9, -0.9]], (5000, 1))
    right = np.tile(np.arange(2) == partner, (5000, 1))
    found = calibration.temperature(cosines, right, 0.07)
    assert COLDEST <= found <= HOTTEST
    assert found == pytest.approx(bound, rel=0.05)  # the search stops just short of it
