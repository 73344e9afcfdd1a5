"""Learners of the auction on a ladder of limit orders: a trader with any strategy, and depth by free entry.

The trader's order is a piecewise linear function of the value, learned by policy gradient as in
:mod:`single_price`. The depth at each of K prices a side is learned from what the last lot of its queue earns: while
it earns something another lot comes, while it loses one goes. So zero profit at the margin is the rest point of
entrants who follow their own profit and are too small to move a price; it is no regression, and market power of makers
with whole schedules is left out.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
from auctions import ENTRANT, INFORMED, MAKERS, MAX_LOTS, NOISE, post_ladder, walk_ladder
from flax import struct
from single_price import annealed

from amarl_jax.types import Array

KNOT_SPACING, LAST_KNOT = 0.25, 3.5  # sigma_v
KNOTS = np.arange(-LAST_KNOT, LAST_KNOT + KNOT_SPACING / 2, KNOT_SPACING, dtype=np.float32)


@dataclasses.dataclass(frozen=True)
class Setting:
    """Static: sizes and schedules; the names of :mod:`single_price` mean the same."""

    price: tuple[float, ...]  # [K] of the asks, in sigma_v; bids are at minus these
    n_pairs: int
    n_updates: int
    value_deviation: float
    noise_deviation: float
    explore: tuple[float, float]  # deviation of an order, in sigma_u
    learning_rate: tuple[float, float]
    anneal_share: float


@struct.dataclass
class Strategies:
    """Orders and depths that are learned."""

    order: Array  # [J] lots at each of KNOTS, in sigma_u
    log_depth: Array  # [2, K] logarithm of lots at each price, bids first


def first_strategies(key, setting) -> Strategies:
    """A straight line of any slope, and the same depth at all prices."""
    key_slope, key_depth = jax.random.split(key)
    slope = jax.random.uniform(key_slope, (), minval=0.3, maxval=1.5)
    share = jax.random.uniform(key_depth, (), minval=0.1, maxval=0.6)
    depth = jnp.log(share * setting.noise_deviation)
    return Strategies(slope * KNOTS, jnp.broadcast_to(depth, (2, len(setting.price))))


def weights(value) -> Array:
    """Weights of the knots in the order at a value in sigma_v: linear between them, constant beyond. [J]."""
    inside = jnp.clip(value, -LAST_KNOT, LAST_KNOT)
    return jnp.maximum(0.0, 1.0 - jnp.abs(inside - KNOTS) / KNOT_SPACING)


def prices(setting) -> Array:
    """Prices of the levels, [K] int32 ticks."""
    return jnp.asarray(np.rint(np.array(setting.price) * setting.value_deviation), jnp.int32)


def whole_depth(key, log_depth) -> Array:
    """Depth as lots, rounded at random, at least 1. int32."""
    return jnp.maximum(jnp.floor(jnp.exp(log_depth) + jax.random.uniform(key, log_depth.shape)), 1.0).astype(jnp.int32)


def gains(book, value, order, noise, noise_first, setting):
    """Gains of each owner [4] and of the last lot of each queue [2, K], tick-lots, of one episode."""
    lots = jnp.clip(jnp.rint(order * setting.noise_deviation), -MAX_LOTS, MAX_LOTS).astype(jnp.int32)
    filled, accounts = walk_ladder(book, lots, noise, noise_first)
    surplus = jnp.stack([value + prices(setting), prices(setting) - value])  # of a lot bought at a bid, sold at an ask
    return accounts.lots * value + accounts.cash, filled * surplus


def draw(key, n_episodes, setting):
    """Values [n] in ticks, noise [n] int32 lots, and who is first [n]."""
    key_value, key_noise, key_turn = jax.random.split(key, 3)
    value = setting.value_deviation * jax.random.normal(key_value, (n_episodes,))
    noise = jnp.rint(setting.noise_deviation * jax.random.normal(key_noise, (n_episodes,))).astype(jnp.int32)
    return value, noise, jax.random.bernoulli(key_turn, 0.5, (n_episodes,))


def gradient(key, strategies: Strategies, scale, setting) -> Strategies:
    """Ascent direction of the trader's knots and of the depths."""
    key_draws, key_deviations, key_depth = jax.random.split(key, 3)
    value, noise, noise_first = draw(key_draws, setting.n_pairs, setting)
    book = post_ladder(prices(setting), whole_depth(key_depth, strategies.log_depth))
    deviation = jax.random.normal(key_deviations, (setting.n_pairs,))
    share = jax.vmap(weights)(value / setting.value_deviation)
    order = share @ strategies.order

    def at(sign):
        moved = order + sign * scale * deviation
        return jax.vmap(lambda *episode: gains(book, *episode, setting))(value, moved, noise, noise_first)

    owners, last_lot = jax.vmap(at)(jnp.array([1.0, -1.0], jnp.float32))
    worth = setting.value_deviation * setting.noise_deviation
    apart = (owners[0] - owners[1])[:, INFORMED] / (2.0 * scale * worth)
    return Strategies(
        jnp.mean(share * (deviation * apart)[:, None], axis=0),
        jnp.mean(last_lot, axis=(0, 1)) / setting.value_deviation,
    )


def train(key, setting) -> tuple[Strategies, Strategies]:
    """Strategies averaged over the updates after annealing, and those of every update [n_updates, ...]."""
    key_first, key_run = jax.random.split(key)
    adam = optax.scale_by_adam(b1=0.9, b2=0.99)
    start = first_strategies(key_first, setting)

    def update(carry, inputs):
        strategies, memory = carry
        number, key_update = inputs
        ascent = gradient(key_update, strategies, annealed(setting.explore, number, setting), setting)
        step, memory = adam.update(ascent, memory)
        rate = annealed(setting.learning_rate, number, setting)
        strategies = jax.tree.map(lambda s, d: s + rate * d, strategies, step)
        log_depth = jnp.clip(strategies.log_depth, -1.0, np.log(1000.0))
        strategies = strategies.replace(log_depth=log_depth)
        return (strategies, memory), strategies

    inputs = (jnp.arange(setting.n_updates, dtype=jnp.float32), jax.random.split(key_run, setting.n_updates))
    _, path = jax.lax.scan(update, (start, adam.init(start)), inputs)
    settled = jax.tree.map(lambda x: jnp.mean(x[int(setting.anneal_share * setting.n_updates) :], axis=0), path)
    return settled, path


def measure(key, strategies: Strategies, n_episodes, setting) -> dict[str, Array]:
    """Gain of the trader, of noise and of all makers in fresh episodes, tick-lots, [n] each."""
    value, noise, noise_first = draw(key, n_episodes, setting)
    depth = jnp.maximum(jnp.rint(jnp.exp(strategies.log_depth)), 1.0).astype(jnp.int32)
    book = post_ladder(prices(setting), depth)
    order = jax.vmap(weights)(value / setting.value_deviation) @ strategies.order
    owners, _ = jax.vmap(lambda *episode: gains(book, *episode, setting))(value, order, noise, noise_first)
    makers = owners[:, MAKERS] + owners[:, ENTRANT]
    return {"informed": owners[:, INFORMED], "noise": owners[:, NOISE], "makers": makers}
