"""Where in the past of a tape orders were densest: a burst of a few steps drowns in sums over the whole past.

Orders are counted over the opening, over the window in which they were densest so far, and along the side on which
value turned out to lie, which the public value gap of the first part of the episode tells. Each is a function of the
tape so far, so whoever prices leakage step by step sees what a detector with all day to look back sees.
"""

import math

import chex
import jax
import jax.numpy as jnp

from amarl_jax.marks import GAP_SCALE, marks, sums_so_far
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
    of_both_sides = marks(tape).reshape(tape.side.shape[0], -1)
    sums = jnp.pad(sums_so_far(of_both_sides), ((1, 0), (0, 0)))  # of the first t steps, t = 0 .. T
    buys, sells = jnp.split(sums, 2, axis=-1)
    both, net = buys + sells, buys - sells
    each = jnp.concatenate([both, buys, sells], axis=-1)
    parts = [towards * net[1:] / math.sqrt(horizon)]
    so_far = jnp.arange(1, horizon + 1, dtype=jnp.int32)
    lengths = sorted({max(1, round(share * horizon)) for share in WINDOWS})
    windows = [each[1:] - each[jnp.maximum(so_far - n, 0)] for n in lengths]
    for n, densest in zip(lengths, jnp.split(running_max(jnp.concatenate(windows, -1)), len(lengths), -1), strict=True):
        opening = jnp.minimum(so_far, n)
        of_both, of_buys, of_sells = jnp.split(densest, 3, axis=-1)
        found = (both[opening], towards * net[opening], of_both, jnp.maximum(of_buys, of_sells))
        parts += [x / math.sqrt(n) for x in found]
    return jnp.concatenate(parts, axis=-1)


def value_side(tape: Tape) -> Array:
    """On which side value turned out to lie, by the public value gap of the morning so far: [T] in (-1, 1)."""
    horizon = tape.side.shape[0]
    news = max(1, round(NEWS * horizon))
    gap = jnp.where(jnp.arange(horizon, dtype=jnp.int32) < news, tape.value_gap_16.astype(jnp.float32) / GAP_SCALE, 0.0)
    return jnp.tanh(sums_so_far(gap[:, None])[:, 0] / math.sqrt(news))


def running_max(x: Array) -> Array:
    """Largest value so far along the first axis."""

    def step(largest: Array, x_t: Array) -> tuple[Array, Array]:
        largest = jnp.maximum(largest, x_t)
        return largest, largest

    return jax.lax.scan(step, jnp.full_like(x[0], -jnp.inf), x)[1]
