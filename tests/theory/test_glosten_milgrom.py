"""The dealer's exact posterior against beliefs computed by other routes, on arrivals drawn from the market's noise."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from amarl_jax.information.mine import log_posterior
from amarl_jax.market.noise import buy_probability, orders, size_distribution
from amarl_jax.market.params import EnvParams, MarketSpec
from amarl_jax.theory.glosten_milgrom import (
    BUY,
    PASS,
    SELL,
    ArrivalLaw,
    follow,
    hidden_trader_law,
    quotes,
    two_value_law,
)
from amarl_jax.trees import as_arrays

SPEC = MarketSpec()
PARAMS = as_arrays(EnvParams())


def market_arrivals(key, gap_ticks, n):
    """Events [n] and the tilt: sides of the market's own noise orders when news is ``gap_ticks`` from mid."""
    p_buy = buy_probability(jnp.float32(gap_ticks), jnp.int32(0), PARAMS)
    batch = orders(jax.random.uniform(key, (4, n)), p_buy, size_distribution(PARAMS, SPEC.max_order_size), PARAMS, SPEC)
    return batch.side + 1, 2.0 * (p_buy - 0.5)


def test_posterior_equals_the_bayes_belief_on_the_market_s_arrivals(key):
    """The belief that MINE's critic carries, given the exact log-likelihood of the side counts, step by step."""
    events, informed_share = market_arrivals(key, 4.0, 300)
    assert float(informed_share) == pytest.approx(0.4)  # twice psi times the gap
    beliefs, _ = follow(events, two_value_law(informed_share, -10.0, 10.0, prior_high=0.3))
    buys, n = np.cumsum(np.asarray(events) == BUY), np.arange(1, 301)
    scores = np.stack([stats.binom.logpmf(buys, n, 0.3), stats.binom.logpmf(buys, n, 0.7)], axis=-1)
    belief = jnp.exp(log_posterior(jnp.asarray(scores, jnp.float32), 0.3))
    np.testing.assert_allclose(beliefs, belief, atol=1e-4)  # float32 sums over 300 arrivals
    assert float(beliefs[-1, 1]) > 0.999  # and it learned which way value is going


def test_posterior_equals_the_sum_over_who_was_informed():
    """Every one of 2^6 ways in which six arrivals could have been informed or noise, weighed one by one."""
    share, prior_high, events = 0.35, 0.4, [BUY, BUY, SELL, BUY, SELL, BUY]
    beliefs, _ = follow(jnp.array(events), two_value_law(share, 0.0, 1.0, prior_high))
    weight = {0: 1 - prior_high, 1: prior_high}
    for high in (0, 1):
        total = 0.0
        for informed in itertools.product((False, True), repeat=6):
            ways = [
                share * ((event == BUY) == bool(high)) if knows else (1 - share) * 0.5
                for knows, event in zip(informed, events, strict=True)
            ]
            total += float(np.prod(ways))
        weight[high] *= total
    assert float(beliefs[-1, 1]) == pytest.approx(weight[1] / (weight[0] + weight[1]), abs=1e-6)


def test_belief_in_an_informed_trader_of_unknown_side(key):
    """z against its closed form: the odds are those of an average of two binomials."""
    events, _ = market_arrivals(key, 3.0, 60)
    beliefs, _ = follow(events, hidden_trader_law(0.3, value=20.0, prior=0.5))
    buys, n = np.cumsum(np.asarray(events) == BUY), np.arange(1, 61)
    ratio = 0.5 * (1.3**buys * 0.7 ** (n - buys) + 0.7**buys * 1.3 ** (n - buys))
    np.testing.assert_allclose(beliefs[:, 1] + beliefs[:, 2], special.expit(np.log(ratio)), atol=1e-5)


def test_spread_of_the_textbook_case():
    """At even odds ask and bid stand ``a (high - low) / 2`` from the middle, so the spread is ``a (high - low)``."""
    law = two_value_law(0.25, 90.0, 110.0)
    standing = quotes(law.prior, law)
    assert float(standing.ask) == pytest.approx(102.5)
    assert float(standing.bid) == pytest.approx(97.5)


def test_the_dealer_earns_nothing_and_prices_are_a_martingale(key):
    """Under the dealer's own law, from unequal beliefs, with passing allowed: expectations taken exactly."""
    law = ArrivalLaw(
        prior=jnp.array([0.2, 0.5, 0.3]),
        value=jnp.array([-7.0, 1.0, 9.0]),
        likelihood=jnp.array([[0.6, 0.3, 0.1], [0.3, 0.4, 0.3], [0.05, 0.25, 0.7]]),
    )
    standing = quotes(law.prior, law)
    profit_selling = jnp.sum(law.prior * law.likelihood[:, BUY] * (standing.ask - law.value))
    profit_buying = jnp.sum(law.prior * law.likelihood[:, SELL] * (law.value - standing.bid))
    assert float(profit_selling) == pytest.approx(0.0, abs=1e-6)
    assert float(profit_buying) == pytest.approx(0.0, abs=1e-6)
    after = jnp.stack([follow(jnp.array([event]), law)[0][0] for event in (SELL, PASS, BUY)])
    np.testing.assert_allclose((law.prior @ law.likelihood) @ after, law.prior, atol=1e-6)
    assert float(standing.bid) < float(jnp.sum(law.prior * law.value)) < float(standing.ask)


def test_spread_closes_as_the_dealer_learns(key):
    events, _ = market_arrivals(key, 4.0, 200)
    _, standing = follow(events, two_value_law(0.4, -10.0, 10.0))
    spread = np.asarray(standing.ask - standing.bid)
    assert np.all(spread >= -1e-4)  # float32 near certainty
    assert spread[-1] < 0.01 * spread[0]
