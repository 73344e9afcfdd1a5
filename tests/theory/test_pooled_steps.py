"""Why the unit of data is the episode: per-step laws that agree exactly, and a sequence that gives everything away."""

import math

import numpy as np
import pytest
from scipy import stats

PHI, T, N = 0.3, 100, 20_000


@pytest.fixture(scope="module")
def flows():
    """White noise and AR(1) of unit variance, [N, T] each."""
    rng = np.random.default_rng(11)
    white, shocks = rng.standard_normal((2, N, T))
    coloured = shocks.copy()
    for t in range(1, T):
        coloured[:, t] = PHI * coloured[:, t - 1] + math.sqrt(1 - PHI**2) * shocks[:, t]
    return white, coloured


def log_likelihood_ratio(x):
    """Of AR(1) against white noise, [N] nats."""
    innovation = (x[:, 1:] - PHI * x[:, :-1]) ** 2 / (1 - PHI**2)
    return -0.5 * (T - 1) * math.log(1 - PHI**2) - 0.5 * np.sum(innovation - x[:, 1:] ** 2, axis=1)


def test_identical_steps_and_a_detector_that_is_93_percent_right(flows):
    white, coloured = flows
    assert stats.kstest(coloured[:, T // 2], "norm").pvalue > 1e-3  # the law of every step is N(0, 1) in both classes
    scores = log_likelihood_ratio(coloured), log_likelihood_ratio(white)
    right = 0.5 * (np.mean(scores[0] > 0) + np.mean(scores[1] < 0))
    assert right == pytest.approx(0.935, abs=0.01)
    divergence = -0.5 * (T - 1) * math.log(1 - PHI**2)  # the quadratic terms cancel in expectation
    error = np.std(scores[0]) / math.sqrt(N)
    assert np.mean(scores[0]) == pytest.approx(divergence, abs=4 * error)


def test_a_step_level_test_rejects_a_true_null_far_too_often(flows):
    """Two groups of one law, steps pooled: size ``2 Phi(-1.96 / sqrt(v))``, v the variance inflation of the mean."""
    phi = 0.77
    rng = np.random.default_rng(12)
    x = rng.standard_normal((4000, 400))
    for t in range(1, 400):
        x[:, t] = phi * x[:, t - 1] + math.sqrt(1 - phi**2) * x[:, t]
    difference = np.mean(x[:2000], axis=1) - np.mean(x[2000:], axis=1)
    pooled = np.abs(difference) > 1.96 * math.sqrt(2 / 400)  # takes the 400 steps of an episode for independent
    inflation = (1 + phi) / (1 - phi)
    size = 2 * stats.norm.cdf(-1.96 / math.sqrt(inflation))
    assert size == pytest.approx(0.48, abs=0.01)
    assert np.mean(pooled) == pytest.approx(size, abs=4 * math.sqrt(0.25 / 2000))
    by_episode = np.abs(difference) > 1.96 * math.sqrt(2 * np.var(np.mean(x, axis=1)))
    assert np.mean(by_episode) == pytest.approx(0.05, abs=4 * math.sqrt(0.05 * 0.95 / 2000))
