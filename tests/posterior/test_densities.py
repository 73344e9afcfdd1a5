"""The pieces of the weights against scipy: Beta cells, arrival times, counts, marks of a noise order."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special

from amarl_jax.market.events import arrival_times, slot_arrival_ratio
from amarl_jax.market.noise import bounded_count, count_mass, orders, size_distribution
from amarl_jax.market.params import STEP_MS, EnvParams, MarketSpec
from amarl_jax.nets.beta_cells import beta_cells
from amarl_jax.trees import as_arrays

SPEC = MarketSpec()
EDGES = {"lots": (np.arange(1, 20) + 0.5) / 20, "offsets": np.arange(1, 8) / 8}


def cells_of_scipy(a, b, edges):
    """Each cell from the end it is nearer to, where nothing cancels."""
    below = np.diff(special.betainc(a, b, edges), prepend=0.0, append=1.0)
    above = -np.diff(special.betaincc(a, b, edges), prepend=1.0, append=0.0)
    middle = np.append(edges, 1.0) - 0.5 * np.diff(edges, prepend=0.0, append=1.0)
    return np.where(middle < a / (a + b), below, above)


@pytest.mark.parametrize("cells", EDGES)
@pytest.mark.parametrize(("largest", "relative"), [(30.0, 1e-3), (100.0, 4e-2)])
def test_beta_cells_are_those_of_scipy(cells, largest, relative):
    """To the errors that its docstring states."""
    values = np.float32([0.05, 0.3, 1.0, 1.7, 4.44, 13.31, 30.0, 61.0, 100.0])
    values = values[values <= largest]
    a, b = (x.ravel() for x in np.meshgrid(values, values))
    found = jax.jit(jax.vmap(lambda a, b: beta_cells(a, b, EDGES[cells])))(a, b)
    exact = np.array(
        [cells_of_scipy(*both, EDGES[cells]) for both in zip(a.astype(float), b.astype(float), strict=True)]
    )
    np.testing.assert_allclose(found.sum(1), 1.0, atol=1e-5)
    np.testing.assert_allclose(found, exact, rtol=0, atol=2e-5)
    shown = exact > 1e-9
    np.testing.assert_allclose(np.asarray(found)[shown], exact[shown], rtol=relative)


def mean_over_the_delay(time_ms, latency, jitter):
    """``E STEP / (STEP - d) 1[d <= t]``, by adaptive quadrature."""
    if time_ms < latency:
        return 0.0
    if jitter == 0:
        return STEP_MS / (STEP_MS - latency)
    reach = min((time_ms - latency) / jitter, 60.0)
    return integrate.quad(lambda x: np.exp(-x) * STEP_MS / (STEP_MS - latency - jitter * x), 0.0, reach, limit=200)[0]


@pytest.mark.parametrize(("latency", "jitter"), [(100.0, 0.0), (100.0, 2.0), (0.0, 2.0), (9_000.0, 5_000.0)])
def test_the_ratio_of_arrival_times_is_scipys_and_a_density(latency, jitter):
    params = as_arrays(EnvParams(latency_execution_ms=latency, jitter_ms=jitter))
    times = np.float32(
        [0.0, 99.0, 100.5, 101.0, 104.0, 150.0, 8_999.0, 9_500.0, 14_000.0, 30_000.0, 55_000.0, 59_000.0]
    )
    exact = [mean_over_the_delay(float(t), latency, jitter) for t in times]
    np.testing.assert_allclose(slot_arrival_ratio(times, params), exact, rtol=1e-3, atol=1e-6)
    grid = STEP_MS * (np.arange(200_000) + 0.5) / 200_000
    assert abs(np.mean(np.asarray(slot_arrival_ratio(grid.astype(np.float32), params), np.float64)) - 1.0) < 2e-3


def test_the_slots_times_have_the_density_of_the_ratio():
    params = as_arrays(EnvParams(latency_execution_ms=9_000.0, jitter_ms=5_000.0))
    uniform = np.random.default_rng(0).random((2, 50_000)).astype(np.float32)
    times = jax.vmap(lambda u, x: arrival_times(u[None], jnp.full(3, x), params)[5])(uniform[0], -np.log1p(-uniform[1]))
    edges = np.linspace(0.0, STEP_MS, 25)
    counts, _ = np.histogram(times, edges)
    grid = STEP_MS * (np.arange(24_000) + 0.5) / 24_000
    shares = np.asarray(slot_arrival_ratio(grid.astype(np.float32), params)).reshape(24, -1).mean(1) / 24
    error = np.sqrt(np.maximum(shares, 1e-5) * 50_000)
    assert (np.abs(counts - 50_000 * shares) < 5.0 * error + 1.0).all()


@pytest.mark.parametrize("rate", [0.0, 0.4, 1.5, 10.0])
def test_the_mass_of_counts_is_their_frequency(rate):
    bound, n = 3, 40_000
    uniform = (np.arange(n, dtype=np.float32) + 0.5) / n  # a grid of quantiles: frequencies are exact to 1 / n
    counts, _ = jax.vmap(lambda u: bounded_count(u, jnp.float32(rate), bound))(uniform)
    mass = np.asarray(count_mass(jnp.float32(rate), bound))
    assert mass[bound + 1] == 0.0
    np.testing.assert_allclose(mass, np.bincount(counts, minlength=bound + 2) / n, atol=1e-4)


@pytest.mark.parametrize("p_buy", [0.2, 0.5, 0.71])
def test_the_marks_of_noise_are_the_frequencies_of_its_orders(p_buy):
    params, n = as_arrays(EnvParams(market_order_probability=0.3)), 100_000
    cdf = size_distribution(params, SPEC.max_order_size)
    marks = orders.marks(jnp.float32(p_buy), cdf, params, SPEC)
    uniform = np.random.default_rng(1).random((4, n)).astype(np.float32)
    drawn = jax.tree.map(np.asarray, orders(uniform, jnp.float32(p_buy), cdf, params, SPEC))
    offset = drawn.offset_ticks - SPEC.offset_min_ticks
    pairs = [
        (np.bincount(drawn.side > 0, minlength=2), [1 - marks.buy, marks.buy]),
        (np.bincount(drawn.is_limit, minlength=2), [1 - marks.limit, marks.limit]),
        (np.bincount(drawn.lots - 1, minlength=SPEC.max_order_size), marks.lots),
        (np.bincount(offset, minlength=SPEC.n_offsets), marks.offset),
    ]
    for counts, probabilities in pairs:
        p = np.asarray(probabilities, np.float64)
        assert abs(p.sum() - 1.0) < 1e-5
        assert (np.abs(counts - n * p) <= 5.0 * np.sqrt(n * p * (1 - p)) + 1.0).all()
    joint = np.bincount(2 * (drawn.side > 0) + drawn.is_limit, minlength=4) / n
    np.testing.assert_allclose(joint, np.outer(pairs[0][0], pairs[1][0]).ravel() / n**2, atol=0.01)
