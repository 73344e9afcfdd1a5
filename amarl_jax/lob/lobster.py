"""LOBSTER files: read, replayed through the book from a snapshot row, and compared with it row by row.

The public format (lobsterdata.com, "data structure"): a message file with rows *time, type, order id, size, price,
direction* and an order-book file whose row ``k`` shows ask price, ask size, bid price, bid size of each level after
message ``k``. Prices are in 1e-4 dollars, times in seconds after midnight, and the direction is that of the resting
order. Only the best levels are recorded: orders beyond them come and go unseen, so a book seeded from a row agrees
with later rows less and less. That is a property of the data, and what :class:`Following` measures.
"""

import math
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import numpy as np

from amarl_jax.lob.messages import INT32_MAX, Side
from amarl_jax.lob.replay import MessageKind, replay

CENT = 100  # in 1e-4 dollars, the tick of nearly every US stock
_NO_PRICE = 9_999_999_999  # what the files put, with either sign and size 0, where there is no level


class Event(IntEnum):
    """The types of rows in a message file."""

    SUBMISSION = 1
    CANCELLATION = 2  # of a part
    DELETION = 3  # of all that is left
    EXECUTION = 4  # of a visible resting order
    HIDDEN_EXECUTION = 5  # leaves the visible book alone, as do the following two
    CROSS = 6  # an auction
    HALT = 7


_VISIBLE = (Event.SUBMISSION, Event.CANCELLATION, Event.DELETION, Event.EXECUTION)


@dataclass(frozen=True)
class Recording:
    """A pair of files. Prices in 1e-4 dollars, sizes in shares; int64 where not said otherwise."""

    messages: Path  # the file
    orderbook: Path  # the file
    time: np.ndarray  # [n] float64, seconds after midnight
    event: np.ndarray  # [n] Event
    order_id: np.ndarray  # [n]
    size: np.ndarray  # [n]
    price: np.ndarray  # [n]
    direction: np.ndarray  # [n] +1: the resting order buys, -1: it sells
    levels: np.ndarray  # [n, 2, L, 2] price and size of each level after the row, bids first; 0 where no level

    def __len__(self) -> int:
        return len(self.time)


@dataclass(frozen=True)
class Following:
    """A book seeded from one row of a recording, compared with the rows that follow."""

    seed_row: int
    seconds: np.ndarray  # [n] float64 since seeding
    agreeing: np.ndarray  # [n, 2, K] bool, price and size of a level are those recorded; bids first
    executions: int  # rows of that type
    executions_as_recorded: int  # those that traded just the recorded size and price with the order of `Window.maker`
    counters: dict[str, int]  # of the book


def read_recording(messages: str | Path, orderbook: str | Path) -> Recording:
    """Read a pair of files; ValueError with file, line and reason where a row is malformed.

    A seventh column of the message file, which some vendors' files have, is not read.
    """
    messages, orderbook = Path(messages), Path(orderbook)
    times, fields = array("d"), array("q")
    for where, cells in _rows(messages):
        time, numbers = _parse_message(where, cells, earliest=times[-1] if times else 0.0)
        times.append(time)
        fields.extend(numbers)
    if not times:
        raise ValueError(f"{messages}: holds no rows")
    event, order_id, size, price, direction = np.array(fields, np.int64).reshape(-1, 5).T
    levels = _read_levels(orderbook)
    if len(levels) != len(times):
        raise ValueError(f"{orderbook}: {len(levels)} rows, but {messages} has {len(times)}")
    return Recording(messages, orderbook, np.array(times), event, order_id, size, price, direction, levels)


def follow(
    recording: Recording,
    seed_row: int = 0,
    n_rows: int | None = None,
    *,
    n_levels: int | None = None,
    tick: int = CENT,
    capacity: int = 1024,
) -> Following:
    """Seed a book with the levels of ``seed_row``, replay the next ``n_rows`` (None: all), compare ``n_levels``."""
    stop = len(recording) if n_rows is None else min(len(recording), seed_row + 1 + n_rows)
    rows = np.arange(seed_row + 1, stop)
    n_levels = recording.levels.shape[2] if n_levels is None else n_levels
    window = seed_and_messages(recording, seed_row, rows, tick)
    largest = int(max(recording.size.max(), recording.levels[..., 1].max(), 1))
    result = replay(
        window.messages,
        capacity,
        bids=window.bids,
        asks=window.asks,
        max_price=INT32_MAX // largest,
        max_quantity=largest,
        n_levels=n_levels,
    )
    price, size = result.levels[..., 0].astype(np.int64) * tick + window.origin, result.levels[..., 1]
    recorded = recording.levels[rows, :, :n_levels]
    agreeing = (size == recorded[..., 1]) & ((size == 0) | (price == recorded[..., 0]))
    executed = recording.event[rows] == Event.EXECUTION
    return Following(
        seed_row=seed_row,
        seconds=recording.time[rows] - recording.time[seed_row],
        agreeing=agreeing,
        executions=int(executed.sum()),
        executions_as_recorded=_count_as_recorded(window, result.trades, recording.levels.shape[2]),
        counters=result.counters,
    )


@dataclass(frozen=True)
class Window:
    """Rows of a recording as the book takes them: prices in ticks from ``origin``, one order per seeded level."""

    messages: dict[str, np.ndarray]  # as `replay` takes them
    bids: np.ndarray  # [k, 4] as `replay` takes them; ids -1, -2, ..
    asks: np.ndarray  # [k, 4] ids go on where those of L bid levels end
    maker: np.ndarray  # [n] the order that a row speaks of: its own id, or that of the seeded level that contains it
    origin: int  # 1e-4 dollars


def seed_and_messages(recording: Recording, seed_row: int, rows: np.ndarray, tick: int = CENT) -> Window:
    """Levels of ``seed_row`` and messages ``rows`` for the book.

    An execution arrives as what it was: an immediate-or-cancel order from the other side, at the resting order's
    price, with an id of its own below those of the seeded levels. A cancellation of an order that was there before
    the seed row comes off the level that contains it. The rest of the events is padding.
    """
    seed, n_levels = recording.levels[seed_row], recording.levels.shape[2]
    event, direction, size = recording.event[rows], recording.direction[rows], recording.size[rows]
    visible = np.isin(event, _VISIBLE)
    _check_prices(recording, seed_row, tick, rows[visible])
    touch = seed[seed[:, 0, 1] > 0, 0, 0]  # the best prices that there are
    around = touch if len(touch) else recording.price[rows[visible]][:1]
    origin = int(around.sum()) // max(len(around), 1) // tick * tick
    level_id = -1 - np.arange(2 * n_levels).reshape(2, n_levels)
    maker = recording.order_id[rows].copy()
    older = visible & ~np.isin(maker, maker[event == Event.SUBMISSION])
    for side, sign in ((Side.BID, 1), (Side.ASK, -1)):
        for level, (price, lots) in enumerate(seed[side].tolist()):
            if lots:
                maker[older & (direction == sign) & (recording.price[rows] == price)] = level_id[side, level]
    executed, whole = event == Event.EXECUTION, (event == Event.DELETION) & (maker > 0)
    orders = [_seed_orders(seed[side], level_id[side], origin, tick) for side in Side]
    return Window(
        messages={
            "kind": _kinds(event),
            "side": np.where(visible, np.where(executed, -direction, direction), 0),
            "price": np.where(visible, (recording.price[rows] - origin) // tick, 0),
            "quantity": np.where(visible & ~whole, size, 0),
            "order_id": np.where(executed, _first_taker(n_levels) - np.arange(len(rows)), maker),
            "owner": np.zeros(len(rows), np.int64),
        },
        bids=orders[Side.BID],
        asks=orders[Side.ASK],
        maker=maker,
        origin=origin,
    )


def _kinds(event: np.ndarray) -> np.ndarray:
    kinds = np.full(len(Event) + 1, MessageKind.NONE)
    kinds[Event.SUBMISSION] = MessageKind.LIMIT
    kinds[Event.CANCELLATION] = kinds[Event.DELETION] = MessageKind.CANCEL
    kinds[Event.EXECUTION] = MessageKind.IMMEDIATE_OR_CANCEL
    return kinds[event]


def _seed_orders(levels: np.ndarray, ids: np.ndarray, origin: int, tick: int) -> np.ndarray:
    """One order per level ``[L, 2]``, ``[k, 4]``."""
    price, size = levels[levels[:, 1] > 0].T
    return np.stack([(price - origin) // tick, size, ids[: len(size)], np.zeros_like(size)], axis=1)


def _check_prices(recording: Recording, seed_row: int, tick: int, rows: np.ndarray) -> None:
    """ValueError where a visible message is off the tick, or the seed row is, or is crossed."""
    odd = rows[recording.price[rows] % tick != 0]
    if len(odd):
        price, where = recording.price[odd[0]], f"{recording.messages}, line {odd[0] + 1}"
        raise ValueError(f"{where}: price {price} is not a multiple of the tick {tick}")
    where = f"{recording.orderbook}, line {seed_row + 1}"
    price, size = np.moveaxis(recording.levels[seed_row], -1, 0)
    if (price % tick != 0).any():
        raise ValueError(f"{where}: a price is not a multiple of the tick {tick}")
    if (size[:, 0] > 0).all() and price[Side.BID, 0] >= price[Side.ASK, 0]:
        raise ValueError(f"{where}: bid and ask cross, so no book can be seeded from it")


def _count_as_recorded(window: Window, trades: np.ndarray, n_levels: int) -> int:
    """How many executions are one trade of the recorded size and price with the recorded order."""
    row = _first_taker(n_levels) - trades[:, 3]
    row, trades = row[row >= 0], trades[row >= 0]
    recorded = (window.messages["price"], window.messages["quantity"], window.maker)
    exact = [trades[:, column] == values[row] for column, values in enumerate(recorded)]
    return int(np.logical_and.reduce(exact).sum())


def _first_taker(n_levels: int) -> int:
    """Takers count down from here, below the ids of the seeded levels."""
    return -1 - 2 * n_levels


def _rows(path: Path) -> Iterator[tuple[str, list[str]]]:
    """The place of each line, in words, and its cells."""
    with path.open(encoding="ascii", errors="replace") as lines:
        for number, line in enumerate(lines, start=1):
            yield f"{path}, line {number}", line.rstrip("\r\n").split(",")


def _parse_message(where: str, cells: list[str], earliest: float) -> tuple[float, list[int]]:
    """Time, and the five integers behind it."""
    if len(cells) not in (6, 7):
        raise ValueError(f"{where}: {len(cells)} columns instead of 6")
    try:
        time = float(cells[0])
    except ValueError:
        time = math.nan
    if not math.isfinite(time):
        raise ValueError(f"{where}: time {cells[0]!r} is not a number")
    if time < earliest:
        raise ValueError(f"{where}: time {cells[0]} is before that of the row above")
    names = ("type", "order id", "size", "price", "direction")
    event, order_id, size, price, direction = numbers = _integers(where, cells[1:6], names)
    if event not in list(Event):
        raise ValueError(f"{where}: type {event} is none of 1 to 7")
    if event in _VISIBLE:
        for name, value in (("order id", order_id), ("size", size), ("price", price)):
            if value < 1:
                raise ValueError(f"{where}: {name} {value} is not positive")
        if direction not in (1, -1):
            raise ValueError(f"{where}: direction {direction} is neither 1 nor -1")
    return time, numbers


def _integers(where: str, cells: Sequence[str], names: Sequence[str]) -> list[int]:
    try:
        numbers = [int(cell) for cell in cells]
    except ValueError:
        name, cell = next((name, cell) for name, cell in zip(names, cells, strict=True) if not _is_integer(cell))
        raise ValueError(f"{where}: {name} {cell!r} is not an integer") from None
    if max(map(abs, numbers)) > np.iinfo(np.int64).max:
        raise ValueError(f"{where}: a number does not fit 64 bits")
    return numbers


def _is_integer(cell: str) -> bool:
    try:
        int(cell)
    except ValueError:
        return False
    return True


def _read_levels(path: Path) -> np.ndarray:
    """The order-book file as ``[n, 2, L, 2]``."""
    fields, width, names = array("q"), 0, [""]
    for where, cells in _rows(path):
        if not width:
            width = len(cells)
            names = [f"column {i + 1}" for i in range(width)]
            if width % 4:
                raise ValueError(f"{where}: {width} columns, which is not four for each level")
        if len(cells) != width:
            raise ValueError(f"{where}: {len(cells)} columns instead of {width}")
        fields.extend(_integers(where, cells, names))
    if not width:
        raise ValueError(f"{path}: holds no rows")
    levels = np.array(fields, np.int64).reshape(-1, width // 4, 2, 2)[:, :, ::-1].swapaxes(1, 2)
    price, size = levels[..., 0], levels[..., 1]
    there = size > 0
    descends = (np.diff(price * np.array([[-1], [1]]), axis=-1) <= 0) & there[..., 1:]
    missing = there[..., 1:] & ~there[..., :-1]
    for reason, wrong in (
        ("a size is negative", size < 0),
        ("a level has a size but no price", there & (np.abs(price) >= _NO_PRICE)),
        ("a level stands behind one that is empty", missing),
        ("levels are not ordered from best to worst", descends),
    ):
        if wrong.any():
            raise ValueError(f"{path}, line {int(np.argmax(wrong.any((1, 2)))) + 1}: {reason}")
    return np.where(there[..., None], levels, 0)
