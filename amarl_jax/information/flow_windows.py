"""Where in the past of a tape orders were densest: a burst of a few steps drowns in sums over the whole past.

Orders are counted over the opening, over the window in which they were densest so far, and along the side on which
value turned out to lie, which the public value gap of the first part of the episode tells. Each is a function of the
tape so far, so whoever prices leakage step by step sees what a detector with all day to look back sees.
"""

import math

import chex
import jax
import jax.numpy as jnp

from amarl_jax.lob.matching import running_sum
from amarl_jax.marks import GAP_SCALE, marks
from amarl_jax.types import Array, Tape

NEWS = 1 / 4  # share of the horizon in which value reaches the market
WINDOWS = (1 / 64, 1 / 32, 1 / 8)  # lengths of the openings and of the sliding windows, shares of the horizon


def window_features(tape: Tape) -> Array:
    """Window features of the tape up to and including step t, [T, D], finite for every tape.

    For each mark of an order (see :func:`amarl_jax.marks.marks`): its sum along the side of value over the whole past;
    then for each length of ``WINDOWS`` its sum over the opening, plain and along the side of value, and its largest sum
    over any such window so far, of both sides together and of one side. Sums are divided by the square root of their
    length. Buying and selling mirror each other.

    Args:
      tape: leaves with a leading [T].
    """
    chex.assert_rank(tape.side, 2)
    horizon = tape.side.shape[0]
    towards = value_side(tape)[:, None]
    buys, sells = (_running_sums(marks(tape, side)) for side in (1, -1))
    both, net = buys + sells, buys - sells
    parts = [towards * net[1:] / math.sqrt(horizon)]
    so_far = jnp.arange(1, horizon + 1)
    for n in sorted({max(1, round(share * horizon)) for share in WINDOWS}):
        opening = jnp.minimum(so_far, n)
        started = jnp.maximum(so_far - n, 0)
        densest = [_running_max(sums[1:] - sums[started]) for sums in (both, buys, sells)]
        sums = (both[opening], towards * net[opening], densest[0], jnp.maximum(densest[1], densest[2]))
        parts += [x / math.sqrt(n) for x in sums]
    return jnp.concatenate(parts, axis=-1)


def value_side(tape: Tape) -> Array:
    """On which side value turned out to lie, by the public value gap of the morning so far: [T] in (-1, 1)."""
    horizon = tape.side.shape[0]
    news = max(1, round(NEWS * horizon))
    gap = jnp.where(jnp.arange(horizon) < news, tape.value_gap_16.astype(jnp.float32) / GAP_SCALE, 0.0)
    return jnp.tanh(running_sum(gap) / math.sqrt(news))


def _running_sums(x: Array) -> Array:
    """Sums of the first t rows of [T, M] for t = 0 .. T."""
    return jnp.concatenate([jnp.zeros((1, x.shape[1])), running_sum(x.T).T])


def _running_max(x: Array) -> Array:
    return jax.lax.associative_scan(jnp.maximum, x)
