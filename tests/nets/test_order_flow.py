"""The point process that reads a tape: what it must not tell apart, what it must not see yet, and 0 at the start."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amarl_jax.nets.order_flow import OrderFlow
from amarl_jax.types import Tape

T, K = 7, 5
MODEL = OrderFlow(T, hidden=(6,))
log_ratio = jax.jit(MODEL.apply)


def random_tape(rng, mirror=1):
    """Orders as the market writes them: mid is a half tick where the spread is odd, and prices are rounded down."""
    side = rng.integers(-1, 2, (T, K))
    spread = rng.integers(0, 6, T)
    odd = np.concatenate([[0], spread[:-1] % 2])[:, None]
    depth, market = rng.integers(-2, 6, (T, K)), rng.random((T, K)) < 0.3
    side, removals, gap = mirror * side, rng.integers(0, 4, (T, 2))[:, ::mirror], mirror * rng.integers(-99, 99, T)
    price = np.where(market, 0, np.where(side > 0, -depth - odd, depth))
    return Tape(
        side=side.astype(np.int8),
        price_ticks=price.astype(np.int8),
        size_lots=rng.integers(1, 25, (T, K)).astype(np.int8),
        marketable=(market | (depth < 0)).astype(np.int8),
        time_256=rng.integers(0, 3, (T, K)).astype(np.uint8),
        removals=removals.astype(np.int8),
        value_gap_16=gap.astype(np.int16),
        spread_ticks=spread.astype(np.int16),
    )


@pytest.fixture(scope="module")
def weights():
    """Of a network that says something: every weight is moved off where it starts."""
    start = MODEL.init(jax.random.key(0), random_tape(np.random.default_rng(0)))
    leaves, treedef = jax.tree.flatten(start)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    moved = [x + 0.1 * jax.random.normal(key, x.shape) for x, key in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(treedef, moved)


def test_before_it_is_trained_it_knows_next_to_nothing():
    start = MODEL.init(jax.random.key(0), random_tape(np.random.default_rng(0)))
    says = log_ratio(start, random_tape(np.random.default_rng(1)))
    assert says.shape == (T,)
    assert 0.0 < np.abs(says).max() < 0.3


@pytest.mark.parametrize("seed", range(3))
def test_buying_and_selling_are_mirror_images(weights, seed):
    tape, mirror = (random_tape(np.random.default_rng(seed), sign) for sign in (1, -1))
    says = log_ratio(weights, tape)
    assert np.abs(says).max() > 0.5
    np.testing.assert_allclose(says, log_ratio(weights, mirror), rtol=1e-4, atol=1e-4)
    turned = tape.replace(side=-tape.side)
    assert np.abs(says - log_ratio(weights, turned)).max() > 0.05, "the side alone is seen against value's"


def test_the_rows_of_a_step_have_no_order(weights):
    rng = np.random.default_rng(4)
    tape = random_tape(rng)
    rows = rng.permuted(np.tile(np.arange(K), (T, 1)), axis=1)

    def shuffle(x):
        return np.take_along_axis(x, rows, axis=1) if x.shape == (T, K) else x

    np.testing.assert_allclose(log_ratio(weights, tape), log_ratio(weights, jax.tree.map(shuffle, tape)), atol=1e-4)


def test_what_stands_in_an_empty_row_is_not_read(weights):
    tape = random_tape(np.random.default_rng(5))
    blank = jax.tree.map(lambda x: np.where(tape.side == 0, 0, x).astype(x.dtype) if x.shape == (T, K) else x, tape)
    np.testing.assert_allclose(log_ratio(weights, tape), log_ratio(weights, blank), atol=1e-5)


@pytest.mark.parametrize("name", ["size_lots", "removals", "value_gap_16", "spread_ticks"])
def test_no_prefix_sees_what_comes_later(weights, name):
    tape = random_tape(np.random.default_rng(6))
    leaf = jnp.asarray(getattr(tape, name), jnp.float32)
    slopes = jax.jacobian(lambda x: MODEL.apply(weights, tape.replace(**{name: x})))(leaf)
    slopes = np.abs(np.asarray(slopes)).reshape(T, T, -1).sum(axis=-1)
    assert np.all(np.triu(slopes, 1) == 0.0)
    assert np.all(slopes[-1, : T - 1] > 0.0)
