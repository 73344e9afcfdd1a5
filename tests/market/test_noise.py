"""The noise law: exact against formulas, and the one-lot helpers by hand."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amarl_jax.market import noise
from amarl_jax.market.events import limit_price
from amarl_jax.market.params import EnvParams, MarketSpec
from amarl_jax.market.slot import SlotDecision, decode_action, encode_action

SPEC = MarketSpec()


def _beta_cdf(a: float, b: float, x: float) -> float:
    """Trapezoid of the density on a fine grid; good to 1e-6, far below the tolerances that use it."""
    grid = np.linspace(1e-9, x, 200_001)
    log_norm = math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
    density = np.exp((a - 1) * np.log(grid) + (b - 1) * np.log1p(-grid) - log_norm)
    return float(np.trapezoid(density, grid))


def test_size_law_is_the_rounded_beta_with_mean_5_and_deviation_2():
    cdf = np.asarray(noise.size_distribution(EnvParams(), 20), np.float64)
    assert cdf[-1] == 1.0
    for k in (1, 4, 9):
        # float32 incomplete beta: 1e-5 is its accuracy here
        assert cdf[k - 1] == pytest.approx(_beta_cdf(4.44, 13.31, (k + 0.5) / 20), abs=1e-5)
    mass, lots = np.diff(cdf, prepend=0.0), np.arange(1, 21)
    mean = (mass * lots).sum()
    assert mean == pytest.approx(5.0, abs=0.02)  # rounding moves the mean by less than that
    assert math.sqrt((mass * (lots - mean) ** 2).sum()) == pytest.approx(2.0, abs=0.05)


def test_a_size_law_that_is_known_is_the_same_and_not_computed_again():
    known = noise.with_size_law(EnvParams(), 20)
    np.testing.assert_array_equal(noise.size_distribution(known, 20), noise.size_distribution(EnvParams(), 20))

    def computes(params):
        return "beta" in str(jax.make_jaxpr(lambda p: noise.size_distribution(p, 20))(params))

    assert [computes(params) for params in (EnvParams(), known)] == [True, False]


def test_counts_invert_the_poisson_law_and_count_what_the_bound_cuts():
    uniform = (jnp.arange(20_000) + 0.5) / 20_000  # a grid of quantiles: frequencies are exact to 1 / 20,000
    counts, cut = jax.vmap(lambda u: noise.bounded_count(u, jnp.float32(3.0), 5))(uniform)
    for n in range(5):
        exact = math.exp(-3.0) * 3.0**n / math.factorial(n)
        assert float(jnp.mean(counts == n)) == pytest.approx(exact, abs=2e-4)
    assert int(counts.max()) == 5
    tail_mean = sum((n - 5) * math.exp(-3.0) * 3.0**n / math.factorial(n) for n in range(6, 40))
    assert float(jnp.mean(cut)) == pytest.approx(tail_mean, abs=2e-3)


def test_no_orders_arrive_at_rate_zero():
    count, cut = noise.bounded_count(jnp.float32(0.999), jnp.float32(0.0), 5)
    assert int(count) == 0
    assert int(cut) == 0


def test_orders_cover_offsets_evenly_and_sides_by_the_tilt():
    n = 8_000
    grid = (jnp.arange(n) + 0.5) / n
    uniform = jnp.stack([grid, grid, grid, grid])
    cdf = noise.size_distribution(EnvParams(), 20)
    drawn = noise.orders(uniform, jnp.float32(0.7), cdf, EnvParams(), SPEC)
    offsets, counts = np.unique(np.asarray(drawn.offset_ticks), return_counts=True)
    np.testing.assert_array_equal(offsets, np.arange(-2, 6))
    np.testing.assert_array_equal(counts, n // 8)
    assert float(jnp.mean(drawn.side == 1)) == pytest.approx(0.7, abs=1 / n)
    assert float(jnp.mean(drawn.is_limit)) == pytest.approx(0.8, abs=1 / n)
    mass = np.diff(np.asarray(cdf), prepend=0.0)
    assert float(jnp.mean(drawn.lots == 5)) == pytest.approx(float(mass[4]), abs=2 / n)


def test_lifetimes_are_geometric_on_1_2_and_so_on():
    grid = (jnp.arange(100_000) + 0.5) / 100_000
    steps = np.asarray(noise.lifetimes(grid, EnvParams(lifetime_steps=10.0)))
    assert steps.min() == 1
    assert steps.mean() == pytest.approx(10.0, abs=0.01)  # the grid's largest quantile cuts the tail by less
    assert (steps == 1).mean() == pytest.approx(0.1, abs=1e-4)
    assert (np.asarray(noise.lifetimes(grid, EnvParams(lifetime_steps=1.0))) == 1).all()


def test_buying_follows_the_value_gap_up_to_the_clip():
    params = EnvParams(tilt_per_tick=0.05, tilt_max=0.3)
    for gap, expected in ((0.0, 0.5), (2.0, 0.6), (-2.0, 0.4), (100.0, 0.8), (-100.0, 0.2)):
        assert float(noise.buy_probability(jnp.float32(gap + 3.5), jnp.int32(7), params)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("side", "offset", "mid2", "price"),
    [(1, 2, 10, 3), (-1, 2, 10, 7), (1, 0, 5, 2), (-1, 0, 5, 3), (1, -2, 5, 4), (-1, -2, -5, -4)],
)
def test_half_tick_centres_round_outward(side, offset, mid2, price):
    assert int(limit_price(jnp.int32(side), jnp.int32(offset), jnp.int32(mid2))) == price


def test_every_slot_order_survives_encoding_and_decoding():
    lots, offset, side, limit = np.meshgrid(np.arange(1, 21), np.arange(-2, 6), (-1, 1), (False, True), indexing="ij")
    n = lots.size
    decision = SlotDecision(
        acts=jnp.ones(n, bool),
        side=jnp.asarray(side.reshape(-1), jnp.int32),
        lots=jnp.asarray(lots.reshape(-1), jnp.int32),
        offset_ticks=jnp.asarray(offset.reshape(-1), jnp.int32),
        is_limit=jnp.asarray(limit.reshape(-1)),
    )
    for direction in (-1, 1):
        again = jax.vmap(
            lambda d, u=direction: decode_action(encode_action(d, jnp.int32(u), SPEC), jnp.int32(u), SPEC)
        )(decision)
        for name in decision.__dataclass_fields__:
            np.testing.assert_array_equal(np.asarray(getattr(again, name)), np.asarray(getattr(decision, name)))


def test_zero_abstains_and_a_negative_fraction_trades_against_the_parent_side():
    abstain = decode_action(jnp.array([0.0, 0.0, 1.0]), jnp.int32(1), SPEC)
    against = decode_action(jnp.array([-0.01, 9.0, -1.0]), jnp.int32(-1), SPEC)
    assert not bool(abstain.acts)
    assert bool(against.acts)
    assert int(against.side) == 1
    assert int(against.lots) == 1
    assert int(against.offset_ticks) == 5, "offsets are clipped to the slot's range"
    assert not bool(against.is_limit)
