"""The orders of a recorded day one by one, in the units of its fit: for a market that plays the day itself.

Unlike ``flow.json`` this holds what was recorded, order by order: where the recording may not be redistributed,
neither may this.
"""

import hashlib
import io
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from amarl_jax.flow.arrivals import Arrivals, Rests
from amarl_jax.flow.fit import Fit

FORMAT = 2
MOST_LIFETIME = (1 << 16) - 1  # steps
TIME_UNITS = 1 << 16  # of a step
_MOST_BYTES = 1 << 28
_MOST_STEPS = 10_000_000


@dataclass(frozen=True)
class Stream:
    """Recorded orders in the order of arrival, and where each step begins."""

    first: np.ndarray  # [S + 1] int32, number of the first order of each step, then of all
    time: np.ndarray  # [n] uint16, place in the step in 1 / 65536 of it
    side: np.ndarray  # [n] int8, +1 buys, -1 sells
    is_limit: np.ndarray  # [n] bool
    lots: np.ndarray  # [n] uint8
    offset: np.ndarray  # [n] int8, ticks behind mid on its own side; of market orders one that limit orders have
    lifetime: np.ndarray  # [n] uint32, until its owner takes it out, in 1 / 65536 of a step; 0 of market orders

    @property
    def n_steps(self) -> int:
        """Number of steps, S."""
        return len(self.first) - 1

    @property
    def digest(self) -> str:
        """SHA-256 of all fields."""
        digest = hashlib.sha256()
        for field in fields(self):
            digest.update(np.ascontiguousarray(getattr(self, field.name)).tobytes())
        return digest.hexdigest()


def stream_of(fitted: Fit, seed: int = 0) -> Stream:
    """The orders that a flow was fitted to.

    An order that its owner took out rests as long as it did. One that traded, left the levels shown or outlasted the
    recording would have rested longer: a draw of the fitted geometric law is added to the time seen.
    """
    flow, orders = fitted.flow, fitted.orders
    start, step_seconds = float(orders.time[0]), flow.step_seconds
    at = np.maximum(orders.time - start, 0.0) / step_seconds
    n_steps = int(at[-1])  # without the last, incomplete one
    step = at.astype(np.int64)
    if n_steps < 1:
        raise ValueError(f"orders_per_step: {flow.rate:g} of {len(orders)} orders make no step to play")
    kept = step < n_steps
    lifetime = np.where(
        orders.is_limit, _lifetimes(orders, fitted.resting, flow.lifetime_steps, step_seconds, seed), 0.0
    )
    return Stream(
        first=np.searchsorted(step[kept], np.arange(n_steps + 1)).astype(np.int32),
        time=((at - step)[kept] * TIME_UNITS).astype(np.uint16),
        side=orders.side[kept].astype(np.int8),
        is_limit=orders.is_limit[kept],
        lots=fitted.lots[kept].astype(np.uint8),
        offset=(np.maximum(fitted.place - 1, 0) + flow.offset_min)[kept].astype(np.int8),
        lifetime=np.minimum(lifetime[kept] * TIME_UNITS + 0.5, MOST_LIFETIME * TIME_UNITS).astype(np.uint32),
    )


def _lifetimes(orders: Arrivals, resting: Rests, mean_steps: float, step_seconds: float, seed: int) -> np.ndarray:
    """Steps until each order leaves by itself, [n] float64."""
    rng = np.random.default_rng(seed)
    longer = rng.exponential(max(mean_steps, 1.0), len(orders))
    place = np.minimum(np.searchsorted(resting.row, orders.rest), max(len(resting.row) - 1, 0))
    known = resting.row[place] == orders.rest if len(resting.row) else np.zeros(len(orders), bool)
    seen = np.where(known, resting.seconds[place] if len(resting.row) else 0.0, 0.0) / step_seconds
    ended = known & (resting.cancelled[place] if len(resting.row) else False)
    return seen + np.where(ended, 0.0, longer)


def steps_at_rest(stream: Stream) -> np.ndarray:
    """Steps after which the market takes each order out, [n]: at the nearest start of a step, at least the next."""
    leaves = (stream.time + stream.lifetime.astype(np.float64)) / TIME_UNITS
    return np.clip(np.floor(leaves + 0.5), 1, MOST_LIFETIME).astype(np.int64)


def orders_by_step(stream: Stream) -> np.ndarray:
    """Orders of each step, [S]."""
    return np.diff(stream.first)


def save_stream(stream: Stream) -> bytes:
    """The content of the stream's file."""
    file = io.BytesIO()
    arrays = {field.name: getattr(stream, field.name) for field in fields(Stream)}
    np.savez_compressed(file, format=np.int64(FORMAT), **arrays)
    return file.getvalue()


def read_stream(path: str | Path) -> Stream:
    """Read a stream from its file; ValueError of one line naming the file and what is wrong with it."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: {'is not a file' if path.exists() else 'no such file'}; fit_flow --stream writes it")
    _check_size(path)
    try:
        with np.load(path, allow_pickle=False) as found:
            arrays = {name: found[name] for name in ("format", *(field.name for field in fields(Stream)))}
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile):
        raise ValueError(f"{path}: is no stream that fit_flow wrote") from None
    if arrays.pop("format").tolist() != FORMAT:
        raise ValueError(f"{path}: format: must be {FORMAT}, as fit_flow writes it")
    stream = Stream(**arrays)
    wrong = _what_is_wrong(stream)
    if wrong:
        raise ValueError(f"{path}: {wrong}")
    return stream


def _check_size(path: Path) -> None:
    """Raise ValueError for a file that unpacks to more than any stream has."""
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, OSError):
        raise ValueError(f"{path}: is no stream that fit_flow wrote") from None
    if size > _MOST_BYTES:
        raise ValueError(f"{path}: unpacks to more than {_MOST_BYTES} bytes, and is no stream that fit_flow wrote")


def _what_is_wrong(stream: Stream) -> str:
    """The first field that does not hold what it must; empty where all do."""
    kinds = {"first": "int32", "time": "uint16", "side": "int8", "is_limit": "bool", "lots": "uint8", "offset": "int8"}
    n = len(stream.side) if stream.side.ndim == 1 else -1
    for name, kind in (kinds | {"lifetime": "uint32"}).items():
        column = getattr(stream, name)
        if column.ndim != 1 or column.dtype != np.dtype(kind) or (name != "first" and len(column) != n):
            return f"{name}: must be one {kind} for each order"
    first = stream.first
    if not 2 <= len(first) <= _MOST_STEPS or first[0] != 0 or first[-1] != n or (np.diff(first) < 0).any():
        return "first: must ascend from 0 to the number of orders"
    checks = {
        "side": np.isin(stream.side, (-1, 1)),
        "lots": (stream.lots >= 1) & (stream.lots <= 127),
        "offset": np.abs(stream.offset.astype(int)) <= 50,
    }
    return next((f"{name}: holds a number out of its range" for name, good in checks.items() if not good.all()), "")
