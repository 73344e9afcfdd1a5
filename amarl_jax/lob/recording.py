"""A pair of LOBSTER files as arrays.

The public format (lobsterdata.com, "data structure"): a message file with rows *time, type, order id, size, price,
direction* and an order-book file whose row ``k`` shows ask price, ask size, bid price, bid size of each level after
message ``k``. Prices are in 1e-4 dollars, times in seconds after midnight, and the direction is that of the resting
order. Where a side has fewer levels than the file has room for, the rest has size 0 and the price 9999999999, with
either sign.
"""

import math
import re
import reprlib
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from pathlib import Path

import numpy as np

from amarl_jax.lob import csv_rows
from amarl_jax.lob.messages import Side
from amarl_jax.lob.pairing import rows_of_deep_messages, rows_of_shallow_messages

_NO_PRICE = 9_999_999_999
_DAY = 86_400  # seconds
_UNITS = ((1.0, "seconds"), (1e3, "milliseconds"), (1e6, "microseconds"), (1e9, "nanoseconds"))


class Event(IntEnum):
    """The types of rows in a message file."""

    SUBMISSION = 1
    CANCELLATION = 2  # of a part
    DELETION = 3  # of all that is left
    EXECUTION = 4  # of a visible resting order
    HIDDEN_EXECUTION = 5  # does not change the visible book, nor do the following two
    CROSS = 6  # an auction
    HALT = 7


_TYPES = frozenset(Event)
VISIBLE = (Event.SUBMISSION, Event.CANCELLATION, Event.DELETION, Event.EXECUTION)


@dataclass(frozen=True)
class Recording:
    """A pair of files. Prices in 1e-4 dollars, sizes in shares; int64 where not said otherwise."""

    messages: Path  # the file; archive/name where it lies in a zip archive
    orderbook: Path  # the same
    time: np.ndarray  # [n] float64, seconds after midnight
    event: np.ndarray  # [n] Event
    order_id: np.ndarray  # [n]
    size: np.ndarray  # [n]
    price: np.ndarray  # [n]
    direction: np.ndarray  # [n] +1: the resting order buys, -1: it sells
    levels: np.ndarray  # [n, 2, L, 2] price and size of each level after the row, bids first; 0 where no level
    first_lines: tuple[int, int] = (1, 1)  # line of each file's row 0; 2 after a header
    message_rows: np.ndarray | None = None  # [n] rows of the file that are kept; None: all
    orderbook_rows: np.ndarray | None = None  # [n] the same

    def __len__(self) -> int:
        return len(self.time)

    def message_line(self, row: int) -> str:
        """File and line of a row, in words."""
        at = row if self.message_rows is None else self.message_rows[row]
        return f"{self.messages}, line {at + self.first_lines[0]}"

    def orderbook_line(self, row: int) -> str:
        """File and line of a row's levels, in words."""
        at = row if self.orderbook_rows is None else self.orderbook_rows[row]
        return f"{self.orderbook}, line {at + self.first_lines[1]}"


def read_recording(messages: str | Path, orderbook: str | Path) -> Recording:
    """Read a pair of files; ValueError with file, line and reason where a row is malformed.

    Formats are those of :mod:`amarl_jax.lob.csv_rows`. The files may have different numbers of levels: the day is then
    read at the smaller one. A seventh column of the message file, which some vendors add, is ignored.
    """
    times, fields, first_line = array("d"), array("q"), 1
    with csv_rows.open_text(Path(messages), "message") as (message_file, text):
        for number, cells in csv_rows.rows(message_file, text):
            time, numbers = _parse_message(f"{message_file}, line {number}", cells, times[-1] if times else 0.0)
            first_line = first_line if times else number
            times.append(time)
            fields.extend(numbers)
    if not times:
        raise ValueError(f"{message_file}: holds no rows")
    event, order_id, size, price, direction = np.frombuffer(fields, np.int64).reshape(-1, 5).T
    orderbook_file, first_orderbook_line, levels = _read_levels(Path(orderbook))
    whole = Recording(
        message_file,
        orderbook_file,
        np.frombuffer(times),
        event,
        order_id,
        size,
        price,
        direction,
        levels,
        (first_line, first_orderbook_line),
    )
    return whole if len(levels) == len(times) else _paired(whole)


def _paired(whole: Recording) -> Recording:
    """The rows that both files have, where one of them has more levels; ValueError where they do not match."""
    levels, n_messages = whole.levels, len(whole.time)
    if n_messages < len(levels):
        found = rows_of_shallow_messages(levels, n_messages)
        if found:
            rows, n_levels = found
            return replace(whole, levels=levels[rows, :, :n_levels], orderbook_rows=rows)
    else:
        touching = rows_of_deep_messages(levels, np.isin(whole.event, VISIBLE), whole.price, whole.direction)
        if touching is not None:
            columns = ("time", "event", "order_id", "size", "price", "direction")
            return replace(whole, **{name: getattr(whole, name)[touching] for name in columns}, message_rows=touching)
    raise ValueError(
        f"{whole.orderbook}: {len(levels)} rows, but {whole.messages} has {n_messages}"
        + _other_depth(whole.messages, whole.orderbook)
    )


def _other_depth(messages: Path, orderbook: Path) -> str:
    """Reason why files differ in length, if their names show it: LOBSTER lists only messages that touch the levels."""
    names = (re.search(r"_(message|orderbook)_(\d+)(?!\d)", path.name) for path in (messages, orderbook))
    depths = [name[2] for name in names if name]
    differ = len(depths) == 2 and depths[0] != depths[1]
    return (
        f"; by their names they are of {depths[0]} and {depths[1]} levels, and no day explains both" if differ else ""
    )


def _parse_message(where: str, cells: list[str], earliest: float) -> tuple[float, list[int]]:
    """Time, and the five integers after it."""
    if len(cells) not in (6, 7):
        raise ValueError(f"{where}: {len(cells)} columns instead of 6")
    time = _parse_time(where, cells[0])
    if time < earliest:
        raise ValueError(f"{where}: time {cells[0]} is before that of the row above")
    names = ("type", "order id", "size", "price", "direction")
    event, order_id, size, price, direction = numbers = _integers(where, cells[1:6], names)
    if event not in _TYPES:
        raise ValueError(f"{where}: type {event} is none of 1 to 7")
    if event in VISIBLE:
        for name, value in (("order id", order_id), ("size", size), ("price", price)):
            if value < 1:
                raise ValueError(f"{where}: {name} {value} is not positive")
        if price >= _NO_PRICE:
            raise ValueError(f"{where}: price {price} stands for none")
        if direction not in (1, -1):
            raise ValueError(f"{where}: direction {direction} is neither 1 nor -1")
    return time, numbers


def _parse_time(where: str, cell: str) -> float:
    """Seconds after midnight."""
    try:
        time = float(cell)
    except ValueError:
        time = math.nan
    if not math.isfinite(time) or "_" in cell:
        raise ValueError(f"{where}: time {reprlib.repr(cell)} is not a number")
    if time < 0:
        raise ValueError(f"{where}: time {cell} is negative")
    if time > _DAY:
        raise ValueError(f"{where}: time {cell} is more than the {_DAY} seconds of a day{_likely_unit(time)}")
    return time


def _likely_unit(time: float) -> str:
    """Likely unit of a time beyond the day's seconds, in words; stamps since 1970 are those of 2001 to 2065."""
    stamps = [f"{name} since 1970" for scale, name in _UNITS if 1e9 <= time / scale <= 3e9]
    units = [name for scale, name in _UNITS if time / scale <= _DAY]
    return "".join(f"; it looks like {name}, and seconds after midnight are read" for name in (stamps + units)[:1])


def _integers(where: str, cells: Sequence[str], names: Sequence[str]) -> list[int]:
    try:
        numbers = [int(cell) for cell in cells]
    except ValueError:
        numbers = []
    if not numbers or "_" in "".join(cells):  # Python reads 1_000 as a number, nobody else does
        name, cell = next((name, cell) for name, cell in zip(names, cells, strict=True) if not _is_integer(cell))
        raise ValueError(f"{where}: {name} {reprlib.repr(cell)} is not an integer")
    if max(map(abs, numbers)) > np.iinfo(np.int64).max:
        raise ValueError(f"{where}: a number does not fit 64 bits")
    return numbers


def _is_integer(cell: str) -> bool:
    try:
        int(cell)
    except ValueError:
        return False
    return "_" not in cell


def _read_levels(path: Path) -> tuple[Path, int, np.ndarray]:
    """The order-book file's name, the line of its first row, and ``[n, 2, L, 2]``."""
    fields, width, first_line, names = array("q"), 0, 1, [""]
    with csv_rows.open_text(path, "orderbook") as (file, text):
        for number, cells in csv_rows.rows(file, text):
            where = f"{file}, line {number}"
            if not width:
                width, first_line = len(cells), number
                names = [f"column {i + 1}" for i in range(width)]
                if width % 4:
                    raise ValueError(f"{where}: {width} columns, which is not four for each level")
            if len(cells) != width:
                raise ValueError(f"{where}: {len(cells)} columns instead of {width}")
            fields.extend(_integers(where, cells, names))
    if not width:
        raise ValueError(f"{file}: holds no rows")
    levels = np.frombuffer(fields, np.int64).reshape(-1, width // 4, 2, 2)[:, :, ::-1].swapaxes(1, 2)
    for reason, wrong in _odd_levels(levels):
        if wrong.any():
            raise ValueError(f"{file}, line {first_line + int(np.argmax(wrong.any((1, 2))))}: {reason}")
    return file, first_line, np.where(levels[..., 1:] > 0, levels, 0)


def _odd_levels(levels: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Yield each possible fault of levels ``[n, 2, L, 2]``, and where it occurs, bool ``[n, 2, k]``."""
    price, size = levels[..., 0], levels[..., 1]
    there = size > 0
    better, worse = price[..., :-1], price[..., 1:]  # compared, as a difference could leave int64
    ordered = np.stack([better[:, Side.BID] > worse[:, Side.BID], better[:, Side.ASK] < worse[:, Side.ASK]], axis=1)
    yield "a size is negative", size < 0
    yield "a level has a size but no price", there & ((price < 1) | (price >= _NO_PRICE))
    yield "a level stands behind one that is empty", there[..., 1:] & ~there[..., :-1]
    yield "levels are not ordered from best to worst", there[..., 1:] & ~ordered
