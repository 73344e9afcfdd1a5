"""Fit the laws of order flow to a recording: rates, the table of marks, lifetimes, tilt, opening depth.

Units of the simulated market are chosen by stated rules where they are not given:

- A step is as long as it takes ``orders_per_step`` orders to come, on average over the recording.
- The tick is the smallest of 1, 2, 5, 10, 20, ... times the recorded one with which ``MOST_OFFSETS`` ticks hold all
  limit orders but the outermost 1% on either side, which count as the outermost offset.
- A lot is the whole number of shares with which the mean of ``round(size / lot)``, at least 1 and at most
  ``max_lots``, is nearest to the recorded mean size; of those within 0.5% of it the smallest.
"""

from dataclasses import dataclass

import numpy as np

from amarl_jax.flow.arrivals import Arrivals, Rests, arrivals, found_tick, mids, rests
from amarl_jax.flow.law import MAX_LOTS, MAX_RATE, Flow
from amarl_jax.flow.lifetimes import kaplan_meier, mean_steps
from amarl_jax.flow.table import STRENGTHS, Smoothed, fit_table
from amarl_jax.lob.recording import Recording

MOST_OFFSETS = 20  # ticks from the most aggressive to the most passive limit order
RECENT_STEPS = 10.0  # time constant of the average that the recent price is
N_TIMES = 13  # bins of the rate by time of day, half hours of 9:30 to 16:00
_TAIL = 0.01
_SURVIVAL_STEPS = 2.0 ** np.arange(0, 8)
_DOLLAR = 1e4


@dataclass(frozen=True)
class Fit:
    """A flow, with the orders that it was fitted to, in its units."""

    flow: Flow
    orders: Arrivals
    resting: Rests
    place: np.ndarray  # [n] row of the table of each order
    lots: np.ndarray  # [n]
    smoothed: Smoothed


def fit(
    recording: Recording,
    *,
    tick: int | None = None,
    lot_shares: int | None = None,
    max_lots: int = 20,
    orders_per_step: float = 10.0,
) -> Fit:
    """Fit the flow of a recording.

    Args:
        recording: the day.
        tick: of the simulated market, 1e-4 dollars, a multiple of the recorded one; None: see above.
        lot_shares: shares of a lot; None: see above.
        max_lots: of the largest order.
        orders_per_step: that come in a step on average.

    Raises:
        ValueError: naming the argument, or saying what the recording lacks.
    """
    orders, resting = arrivals(recording), rests(recording)
    recorded_tick = found_tick(recording)
    _check_arguments(orders, recorded_tick, tick, lot_shares, max_lots, orders_per_step)
    seconds = float(recording.time[-1] - recording.time[0])
    step_seconds = seconds * orders_per_step / len(orders)
    tick = _round_tick(orders, recorded_tick) if tick is None else tick
    lot = lot_of(orders.size, max_lots) if lot_shares is None else lot_shares
    lots = in_lots(orders.size, lot, max_lots)
    ticks = np.floor(orders.behind / tick).astype(np.int64)
    low, high = _offset_range(ticks[orders.is_limit])
    place = np.where(orders.is_limit, 1 + np.clip(ticks, low, high) - low, 0)
    smoothed = fit_table(place, lots, 2 + high - low, max_lots)
    slope, stderr, largest = fit_tilt(orders.side > 0, recent_gap(recording, orders, step_seconds) / tick)
    depth = depth_by_tick(recording, tick, high + 1) / lot
    rate = len(orders) * step_seconds / seconds
    by_offset = _lifetimes(resting, tick, low, high, step_seconds)
    return Fit(
        flow=Flow(
            tick=tick,
            recorded_tick=recorded_tick,
            lot_shares=lot,
            step_seconds=step_seconds,
            mid=float(orders.mid.mean() / _DOLLAR),
            rate=rate,
            offset_min=low,
            table=smoothed.table.tolist(),
            lifetime_steps=mean_steps(resting.seconds, resting.cancelled, step_seconds),
            tilt_per_tick=slope,
            tilt_stderr=stderr,
            tilt_max=largest,
            opening_levels=int(np.clip(high, 1, 100)),
            opening_lots=int(np.clip(round(float(depth[: max(high, 1)].mean())), 1, MAX_LOTS)),
            rate_by_time=_rate_by_time(orders.time, recording, step_seconds),
            lifetime_by_offset=[row[:2] for row in by_offset],
            survival_by_offset=[[row[0], *row[2:]] for row in by_offset],
            depth_by_tick=depth.tolist(),
            details={
                "orders": len(orders),
                "orders_without_mid": orders.no_mid,
                "hidden_executions": orders.hidden,
                "seconds": seconds,
                "market_orders": float(1.0 - orders.is_limit.mean()),
                "mean_shares": float(orders.size.mean()),
                "smoothing_orders": smoothed.strength,
                "held_out_nats": float(smoothed.held_out_nats[STRENGTHS.index(smoothed.strength)]),
                "cancelled": float(resting.cancelled.mean()),
                "orders_per_step_variance": _dispersion(orders.time, recording, step_seconds),
            },
        ),
        orders=orders,
        resting=resting,
        place=place,
        lots=lots,
        smoothed=smoothed,
    )


def _check_arguments(
    orders: Arrivals, recorded_tick: int, tick: int | None, lot: int | None, max_lots: int, orders_per_step: float
) -> None:
    if tick is not None and (tick < 1 or tick % recorded_tick):
        raise ValueError(f"tick: {tick} must be a multiple of the recorded {recorded_tick}, in 1e-4 dollars")
    if lot is not None and lot < 1:
        raise ValueError(f"lot_shares: {lot} must be at least 1")
    if not 1 <= max_lots <= MAX_LOTS:
        raise ValueError(f"max_lots: {max_lots} must be from 1 to {MAX_LOTS}")
    if not 0.1 <= orders_per_step <= MAX_RATE:
        raise ValueError(f"orders_per_step: {orders_per_step:g} must be from 0.1 to {MAX_RATE}")
    n_limit = int(orders.is_limit.sum())
    if n_limit < 100 or orders.time[-1] <= orders.time[0]:
        raise ValueError(
            f"the recording has {n_limit} limit orders while both sides stand, too few to fit; 100 are least"
        )


def _round_tick(orders: Arrivals, recorded: int) -> int:
    behind = orders.behind[orders.is_limit]
    for scale in (digit * 10**power for power in range(9) for digit in (1, 2, 5)):
        low, high = np.quantile(np.floor(behind / (recorded * scale)), [_TAIL, 1.0 - _TAIL])
        if high - low < MOST_OFFSETS:
            return recorded * scale
    return recorded * 10**9


def _offset_range(ticks: np.ndarray) -> tuple[int, int]:
    """The offsets of the table: all but the outermost 1% on either side, two at least, within 50 ticks."""
    low, high = (int(x) for x in np.quantile(ticks, [_TAIL, 1.0 - _TAIL], method="inverted_cdf"))
    low = int(np.clip(low, -50, 49))
    return low, int(np.clip(high, low + 1, 50))


def in_lots(size: np.ndarray, lot: int, max_lots: int) -> np.ndarray:
    """Sizes as whole lots, at least 1 and at most ``max_lots``. [n] int64."""
    return np.clip(np.floor(size / lot + 0.5).astype(np.int64), 1, max_lots)


def lot_of(size: np.ndarray, max_lots: int) -> int:
    """The shares of a lot, by the module's rule."""
    values, counts = np.unique(size, return_counts=True)
    mean = float(size.mean())
    most = int(max(1, min(np.quantile(size, 0.999), 1e6)))
    candidates = np.unique(np.geomspace(1, most, 400).round().astype(np.int64))
    means = np.array([lot * np.average(in_lots(values, int(lot), max_lots), weights=counts) for lot in candidates])
    off = np.abs(means / mean - 1.0)
    good = np.flatnonzero(off <= 0.005)
    return int(candidates[good[0] if len(good) else np.argmin(off)])


def _rate_by_time(time: np.ndarray, recording: Recording, step_seconds: float) -> list[list[float]]:
    edges = np.linspace(recording.time[0], recording.time[-1], N_TIMES + 1)
    counts = np.histogram(time, edges)[0]
    width = (edges[1] - edges[0]) / step_seconds
    return [[float(start), float(n / width)] for start, n in zip(edges[:-1], counts, strict=True)]


def _dispersion(time: np.ndarray, recording: Recording, step_seconds: float) -> float:
    """Variance over mean of the number of orders in a step; 1 for a Poisson law."""
    n_steps = max(int((recording.time[-1] - recording.time[0]) / step_seconds), 1)
    counts = np.histogram(time, n_steps)[0]
    return float(counts.var() / max(counts.mean(), 1e-9))


def _lifetimes(resting: Rests, tick: int, low: int, high: int, step_seconds: float) -> list[list[float]]:
    """For each offset: ticks, geometric mean in steps, P(> 1, 2, 4, ... steps) by Kaplan-Meier."""
    ticks = np.clip(np.floor(resting.behind / tick), low, high)
    rows = []
    for offset in range(low, high + 1):
        own = ticks == offset
        if not own.any():
            continue
        survival = kaplan_meier(resting.seconds[own], resting.cancelled[own])
        shares = survival.at(_SURVIVAL_STEPS * step_seconds)
        rows.append([offset, mean_steps(resting.seconds[own], resting.cancelled[own], step_seconds), *shares.tolist()])
    return rows


def recent_gap(recording: Recording, orders: Arrivals, step_seconds: float) -> np.ndarray:
    """Recent price minus mid when each order arrives, 1e-4 dollars, [n].

    The recent price is an average of the mids at whole steps with weights that fall by 1 / e in ``RECENT_STEPS``.
    """
    n_steps = int((recording.time[-1] - recording.time[0]) / step_seconds) + 1
    at = recording.time[0] + step_seconds * np.arange(n_steps)
    mid = mids(recording)[np.searchsorted(recording.time, at, side="right") - 1]
    known = ~np.isnan(mid)
    mid = mid[np.maximum.accumulate(np.where(known, np.arange(n_steps), 0))]
    mid = np.where(np.isnan(mid), orders.mid[0], mid)
    recent, keep = np.empty(n_steps), np.exp(-1.0 / RECENT_STEPS)
    average = mid[0]
    for step, value in enumerate(mid.tolist()):
        average = keep * average + (1.0 - keep) * value
        recent[step] = average
    step = np.clip(((orders.time - recording.time[0]) / step_seconds).astype(np.int64), 0, n_steps - 1)
    return recent[step] - orders.mid


def fit_tilt(buys: np.ndarray, gap_ticks: np.ndarray) -> tuple[float, float, float]:
    """Slope of P(buy) in the gap by least squares, its standard error, and the largest tilt of a tenth of the orders.

    Args:
        buys: [n] bool.
        gap_ticks: [n] how far the recent price is above mid.
    """
    gap = gap_ticks - gap_ticks.mean()
    spread = float((gap**2).sum())
    if spread <= 0:
        return 0.0, 0.0, 0.0
    slope = float((gap * buys).sum() / spread)
    stderr = 0.5 / spread**0.5
    tenths = np.array_split(np.argsort(gap_ticks, kind="stable"), 10)
    tilts = [abs(float(buys[part].mean()) - float(buys.mean())) for part in tenths if len(part)]
    return slope, stderr, float(min(max(tilts), 0.5))


def depth_by_tick(recording: Recording, tick: int, n_ticks: int) -> np.ndarray:
    """Mean shares in the k-th tick from the best price on, mean of both sides and of rows. [n_ticks]."""
    price, size = recording.levels[..., 0], recording.levels[..., 1]
    there = size > 0
    distance = np.abs(price - price[..., :1]) // tick
    inside = there & (distance < n_ticks)
    total = np.bincount(distance[inside], size[inside].astype(float), minlength=n_ticks)
    return total / max(2 * len(recording), 1)
