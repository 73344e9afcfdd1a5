"""Learners of the auction at one price: a linear trader and makers that undercut one another, over T auctions.

The trader sends ``x_n = beta_n (v - p_(n-1))``, maker m quotes ``p_(n-1) + lambda_(m,n) y_n``, all rounded, and the
logarithms of beta and lambda are learned by policy gradient. Every episode each player deviates from its strategy by
normal draws, and every episode is played twice, with opposite deviations and otherwise the same draws:
``grad = mean of deviation (reward+ - reward-) / (2 scale)``. The trader is paid what it still earns, a maker what the
auction at hand earns it. Nothing tells a maker to earn nothing: it loses the flow to whoever quotes better.
"""

import dataclasses

import jax
import jax.numpy as jnp
import optax
from auctions import INFORMED, MAKERS, MAX_LOTS, MAX_PRICE, single_price
from flax import struct

from amarl_jax.types import Array


@dataclasses.dataclass(frozen=True)
class Setting:
    """Static: sizes and schedules."""

    n_auctions: int
    n_makers: int
    n_pairs: int  # of episodes per update
    n_updates: int
    value_deviation: float  # sigma_v, ticks
    noise_deviation: float  # sigma_u of one auction, lots
    explore: tuple[float, float]  # deviation of the logarithms, at first and at last
    learning_rate: tuple[float, float]  # of Adam, at first and at last
    anneal_share: float  # of the updates, during which both fall geometrically


@struct.dataclass
class Strategies:
    """Logarithms in the game's own units."""

    intensity: Array  # [T] of beta sigma_v / sigma_u
    impact: Array  # [M, T] of lambda sigma_u / sigma_v


@struct.dataclass
class Draws:
    """The chance of one episode."""

    value: Array  # [] ticks
    noise: Array  # [T] int32 lots
    arrival: Array  # [T, M] int32, order in which quotes arrive


@struct.dataclass
class Played:
    """Record of one episode."""

    flow: Array  # [T] int32 lots, net
    price: Array  # [T] int32 ticks
    order: Array  # [T] int32 lots of the trader
    gain: Array  # [T, O] tick-lots of every owner at the value


def annealed(ends, update, setting):
    """Interpolate geometrically from the first to the last value over the annealed share of the updates."""
    share = jnp.minimum(update / (setting.anneal_share * setting.n_updates), 1.0)
    return ends[0] * (ends[1] / ends[0]) ** share


def first_strategies(key, setting) -> Strategies:
    """Random strategies within a factor of two of the units, a draw per player, the same in all auctions."""
    key_trader, key_makers = jax.random.split(key)
    level = lambda k, n: jax.random.uniform(k, (n, 1), minval=jnp.log(0.5), maxval=jnp.log(2.0))  # noqa: E731
    rows = lambda x: jnp.broadcast_to(x, (x.shape[0], setting.n_auctions))  # noqa: E731
    return Strategies(rows(level(key_trader, 1))[0], rows(level(key_makers, setting.n_makers)))


def draw(key, setting) -> Draws:
    """One episode's value, noise and orders of arrival."""
    key_value, key_noise, key_arrival = jax.random.split(key, 3)
    noise = jnp.rint(setting.noise_deviation * jax.random.normal(key_noise, (setting.n_auctions,)))
    keys = jax.random.split(key_arrival, setting.n_auctions)
    arrival = jax.vmap(lambda k: jax.random.permutation(k, setting.n_makers))(keys)
    value = setting.value_deviation * jax.random.normal(key_value)
    return Draws(value, noise.astype(jnp.int32), arrival.astype(jnp.int32))


def play(strategies: Strategies, draws: Draws, setting) -> Played:
    """T auctions on the book."""
    unit = setting.value_deviation / setting.noise_deviation  # ticks per lot
    whole = lambda x, most: jnp.clip(jnp.rint(x), -most, most).astype(jnp.int32)  # noqa: E731

    def auction(last, inputs):
        intensity, impact, noise, arrival = inputs
        order = whole(jnp.exp(intensity) / unit * (draws.value - last), MAX_LOTS // 2)
        flow = order + noise
        quote = whole(last + jnp.exp(impact) * unit * flow, MAX_PRICE)
        price, accounts = single_price(quote, arrival, order, noise, last)
        gain = accounts.lots * draws.value + accounts.cash
        return price, Played(flow, price, order, gain)

    inputs = (strategies.intensity, strategies.impact.T, draws.noise, draws.arrival)
    return jax.lax.scan(auction, jnp.int32(0), inputs)[1]


def gradient(key, strategies: Strategies, scale, setting) -> Strategies:
    """Ascent direction of every player, rewards in sigma_v sigma_u."""
    key_draws, key_deviations = jax.random.split(key)
    draws = jax.vmap(lambda k: draw(k, setting))(jax.random.split(key_draws, setting.n_pairs))
    n_players = 1 + setting.n_makers
    noise = jax.random.normal(key_deviations, (setting.n_pairs, n_players, setting.n_auctions))
    deviations = Strategies(noise[:, 0], noise[:, 1:])

    def at(sign):
        moved = jax.tree.map(lambda s, d: s[None] + sign * scale * d, strategies, deviations)
        return jax.vmap(lambda s, d: play(s, d, setting).gain)(moved, draws)

    up, down = jax.vmap(at)(jnp.array([1.0, -1.0], jnp.float32))
    worth = setting.value_deviation * setting.noise_deviation
    apart = (up - down) / (2.0 * scale * worth)  # [pairs, T, O]
    later = jnp.cumsum(apart[:, ::-1, INFORMED], axis=1)[:, ::-1]
    own = jnp.swapaxes(apart[:, :, MAKERS:], 1, 2)
    return Strategies(jnp.mean(deviations.intensity * later, axis=0), jnp.mean(deviations.impact * own, axis=0))


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
        return (strategies, memory), strategies

    inputs = (jnp.arange(setting.n_updates, dtype=jnp.float32), jax.random.split(key_run, setting.n_updates))
    _, path = jax.lax.scan(update, (start, adam.init(start)), inputs)
    settled = jax.tree.map(lambda x: jnp.mean(x[int(setting.anneal_share * setting.n_updates) :], axis=0), path)
    return settled, path


def measure(key, strategies: Strategies, n_episodes, setting) -> tuple[Array, Played]:
    """Values [n] and fresh episodes of strategies without deviations."""
    draws = jax.vmap(lambda k: draw(k, setting))(jax.random.split(key, n_episodes))
    return draws.value, jax.vmap(lambda d: play(strategies, d, setting))(draws)
