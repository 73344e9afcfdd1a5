"""Read order-by-order CSV files of other vendors as a recording: Databento MBO, ITCH, files with the same columns.

Such a file reports what happens to each order and contains no book; levels are summed up from the resting orders. A
:class:`amarl_jax.lob.feed_columns.Columns` maps the columns.
"""

import math
from array import array
from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from amarl_jax.lob import csv_rows
from amarl_jax.lob.feed_columns import PER_SECOND, Columns, check_columns
from amarl_jax.lob.recording import Event, Recording

_DOLLAR = 10_000  # recordings are in 1e-4 dollars
_LARGEST = 1 << 40
Message = tuple[int, int, int, int, int]  # type, order id, size, price and direction of a LOBSTER row


def read_order_feed(path: str | Path, columns: Columns, n_levels: int = 10, instrument: str = "") -> Recording:
    """Read an order-by-order file as a :class:`Recording` whose levels are summed up from the resting orders.

    Rows that do not change the book are dropped, except trades with hidden orders; so are rows about an order that came
    before the file begins. The file may be plain, gzip or zip. Raises ValueError with file, line and reason.

    Args:
        path: the file.
        columns: which column holds what.
        n_levels: levels to keep of each side.
        instrument: the one to read, where the file holds several.
    """
    check_columns("columns", columns)
    book, times, messages, lines, levels = _Orders(), array("d"), array("q"), array("q"), array("q")
    with csv_rows.open_text(Path(path), "mbo") as (file, text):
        for number, row in _rows(file, csv_rows.lines_of_cells(file, text), columns, instrument):
            where = f"{file}, line {number}"
            if times and row.time < times[-1]:
                raise ValueError(f"{where}: time is before that of the row above")
            for message in book.apply(where, row):
                times.append(row.time)
                messages.extend(message)
                lines.append(number)
                book.write_levels(levels, n_levels)
    if not times:
        raise ValueError(f"{file}: holds no order{f' of {instrument}' if instrument else ''}")
    event, order_id, size, price, direction = np.frombuffer(messages, np.int64).reshape(-1, 5).T
    at = np.frombuffer(lines, np.int64)
    return Recording(
        file,
        file,
        np.frombuffer(times),
        event,
        order_id,
        size,
        price,
        direction,
        np.frombuffer(levels, np.int64).reshape(-1, 2, n_levels, 2),
        (0, 0),
        at,
        at,
    )


@dataclass(slots=True)
class _Row:
    """One row of a feed in the units of a recording."""

    time: float  # seconds after midnight
    action: str
    side: int
    price: int  # 1e-4 dollars, -1 where none is given
    size: int  # shares, -1 where none is given
    order_id: int
    new_order_id: int


def _rows(
    file: Path, lines: Iterator[tuple[int, list[str]]], columns: Columns, instrument: str
) -> Iterator[tuple[int, _Row]]:
    """The rows of one instrument; ValueError where the header lacks a column or a cell is not a number."""
    number, header = next(lines, (0, []))
    names = [name.strip().strip('"') for name in header]
    wanted = {one: getattr(columns, one) for one in ("time", "action", "side", "price", "size", "order_id")}
    lacking = [name for name in wanted.values() if name not in names]
    if lacking:
        raise ValueError(f"{file}, line 1: no column {lacking[0]!r}; the header must have {', '.join(wanted.values())}")
    at = {one: names.index(name) for one, name in wanted.items()}
    at_new = names.index(columns.new_order_id) if columns.new_order_id in names else -1
    at_instrument = names.index(columns.instrument) if columns.instrument in names else -1
    clock = _Clock(columns)
    for number, cells in lines:
        where = f"{file}, line {number}"
        cells = [cell.strip() for cell in cells] + [""] * (len(names) - len(cells))
        if at_instrument >= 0:
            found = cells[at_instrument]
            instrument = instrument or found
            if found != instrument:
                continue
        word, side = cells[at["action"]], cells[at["side"]]
        if word not in columns.actions:
            raise ValueError(f"{where}: action {word!r} is none of {', '.join(columns.actions)}")
        action = columns.actions[word]
        if action == "none":
            continue
        yield (
            number,
            _Row(
                clock.seconds(where, cells[at["time"]]),
                action,
                _side(where, side, columns),
                _price(where, cells[at["price"]], columns.price_unit),
                _whole(where, "size", cells[at["size"]], missing=-1),
                _whole(where, "order id", cells[at["order_id"]], missing=0),
                _whole(where, "new order id", cells[at_new], missing=0) if at_new >= 0 else 0,
            ),
        )


def _side(where: str, cell: str, columns: Columns) -> int:
    if cell and cell not in columns.sides:
        raise ValueError(f"{where}: side {cell!r} is none of {', '.join(columns.sides)}")
    return columns.sides.get(cell, 0)


def _whole(where: str, name: str, cell: str, missing: int) -> int:
    if not cell:
        return missing
    if not cell.isdecimal() or len(cell) > 20:
        raise ValueError(f"{where}: {name} {cell[:40]!r} is not a whole number")
    number = int(cell)
    if number >= 1 << 63:  # an unsigned id, which wraps and remains unique
        number -= 1 << 64
    return number


def _price(where: str, cell: str, unit: float) -> int:
    """Price in 1e-4 dollars; -1 where there is none, or a placeholder for none."""
    try:
        dollars = float(cell) * (1.0 if "." in cell else unit) if cell else -1.0
    except ValueError:
        dollars = math.nan
    if math.isnan(dollars) and cell.lower() != "nan":
        raise ValueError(f"{where}: price {cell[:40]!r} is not a number")
    price = round(dollars * _DOLLAR) if 0 < dollars < _LARGEST / _DOLLAR else -1
    if price > 0 and abs(price - dollars * _DOLLAR) > 1e-3:
        raise ValueError(f"{where}: price {cell[:40]} is not a multiple of 0.0001 dollars")
    return price


class _Clock:
    """Converts times to seconds after midnight of the day in its time zone."""

    def __init__(self, columns: Columns) -> None:
        self._unit = PER_SECOND[columns.time_unit]
        self._zone = ZoneInfo(columns.zone) if columns.zone else None
        self._midnight: int | None = None if columns.zone else 0

    def seconds(self, where: str, cell: str) -> float:
        """Seconds after midnight of one cell, a number or an ISO date and time."""
        whole, fraction = self._since_1970(where, cell)
        if self._midnight is None:
            day = datetime.fromtimestamp(whole, self._zone).replace(hour=0, minute=0, second=0)
            self._midnight = int(day.timestamp())
        seconds = whole - self._midnight + fraction
        if not 0 <= seconds <= 86_400 * 2:
            raise ValueError(f"{where}: time {cell} is not of the day of the first row, or not in the mapping's unit")
        return seconds

    def _since_1970(self, where: str, cell: str) -> tuple[int, float]:
        """Whole seconds since 1970, or since midnight without a time zone, and the fraction of a second."""
        if cell.isdecimal() and len(cell) < 20:
            whole, rest = divmod(int(cell), self._unit)
            return whole, rest / self._unit
        try:
            if self._zone is None:
                number = float(cell)
                return int(number // self._unit), number % self._unit / self._unit
            moment, dot, digits = cell.removesuffix("Z").partition(".")
            digits, plus, offset = digits.partition("+")
            stamp = datetime.fromisoformat(moment + plus + offset)
            if stamp.tzinfo is None:
                stamp = stamp.replace(tzinfo=UTC)
            return int(stamp.timestamp()), float(f"0.{digits or 0}") if dot else 0.0
        except (ValueError, OverflowError):
            raise ValueError(f"{where}: time {cell[:40]!r} is not a time") from None


class _Orders:
    """Resting orders, and the total size at each price."""

    def __init__(self) -> None:
        self._orders: dict[int, list[int]] = {}  # id: side, price, size
        self._sizes: dict[int, dict[int, int]] = {1: {}, -1: {}}
        self._prices: dict[int, list[int]] = {1: [], -1: []}  # ``-side * price``, ascending: best first
        self._filled: dict[int, int] = {}  # lots that have traded, where the row that takes them out is still to come

    def apply(self, where: str, row: _Row) -> Iterator[Message]:
        """Apply a row; yield the equivalent LOBSTER messages, each when the book is in its state after it."""
        if row.action == "clear":
            for key, (_, _, size) in list(self._orders.items()):
                if size:
                    yield self._leave(key, size, Event.DELETION)
            self._orders.clear()
            self._filled.clear()
        elif row.action == "hidden":
            yield int(Event.HIDDEN_EXECUTION), 0, max(row.size, 0), max(row.price, 0), row.side or 1
        elif row.action == "add":
            yield self._add(where, row.order_id, row.side, row.price, row.size)
        elif row.order_id in self._orders:
            side, price, size = self._orders[row.order_id]
            if row.action == "replace":
                yield self._leave(row.order_id, size, Event.DELETION)
                yield self._add(where, row.new_order_id, side, row.price, row.size)
            elif row.action == "modify":
                yield from self._modify(where, row, side, price, size)
            elif row.action in ("cancel", "delete"):
                yield from self._cancel(row, size)
            else:
                yield self._trade(where, row, size)

    def _trade(self, where: str, row: _Row, size: int) -> Message:
        if not 0 < row.size <= size:
            raise ValueError(f"{where}: size {row.size} trades of order {row.order_id}, which has {size}")
        if row.action == "fill":
            self._filled[row.order_id] = self._filled.get(row.order_id, 0) + row.size
        return self._leave(row.order_id, row.size, Event.EXECUTION)

    def _cancel(self, row: _Row, size: int) -> Iterator[Message]:
        """Cancel lots of an order, except those that have already left by a fill."""
        leaving = size if row.action == "delete" or row.size < 0 else row.size
        leaving = min(leaving - self._filled.pop(row.order_id, 0), size)
        if leaving > 0:
            yield self._leave(row.order_id, leaving, Event.DELETION if leaving == size else Event.CANCELLATION)
        elif not size:
            del self._orders[row.order_id]

    def _modify(self, where: str, row: _Row, side: int, price: int, size: int) -> Iterator[Message]:
        """Change an order: a smaller size at the same price keeps its priority, anything else makes it a new order."""
        self._filled.pop(row.order_id, None)
        if row.price in (price, -1) and 0 <= row.size <= size:
            if row.size < size:
                yield self._leave(row.order_id, size - row.size, Event.CANCELLATION if row.size else Event.DELETION)
            return
        if size:
            yield self._leave(row.order_id, size, Event.DELETION)
        yield self._add(where, row.order_id, side, row.price, row.size)

    def _add(self, where: str, order_id: int, side: int, price: int, size: int) -> Message:
        if order_id in self._orders and self._orders[order_id][2]:
            raise ValueError(f"{where}: order {order_id} is added a second time")
        if side == 0:
            raise ValueError(f"{where}: an order without a side is added")
        for name, value in (("price", price), ("size", size)):
            if not 0 < value < _LARGEST:
                raise ValueError(f"{where}: an order is added without a {name}, or it is not positive")
        self._filled.pop(order_id, None)
        self._orders[order_id] = [side, price, size]
        self._change(side, price, size)
        return int(Event.SUBMISSION), order_id, size, price, side

    def _leave(self, order_id: int, lots: int, event: Event) -> Message:
        order = self._orders[order_id]
        side, price, size = order
        order[2] = size - lots
        if not order[2] and order_id not in self._filled:
            del self._orders[order_id]
        self._change(side, price, -lots)
        return int(event), order_id, lots, price, side

    def _change(self, side: int, price: int, lots: int) -> None:
        sizes, prices = self._sizes[side], self._prices[side]
        key = -side * price
        total = sizes.get(price, 0) + lots
        if total:
            if price not in sizes:
                insort(prices, key)
            sizes[price] = total
        else:
            del sizes[price]
            del prices[bisect_left(prices, key)]

    def write_levels(self, levels: "array[Any]", n_levels: int) -> None:
        """Append price and size of the best levels, bids first, 0 where there are none."""
        for side in (1, -1):
            sizes = self._sizes[side]
            there = self._prices[side][:n_levels]
            for key in there:
                levels.append(-side * key)
                levels.append(sizes[-side * key])
            levels.extend([0, 0] * (n_levels - len(there)))
