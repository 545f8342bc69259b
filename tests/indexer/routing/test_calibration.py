import numpy as np
import pytest

from indexer.routing import calibration


def test_the_likelihood_is_that_of_a_softmax() -> None:
    cosines = np.array([[0.5, 0.1, -0.2]])
    right = np.array([[True, False, False]])
    expected = 0.5 / 0.1 - np.log(np.exp(cosines / 0.1).sum())
    assert calibration.likelihood(cosines, right, 0.1) == pytest.approx([expected])


def test_several_right_items_count_with_their_mean() -> None:
    cosines = np.array([[0.5, 0.1, -0.2]])
    both = calibration.likelihood(cosines, np.array([[True, True, False]]), 0.1)
    each = [calibration.likelihood(cosines, np.array([row]), 0.1)[0] for row in ([1, 0, 0], [0, 1, 0])]
    assert both == pytest.approx([np.mean(each)])


def test_the_temperature_that_drew_the_partners_is_found_again() -> None:
    generator = np.random.default_rng(0)
    cosines = generator.uniform(-1, 1, (4000, 12))
    p = np.exp(cosines / 0.2)
    p /= p.sum(axis=1, keepdims=True)
    partner = (p.cumsum(axis=1) > generator.random((4000, 1))).argmax(axis=1)
    right = np.arange(12) == partner[:, None]
    assert calibration.temperature(cosines, right, 0.07) == pytest.approx(0.2, rel=0.05)


def test_without_queries_the_temperature_is_the_usual_one() -> None:
    found = calibration.temperature(np.zeros((0, 3)), np.zeros((0, 3), bool), 0.07)
    assert found == pytest.approx(0.07, rel=1e-3)


def test_one_query_moves_the_temperature_little() -> None:
    found = calibration.temperature(np.array([[0.9, -0.9]]), np.array([[False, True]]), 0.07)
    assert 0.07 < found < 0.5
