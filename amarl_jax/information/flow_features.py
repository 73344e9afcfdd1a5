"""Running features of the anonymous tape: what a small network needs to see of an episode's past.

Every feature at step t is a function of the tape up to t. Most are sums over the whole past, because for marks drawn
independently the log-likelihood ratio of two laws *is* such a sum (over histogram counts of the marks), with
exponential windows, peaks and early-weighted sums beside them for timing. All are compressed by asinh.
"""

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np

from amarl_jax.information.flow_windows import running_max, window_features
from amarl_jax.marks import STATISTICS, step_statistics, sums_so_far
from amarl_jax.types import Array, Tape

WINDOWS = (8, 32, 128)  # steps, memory of the exponential averages
RECENT = ("signed_volume", "volume", "taking_count", "removals", "gap")  # averaged over them
EARLY_RATES = (8.0, 32.0)  # early-weighted sums decay as exp(-rate t / T)


def flow_features(tape: Tape) -> Array:
    """Features h[t] of one episode's tape up to and including step t, [T, D], finite for every tape.

    Whole-past sums of the statistics of :func:`step_statistics`; for the main ones exponential averages over
    ``WINDOWS``, their running extremes, and sums weighted towards the opening; signed flow read along the side that the
    public value gap points to; t / T; then :func:`window_features`. Sums are divided by the square root of their
    length, then asinh. MINE reads every row of it while it trains.

    Args:
      tape: leaves with a leading [T].
    """
    chex.assert_rank(tape.side, 2)
    return jnp.asinh(jnp.concatenate([_sums(tape), window_features(tape)], axis=-1))


def feature_names() -> tuple[str, ...]:
    """Names of the columns of :func:`flow_features` that come before the window features."""
    past = (*STATISTICS, "aligned_volume")
    recent = (*RECENT, "aligned_volume")
    extremes = ("highest_{}_signed_volume", "lowest_{}_signed_volume", "highest_{}_volume")
    names = [f"past_{name}" for name in past]
    for window in WINDOWS:
        names += [f"recent_{window}_{name}" for name in recent] + [name.format(window) for name in extremes]
    names += [f"early_{rate:g}_{name}" for rate in EARLY_RATES for name in ("signed_volume", "aligned_volume")]
    return (*names, "time")


def flow_series(tape: Tape) -> Array:
    """The flow of each step alone, for the predictor: asinh of net signed lots and of the order count, [T, 2]."""
    chex.assert_rank(tape.side, 2)
    return jnp.asinh(step_statistics(tape)[:, _columns("signed_volume", "count")])


def _columns(*names: str) -> np.ndarray:
    """Where in ``STATISTICS`` they are."""
    return np.array([STATISTICS.index(name) for name in names])


def _sums(tape: Tape) -> Array:
    """Sums over the past by the columns :func:`feature_names`, [T, n], before compression."""
    statistics = step_statistics(tape)
    horizon = tape.side.shape[0]
    signed_volume, gap = _columns("signed_volume"), _columns("gap")
    time = jnp.arange(1, horizon + 1, dtype=jnp.float32)[:, None] / horizon
    rates = np.array([EARLY_RATES], np.float32)
    early = jnp.exp(-rates * time) * np.sqrt(rates) * statistics[:, signed_volume]
    sums = sums_so_far(jnp.concatenate([statistics, early], axis=-1)) / math.sqrt(horizon)
    whole, opening = jnp.split(sums, [len(STATISTICS)], axis=-1)
    leaning = jnp.tanh(whole[:, gap])  # towards the side on which value is
    recent = _exponential_sums(statistics[:, _columns(*RECENT)])
    flow, volume, _, _, drift = jnp.split(recent, len(RECENT), axis=-1)
    highest, lowest, densest = jnp.split(running_max(jnp.concatenate([flow, -flow, volume], axis=-1)), 3, axis=-1)
    of_windows = jnp.concatenate([recent, flow * jnp.tanh(drift), highest, -lowest, densest], axis=-1)
    of_opening = jnp.stack([opening, opening * leaning], axis=-1)
    aligned = whole[:, signed_volume] * leaning
    return jnp.concatenate(
        [whole, aligned, of_windows.reshape(horizon, -1), of_opening.reshape(horizon, -1), time], axis=-1
    )


def _exponential_sums(x: Array) -> Array:
    """``h[t] = (1 - 1/w) h[t-1] + x[t] / sqrt(w)`` for every window w, [T, n_windows, n] from x [T, n]."""
    window = jnp.asarray(WINDOWS, jnp.float32)[:, None]

    def step(state: Array, x_t: Array) -> tuple[Array, Array]:
        state = (1.0 - 1.0 / window) * state + x_t[None, :] / jnp.sqrt(window)
        return state, state

    _, sums = jax.lax.scan(step, jnp.zeros((len(WINDOWS), x.shape[1]), jnp.float32), x)
    return sums
