"""Measures of how a lane's agents behave: what is claimed to emerge, and a control that must show nothing.

Order splitting, a spread that follows the belief, cycles of sniping, flow that becomes noise (the reference system's
four claims), measured on fresh episodes of frozen policies; the episode is the unit of every standard error.
"""

import dataclasses
import math
from typing import Any

import jax
import numpy as np

from amarl_jax.evaluation.episodes import EpisodeSummary
from amarl_jax.evaluation.frozen import FrozenEpisodes
from amarl_jax.evaluation.metrics import NORMAL_95, MetricValue, mean_and_error
from amarl_jax.evaluation.report import order_divergence, spread_toxicity
from amarl_jax.information.detector import Detection
from amarl_jax.types import Array

CONDUCT = {  # columns of a sweep's table, after those of the baselines: meaning of each
    "child_lots": "lots per child order of informed episodes",
    "sent_orders": "child orders of an informed episode that reached the book",
    "spread_belief_correlation": "correlation of the maker's quoted spread with the belief it quoted on",
    "snipe_autocorrelation": "correlation of snipe times, at the next step",
    "belief_speed": "mean absolute change of the belief per step",
    "order_variation": "total variation between single child orders and the noise law's",
    "order_variation_null": "the same between episodes divided at random",
    "control_information_nats": "nats of a fresh detector for labels shuffled over episodes: must read 0",
}
FILLS, N_FILLS = "fill_counts", 40  # informed episodes by share of the order done, in bins from -1 to 1
N_LAGS = 10  # steps over which snipe times are correlated


def shuffled(key: Array, summary: EpisodeSummary) -> EpisodeSummary:
    """The same episodes with permuted labels."""
    z = np.asarray(summary.z)
    return dataclasses.replace(summary, z=z[np.asarray(jax.random.permutation(key, len(z)))])


def conduct(episodes: FrozenEpisodes, control: Detection, control_labels: np.ndarray) -> dict[str, Any]:
    """Every column of :data:`CONDUCT` as value and standard error; ``snipe_autocorrelations`` by lag, :data:`FILLS`.

    Args:
        episodes: host arrays; whether a trace came along does not matter.
        control: of a fresh detector under shuffled labels.
        control_labels: [n] those labels.
    """
    z = np.asarray(episodes.summary.z)
    by_lag = autocorrelations(np.asarray(episodes.snipes))
    rng = np.random.default_rng(0)
    correlation, lower, upper = spread_toxicity(rng, np.asarray(episodes.spread_belief_moments))
    columns = {
        "child_lots": lots_per_order(episodes, z == 1),
        "sent_orders": mean_and_error(np.asarray(episodes.orders.acts)[z == 1].sum(axis=1)),
        "spread_belief_correlation": MetricValue(correlation, (upper - lower) / (2.0 * NORMAL_95)),
        "snipe_autocorrelation": by_lag[0],
        "belief_speed": mean_and_error(np.asarray(episodes.belief_speed)),
        "order_variation": _variation(episodes, z),
        "order_variation_null": _variation(episodes, control_labels),
        "control_information_nats": MetricValue(float(control.mi), float(control.mi_stderr)),
    }
    assert list(columns) == list(CONDUCT)
    return {name: estimate._asdict() for name, estimate in columns.items()} | {
        "snipe_autocorrelations": [estimate.value for estimate in by_lag],
        FILLS: np.histogram(episodes.summary.completion[z == 1], N_FILLS, (-1.0, 1.0))[0].tolist(),
    }


def lots_per_order(episodes: FrozenEpisodes, chosen: np.ndarray) -> MetricValue:
    """Mean lots of a child order that was sent in the chosen episodes."""
    lots = np.asarray(episodes.orders.lots)[chosen].sum(axis=1, dtype=np.float64)
    return ratio(lots, np.asarray(episodes.orders.acts)[chosen].sum(axis=1, dtype=np.float64))


def autocorrelations(events: np.ndarray, n_lags: int = N_LAGS) -> list[MetricValue]:
    """``r_k = E[x_t x_{t+k}] / E[x_t^2]``, ``x`` an event less its mean rate at that time of day, for lags from 1.

    The mean rate is subtracted at each step, so that a busy opening does not count as correlation; the sum over the
    ``T - k`` pairs of an episode is scaled by ``T / (T - k)``. NaN where nothing ever happens.

    Args:
        events: [n, T] 0 or 1.
        n_lags: below T.
    """
    x = events - events.mean(axis=0, dtype=np.float64)
    horizon, power = x.shape[1], np.mean(x**2, axis=1)
    lags = range(1, min(n_lags, horizon - 1) + 1)
    return [ratio(np.sum(x[:, :-k] * x[:, k:], axis=1) / (horizon - k), power) for k in lags]


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> MetricValue:
    """``E[a] / E[b]`` over episodes [n], and its standard error by the delta method; NaN where ``E[b]`` is 0."""
    below = float(denominator.mean())
    if below == 0.0:
        return MetricValue(math.nan, math.nan)
    value = float(numerator.mean()) / below
    return MetricValue(value, mean_and_error(numerator - value * denominator).stderr / below)


def _variation(episodes: FrozenEpisodes, z: np.ndarray) -> MetricValue:
    """Total variation of order size, offset, type and time of day at z = 1 from z = 0; orders are not independent."""
    divergence = order_divergence(episodes.orders, z)
    return MetricValue(math.nan if divergence is None else divergence.total_variation, math.nan)
