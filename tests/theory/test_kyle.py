"""Kyle's auction: the equilibrium's two conditions, and lambda recovered from the market's own noise law."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from amarl_jax.market.noise import bounded_count, buy_probability, orders, size_distribution
from amarl_jax.market.params import EnvParams, MarketSpec
from amarl_jax.theory.kyle import estimate_price_impact, kyle_auction, sequential_kyle
from amarl_jax.trees import as_arrays

SPEC = MarketSpec()
PARAMS = as_arrays(EnvParams())
VALUE_DEVIATION = 4.0  # ticks


def noise_flow_deviation():
    """sigma_u, lots: ``sqrt(E[count] E[size^2])`` of the bounded compound Poisson law, by SciPy's own distributions."""
    sizes = np.arange(1, SPEC.max_order_size + 1)
    edges = np.append((sizes[:-1] + 0.5) / SPEC.max_order_size, 1.0)
    mass = np.diff(stats.beta.cdf(edges, float(PARAMS.size_beta_a), float(PARAMS.size_beta_b)), prepend=0.0)
    counts = np.arange(200)
    mean_count = np.sum(np.minimum(counts, SPEC.max_noise_orders) * stats.poisson.pmf(counts, float(PARAMS.noise_rate)))
    return float(np.sqrt(mean_count * np.sum(mass * sizes**2)))


@jax.jit
def noise_flow(key):
    """[] lots, signed volume of one step of noise orders when price and news agree."""
    key_count, key_marks = jax.random.split(key)
    count, _ = bounded_count(jax.random.uniform(key_count), PARAMS.noise_rate, SPEC.max_noise_orders)
    p_buy = buy_probability(jnp.float32(0.0), jnp.int32(0), PARAMS)
    size_cdf = size_distribution(PARAMS, SPEC.max_order_size)
    batch = orders(jax.random.uniform(key_marks, (4, SPEC.max_noise_orders)), p_buy, size_cdf, PARAMS, SPEC)
    present = jnp.arange(SPEC.max_noise_orders) < count
    return jnp.sum(jnp.where(present, batch.side * batch.lots, 0)).astype(jnp.float32)


def test_the_informed_trader_cannot_do_better():
    """On a grid of order sizes, with the maker's price fixed: the optimum and the profit are the equilibrium's."""
    auction = kyle_auction(VALUE_DEVIATION, 20.0)
    sizes = np.linspace(-200.0, 200.0, 40001)
    for surprise in (-6.0, 1.0, 5.0):
        best = sizes[np.argmax((surprise - auction.price_impact * sizes) * sizes)]
        assert best == pytest.approx(auction.intensity * surprise, abs=0.01)  # the grid's spacing
    rng = np.random.default_rng(0)
    surprise, noise = VALUE_DEVIATION * rng.standard_normal(400_000), 20.0 * rng.standard_normal(400_000)
    flow = auction.intensity * surprise + noise
    gain = (surprise - auction.price_impact * flow) * auction.intensity * surprise
    assert np.mean(gain) == pytest.approx(auction.informed_profit, abs=4 * np.std(gain) / np.sqrt(gain.size))
    loss = (surprise - auction.price_impact * flow) * noise
    assert np.mean(loss) == pytest.approx(-auction.informed_profit, abs=4 * np.std(loss) / np.sqrt(loss.size))


def test_the_maker_prices_at_the_conditional_expectation():
    """By numerical Bayes on a grid of values; half the variance remains, ln(2) / 2 nats are revealed."""
    auction = kyle_auction(VALUE_DEVIATION, 20.0)
    value = np.linspace(-40.0, 40.0, 20001)
    for flow in (-35.0, 0.0, 12.0):
        weight = stats.norm.pdf(value, scale=VALUE_DEVIATION)
        weight *= stats.norm.pdf(flow - auction.intensity * value, scale=20.0)
        weight /= np.sum(weight)
        mean = np.sum(weight * value)
        assert mean == pytest.approx(auction.price_impact * flow, abs=1e-6)
        variance = np.sum(weight * (value - mean) ** 2)
        assert variance == pytest.approx(auction.posterior_variance, rel=1e-6)
        assert 0.5 * np.log(VALUE_DEVIATION**2 / variance) == pytest.approx(auction.information, rel=1e-6)


def test_informed_flow_through_the_market_noise_recovers_lambda_within_its_standard_error(key):
    """200 regressions of 500 auctions: the z-scores are standard normal, so one in three misses by more than one."""
    n_regressions, n_auctions = 200, 500
    auction = kyle_auction(VALUE_DEVIATION, noise_flow_deviation())
    key_value, key_noise = jax.random.split(key)
    surprise = VALUE_DEVIATION * jax.random.normal(key_value, (n_regressions, n_auctions))
    noise = jax.vmap(noise_flow)(jax.random.split(key_noise, n_regressions * n_auctions)).reshape(surprise.shape)
    flow = auction.intensity * surprise + noise
    estimate = jax.vmap(estimate_price_impact)(surprise, flow)
    score = np.asarray((estimate.price_impact - auction.price_impact) / estimate.standard_error)
    assert abs(np.mean(score)) < 4 / np.sqrt(n_regressions)  # 4 standard errors of a mean of unit scores
    assert np.std(score) == pytest.approx(1.0, abs=4 / np.sqrt(2 * n_regressions))  # and of a deviation
    within = np.mean(np.abs(score) < 1)
    assert within == pytest.approx(0.683, abs=4 * np.sqrt(0.683 * 0.317 / n_regressions))
    # all auctions together: the interval is 14 times narrower and still covers
    pooled = estimate_price_impact(surprise.ravel(), flow.ravel())
    assert abs(pooled.price_impact - auction.price_impact) < 3 * pooled.standard_error
    assert float(pooled.standard_error) < 0.005 * auction.price_impact


def test_regression_against_the_normal_equations():
    rng = np.random.default_rng(3)
    flow = rng.standard_normal(60)
    value = 0.7 * flow + (1 + np.abs(flow)) * rng.standard_normal(60) + 2.0
    design = np.stack([np.ones(60), flow], axis=1)
    bread = np.linalg.inv(design.T @ design)
    slope = bread @ design.T @ value
    residual = value - design @ slope
    sandwich = 60 / 58 * bread @ (design.T * residual**2) @ design @ bread
    estimate = estimate_price_impact(jnp.asarray(value, jnp.float32), jnp.asarray(flow, jnp.float32))
    assert float(estimate.price_impact) == pytest.approx(slope[1], rel=1e-5)  # float32
    assert float(estimate.standard_error) == pytest.approx(np.sqrt(sandwich[1, 1]), rel=1e-5)


def equilibrium_by_iteration(value_deviation, noise_deviation, n_auctions):
    """Impacts and intensities: best response by dynamic programming and regression by turns, damped, from a guess."""
    impact = np.full(n_auctions, value_deviation / noise_deviation)
    for _ in range(400):
        slope, intensity = 0.0, np.empty(n_auctions)
        for n in reversed(range(n_auctions)):
            # E of (v - p - lambda x) x + slope (v - p - lambda x)^2, by its stationary point
            intensity[n] = (1 - 2 * slope * impact[n]) / (2 * impact[n] - 2 * slope * impact[n] ** 2)
            left = 1 - impact[n] * intensity[n]
            slope = left * intensity[n] + slope * left**2
        variance, regression = value_deviation**2, np.empty(n_auctions)
        for n in range(n_auctions):
            regression[n] = intensity[n] * variance / (intensity[n] ** 2 * variance + noise_deviation**2)
            variance *= 1 - regression[n] * intensity[n]
        impact = impact + 0.2 * (regression - impact)
    return impact, intensity


@pytest.mark.parametrize("n_auctions", [1, 4])
def test_auctions_in_a_row_against_the_fixed_point(n_auctions):
    exact = sequential_kyle(VALUE_DEVIATION, 20.0, n_auctions)
    impact, intensity = equilibrium_by_iteration(VALUE_DEVIATION, 20.0, n_auctions)
    np.testing.assert_allclose(exact.price_impact, impact, rtol=1e-6)  # of the iteration
    np.testing.assert_allclose(exact.intensity, intensity, rtol=1e-6)
    before = np.append(VALUE_DEVIATION**2, exact.posterior_variance[:-1])
    np.testing.assert_allclose(exact.posterior_variance, (1 - impact * intensity) * before, rtol=1e-6)
    earned = np.sum(intensity * (1 - impact * intensity) * before)  # E[(v - p_n) x_n], auction by auction
    assert exact.informed_profit == pytest.approx(earned, rel=1e-6)


def test_one_of_a_row_is_the_single_auction():
    single, row = kyle_auction(VALUE_DEVIATION, 20.0), sequential_kyle(VALUE_DEVIATION, 20.0, 1)
    for name in ("price_impact", "intensity", "posterior_variance", "informed_profit"):
        assert np.squeeze(getattr(row, name)) == pytest.approx(getattr(single, name), rel=1e-9)
