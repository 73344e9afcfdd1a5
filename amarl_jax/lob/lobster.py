"""Replay a recording through the book from a snapshot row, and compare the two row by row.

Only the best levels are recorded: orders beyond them come and go unseen, so a book seeded from a row agrees with later
rows less and less. That is a property of the data, and what :class:`Following` measures.
"""

from dataclasses import dataclass

import numpy as np

from amarl_jax.lob.columns import integer
from amarl_jax.lob.messages import INT32_MAX, Side
from amarl_jax.lob.recording import VISIBLE, Event, Recording, read_recording
from amarl_jax.lob.replay import MessageKind, replay

__all__ = ["CENT", "Event", "Following", "Recording", "Window", "follow", "read_recording", "seed_and_messages"]

CENT = 100  # in 1e-4 dollars, the tick of nearly every US stock
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


def follow(
    recording: Recording,
    seed_row: int = 0,
    n_rows: int | None = None,
    *,
    n_levels: int | None = None,
    tick: int = CENT,
    capacity: int = 1024,
) -> Following:
    """Seed a book with the levels of ``seed_row``, replay the next ``n_rows`` (None: all), compare ``n_levels``.

    If bid and ask of the seed row cross, the next row where they do not seeds the book; the end of the window stays.
    ``tick`` (1e-4 dollars) is checked, ``capacity`` is the number of orders that each side can hold. Raises ValueError
    naming the argument, or file, line and reason.
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
    max_price, max_quantity = _bounds(recording, seed_row, rows, window, capacity)
    result = replay(
        window.messages,
        capacity,
        bids=window.bids,
        asks=window.asks,
        max_price=max_price,
        max_quantity=max_quantity,
        n_levels=n_levels,
    )
    price, size = window.price_of(result.levels[..., 0]), result.levels[..., 1]
    recorded = recording.levels[rows, :, :n_levels]
    agreeing = (size == recorded[..., 1]) & ((size == 0) | (price == recorded[..., 0]))
    executed = recording.event[rows] == Event.EXECUTION
    takers = result.trades[:, 3]
    return Following(
        seed_row=seed_row,
        seconds=recording.time[rows] - recording.time[seed_row],
        agreeing=agreeing,
        executions=int(executed.sum()),
        executions_as_recorded=_count_as_recorded(window, result.trades, n_there),
        counters=result.counters,
        crossed_rows=seed_row - first,
        submissions_traded=len(np.unique(takers[takers > 0])),
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

    Raises ValueError naming the line whose size a book of this capacity cannot take.
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


@dataclass(frozen=True)
class Window:
    """Rows of a recording as messages, and the orders that seed the book, one per level.

    A price is its rank among the prices that occur, 0 for the middle one: the book only compares prices, and in ticks
    one stub quote at 199,999.99 would leave sizes too little of the int32 range of ``price * size``.
    """

    messages: dict[str, np.ndarray]  # as `replay` takes them
    bids: np.ndarray  # [k, 4] as `replay` takes them; ids -1, -2, ..
    asks: np.ndarray  # [k, 4] likewise; ids continue below those of the L bid levels
    maker: np.ndarray  # [n] the order that a row is about: its own id, or that of the seeded level that contains it
    prices: np.ndarray  # [P] 1e-4 dollars, those that occur, ascending; the first is 0, for none

    def price_of(self, ranks: np.ndarray) -> np.ndarray:
        """Prices of these ranks, 1e-4 dollars."""
        return self.prices[ranks + len(self.prices) // 2]


def seed_and_messages(recording: Recording, seed_row: int, rows: np.ndarray, tick: int = CENT) -> Window:
    """Seed orders from the levels of ``seed_row``, and messages from ``rows``.

    An execution becomes the order that caused it: immediate-or-cancel, from the other side, at the resting order's
    price, with an id of its own below those of the seeded levels. A cancellation of an order older than the seed row
    reduces the level that contains it. All other events are padding.
    """
    seed, n_levels = recording.levels[seed_row], recording.levels.shape[2]
    event, direction, size = recording.event[rows], recording.direction[rows], recording.size[rows]
    visible = np.isin(event, VISIBLE)
    _check_prices(recording, seed_row, tick, rows[visible])
    prices = np.unique(np.concatenate([[0], recording.price[rows[visible]], seed[seed[..., 1] > 0, 0]]))
    level_id = -1 - np.arange(2 * n_levels).reshape(2, n_levels)
    maker = recording.order_id[rows].copy()
    older = visible & ~np.isin(maker, maker[event == Event.SUBMISSION])
    for side, sign in ((Side.BID, 1), (Side.ASK, -1)):
        for level, (price, lots) in enumerate(seed[side].tolist()):
            if lots:
                maker[older & (direction == sign) & (recording.price[rows] == price)] = level_id[side, level]
    executed, whole = event == Event.EXECUTION, (event == Event.DELETION) & (maker > 0)
    orders = [_seed_orders(seed[side], level_id[side], prices) for side in Side]
    return Window(
        messages={
            "kind": _kinds(event),
            "side": np.where(visible, np.where(executed, -direction, direction), 0),
            "price": np.where(visible, _ranks(recording.price[rows], prices), 0),
            "quantity": np.where(visible & ~whole, size, 0),
            "order_id": np.where(executed, _first_taker(n_levels) - np.arange(len(rows)), maker),
            "owner": np.zeros(len(rows), np.int64),
        },
        bids=orders[Side.BID],
        asks=orders[Side.ASK],
        maker=maker,
        prices=prices,
    )


def _kinds(event: np.ndarray) -> np.ndarray:
    kinds = np.full(len(Event) + 1, MessageKind.NONE)
    kinds[Event.SUBMISSION] = MessageKind.LIMIT
    kinds[Event.CANCELLATION] = kinds[Event.DELETION] = MessageKind.CANCEL
    kinds[Event.EXECUTION] = MessageKind.IMMEDIATE_OR_CANCEL
    return kinds[event]


def _ranks(price: np.ndarray, prices: np.ndarray) -> np.ndarray:
    return np.searchsorted(prices, price) - len(prices) // 2


def _seed_orders(levels: np.ndarray, ids: np.ndarray, prices: np.ndarray) -> np.ndarray:
    """One order ``[k, 4]`` for each of the levels ``[L, 2]`` that is not empty."""
    price, size = levels[levels[:, 1] > 0].T
    return np.stack([_ranks(price, prices), size, ids[: len(size)], np.zeros_like(size)], axis=1)


def _check_prices(recording: Recording, seed_row: int, tick: int, rows: np.ndarray) -> None:
    """Raise ValueError where a price of a visible message or of the seed row is off the tick."""
    odd = rows[recording.price[rows] % tick != 0]
    if len(odd):
        where, price = recording.message_line(odd[0]), recording.price[odd[0]]
        raise ValueError(f"{where}: price {price} is not a multiple of the tick {tick}")
    if (recording.levels[seed_row, ..., 0] % tick != 0).any():
        raise ValueError(f"{recording.orderbook_line(seed_row)}: a price is not a multiple of the tick {tick}")


def _count_as_recorded(window: Window, trades: np.ndarray, n_levels: int) -> int:
    """Number of executions that are one trade of the recorded size and price with the recorded order."""
    row = _first_taker(n_levels) - trades[:, 3]
    row, trades = row[row >= 0], trades[row >= 0]
    recorded = (window.messages["price"], window.messages["quantity"], window.maker)
    exact = [trades[:, column] == values[row] for column, values in enumerate(recorded)]
    return int(np.logical_and.reduce(exact).sum())


def _first_taker(n_levels: int) -> int:
    """Id of the first taker, below those of the seeded levels; the others count down from it."""
    return -1 - 2 * n_levels
