"""The orders behind a recording: who sent what, in which order, and how long it rested.

A recording says what happens in the book. An order that trades at once appears as executions of the orders it meets,
one row each at one time; what is left of it comes to rest as a submission behind them. These rows are one order here:
a market order where nothing is left, else a limit order of its whole size. An order that trades with hidden ones alone
changes no level, and is only counted.
"""

from dataclasses import dataclass

import numpy as np

from amarl_jax.lob.messages import Side
from amarl_jax.lob.recording import Event, Recording

_BLOCK = 512  # rows looked through at once
_NOWHERE = np.iinfo(np.int64).min


@dataclass(frozen=True)
class Arrivals:
    """Orders in the order of arrival."""

    time: np.ndarray  # [n] float64, seconds after midnight
    side: np.ndarray  # [n] int64, +1 buys, -1 sells
    is_limit: np.ndarray  # [n] bool
    size: np.ndarray  # [n] int64, shares
    behind: (
        np.ndarray
    )  # [n] float64 1e-4 dollars, how far a limit price is behind mid on its own side; 0 of market ones
    mid: np.ndarray  # [n] float64 1e-4 dollars, before it
    rest: np.ndarray  # [n] int64, row of the recording in which it came to rest, -1 of market orders
    no_mid: int = 0  # orders left out as a side of the book was empty, or at the first row
    hidden: int = 0  # executions of hidden orders alone

    def __len__(self) -> int:
        return len(self.time)


@dataclass(frozen=True)
class Rests:
    """Orders that came to rest, in the order in which they did, and how that ended."""

    row: np.ndarray  # [n] int64, row of the recording in which it came to rest
    behind: np.ndarray  # [n] float64 1e-4 dollars from mid on its own side, when it came
    start: np.ndarray  # [n] float64, seconds after midnight
    seconds: np.ndarray  # [n] float64, until it left or was last seen
    cancelled: np.ndarray  # [n] bool: taken out by its owner; else it traded, or the recording ended


def mids(recording: Recording) -> np.ndarray:
    """Mid after every row, 1e-4 dollars, NaN while a side is empty. [n] float64."""
    price, size = recording.levels[:, :, 0, 0], recording.levels[:, :, 0, 1]
    return np.where((size > 0).all(1), price.mean(1), np.nan)


def arrivals(recording: Recording) -> Arrivals:
    """The orders of a recording."""
    event, time, direction = recording.event, recording.time, recording.direction
    traded = np.flatnonzero(event == Event.EXECUTION)
    new = np.ones(len(traded), bool)
    new[1:] = (time[traded][1:] != time[traded][:-1]) | (direction[traded][1:] != direction[traded][:-1])
    group = np.cumsum(new) - 1
    first, last = traded[new], traded[np.append(np.flatnonzero(new)[1:], len(traded)) - 1] if len(traded) else traded
    size = np.bincount(group, recording.size[traded], minlength=len(first)).astype(np.int64)
    submitted = np.flatnonzero(event == Event.SUBMISSION)
    rest = _remainders(recording, submitted, last)
    joined = rest >= 0
    size[joined] += recording.size[rest[joined]]
    alone = np.setdiff1d(submitted, rest[joined])

    rows = np.concatenate([alone, first])
    order = np.argsort(rows, kind="stable")
    row = rows[order]
    is_limit = np.concatenate([np.ones(len(alone), bool), joined])[order]
    side = np.concatenate([direction[alone], -direction[first]])[order]
    price = np.concatenate([recording.price[alone], np.where(joined, recording.price[rest], 0)])[order]
    before = np.concatenate([[np.nan], mids(recording)[:-1]])[row]
    kept = ~np.isnan(before)
    return Arrivals(
        time=time[row][kept],
        side=side[kept],
        is_limit=is_limit[kept],
        size=np.concatenate([recording.size[alone], size])[order][kept],
        behind=np.where(is_limit, side * (before - price), 0.0)[kept],
        mid=before[kept],
        rest=np.concatenate([alone, rest])[order][kept],
        no_mid=int((~kept).sum()),
        hidden=int((event == Event.HIDDEN_EXECUTION).sum()),
    )


def _remainders(recording: Recording, submitted: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Row of the submission of each traded order's remainder, -1 for none. [n] of ``last`` [n].

    It is the next submission, at the time of the last execution, on the other side and at that price or beyond.
    """
    if not len(submitted):
        return np.full(len(last), -1)
    place = np.minimum(np.searchsorted(submitted, last), len(submitted) - 1)
    row = submitted[place]
    side = -recording.direction[last]
    same = (
        (row > last)
        & (recording.time[row] == recording.time[last])
        & (recording.direction[row] == side)
        & (side * (recording.price[row] - recording.price[last]) >= 0)
    )
    found = np.where(same, row, -1)
    _, once = np.unique(found, return_index=True)
    unique = np.zeros(len(found), bool)
    unique[once] = True
    return np.where(unique, found, -1)


def rests(recording: Recording) -> Rests:
    """The orders that came to rest within the recording: how long, and whether their owners took them out.

    An order that leaves while its price is beyond the levels shown is not recorded as leaving: it was last seen when
    its price left the levels.
    """
    submitted = np.flatnonzero(recording.event == Event.SUBMISSION)
    ids, index = np.unique(recording.order_id[submitted], return_index=True)
    submitted = submitted[index]
    before = np.concatenate([[np.nan], mids(recording)[:-1]])[submitted]
    kept = ~np.isnan(before)
    ids, submitted, before = ids[kept], submitted[kept], before[kept]
    end, cancelled = np.full(len(ids), -1.0), np.zeros(len(ids), bool)
    left = recording.size[submitted].copy()
    for event in (Event.CANCELLATION, Event.EXECUTION):
        rows, order = _of(recording, event, ids)
        left -= np.bincount(order, recording.size[rows], minlength=len(ids)).astype(np.int64)
        end[order] = np.maximum(end[order], np.where(left[order] <= 0, recording.time[rows], -1.0))
    rows, order = _of(recording, Event.DELETION, ids)
    end[order], cancelled[order] = recording.time[rows], True
    price, direction = recording.price[submitted], recording.direction[submitted]
    unseen = np.flatnonzero(end < 0)
    end[unseen] = recording.time[_last_seen(recording, submitted[unseen], price[unseen], direction[unseen])]
    order = np.argsort(submitted, kind="stable")
    submitted = submitted[order]
    return Rests(
        row=submitted,
        behind=(direction * (before - price))[order],
        start=recording.time[submitted],
        seconds=np.maximum(end[order] - recording.time[submitted], 0.0),
        cancelled=cancelled[order],
    )


def _last_seen(recording: Recording, row: np.ndarray, price: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """The first row after each of these at which a price is beyond the levels shown, else the last row. [n]."""
    n = len(recording)
    pad = -n % _BLOCK
    found = np.full(len(row), n - 1)
    for side, sign in ((Side.BID, 1), (Side.ASK, -1)):
        worst, full = recording.levels[:, side, -1, 0], recording.levels[:, side, -1, 1] > 0
        bound = np.pad(np.where(full, sign * worst, _NOWHERE), (0, pad), constant_values=_NOWHERE)
        highest = bound.reshape(-1, _BLOCK).max(1)
        for i in np.flatnonzero(direction == sign):
            at, own = int(row[i]), sign * int(price[i])
            while at < n:
                stop = (at // _BLOCK + 1) * _BLOCK
                beyond = bound[at:stop] > own
                if beyond.any():
                    found[i] = at + int(np.argmax(beyond))
                    break
                blocks = highest[stop // _BLOCK :] > own
                if not blocks.any():
                    break
                at = stop + int(np.argmax(blocks)) * _BLOCK
    return found


def _of(recording: Recording, event: Event, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of one type about these orders, and the index of each row's order."""
    rows = np.flatnonzero(recording.event == event)
    place = np.minimum(np.searchsorted(ids, recording.order_id[rows]), max(len(ids) - 1, 0))
    known = ids[place] == recording.order_id[rows] if len(ids) else np.zeros(len(rows), bool)
    return rows[known], place[known]


def found_tick(recording: Recording) -> int:
    """The largest step of 1e-4 dollars that all visible prices are multiples of."""
    prices = recording.levels[..., 0][recording.levels[..., 1] > 0]
    return int(np.gcd.reduce(np.unique(prices))) if prices.size else 1


assert Side.BID == 0
