"""Facts of order flow and prices, computed alike for recorded and for simulated markets.

Prices are in ticks, sizes in lots, times in steps. A law is a sample, compared by the Wasserstein distance as a share
of the recorded range (its 0.1% to 99.9% quantiles) and by the Kolmogorov-Smirnov distance; a curve is compared by its
largest and its mean absolute difference. The facts are those of LOB-Bench (Nagy et al. 2025) that a step-by-step market
has.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from amarl_jax.flow.lifetimes import kaplan_meier

LAGS = np.array([1, 2, 3, 5, 8, 13, 21, 34, 55, 89])  # of signs, orders
HORIZONS = np.array([1, 2, 3, 5, 8, 13, 21, 34, 55])  # of volatility and impact, steps
AGES = np.array([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0])  # of lifetimes, steps
N_DEPTH = 12  # ticks from the best price on


@dataclass(frozen=True)
class Stretch:
    """A stretch of a market: the book at the start of each step, and the orders that arrived."""

    mid: np.ndarray  # [T] ticks, NaN while a side is empty
    spread: np.ndarray  # [T] ticks, NaN while a side is empty
    depth: np.ndarray  # [T, N_DEPTH] lots in the k-th tick from the best price on, mean of both sides
    time: np.ndarray  # [n] of each order, steps, ascending
    side: np.ndarray  # [n] +1 buys, -1 sells
    is_limit: np.ndarray  # [n] bool
    lots: np.ndarray  # [n]
    offset: np.ndarray  # [n] ticks behind mid; of limit orders
    age: np.ndarray  # [k] steps that an order rested, as far as it was seen
    left: np.ndarray  # [k] bool, whether its owner took it out then


@dataclass(frozen=True)
class Facts:
    """Laws by name as samples, and curves by name as arguments and values."""

    laws: dict[str, np.ndarray]
    curves: dict[str, tuple[np.ndarray, np.ndarray]]


UNITS = {
    "spread": "ticks",
    "depth at the best price": "lots",
    "size": "lots",
    "offset": "ticks behind mid",
    "orders in a step": "orders",
    "inter-arrival time": "steps",
    "depth by tick": "ticks from the best price",
    "lifetime, share left": "steps",
    "sign autocorrelation": "market orders",
    "volatility, ticks^2 per step": "steps",
    "impact of a market order, ticks": "steps",
}
UNITS_OF_CURVES = {  # what a curve shows over those
    "depth by tick": "lots",
    "lifetime, share left": "share of the orders",
    "sign autocorrelation": "correlation",
    "volatility, ticks^2 per step": "ticks^2 per step",
    "impact of a market order, ticks": "ticks",
}


def facts_of(stretches: Sequence[Stretch]) -> Facts:
    """The facts of several stretches, pooled."""
    market = [one.side[~one.is_limit].astype(float) for one in stretches]
    laws = {
        "spread": np.concatenate([one.spread[~np.isnan(one.spread)] for one in stretches]),
        "depth at the best price": np.concatenate([one.depth[~np.isnan(one.mid), 0] for one in stretches]),
        "size": np.concatenate([one.lots for one in stretches]).astype(float),
        "offset": np.concatenate([one.offset[one.is_limit] for one in stretches]).astype(float),
        "orders in a step": np.concatenate(
            [np.bincount(one.time.astype(int), minlength=len(one.mid))[: len(one.mid)] for one in stretches]
        ).astype(float),
        "inter-arrival time": np.concatenate([np.diff(one.time) for one in stretches]),
    }
    age, left = (np.concatenate([getattr(one, name) for one in stretches]) for name in ("age", "left"))
    depth = np.concatenate([one.depth[~np.isnan(one.mid)] for one in stretches])
    curves = {
        "depth by tick": (np.arange(N_DEPTH), depth.mean(0) if len(depth) else np.zeros(N_DEPTH)),
        "lifetime, share left": (AGES, kaplan_meier(age, left).at(AGES)),
        "sign autocorrelation": (LAGS, np.array([_correlation(market, lag) for lag in LAGS])),
        "volatility, ticks^2 per step": (HORIZONS, np.array([_volatility(stretches, h) for h in HORIZONS])),
        "impact of a market order, ticks": (HORIZONS, np.array([_impact(stretches, h) for h in HORIZONS])),
    }
    return Facts(laws, curves)


def _correlation(series: Sequence[np.ndarray], lag: int) -> float:
    """Autocorrelation of +1 and -1 at a lag, over all series; NaN where none is as long."""
    pairs = [(one[:-lag], one[lag:]) for one in series if len(one) > lag]
    if not pairs:
        return float("nan")
    early, late = (np.concatenate(part) for part in zip(*pairs, strict=True))
    if early.std() == 0 or late.std() == 0:
        return float("nan")
    return float(np.corrcoef(early, late)[0, 1])


def _moves(one: Stretch, horizon: int) -> np.ndarray:
    return one.mid[horizon:] - one.mid[:-horizon]


def _volatility(stretches: Sequence[Stretch], horizon: int) -> float:
    """``E (mid[t + h] - mid[t])^2 / h``, the signature plot."""
    moves = np.concatenate([_moves(one, horizon) for one in stretches if len(one.mid) > horizon] or [np.empty(0)])
    moves = moves[~np.isnan(moves)]
    return float(np.mean(moves**2) / horizon) if len(moves) else float("nan")


def _impact(stretches: Sequence[Stretch], horizon: int) -> float:
    """``E side (mid[t + h] - mid[t])`` of market orders, t the step in which they came."""
    moved = []
    for one in stretches:
        step = one.time[~one.is_limit].astype(int)
        within = step + horizon < len(one.mid)
        step, side = step[within], one.side[~one.is_limit][within]
        moved.append(side * (one.mid[step + horizon] - one.mid[step]))
    values = np.concatenate(moved)
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else float("nan")


def distances(recorded: Facts, simulated: Facts) -> dict[str, dict[str, float]]:
    """Distance of each fact of a simulated market from the recorded one.

    Returns:
        By name of a law ``wasserstein``, ``wasserstein_of_range`` and ``ks``, and both means; by name of a curve
        ``largest`` and ``mean`` absolute difference.
    """
    from scipy import stats  # takes half a second, and only here

    found: dict[str, dict[str, float]] = {}
    for name, ours in recorded.laws.items():
        theirs = simulated.laws[name]
        if not len(ours) or not len(theirs):
            continue
        low, high = np.quantile(ours, [0.001, 0.999])
        distance = float(stats.wasserstein_distance(np.clip(ours, low, high), np.clip(theirs, low, high)))
        found[name] = {
            "recorded_mean": float(ours.mean()),
            "simulated_mean": float(theirs.mean()),
            "wasserstein": distance,
            "wasserstein_of_range": distance / max(high - low, 1e-12),
            "ks": _largest_gap(ours, theirs),
        }
    for name, (_, ours) in recorded.curves.items():
        gaps = np.abs(ours - simulated.curves[name][1])
        gaps = gaps[~np.isnan(gaps)]
        if len(gaps):
            found[name] = {"largest": float(gaps.max()), "mean": float(gaps.mean())}
    return found


def _largest_gap(a: np.ndarray, b: np.ndarray) -> float:
    """Kolmogorov-Smirnov distance of two samples."""
    at = np.union1d(a, b)
    share = [np.searchsorted(np.sort(x), at, side="right") / len(x) for x in (a, b)]
    return float(np.abs(share[0] - share[1]).max())
