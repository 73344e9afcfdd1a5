"""Column mappings of order-by-order CSV files: Databento MBO, ITCH, or a JSON file of one's own.

The JSON file has the fields of :class:`Columns`; those left out keep its defaults. An example, and the actions:

    {"time": "ts", "action": "what", "side": "bs", "price": "px", "size": "qty", "order_id": "id",
     "price_unit": 1.0, "time_unit": "ns", "zone": "America/New_York",
     "actions": {"NEW": "add", "CXL": "delete", "EXE": "execute"}, "sides": {"BUY": 1, "SELL": -1}}

| action | what it does |
|---|---|
| add | a new order comes to rest |
| cancel | ``size`` of an order leaves, all of it where no size is given |
| delete | an order leaves |
| execute | ``size`` of the order trades and leaves |
| fill | ``size`` of the order trades; the row that takes it out of the book follows (Databento) |
| modify | the order has this price and size from now on |
| replace | the order leaves, ``new_order_id`` comes to rest on its side |
| hidden | a trade with a hidden order |
| clear | every order leaves |
| none | no change of the book |
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from zoneinfo import ZoneInfo

ACTIONS = ("add", "cancel", "delete", "execute", "fill", "modify", "replace", "hidden", "clear", "none")
PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


@dataclass(frozen=True)
class Columns:
    """Names and units of the columns."""

    time: str = "time"
    action: str = "action"
    side: str = "side"
    price: str = "price"
    size: str = "size"
    order_id: str = "order_id"
    new_order_id: str = ""  # of a replace
    instrument: str = ""  # where a file may hold several
    price_unit: float = 1.0  # dollars of a price of 1; a price with a decimal point is in dollars
    time_unit: str = "ns"  # s, ms, us or ns; times in words (2012-06-21T09:30:00.25Z) are read as well
    zone: str = ""  # time zone of the day where times count from 1970; empty: they count from midnight
    actions: Mapping[str, str] = field(default_factory=dict)  # the file's words to the actions above
    sides: Mapping[str, int] = field(default_factory=lambda: {"B": 1, "S": -1, "A": -1, "N": 0})


MAPPINGS = {
    "databento": Columns(
        time="ts_recv",
        instrument="instrument_id",
        price_unit=1e-9,
        zone="America/New_York",
        actions={"A": "add", "C": "cancel", "M": "modify", "R": "clear", "F": "fill", "T": "none", "N": "none"},
    ),
    "itch": Columns(
        action="type",
        size="shares",
        new_order_id="new_order_id",
        price_unit=1e-4,
        actions={
            "A": "add",
            "F": "add",
            "E": "execute",
            "C": "execute",
            "X": "cancel",
            "D": "delete",
            "U": "replace",
            "P": "hidden",
        },
    ),
}


def read_columns_file(path: str | Path) -> Columns:
    """A mapping from a JSON file; ValueError naming the file and the field."""
    try:
        given = json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        raise ValueError(f"{path}: is not JSON") from None
    kinds = {one.name: type(getattr(Columns(), one.name)) for one in fields(Columns)}
    if not isinstance(given, dict):
        raise ValueError(f"{path}: must be an object with fields of {', '.join(kinds)}")
    for name, value in given.items():
        if name not in kinds:
            raise ValueError(f"{path}: {name}: no such field, must be one of {', '.join(kinds)}")
        kind = (int, float) if kinds[name] is float else kinds[name]
        if isinstance(value, bool) or not isinstance(value, kind):
            raise ValueError(f"{path}: {name}: must be {'a number' if kinds[name] is float else kinds[name].__name__}")
    columns = Columns(**given)
    check_columns(str(path), columns)
    return columns


def check_columns(where: str, columns: Columns) -> None:
    """Raise ValueError where a value of the mapping is unknown."""
    wrong = next((word for word in columns.actions.values() if word not in ACTIONS), None)
    if wrong is not None or not columns.actions:
        raise ValueError(f"{where}: actions: {wrong!r} must be one of {', '.join(ACTIONS)}")
    if any(value not in (1, -1, 0) or isinstance(value, bool) for value in columns.sides.values()):
        raise ValueError(f"{where}: sides: must be 1, -1 or 0")
    if columns.time_unit not in PER_SECOND:
        raise ValueError(f"{where}: time_unit: {columns.time_unit!r} must be one of {', '.join(PER_SECOND)}")
    if not 0 < columns.price_unit < math.inf:
        raise ValueError(f"{where}: price_unit: {columns.price_unit!r} must be a finite number > 0")
    if columns.zone:
        try:
            ZoneInfo(columns.zone)
        except (KeyError, OSError, ValueError):
            raise ValueError(f"{where}: zone: {columns.zone!r} must be a time zone, as America/New_York") from None
