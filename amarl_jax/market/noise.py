"""The noise traders' law: how many orders, when, of which size, at which price, for how long."""

import dataclasses
from typing import Protocol

import chex
import jax
import jax.numpy as jnp
from flax import struct

from amarl_jax.market.params import EnvParams, MarketSpec
from amarl_jax.types import HALF_TICK, Array


@struct.dataclass
class NoiseOrders:
    """Orders drawn from the noise law, with or without a leading axis."""

    side: Array  # int32, +1 buy, -1 sell
    lots: Array  # int32
    offset_ticks: Array  # int32, behind mid on the order's own side; negative is aggressive
    is_limit: Array  # bool


@struct.dataclass
class MarksLaw:
    """Probabilities of an order's marks: independent of each other, except that sizes may depend on the place.

    The place is kind and offset in one index: 0 for market orders, then the limit offsets.
    """

    buy: Array  # [] of the side +1
    limit: Array  # [] of a limit order
    lots: Array  # [max_order_size] of 1, 2, ... lots, or [1 + n_offsets, max_order_size] given the place
    offset: Array  # [n_offsets] of a limit order's offset behind mid, most aggressive first


class NoiseLaw(Protocol):
    """The law of one noise order's marks; the slot at ``z = 0`` and the mimic draw from the same one.

    Traceable and hashable, a function or a frozen dataclass. The number of orders, their times, their lifetimes
    and the tilt of ``p_buy`` are not part of it. A law may also state its probabilities, in a method ``marks`` like
    that of :class:`StylisedNoise`; without it leakage has no exact value.
    """

    def __call__(
        self, uniform: Array, p_buy: Array, size_cdf: Array, params: EnvParams, spec: MarketSpec
    ) -> NoiseOrders:
        """See :func:`orders`, the law that comes with the package."""
        ...


def size_distribution(params: EnvParams, max_order_size: int) -> Array:
    """``P(size <= k)`` for k = 1 .. max_order_size, where ``size = max(1, round(max_order_size * Beta(a, b)))``.

    Returns:
        [max_order_size] float32, the last entry exactly 1; ``params.size_cdf`` where that is known.
    """
    if params.size_cdf is not None:
        chex.assert_shape(params.size_cdf, (max_order_size,))
        return jnp.asarray(params.size_cdf)
    edges = (jnp.arange(1, max_order_size, dtype=jnp.float32) + 0.5) / max_order_size
    below = jax.scipy.special.betainc(params.size_beta_a, params.size_beta_b, edges)
    return jnp.append(below, jnp.float32(1.0))


def with_size_law(params: EnvParams, max_order_size: int) -> EnvParams:
    """The same parameters and their size law: an incomplete beta function is a loop, whose length depends on them."""
    return params.replace(size_cdf=size_distribution(params, max_order_size))  # type: ignore[attr-defined]


def buy_probability(news: Array, mid2: Array, params: EnvParams) -> Array:
    """``1/2 + clip(psi (W - mid), -psi_max, psi_max)``: the tilt by which trading discovers the price."""
    tilt = params.tilt_per_tick * (news - HALF_TICK * mid2)
    return 0.5 + jnp.clip(tilt, -params.tilt_max, params.tilt_max)


def _poisson_mass(rate: Array | float, max_count: int) -> Array:
    """``P(k)`` of a Poisson count for k from 0 to far above the bound, [3 max_count + 8]."""
    support = jnp.arange(3 * max_count + 8, dtype=jnp.float32)
    log_mass = support * jnp.log(rate) - rate - jax.lax.lgamma(support + 1.0)
    return jnp.where(rate > 0, jnp.exp(log_mass), support == 0)


def bounded_count(uniform: Array, rate: Array | float, max_count: int) -> tuple[Array, Array]:
    """A Poisson count by inverse CDF, bounded; a fixed number of operations under ``vmap``.

    Args:
        uniform: [] in [0, 1).
        rate: [] orders per step.
        max_count: the bound.

    Returns:
        The count, at most ``max_count``, and how many orders the bound cut off, both [] int32.
    """
    count = jnp.sum(uniform > jnp.cumsum(_poisson_mass(rate, max_count)), dtype=jnp.int32)
    bounded = jnp.minimum(count, max_count)
    return bounded, count - bounded


def count_mass(rate: Array | float, max_count: int) -> Array:
    """``P(n)`` of :func:`bounded_count` for n = 0 .. max_count + 1, the last of which is 0. [max_count + 2]."""
    mass = _poisson_mass(rate, max_count)
    below, beyond = jnp.sum(mass[:max_count]), jnp.sum(mass[max_count:])
    at_bound = jnp.where(rate > max_count, 1.0 - below, beyond)  # the support ends; small tails must not cancel
    return jnp.concatenate([mass[:max_count], at_bound[None], jnp.zeros(1, jnp.float32)])


@dataclasses.dataclass(frozen=True)
class StylisedNoise:
    """The law that comes with the package: sizes from a discretised Beta law, limit offsets uniform in their range."""

    def __call__(
        self, uniform: Array, p_buy: Array, size_cdf: Array, params: EnvParams, spec: MarketSpec
    ) -> NoiseOrders:
        """Independent orders (side, size, offset, type).

        Args:
            uniform: [4, ...] in [0, 1), one row per mark; the orders have the remaining shape.
            p_buy: [] from :func:`buy_probability`.
            size_cdf: [max_order_size] from :func:`size_distribution`.
            params: market constants.
            spec: market sizes.
        """
        n_offsets = spec.n_offsets
        thresholds = size_cdf.reshape((-1,) + (1,) * (uniform.ndim - 1))
        lots = 1 + jnp.sum(uniform[1][None] > thresholds, axis=0, dtype=jnp.int32)
        offset = jnp.floor(uniform[2] * n_offsets).astype(jnp.int32)
        return NoiseOrders(
            side=jnp.where(uniform[0] < p_buy, 1, -1).astype(jnp.int32),
            lots=jnp.minimum(lots, spec.max_order_size),
            offset_ticks=spec.offset_min_ticks + jnp.minimum(offset, n_offsets - 1),
            is_limit=uniform[3] >= params.market_order_probability,
        )

    def marks(self, p_buy: Array, size_cdf: Array, params: EnvParams, spec: MarketSpec) -> MarksLaw:
        """The probabilities by which :meth:`__call__` draws."""
        return MarksLaw(
            buy=p_buy,
            limit=jnp.float32(1.0) - params.market_order_probability,
            lots=jnp.diff(size_cdf, prepend=0.0),
            offset=jnp.full(spec.n_offsets, 1.0 / spec.n_offsets, jnp.float32),
        )


orders = StylisedNoise()


def lifetimes(uniform: Array, params: EnvParams) -> Array:
    """Geometric lifetimes of mean ``lifetime_steps`` on 1, 2, ..., int32 steps, by inverse CDF."""
    log_survival = jnp.log1p(-1.0 / jnp.maximum(params.lifetime_steps, 1.0))
    steps = jnp.floor(jnp.log1p(-uniform) / log_survival)
    return 1 + jnp.clip(steps, 0.0, 1e6).astype(jnp.int32)
