"""Stretches of recorded and of simulated markets, in the same units."""

import numpy as np

from amarl_jax.flow.arrivals import mids
from amarl_jax.flow.facts import N_DEPTH, Stretch
from amarl_jax.flow.fit import Fit
from amarl_jax.lob.messages import Side
from amarl_jax.lob.recording import Recording

_STEP_MS = 60_000.0  # of a simulated step
_NOWHERE = 10**6  # ticks


def recorded_stretch(recording: Recording, fit: Fit) -> Stretch:
    """The whole of a recording in the ticks, lots and steps of its fit."""
    flow, start = fit.flow, recording.time[0]
    n_steps = max(int((recording.time[-1] - start) / flow.step_seconds), 1)
    rows = np.searchsorted(recording.time, start + flow.step_seconds * np.arange(n_steps), side="right") - 1
    price, size = recording.levels[rows, :, :, 0], recording.levels[rows, :, :, 1]
    both = (size[:, :, 0] > 0).all(1)
    spread = np.where(both, (price[:, 1, 0] - price[:, 0, 0]) / flow.tick, np.nan)
    distance = np.abs(price - price[:, :, :1]) // flow.tick
    mid = mids(recording)[rows] / flow.tick
    orders = fit.orders
    return Stretch(
        mid=mid,
        spread=spread,
        depth=_depth(distance, size / flow.lot_shares),
        time=(orders.time - start) / flow.step_seconds,
        side=orders.side,
        is_limit=orders.is_limit,
        lots=fit.lots,
        offset=np.clip(np.floor(orders.behind / flow.tick), flow.offset_min, flow.offset_max),
        age=fit.resting.seconds / flow.step_seconds,
        left=fit.resting.cancelled,
    )


def _depth(distance: np.ndarray, lots: np.ndarray) -> np.ndarray:
    """Lots in the k-th tick from the best price on, mean of both sides: [T, N_DEPTH] of [T, 2, L]."""
    n = len(distance)
    inside = (lots > 0) & (distance < N_DEPTH)
    cell = np.arange(n)[:, None, None] * N_DEPTH + distance
    total = np.bincount(cell[inside].astype(np.int64), lots[inside], minlength=n * N_DEPTH)
    return total.reshape(n, N_DEPTH) / 2


def simulated_stretches(record: dict[str, np.ndarray]) -> list[Stretch]:
    """One stretch for each simulated episode.

    Args:
        record: host arrays [E, T, ...] of an order-level record (:class:`amarl_jax.market.record.StepRecord`) by name,
            and ``mid2`` [E, T]: ``price_ticks``, ``lots``, ``left`` [2 N], ``slot_after`` [2 N + R] and the orders'
            ``order_side``, ``order_lots``, ``order_offset_ticks``, ``order_is_limit``, ``order_time_ms`` [R].
    """
    return [_episode({name: column[e] for name, column in record.items()}) for e in range(len(record["mid2"]))]


def _episode(one: dict[str, np.ndarray]) -> Stretch:
    lots = one["lots"].astype(np.int64)
    n_steps, n_slots = lots.shape
    price = one["price_ticks"].astype(np.int64).reshape(n_steps, 2, n_slots // 2)
    lots = lots.reshape(price.shape)
    there = lots > 0
    best = np.stack(
        [
            np.where(there[:, Side.BID], price[:, Side.BID], -_NOWHERE).max(1),
            np.where(there[:, Side.ASK], price[:, Side.ASK], _NOWHERE).min(1),
        ],
        axis=1,
    )
    both = there[:, Side.BID].any(1) & there[:, Side.ASK].any(1)
    shown = one["order_side"] != 0
    step = np.broadcast_to(np.arange(n_steps)[:, None], shown.shape)
    age, left = _ages(one, n_slots)
    return Stretch(
        mid=np.where(both, one["mid2"] / 2.0, np.nan),
        spread=np.where(both, best[:, 1] - best[:, 0], np.nan),
        depth=_depth(np.abs(price - best[:, :, None]), lots.astype(float)),
        time=(step + one["order_time_ms"] / _STEP_MS)[shown],
        side=one["order_side"][shown].astype(np.int64),
        is_limit=one["order_is_limit"][shown],
        lots=one["order_lots"][shown].astype(np.int64),
        offset=one["order_offset_ticks"][shown].astype(np.int64),
        age=age,
        left=left,
    )


def _ages(one: dict[str, np.ndarray], n_slots: int) -> tuple[np.ndarray, np.ndarray]:
    """Age of each limit order of the record when last seen, in steps, and whether it left by itself. [k] each."""
    born = np.full(n_slots, np.nan)  # of the order in each slot of the book
    age, left = [], []
    for now in range(len(one["mid2"])):
        known = ~np.isnan(born)
        gone = known & one["left"][now]
        age.append(now - born[gone])
        left.append(np.ones(gone.sum(), bool))
        after, before = one["slot_after"][now], np.where(gone, np.nan, born)
        came = np.where(
            (one["order_side"][now] != 0) & one["order_is_limit"][now],
            now + one["order_time_ms"][now] / _STEP_MS,
            np.nan,
        )
        start = np.concatenate([before, came])
        traded = ~np.isnan(start) & (after < 0)
        traded[n_slots:] = False  # what trades at once, or is refused, never rested
        age.append(now + 0.5 - start[traded])
        left.append(np.zeros(traded.sum(), bool))
        born = np.full(n_slots, np.nan)
        stays = (after >= 0) & ~np.isnan(start)
        born[after[stays]] = start[stays]
    rest = born[~np.isnan(born)]
    age.append(len(one["mid2"]) - rest)
    left.append(np.zeros(len(rest), bool))
    return np.maximum(np.concatenate(age), 0.0), np.concatenate(left)
