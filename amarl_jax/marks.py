"""What the orders of a step add up to: the marks of the anonymous tape, step by step."""

import itertools
import math

import jax.numpy as jnp

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
    signed_volume = jnp.sum(side * size, axis=-1)
    statistics = {
        "signed_volume": signed_volume,
        "volume": jnp.sum(size, axis=-1),
        "count": jnp.sum(live, axis=-1),
        "signed_count": jnp.sum(side, axis=-1),
        "taking_count": jnp.sum(taking, axis=-1),
        "taking_signed_volume": jnp.sum(taking * side * size, axis=-1),
        "square_size": jnp.sum(size**2, axis=-1),
        "signed_square_size": jnp.sum(side * size**2, axis=-1),
        "at_once_signed_volume": jnp.sum(at_once * side * size, axis=-1),
        "time": jnp.sum(live * (tape.time_256.astype(jnp.float32) / TIME_UNITS - 0.5), axis=-1),
        "removals": jnp.sum(removals, axis=-1),
        "signed_removals": removals[:, 0] - removals[:, 1],
        "gap": gap,
        "absolute_gap": jnp.abs(gap),
        "gap_volume": jnp.tanh(gap) * signed_volume,
        "spread": tape.spread_ticks.astype(jnp.float32),
        "burst": signed_volume**2,
        "persistence": signed_volume * jnp.concatenate([jnp.zeros(1), signed_volume[:-1]]),
        "square_count": jnp.sum(live, axis=-1) ** 2,
    }
    return statistics | histograms(tape, live, live - taking)


def histograms(tape: Tape, sized: Array, resting: Array) -> dict[str, Array]:
    """Sums of a weight of each order, [T, K], by size and, of another, by depth behind mid, each [T]."""
    size = tape.size_lots.astype(jnp.float32)
    depth = -tape.side.astype(jnp.float32) * tape.price_ticks.astype(jnp.float32)
    sums = {}
    for name, mark, weight, edges in (
        ("size", size, sized, SIZE_EDGES_LOTS),
        ("depth", depth, resting, DEPTH_EDGES_TICKS),
    ):
        bounds = (-math.inf, *edges, math.inf)
        for i, (low, high) in enumerate(itertools.pairwise(bounds)):
            inside = ((mark > low) & (mark <= high)).astype(jnp.float32)
            sums[f"{name}_bin_{i}"] = jnp.sum(weight * inside, axis=-1)
    return sums


def marks(tape: Tape, side: int) -> Array:
    """What the orders of one side add up to in each step, [..., M] from leaves [...].

    Orders, takers, volume, the takers' volume, square sizes, removals, takers by size, resting orders by depth.
    """
    live = (tape.side == side).astype(jnp.float32)
    size = tape.size_lots.astype(jnp.float32) / LOTS
    taking = live * tape.marketable.astype(jnp.float32)
    volumes = (live, taking, live * size, taking * size, live * size**2)  # N_VOLUMES of them
    sums = [jnp.sum(mark, axis=-1) for mark in volumes]
    removals = tape.removals[..., 0 if side > 0 else 1].astype(jnp.float32)
    return jnp.stack([*sums, removals, *histograms(tape, taking, live - taking).values()], axis=-1)


def kind_counts(tape: Tape) -> Array:
    """How many orders of each kind came in each step, by side: int8 [T, 2, K], buys first.

    Kinds are takers by size, resting orders by depth behind mid, and removals.
    """
    both = [marks(tape, side)[..., N_VOLUMES:] for side in (1, -1)]
    return jnp.minimum(jnp.stack(both, axis=-2), jnp.iinfo(jnp.int8).max).astype(jnp.int8)
