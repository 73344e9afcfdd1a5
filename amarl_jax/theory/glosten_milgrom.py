"""Glosten and Milgrom's dealer: exact beliefs and zero-profit quotes when the arrival law is known.

Each period one trader arrives and sells, passes or buys. Under hypothesis k the asset is worth ``value[k]`` and the
event e has probability ``likelihood[k, e]``. Belief and quotes are Bayes' rule and nothing else:
``pi'[k] = pi[k] likelihood[k, e] / sum_j``, ``ask = E[v | buy]``, ``bid = E[v | sell]``, so that the dealer expects
to gain nothing on any trade (Glosten and Milgrom 1985, Journal of Financial Economics 14, eq. 3-6). Hypotheses may
include "nobody is informed": with (z, u) as hypotheses the belief in z = 1 is the game's own.
"""

import chex
import jax
import jax.numpy as jnp
from flax import struct

from amarl_jax.types import Array

SELL, PASS, BUY = 0, 1, 2  # columns of ArrivalLaw.likelihood; an event is its side plus 1


@struct.dataclass
class ArrivalLaw:
    """Hypotheses K about the asset and the flow, and what arrives under each."""

    prior: Array  # [K] probabilities
    value: Array  # [K] ticks, the asset's value under each hypothesis
    likelihood: Array  # [K, 3] P(sell), P(pass), P(buy)


@struct.dataclass
class Quotes:
    """Zero-profit quotes before an arrival."""

    bid: Array  # [...] ticks, E[v | sell]
    ask: Array  # [...] ticks, E[v | buy]


def two_value_law(
    informed_share: Array | float, low: Array | float, high: Array | float, prior_high: Array | float = 0.5
) -> ArrivalLaw:
    """The textbook case: v is low or high, the informed share buys if high and sells if low, the rest toss a coin.

    ``P(buy | high) = (1 + a) / 2 = P(sell | low)``: the noise law of the market with its tilt at ``a / 2``.
    """
    towards, against = 0.5 * (1.0 + informed_share), 0.5 * (1.0 - informed_share)
    return ArrivalLaw(
        prior=jnp.stack([1.0 - jnp.asarray(prior_high), jnp.asarray(prior_high)]),
        value=jnp.stack([jnp.asarray(low), jnp.asarray(high)]),
        likelihood=jnp.array([[towards, 0.0, against], [against, 0.0, towards]]),
    )


def hidden_trader_law(informed_share: Array | float, value: Array | float, prior: Array | float = 0.5) -> ArrivalLaw:
    """The game's hypotheses: no informed trader (z = 0), one who sells (z = 1, u = -1), one who buys (z = 1, u = +1).

    The asset is worth ``u * value`` with u a fair coin, so under z = 0, where the flow says nothing of u, it is
    worth 0 on average; the informed share of arrivals trades along u when z = 1.
    """
    pair = two_value_law(informed_share, -value, value)
    prior = jnp.asarray(prior)
    return ArrivalLaw(
        prior=jnp.stack([1.0 - prior, 0.5 * prior, 0.5 * prior]),
        value=jnp.concatenate([jnp.zeros(1), pair.value]),
        likelihood=jnp.concatenate([jnp.array([[0.5, 0.0, 0.5]]), pair.likelihood]),
    )


def update_belief(belief: Array, event: Array, law: ArrivalLaw) -> Array:
    """Bayes' rule for one arrival: belief [K], event [] in {SELL, PASS, BUY}; returns [K]."""
    chex.assert_equal_shape([belief, law.prior])
    joint = belief * law.likelihood[:, event]
    return joint / jnp.sum(joint)


def quotes(belief: Array, law: ArrivalLaw) -> Quotes:
    """``E[v | sell]`` and ``E[v | buy]`` under belief [K]; both [] ticks."""
    return Quotes(
        bid=jnp.sum(update_belief(belief, jnp.int32(SELL), law) * law.value),
        ask=jnp.sum(update_belief(belief, jnp.int32(BUY), law) * law.value),
    )


def follow(events: Array, law: ArrivalLaw) -> tuple[Array, Quotes]:
    """Beliefs after each of T arrivals, [T, K], and the quotes [T] that stood before it.

    Args:
        events: [T] int32 in {SELL, PASS, BUY}.
        law: the arrival law.
    """
    chex.assert_rank(events, 1)

    def arrive(belief: Array, event: Array) -> tuple[Array, tuple[Array, Quotes]]:
        after = update_belief(belief, event, law)
        return after, (after, quotes(belief, law))

    return jax.lax.scan(arrive, law.prior, events)[1]
