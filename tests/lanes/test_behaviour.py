"""What is claimed to emerge, measured on events whose answer is known."""

import math

import numpy as np
import pytest

from amarl_jax.lanes.behaviour import autocorrelations, ratio


def test_snipes_every_third_step_repeat_at_the_third_lag():
    """A random phase per episode: x is 1 or 0 less 1/3, so r = -1/2 at lags 1 and 2, and 1 at 3."""
    rng = np.random.default_rng(0)
    events = ((np.arange(60)[None] + rng.integers(0, 3, 600)[:, None]) % 3 == 0).astype(np.int8)
    by_lag = autocorrelations(events, 6)
    np.testing.assert_allclose([one.value for one in by_lag], [-0.5, -0.5, 1.0, -0.5, -0.5, 1.0], atol=0.02)


def test_a_busy_opening_is_no_correlation():
    """Independent events whose rate falls over the day; four standard errors."""
    rng = np.random.default_rng(1)
    events = (rng.random((4000, 40)) < np.linspace(0.9, 0.1, 40)).astype(np.int8)
    for one in autocorrelations(events, 5):
        assert abs(one.value) < 4.0 * one.stderr + 2e-3  # the mean over 4000 episodes takes 1 / 4000 of each square
    assert by_error(autocorrelations(events, 1)[0].stderr, 1 / math.sqrt(4000 * 39))


def by_error(stderr, expected):
    """Of independent events it is 1 / sqrt(pairs)."""
    return stderr == pytest.approx(expected, rel=0.1)


def test_nothing_ever_happens():
    assert math.isnan(autocorrelations(np.zeros((5, 8), np.int8), 2)[0].value)


def test_a_ratio_of_means_and_its_error():
    """Lots over orders is lots per order however many orders an episode has; its error is that of a known law."""
    rng = np.random.default_rng(2)
    orders = rng.integers(1, 9, 2000).astype(float)
    lots = np.array([rng.poisson(5.0, int(n)).sum() for n in orders], float)
    one = ratio(lots, orders)
    assert abs(one.value - 5.0) < 4.0 * one.stderr
    assert one.stderr == pytest.approx(math.sqrt(5.0 / orders.sum()), rel=0.1)  # Poisson: variance 5 per order
