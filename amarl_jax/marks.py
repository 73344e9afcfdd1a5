"""What the orders of a step add up to: the marks of the anonymous tape, step by step."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from amarl_jax.types import TIME_UNITS, Array, Tape

SIZE_EDGES_LOTS = (2, 4, 6, 9, 14)  # bins 1-2, 3-4, 5-6, 7-9, 10-14, 15 and more
DEPTH_EDGES_TICKS = (-1, 0, 1, 3)  # limit orders behind mid: < 0, 0, 1, 2-3, 4 and more
GAP_SCALE = 16.0 * 2.0  # a value gap of 2 ticks counts as decided
N_VOLUMES = 5  # marks before those that count orders by kind
LOTS = 5.0  # typical order, lots: the unit of volumes


def step_statistics(tape: Tape) -> dict[str, Array]:
    """Sums over the orders of each step, each [T] float32: volumes in units of 5 lots, counts, gaps of 2 ticks.

    "Signed" is positive for buys. The value gap is that of the end of the step before, which is what the step's
    orders could react to.
    """
    side = tape.side.astype(jnp.float32)
    live = (tape.side != 0).astype(jnp.float32)
    size = tape.size_lots.astype(jnp.float32) * live / LOTS
    taking = tape.marketable.astype(jnp.float32) * live
    at_once = (tape.time_256 == 0).astype(jnp.float32)
    removals = tape.removals.astype(jnp.float32)
    gap = tape.value_gap_16.astype(jnp.float32) / GAP_SCALE
    gap = jnp.concatenate([jnp.zeros(1), gap[:-1]])
    of_orders = {
        "signed_volume": side * size,
        "volume": size,
        "count": live,
        "signed_count": side,
        "taking_count": taking,
        "taking_signed_volume": taking * side * size,
        "square_size": size**2,
        "signed_square_size": side * size**2,
        "at_once_signed_volume": at_once * side * size,
        "time": live * (tape.time_256.astype(jnp.float32) / TIME_UNITS - 0.5),
    }
    statistics = dict(zip(of_orders, jnp.sum(jnp.stack(list(of_orders.values())), axis=-1), strict=True))
    signed_volume = statistics["signed_volume"]
    statistics |= {
        "removals": removals[:, 0] + removals[:, 1],
        "signed_removals": removals[:, 0] - removals[:, 1],
        "gap": gap,
        "absolute_gap": jnp.abs(gap),
        "gap_volume": jnp.tanh(gap) * signed_volume,
        "spread": tape.spread_ticks.astype(jnp.float32),
        "burst": signed_volume**2,
        "persistence": signed_volume * jnp.concatenate([jnp.zeros(1), signed_volume[:-1]]),
        "square_count": statistics["count"] ** 2,
    }
    by_size, by_depth = histograms(tape, live, live - taking)
    statistics |= {f"size_bin_{i}": x for i, x in enumerate(by_size.T)}
    return statistics | {f"depth_bin_{i}": x for i, x in enumerate(by_depth.T)}


def histograms(tape: Tape, sized: Array, resting: Array) -> tuple[Array, Array]:
    """Sums of a weight of each order, [..., K], by size, and of another by depth behind mid: [..., n_bins] each."""
    depth = -tape.side.astype(jnp.float32) * tape.price_ticks.astype(jnp.float32)
    by_size = _binned(tape.size_lots.astype(jnp.float32), sized, SIZE_EDGES_LOTS)
    return by_size, _binned(depth, resting, DEPTH_EDGES_TICKS)


def _binned(mark: Array, weight: Array, edges: tuple[int, ...]) -> Array:
    """Sums of weights over the last axis by the bin, open below and closed above, in which a mark lies."""
    lead = (1,) * mark.ndim
    low = jnp.array((-math.inf, *edges)).reshape(*lead, -1)
    high = jnp.array((*edges, math.inf)).reshape(*lead, -1)
    inside = (mark[..., None] > low) & (mark[..., None] <= high)
    return jnp.sum(jnp.where(inside, weight[..., None], 0.0), axis=-2)


def marks(tape: Tape, side: int) -> Array:
    """What the orders of one side add up to in each step, [..., M] from leaves [...].

    Orders, takers, volume, the takers' volume, square sizes, removals, takers by size, resting orders by depth.
    """
    live = (tape.side == side).astype(jnp.float32)
    size = tape.size_lots.astype(jnp.float32) / LOTS
    taking = live * tape.marketable.astype(jnp.float32)
    volumes = (live, taking, live * size, taking * size, live * size**2)  # N_VOLUMES of them
    sums = jnp.sum(jnp.stack(volumes, axis=-2), axis=-1)
    removals = tape.removals[..., 0 if side > 0 else 1].astype(jnp.float32)[..., None]
    return jnp.concatenate([sums, removals, *histograms(tape, taking, live - taking)], axis=-1)


def sums_so_far(x: Array) -> Array:
    """Sums over the steps up to and including each, [T, M] of [T, M]: a product with a triangle is one fast kernel."""
    triangle = jnp.asarray(np.tri(x.shape[0], dtype=np.float32))
    return jnp.matmul(triangle, x, precision=jax.lax.Precision.HIGHEST)


def kind_counts(tape: Tape) -> Array:
    """How many orders of each kind came in each step, by side: int8 [T, 2, K], buys first.

    Kinds are takers by size, resting orders by depth behind mid, and removals.
    """
    both = [marks(tape, side)[..., N_VOLUMES:] for side in (1, -1)]
    return jnp.minimum(jnp.stack(both, axis=-2), jnp.iinfo(jnp.int8).max).astype(jnp.int8)
