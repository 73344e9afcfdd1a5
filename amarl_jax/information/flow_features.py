"""Running features of the anonymous tape: what a small network needs to see of an episode's past.

Every feature at step t is a function of the tape up to t. Most are sums over the whole past, because for marks drawn
independently the log-likelihood ratio of two laws *is* such a sum (over histogram counts of the marks), with
exponential windows, peaks and early-weighted sums beside them for timing. All are compressed by asinh.
"""

import functools
import math

import chex
import jax
import jax.numpy as jnp

from amarl_jax.information.flow_windows import running_max, window_features
from amarl_jax.marks import step_statistics, sums_so_far
from amarl_jax.types import Array, Tape, empty_tape

WINDOWS = (8, 32, 128)  # steps, memory of the exponential averages
EARLY_RATES = (8.0, 32.0)  # early-weighted sums decay as exp(-rate t / T)


def flow_features(tape: Tape) -> Array:
    """Features h[t] of one episode's tape up to and including step t, [T, D], finite for every tape.

    Whole-past sums of the statistics of :func:`step_statistics`; for the main ones exponential averages over
    ``WINDOWS``, their running extremes, and sums weighted towards the opening; signed flow read along the side that the
    public value gap points to; t / T; then :func:`window_features`. Sums are divided by the square root of their
    length, then asinh. MINE reads every row of it while it trains; a fresh detector reads the last.

    Args:
      tape: leaves with a leading [T].
    """
    chex.assert_rank(tape.side, 2)
    sums = jnp.stack(list(_sums(tape).values()), axis=-1)
    return jnp.asinh(jnp.concatenate([sums, window_features(tape)], axis=-1))


@functools.cache
def feature_names() -> tuple[str, ...]:
    """Names of the columns of :func:`flow_features` that come before the window features."""
    step = jax.eval_shape(lambda: jax.tree.map(lambda leaf: leaf[None], empty_tape(1)))
    names: list[str] = []
    jax.eval_shape(lambda tape: names.extend(_sums(tape)), step)
    return tuple(names)


def flow_series(tape: Tape) -> Array:
    """The flow of each step alone, for the predictor: asinh of net signed lots and of the order count, [T, 2]."""
    chex.assert_rank(tape.side, 2)
    statistics = step_statistics(tape)
    return jnp.stack([jnp.asinh(statistics["signed_volume"]), jnp.asinh(statistics["count"])], axis=-1)


def _sums(tape: Tape) -> dict[str, Array]:
    """Sums over the past by name, each [T], before compression."""
    statistics = step_statistics(tape)
    horizon = tape.side.shape[0]
    time = jnp.arange(1, horizon + 1, dtype=jnp.float32) / horizon
    early = [jnp.exp(-rate * time) * math.sqrt(rate) * statistics["signed_volume"] for rate in EARLY_RATES]
    sums = sums_so_far(jnp.stack([*statistics.values(), *early], axis=-1)).T / math.sqrt(horizon)
    whole = dict(zip(statistics, sums, strict=False))
    features = {f"past_{name}": x for name, x in whole.items()}
    features["past_aligned_volume"] = whole["signed_volume"] * jnp.tanh(whole["gap"])
    names = ("signed_volume", "volume", "taking_count", "removals", "gap")
    recent = _exponential_sums(jnp.stack([statistics[name] for name in names], axis=-1))
    extremes = jnp.stack([recent[..., 0], -recent[..., 0], recent[..., 1]], axis=-1)  # of signed volume, and of volume
    highest, lowest, densest = jnp.moveaxis(running_max(extremes), -1, 0)
    for i, window in enumerate(WINDOWS):
        average = dict(zip(names, jnp.moveaxis(recent[:, i], -1, 0), strict=True))
        features |= {f"recent_{window}_{name}": x for name, x in average.items()}
        features[f"recent_{window}_aligned_volume"] = average["signed_volume"] * jnp.tanh(average["gap"])
        features[f"highest_{window}_signed_volume"] = highest[:, i]
        features[f"lowest_{window}_signed_volume"] = -lowest[:, i]
        features[f"highest_{window}_volume"] = densest[:, i]
    for rate, opening in zip(EARLY_RATES, sums[len(statistics) :], strict=True):
        features[f"early_{rate:g}_signed_volume"] = opening
        features[f"early_{rate:g}_aligned_volume"] = opening * jnp.tanh(whole["gap"])
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
