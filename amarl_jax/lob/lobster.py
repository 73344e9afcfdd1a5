"""Replay a recording through the book from a snapshot row, and compare the two row by row.

Only the best levels are recorded: orders beyond them come and go unseen, so a book seeded from a row agrees with later
rows less and less. That is a property of the data, and what :class:`Following` measures. A book may also be told what
comes into view, see :mod:`amarl_jax.lob.sightings`.
"""

from dataclasses import dataclass, field

import numpy as np

from amarl_jax.lob.columns import integer
from amarl_jax.lob.messages import INT32_MAX
from amarl_jax.lob.recording import Event, Recording, read_recording
from amarl_jax.lob.replay import replay
from amarl_jax.lob.sightings import Sighted, always_in_view, with_sightings
from amarl_jax.lob.window import CENT, Window, first_taker, seed_and_messages

__all__ = ["CENT", "Event", "Following", "Recording", "follow", "read_recording"]

_USUAL_QUANTITY = 1 << 16  # shares, exceeded by almost no order


@dataclass(frozen=True)
class Following:
    """A book seeded from one row of a recording, compared with the rows that follow."""

    seed_row: int
    seconds: np.ndarray  # [n] float64 since seeding
    agreeing: np.ndarray  # [n, 2, K] bool, price and size of a level are those recorded; bids first
    executions: int  # rows of that type
    executions_as_recorded: int  # those that traded the recorded size and price with the order of `Window.maker`
    counters: dict[str, int]  # of the book
    crossed_rows: int = 0  # rows skipped before `seed_row` because their bid and ask cross
    submissions_traded: int = 0  # recorded ones rest; these met orders already gone, or a trading halt
    always_in_view: np.ndarray = field(default_factory=lambda: np.empty(0, bool))  # [n, 2, K], of levels at
    #                            prices shown in every row since the seed row
    taken_in: int = 0  # orders taken in as they came into view
    taken_out: int = 0  # orders found to have left, wholly or in part, as their price came into view again


def follow(
    recording: Recording,
    seed_row: int = 0,
    n_rows: int | None = None,
    *,
    n_levels: int | None = None,
    tick: int = CENT,
    capacity: int = 1024,
    take_in: bool = False,
) -> Following:
    """Seed a book with the levels of ``seed_row``, replay the next ``n_rows`` (None: all), compare ``n_levels``.

    If bid and ask of the seed row cross, the next row where they do not seeds the book; the end of the window stays.
    ``tick`` (1e-4 dollars) is checked, ``capacity`` is the number of orders that each side can hold. With ``take_in``
    the book is told of each level that comes into view, by :func:`amarl_jax.lob.sightings.with_sightings`. Raises
    ValueError naming the argument, or file, line and reason.
    """
    tick, capacity = integer("tick", tick), integer("capacity", capacity)
    n_there = recording.levels.shape[2]
    n_levels = n_there if n_levels is None else integer("n_levels", n_levels, at_most=n_there)
    seed_row = first = integer("seed_row", seed_row, at_least=0, at_most=len(recording) - 1)
    n_rows = len(recording) if n_rows is None else integer("n_rows", n_rows, at_least=0)
    stop = min(len(recording), first + 1 + n_rows)
    seed_row += _count_crossed(recording, first, stop)
    rows = np.arange(seed_row + 1, stop)
    window = seed_and_messages(recording, seed_row, rows, tick)
    index = np.arange(len(rows))
    sighted = with_sightings(recording, seed_row, rows, window) if take_in else Sighted(window, index, index)
    window = sighted.window
    max_price, max_quantity = _bounds(recording, seed_row, rows[sighted.row], window, capacity)
    result = replay(
        window.messages,
        capacity,
        bids=window.bids,
        asks=window.asks,
        max_price=max_price,
        max_quantity=max_quantity,
        n_levels=n_levels,
    )
    levels = result.levels[sighted.last]
    price, size = window.price_of(levels[..., 0]), levels[..., 1]
    recorded = recording.levels[rows, :, :n_levels]
    agreeing = (size == recorded[..., 1]) & ((size == 0) | (price == recorded[..., 0]))
    executed = recording.event[rows] == Event.EXECUTION
    takers = result.trades[:, 3]
    return Following(
        seed_row=seed_row,
        seconds=recording.time[rows] - recording.time[seed_row],
        agreeing=agreeing,
        executions=int(executed.sum()),
        executions_as_recorded=_count_as_recorded(sighted, result.trades, n_there),
        counters=result.counters,
        crossed_rows=seed_row - first,
        submissions_traded=len(np.unique(takers[takers > 0])),
        always_in_view=always_in_view(recording, seed_row, rows, n_levels),
        taken_in=sighted.taken_in,
        taken_out=sighted.taken_out,
    )


def _count_crossed(recording: Recording, first: int, stop: int) -> int:
    """Number of rows from ``first`` on whose bid and ask cross, so that none can seed a book; ValueError if all do."""
    (bid, bid_size), (ask, ask_size) = np.moveaxis(recording.levels[first:stop, :, 0], 0, -1)
    crossed = (bid_size > 0) & (ask_size > 0) & (bid >= ask)
    n = int(np.argmin(crossed))
    if crossed[n] or (n and first + n + 1 == stop):
        where = recording.orderbook_line(first)
        raise ValueError(f"{where}: bid and ask cross, as in the rows behind it, so no book can be seeded from them")
    return n


def _bounds(recording: Recording, seed_row: int, rows: np.ndarray, window: "Window", capacity: int) -> tuple[int, int]:
    """Bounds of prices, as ranks, and of sizes that hold the seed and all replayed rows.

    ``rows`` has the row of each of the window's messages. Raises ValueError naming the line whose size a book of this
    capacity cannot take.
    """
    most = INT32_MAX // (capacity + 1)
    seeded = max(int(orders[:, 1].max(initial=1)) for orders in (window.bids, window.asks))
    replayed = window.messages["quantity"]
    needed = max(seeded, int(replayed.max(initial=1)))
    if needed > most:
        line = (
            recording.orderbook_line(seed_row)
            if seeded > most
            else recording.message_line(rows[np.argmax(replayed > most)])
        )
        raise ValueError(f"{line}: size {needed} is more than the {most} that a book of capacity {capacity} takes")
    farthest = len(window.prices) // 2
    usual = min(most, max(_USUAL_QUANTITY, 1 << (needed - 1).bit_length()))  # few, so that windows share a program
    max_quantity = needed if usual * farthest > INT32_MAX else usual
    if max_quantity * farthest > INT32_MAX:
        raise ValueError(
            f"{recording.message_line(seed_row)}: {len(window.prices)} prices and sizes up to {needed} follow it, more "
            "than one book takes; cut the recording into more windows"
        )
    return INT32_MAX // max_quantity, max_quantity


def _count_as_recorded(sighted: Sighted, trades: np.ndarray, n_levels: int) -> int:
    """Number of executions that are one trade of the recorded size and price with the recorded order."""
    row = first_taker(n_levels) - trades[:, 3]
    from_row = (row >= 0) & (row < len(sighted.last))
    row, trades = row[from_row], trades[from_row]
    messages, own = sighted.window.messages, np.append(0, sighted.last[:-1] + 1)  # that a row is about comes first
    recorded = (messages["price"][own], messages["quantity"][own], sighted.window.maker)
    exact = [trades[:, column] == values[row] for column, values in enumerate(recorded)]
    return int(np.logical_and.reduce(exact).sum())
