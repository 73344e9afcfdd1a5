"""The competitive ladder: break-even of its last lots and the trader's best order, by plain simulation."""

import numpy as np
import pytest
from scipy import stats

from amarl_jax.theory.limit_ladder import (
    LOTS,
    VALUES,
    competitive_ladder,
    lot_prices,
    trader_gain,
    variance_given_flow,
)

PRICE = 0.25 * np.arange(1, 13)


@pytest.fixture(scope="module")
def ladder():
    return competitive_ladder(PRICE)


def test_the_last_lot_at_each_price_breaks_even(ladder):
    """The value of those who reach it is its price, and without the ladder's spread it would lose."""
    rng = np.random.default_rng(1)
    value, noise = rng.standard_normal(400_000), np.rint(LOTS * rng.standard_normal(400_000))
    eaten = np.maximum(np.interp(value, VALUES, ladder.order), 0) + np.maximum(noise, 0)
    assert ladder.depth[0] < 1  # nobody sells at a quarter of a deviation
    for price, depth in zip(PRICE, ladder.depth, strict=True):
        hit = value[eaten >= np.round(depth)]
        if depth < 1 or len(hit) < 1000:
            continue
        # four standard errors, and a lot or two of the grid and the iteration
        assert hit.mean() == pytest.approx(price, abs=4 * hit.std() / np.sqrt(len(hit)) + 0.02)


def test_the_trader_sends_the_best_of_all_orders(ladder):
    """By walking the book lot by lot, first or second, for every order on a grid."""
    queue = lot_prices(ladder.price, ladder.depth)
    noise = np.rint(LOTS * stats.norm.ppf((np.arange(500) + 0.5) / 500)).astype(int)
    for at in (310, 370):
        sizes = np.arange(0, len(queue), 10)
        gains = []
        for size in sizes:
            first = np.sum(VALUES[at] - queue[:size])
            taken = np.minimum(np.maximum(noise, 0), len(queue))
            second = np.mean([np.sum(VALUES[at] - queue[t : t + size]) for t in taken])
            gains.append(0.5 * (first + second))
        error = 0.01 * max(gains)  # of 500 quantiles of noise
        np.testing.assert_allclose(trader_gain(queue)[at, sizes], gains, atol=error)
        assert np.interp(ladder.order[at], sizes, gains) > max(gains) - error


def test_a_kyle_trader_reveals_half_of_the_variance():
    assert variance_given_flow(VALUES * LOTS) == pytest.approx(0.5, abs=1e-4)  # truncated at five deviations
    assert variance_given_flow(np.zeros_like(VALUES)) == pytest.approx(1.0, abs=1e-4)
