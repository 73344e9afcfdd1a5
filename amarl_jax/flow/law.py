"""The fitted flow as a small readable file: every number that the simulated market needs, and no recorded order."""

import json
import math
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

FORMAT = 1
MAX_OFFSETS, MAX_LOTS = 101, 127
MAX_RATE = 900  # orders a step: with it the market's bound on them stays within its range
_MOST_BYTES = 1 << 22


@dataclass(frozen=True)
class Flow:
    """The laws of a day's order flow, in ticks, lots and steps of the simulated market."""

    tick: int  # 1e-4 dollars, of the simulated market
    recorded_tick: int  # 1e-4 dollars, of the recording
    lot_shares: int  # shares of a lot
    step_seconds: float  # seconds of the day in a step
    mid: float  # dollars, mean mid
    rate: float  # orders per step
    offset_min: int  # ticks behind mid of the table's second row
    table: list[list[float]]  # [1 + offsets, lots]: of market orders, then of limit orders from the most aggressive on
    lifetime_steps: float  # mean of the geometric lifetime of an order that does not trade
    tilt_per_tick: float  # of P(buy) per tick that the recent price is above mid; below 0 where flow follows prices
    tilt_stderr: float  # its standard error
    tilt_max: float  # of P(buy), in the tenth of the orders where it is largest
    opening_levels: int  # price levels per side, one tick apart
    opening_lots: int  # of each
    rate_by_time: list[list[float]] = field(default_factory=list)  # seconds after midnight, orders per step from there
    lifetime_by_offset: list[list[float]] = field(default_factory=list)  # ticks, mean steps
    survival_by_offset: list[list[float]] = field(default_factory=list)  # ticks, P(> 1, 2, 4, ... steps)
    depth_by_tick: list[float] = field(default_factory=list)  # mean lots in the ticks behind the best price, from it on
    details: dict[str, float] = field(default_factory=dict)  # how it was found: orders, strength of smoothing, errors

    @property
    def n_offsets(self) -> int:
        """Number of limit offsets."""
        return len(self.table) - 1

    @property
    def offset_max(self) -> int:
        """Ticks behind mid of the most passive limit orders."""
        return self.offset_min + self.n_offsets - 1

    @property
    def max_lots(self) -> int:
        """Lots of the largest order."""
        return len(self.table[0])


def text_of(flow: Flow) -> str:
    """The file's text: one field a line, one row of a table a line."""
    values = {"format": FORMAT, **asdict(flow)}
    return "{\n" + ",\n".join(f' "{name}": {_text(value)}' for name, value in values.items()) + "\n}\n"


def _text(value: Any) -> str:
    if isinstance(value, list) and value and isinstance(value[0], list):
        return "[\n" + ",\n".join(f"  {_text(row)}" for row in value) + "\n ]"
    if isinstance(value, list):
        return "[" + ", ".join(map(_text, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{name}": {_text(one)}' for name, one in value.items()) + "}"
    return f"{value:.6g}" if isinstance(value, float) else json.dumps(value)


def read_flow(path: str | Path) -> Flow:
    """Read a flow from its file; ValueError of one line naming the file, the field and what is allowed."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: {'is not a file' if path.exists() else 'no such file'}")
    if path.stat().st_size > _MOST_BYTES:
        raise ValueError(f"{path}: is larger than {_MOST_BYTES} bytes, and no flow.json that fit_flow wrote")
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        raise ValueError(f"{path}: is not JSON, so no flow.json that fit_flow wrote") from None
    if not isinstance(given, dict) or given.get("format") != FORMAT:
        raise ValueError(f"{path}: format: must be {FORMAT}, as fit_flow writes it")
    names = [one.name for one in fields(Flow)]
    odd = next((name for name in given if name not in (*names, "format")), None)
    lacking = next((name for name in names if name not in given), None)
    if odd is not None or lacking is not None:
        wrong = f"{odd}: no such field" if odd is not None else f"{lacking}: is missing"
        raise ValueError(f"{path}: {wrong[:100]}")
    _check(path, given)
    return Flow(**{name: given[name] for name in names})


_RANGES = {  # least, largest
    "tick": (1, 1e9),
    "recorded_tick": (1, 1e9),
    "lot_shares": (1, 1e9),
    "step_seconds": (1e-6, 86_400),
    "mid": (1e-4, 1e9),
    "rate": (1e-6, MAX_RATE),
    "offset_min": (-50, 50),
    "lifetime_steps": (1, 1e6),
    "tilt_per_tick": (-100, 100),
    "tilt_stderr": (0, 100),
    "tilt_max": (0, 0.5),
    "opening_levels": (1, 100),
    "opening_lots": (1, 127),
}
_WHOLE = ("tick", "recorded_tick", "lot_shares", "offset_min", "opening_levels", "opening_lots")


def _check(path: Path, given: dict[str, Any]) -> None:
    """Raise ValueError where a number is out of range or the table does not hold probabilities."""
    for name, (low, high) in _RANGES.items():
        value = given[name]
        if not _is_number(value) or not low <= value <= high or (name in _WHOLE and not isinstance(value, int)):
            kind = "a whole number" if name in _WHOLE else "a number"
            raise ValueError(f"{path}: {name}: {str(value)[:40]} must be {kind} from {low:g} to {high:g}")
    table = given["table"]
    rows = table if isinstance(table, list) else []
    width = len(rows[0]) if rows and isinstance(rows[0], list) else 0
    shaped = 3 <= len(rows) <= MAX_OFFSETS + 1 and 1 <= width <= MAX_LOTS
    if not shaped or any(not isinstance(row, list) or len(row) != width for row in rows):
        raise ValueError(f"{path}: table: must have 3 to {MAX_OFFSETS + 1} rows of 1 to {MAX_LOTS} numbers each")
    cells = [cell for row in rows for cell in row]
    if any(not _is_number(cell) or cell < 0 for cell in cells) or not math.isclose(sum(cells), 1.0, abs_tol=1e-3):
        raise ValueError(f"{path}: table: must be numbers >= 0 that sum to 1")
    if given["offset_min"] + len(rows) - 2 > 50:
        raise ValueError(f"{path}: offset_min: {given['offset_min']} with {len(rows) - 1} offsets passes 50 ticks")
    for row in ("rate_by_time", "lifetime_by_offset", "survival_by_offset", "depth_by_tick"):
        if not isinstance(given[row], list):
            raise ValueError(f"{path}: {row}: must be a list")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
