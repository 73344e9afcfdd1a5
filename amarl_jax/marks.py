"""What the orders of a step add up to: the marks of the anonymous tape, step by step."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from amarl_jax.types import TIME_UNITS, Array, Tape

SIZE_EDGES_LOTS = (2, 4, 6, 9, 14)  # bins 1-2, 3-4, 5-6, 7-9, 10-14, 15 and more
DEPTH_EDGES_TICKS = (-1, 0, 1, 3)  # limit orders behind mid: < 0, 0, 1, 2-3, 4 and more
GAP_SCALE = 16.0 * 2.0  # a value gap of 2 ticks counts as decided
LOTS = 5.0  # typical order, lots: the unit of volumes


_OF_ORDERS = (
    "signed_volume",
    "volume",
    "count",
    "signed_count",
    "taking_count",
    "taking_signed_volume",
    "square_size",
    "signed_square_size",
    "at_once_signed_volume",
    "time",
)
_OF_STEPS = (
    "removals",
    "signed_removals",
    "gap",
    "absolute_gap",
    "gap_volume",
    "spread",
    "burst",
    "persistence",
    "square_count",
)
STATISTICS = (  # columns of step_statistics
    *_OF_ORDERS,
    *_OF_STEPS,
    *(f"size_bin_{i}" for i in range(len(SIZE_EDGES_LOTS) + 1)),
    *(f"depth_bin_{i}" for i in range(len(DEPTH_EDGES_TICKS) + 1)),
)


def step_statistics(tape: Tape) -> Array:
    """Sums over the orders of each step by the columns ``STATISTICS``, [T, n] float32.

    Volumes are in units of 5 lots, gaps of 2 ticks. "Signed" is positive for buys. The value gap is that of the end of
    the step before, which is what the step's orders could react to.
    """
    side = tape.side.astype(jnp.float32)
    live = (tape.side != 0).astype(jnp.float32)
    size = tape.size_lots.astype(jnp.float32) * live / LOTS
    taking = tape.marketable.astype(jnp.float32) * live
    at_once = (tape.time_256 == 0).astype(jnp.float32)
    of_each_order = (
        side * size,
        size,
        live,
        side,
        taking,
        taking * side * size,
        size**2,
        side * size**2,
        at_once * side * size,
        live * (tape.time_256.astype(jnp.float32) / TIME_UNITS - 0.5),
    )
    of_orders = jnp.sum(jnp.stack(of_each_order, axis=1), axis=-1)
    signed_volume, count = (of_orders[:, _OF_ORDERS.index(name)] for name in ("signed_volume", "count"))
    removed_bids, removed_asks = tape.removals.astype(jnp.float32).T
    gap = _a_step_later(tape.value_gap_16.astype(jnp.float32) / GAP_SCALE)
    of_steps = (
        removed_bids + removed_asks,
        removed_bids - removed_asks,
        gap,
        jnp.abs(gap),
        jnp.tanh(gap) * signed_volume,
        tape.spread_ticks.astype(jnp.float32),
        signed_volume**2,
        signed_volume * _a_step_later(signed_volume),
        count**2,
    )
    return jnp.concatenate([of_orders, jnp.stack(of_steps, axis=-1), *histograms(tape, live, live - taking)], axis=-1)


def _a_step_later(x: Array) -> Array:
    """Of the step before, 0 at first. [T]."""
    return jnp.concatenate([jnp.zeros(1, jnp.float32), x[:-1]])


def histograms(tape: Tape, sized: Array, resting: Array) -> tuple[Array, Array]:
    """Sums of a weight of each order by size, and of another by depth behind mid: [..., n_bins] each.

    The weights are [..., K] as the tape's leaves, or [..., S, K] for S sums of each.
    """
    size = tape.size_lots.astype(jnp.float32)
    depth = -tape.side.astype(jnp.float32) * tape.price_ticks.astype(jnp.float32)
    if sized.ndim > size.ndim:
        size, depth = size[..., None, :], depth[..., None, :]
    return _binned(size, sized, SIZE_EDGES_LOTS), _binned(depth, resting, DEPTH_EDGES_TICKS)


def _binned(mark: Array, weight: Array, edges: tuple[int, ...]) -> Array:
    """Sums of weights over the last axis by the bin, open below and closed above, in which a mark lies."""
    mark = jnp.broadcast_to(mark, weight.shape)
    lead = (1,) * mark.ndim
    low = jnp.array((-math.inf, *edges), jnp.float32).reshape(*lead, -1)
    high = jnp.array((*edges, math.inf), jnp.float32).reshape(*lead, -1)
    inside = (mark[..., None] > low) & (mark[..., None] <= high)
    return jnp.sum(jnp.where(inside, weight[..., None], 0.0), axis=-2)


def marks(tape: Tape) -> Array:
    """What the orders of each side add up to in each step, [..., 2, M] from leaves [...], buys first.

    Orders, takers, volume, the takers' volume, square sizes, removals, takers by size, resting orders by depth.
    """
    both = jnp.array([1, -1], tape.side.dtype).reshape(*(1,) * (tape.side.ndim - 1), 2, 1)
    live = (tape.side[..., None, :] == both).astype(jnp.float32)
    size = tape.size_lots[..., None, :].astype(jnp.float32) / LOTS
    taking = live * tape.marketable[..., None, :].astype(jnp.float32)
    volumes = (live, taking, live * size, taking * size, live * size**2)
    sums = jnp.sum(jnp.stack(volumes, axis=-2), axis=-1)
    removals = tape.removals.astype(jnp.float32)[..., None]
    return jnp.concatenate([sums, removals, *histograms(tape, taking, live - taking)], axis=-1)


def sums_so_far(x: Array) -> Array:
    """Sums over the steps up to and including each, [T, M] of [T, M]: a product with a triangle is one fast kernel."""
    triangle = jnp.asarray(np.tri(x.shape[0], dtype=np.float32))
    return jnp.matmul(triangle, x, precision=jax.lax.Precision.HIGHEST)
