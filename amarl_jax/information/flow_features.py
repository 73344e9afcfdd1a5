"""Running features of the anonymous tape: what a small network needs to see of an episode's past.

Every feature at step t is a function of the tape up to t. Most are sums over the whole past, because for marks drawn
independently the log-likelihood ratio of two laws *is* such a sum (over histogram counts of the marks), with
exponential windows, peaks and early-weighted sums beside them for timing. All are compressed by asinh.
"""

import functools
import itertools
import math

import chex
import jax
import jax.numpy as jnp

from amarl_jax.types import TIME_UNITS, Array, Tape, empty_tape

WINDOWS = (8, 32, 128)  # steps, memory of the exponential averages
EARLY_RATES = (8.0, 32.0)  # early-weighted sums decay as exp(-rate t / T)
SIZE_EDGES_LOTS = (2, 4, 6, 9, 14)  # bins 1-2, 3-4, 5-6, 7-9, 10-14, 15 and more
DEPTH_EDGES_TICKS = (-1, 0, 1, 3)  # limit orders behind mid: < 0, 0, 1, 2-3, 4 and more
GAP_SCALE = 16.0 * 2.0  # a value gap of 2 ticks counts as decided
LOTS = 5.0  # typical order, lots: the unit of volumes


def flow_features(tape: Tape) -> Array:
    """Features h[t] of one episode's tape up to and including step t, [T, D], finite for every tape.

    Whole-past sums of the statistics of :func:`step_statistics`; for the main ones exponential averages over
    ``WINDOWS``, their running extremes, and sums weighted towards the opening; signed flow read along the side that the
    public value gap points to; t / T. Sums are divided by the square root of their length, then asinh.

    Args:
      tape: leaves with a leading [T].
    """
    chex.assert_rank(tape.side, 2)
    return jnp.stack([jnp.asinh(feature) for feature in _features(tape).values()], axis=-1)


@functools.cache
def feature_names() -> tuple[str, ...]:
    """Name of each column of :func:`flow_features`."""
    step = jax.eval_shape(lambda: jax.tree.map(lambda leaf: leaf[None], empty_tape(1)))
    names: list[str] = []
    jax.eval_shape(lambda tape: names.extend(_features(tape)), step)
    return tuple(names)


def feature_dim() -> int:
    """D, the number of columns of :func:`flow_features`."""
    return len(feature_names())


def flow_series(tape: Tape) -> Array:
    """The flow of each step alone, for the predictor: asinh of net signed lots and of the order count, [T, 2]."""
    chex.assert_rank(tape.side, 2)
    statistics = step_statistics(tape)
    return jnp.stack([jnp.asinh(statistics["signed_volume"]), jnp.asinh(statistics["count"])], axis=-1)


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


def _features(tape: Tape) -> dict[str, Array]:
    """Every feature by name, each [T], before compression."""
    statistics = step_statistics(tape)
    horizon = tape.side.shape[0]
    time = jnp.arange(1, horizon + 1, dtype=jnp.float32) / horizon
    whole = {name: jnp.cumsum(x) / math.sqrt(horizon) for name, x in statistics.items()}
    features = {f"past_{name}": x for name, x in whole.items()}
    features["past_aligned_volume"] = whole["signed_volume"] * jnp.tanh(whole["gap"])
    names = ("signed_volume", "volume", "taking_count", "removals", "gap")
    recent = _exponential_sums(jnp.stack([statistics[name] for name in names], axis=-1))
    for i, window in enumerate(WINDOWS):
        average = dict(zip(names, jnp.moveaxis(recent[:, i], -1, 0), strict=True))
        features |= {f"recent_{window}_{name}": x for name, x in average.items()}
        features[f"recent_{window}_aligned_volume"] = average["signed_volume"] * jnp.tanh(average["gap"])
        features[f"highest_{window}_signed_volume"] = jax.lax.cummax(average["signed_volume"])
        features[f"lowest_{window}_signed_volume"] = jax.lax.cummin(average["signed_volume"])
        features[f"highest_{window}_volume"] = jax.lax.cummax(average["volume"])
    for rate in EARLY_RATES:
        weight = jnp.exp(-rate * time) * math.sqrt(rate / horizon)
        early = jnp.cumsum(weight * statistics["signed_volume"])
        features[f"early_{rate:g}_signed_volume"] = early
        features[f"early_{rate:g}_aligned_volume"] = early * jnp.tanh(whole["gap"])
    features["time"] = time
    return features


def _exponential_sums(x: Array) -> Array:
    """``h[t] = (1 - 1/w) h[t-1] + x[t] / sqrt(w)`` for every window w, [T, n_windows, n] from x [T, n]."""
    window = jnp.asarray(WINDOWS, jnp.float32)[:, None]

    def step(state: Array, x_t: Array) -> tuple[Array, Array]:
        state = (1.0 - 1.0 / window) * state + x_t[None, :] / jnp.sqrt(window)
        return state, state

    _, sums = jax.lax.scan(step, jnp.zeros((len(WINDOWS), x.shape[1])), x)
    return sums
