"""What a detector that has all day to look back sees of an episode: one row of numbers per tape.

The running features of :mod:`flow_features` are sums over the whole past, in which a burst of a few steps drowns. In
hindsight orders can be counted over the opening, over the window in which they were densest, and along the side on
which value turned out to lie, which the public value gap of the first part of the episode tells.
"""

import math

import chex
import jax.numpy as jnp

from amarl_jax.information.flow_features import GAP_SCALE, LOTS, flow_features, histograms
from amarl_jax.types import Array, Tape

NEWS = 1 / 4  # share of the horizon in which value reaches the market
WINDOWS = (1 / 64, 1 / 32, 1 / 8)  # lengths of the openings and of the sliding windows, shares of the horizon


def hindsight_features(tape: Tape) -> Array:
    """Features of a whole episode's tape, [D], finite for every tape.

    The last row of :func:`flow_features`; then for each mark of an order (see :func:`_marks`) and each length of
    ``WINDOWS`` its sum over the opening, plain and along the side of value, and its largest sum over any such window,
    of both sides together and of one side; and its sum along the side of value over the whole episode. Sums are divided
    by the square root of their length, then asinh. Buying and selling mirror each other in all but the first part.

    Args:
      tape: leaves with a leading [T].
    """
    chex.assert_rank(tape.side, 2)
    horizon = tape.side.shape[0]
    gap = tape.value_gap_16[: max(1, round(NEWS * horizon))].astype(jnp.float32) / GAP_SCALE
    value_side = jnp.tanh(jnp.sum(gap) / math.sqrt(gap.size))
    buys, sells = (_running_sums(_marks(tape, side)) for side in (1, -1))
    both, along = buys + sells, value_side * (buys - sells)
    parts = [along[-1] / math.sqrt(horizon)]
    for n in sorted({max(1, round(share * horizon)) for share in WINDOWS}):
        densest = [jnp.max(sums[n:] - sums[:-n], axis=0) for sums in (both, buys, sells)]
        sums = (both[n], along[n], densest[0], jnp.maximum(densest[1], densest[2]))
        parts += [x / math.sqrt(n) for x in sums]
    return jnp.concatenate([flow_features(tape)[-1], *(jnp.asinh(part) for part in parts)])


def _marks(tape: Tape, side: int) -> Array:
    """Of one side's orders in each step, [T, M].

    Orders, takers, volume, the takers' volume, square sizes, removals, takers by size, resting orders by depth.
    """
    live = (tape.side == side).astype(jnp.float32)
    size = tape.size_lots.astype(jnp.float32) / LOTS
    taking = live * tape.marketable.astype(jnp.float32)
    sums = [jnp.sum(mark, axis=1) for mark in (live, taking, live * size, taking * size, live * size**2)]
    removals = tape.removals[:, 0 if side > 0 else 1].astype(jnp.float32)
    return jnp.stack([*sums, removals, *histograms(tape, taking, live - taking).values()], axis=1)


def _running_sums(x: Array) -> Array:
    """Sums of the first t rows of [T, M] for t = 0 .. T."""
    return jnp.concatenate([jnp.zeros((1, x.shape[1])), jnp.cumsum(x, axis=0)])
