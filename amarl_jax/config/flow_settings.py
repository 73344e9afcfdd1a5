"""What a fitted flow sets in a configuration: ``environment.flow`` and the settings that its file speaks of.

A setting that is given beside ``environment.flow`` has the value given. Of the file the tilt is taken only where orders
lean against the recent price by more than two standard errors: a tilt below 0 would carry no value into prices.
"""

import functools
import hashlib
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from amarl_jax.config.consistency import smallest_noise_bound
from amarl_jax.errors import ConfigError
from amarl_jax.flow.law import Flow, read_flow
from amarl_jax.flow.stream import Stream, read_stream
from amarl_jax.market.params import FlowTable
from amarl_jax.market.recorded_noise import RecordedNoise, recorded_noise, windows_of
from amarl_jax.market.table_noise import table_of

FLOW, LAW, NONE = "environment.flow", "environment.noise_law", "none"
TABLE, RECORDED = "table", "recorded"
OF_A_FILE = (TABLE, RECORDED)  # laws that read the file of the flow
STREAM_FILE = "stream.npz"  # beside it, where the orders themselves are played
DRAWS_NOTHING = (  # where the marks come from the file: settings of the Beta law alone
    "environment.market_order_probability",
    "environment.noise_order_size_mean",
    "environment.noise_order_size_std",
)
_RATE, BOUND, _TILT = (
    "environment.noise_trader_arrival_rate",
    "environment.max_noise_orders",
    "environment.tilt_per_tick",
)
_TILT_MAX, _LIFETIME, _HELD_OUT = (
    "environment.tilt_max",
    "environment.order_lifetime_steps",
    "environment.held_out_share",
)
_DRAW_NOTHING = {TABLE: DRAWS_NOTHING, RECORDED: (*DRAWS_NOTHING, _RATE, _TILT, _TILT_MAX, _LIFETIME)}
_SHAPES = ("environment.offset_min_ticks", "environment.offset_max_ticks", "agents.execution.max_order_size")
_LEAST_CAPACITY, _MOST_CAPACITY, _SPARE = 96, 4096, 48  # orders a side
_ROOM, _MOST_ORDERS = 1.5, 1024
_USUAL_HELD_OUT = 0.2  # of configs/default.py
_EDGE = 0.02  # share of the range that means and deviations of sizes keep from its ends, for a Beta law to have them


def with_flow(overrides: Mapping[str, Any], own_law: Any) -> dict[str, Any]:
    """The overrides with those of the flow that they name in front of them, its path made absolute.

    Where they name no noise law it is the table's, unless what they override has the recorded one, ``own_law``.
    """
    overrides = absolute(overrides)
    path = overrides.get(FLOW, NONE)
    return overrides if not _names_a_file(path) else _settings(path, overrides.get(LAW, own_law)) | overrides


def from_file(values: Mapping[str, Any], plain: Mapping[str, Any], law: str | None = None) -> dict[str, Any]:
    """What a configuration file that names a flow itself leaves to it, dotted name to value, the path made absolute.

    Args:
        values: the file's settings.
        plain: those of the default configuration; what the file has otherwise stays as the file has it.
        law: the noise law that is asked for in place of the file's.
    """
    path = values.get(FLOW, NONE)
    if not _names_a_file(path):
        return {}
    named = absolute({FLOW: path})
    taken = _settings(named[FLOW], values[LAW] if law is None else law)
    if law is not None and law != values[LAW]:  # what the file's own law set is not the user's word
        of_file = _settings(named[FLOW], values[LAW])
        plain = {name: values[name] if values[name] == of_file.get(name) else plain[name] for name in plain}
    if all(values[name] == value for name, value in taken.items() if name != LAW):
        return named  # loaded with it
    return {name: value for name, value in taken.items() if values[name] == plain[name]} | named


def content_hash(law: str, path: str) -> str:
    """Hash of the file that the noise law reads at ``path``; empty where it reads none."""
    if law not in OF_A_FILE:
        return ""
    _flow(path)  # says in one line what is wrong with it
    digest = hashlib.sha256(Path(path).read_bytes())
    if law == RECORDED:
        digest.update(_stream(path).digest.encode())
    return digest.hexdigest()


def absolute(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The overrides with the flow's path made absolute, so that a saved configuration names one file."""
    path = overrides.get(FLOW, NONE)
    if not _names_a_file(path):
        return dict(overrides)
    return dict(overrides) | {FLOW: os.path.abspath(os.path.expanduser(os.path.expandvars(path)))}


def table_for(values: Mapping[str, Any]) -> FlowTable | None:
    """The table that the settings (dotted name to value) ask for, None for the Beta law.

    Raises :class:`ConfigError` where there is none, where its shape is not that of the market's sizes, and where a
    setting is given that the law does not read.
    """
    law = values[LAW]
    if law != RECORDED and values[_HELD_OUT] != _USUAL_HELD_OUT:
        allowed = f"{_USUAL_HELD_OUT}, as in configs/default.py: noise_law {law} plays no windows of a day; or recorded"
        raise ConfigError(_HELD_OUT, values[_HELD_OUT], allowed)
    if law not in OF_A_FILE:
        return None
    if values[FLOW] == NONE:
        raise ConfigError(LAW, law, f"beta, or beside {FLOW}=DIR/flow.json, which python -m amarl_jax.fit_flow writes")
    settings = _settings(values[FLOW], law)
    for name in (*_SHAPES, *_DRAW_NOTHING[law]):
        own = settings[name]
        if values[name] != own:
            raise ConfigError(
                name, values[name], f"{own}, as the {law} law of {values[FLOW]} has it, or noise_law beta"
            )
    return table_of(np.array(_flow(values[FLOW]).table))


def recorded_for(values: Mapping[str, Any]) -> tuple[RecordedNoise, np.ndarray] | None:
    """The recorded noise that the settings ask for and the windows it is played in [2, 2], None for another law.

    Raises :class:`ConfigError` where there is no recording, or where it is too short.
    """
    if values[LAW] != RECORDED:
        return None
    law, horizon = _recorded_noise(values[FLOW], values[BOUND]), values["environment.max_steps_per_episode"]
    _check_belongs(_stream(values[FLOW]), _flow(values[FLOW]), values[FLOW])
    try:
        return law, np.stack(windows_of(law.n_steps, horizon, values["environment.held_out_share"]))
    except ValueError as error:
        allowed = f"fewer, of the {law.n_steps} steps in {STREAM_FILE} beside {values[FLOW]}: {error}"
        raise ConfigError("environment.max_steps_per_episode", horizon, allowed) from None


def _check_belongs(stream: Stream, flow: Flow, path: str) -> None:
    """Raise :class:`ConfigError` where recorded orders have sizes or offsets that the table beside them has not."""
    offsets = stream.offset[stream.is_limit]
    of_table = not offsets.size or (offsets.min() >= flow.offset_min and offsets.max() <= flow.offset_max)
    if not of_table or stream.lots.max(initial=0) > flow.max_lots:
        allowed = f"table, or a {STREAM_FILE} that fit_flow wrote with {path}: its orders do not fit the table's"
        raise ConfigError(LAW, RECORDED, allowed)


def check_axis(name: str, law: str) -> None:
    """Raise :class:`ConfigError` where a sweep would vary what the noise law does not read."""
    if name in _DRAW_NOTHING.get(law, ()):
        raise ConfigError("sweep.axis", name, f"another setting, or noise_law beta: noise_law {law} does not read it")


def settings_of(flow: Flow) -> dict[str, Any]:
    """Settings by dotted name, with which the market's noise traders have the flow's laws, all within their ranges."""
    table = np.array(flow.table)
    lots, places = np.arange(1, flow.max_lots + 1), table.sum(1) / table.sum()
    recorded_mean = float(lots @ table.sum(0) / table.sum())
    mean = min(recorded_mean, (1.0 - _EDGE) * flow.max_lots)
    deviation = math.sqrt(float((lots - recorded_mean) ** 2 @ table.sum(0) / table.sum()))
    widest = math.sqrt(mean * (flow.max_lots - mean))
    resting = flow.rate * (1.0 - places[0]) * flow.lifetime_steps / 2
    capacity = math.ceil(1.2 * resting) + _SPARE + flow.opening_levels
    values = {
        LAW: "table",
        "environment.tick_size": flow.tick / 1e4,
        "environment.initial_mid_price": flow.mid,
        "environment.noise_trader_arrival_rate": flow.rate,
        "environment.max_noise_orders": max(smallest_noise_bound(flow.rate), 1),
        "environment.market_order_probability": float(places[0]),
        "environment.noise_order_size_mean": mean,
        "environment.noise_order_size_std": min(max(deviation, _EDGE * widest), (1.0 - _EDGE) * widest),
        "environment.order_lifetime_steps": flow.lifetime_steps,
        "environment.offset_min_ticks": flow.offset_min,
        "environment.offset_max_ticks": flow.offset_max,
        "environment.initial_levels": flow.opening_levels,
        "environment.initial_sizes": (flow.opening_lots,),
        "environment.book_capacity": min(max(_LEAST_CAPACITY, capacity), _MOST_CAPACITY),
        "agents.execution.max_order_size": flow.max_lots,
    }
    if flow.tilt_per_tick > 2.0 * flow.tilt_stderr:
        values |= {"environment.tilt_per_tick": flow.tilt_per_tick, "environment.tilt_max": flow.tilt_max}
    return values


def _settings(path: str, law: str) -> dict[str, Any]:
    """:func:`settings_of` the flow in a file, for a noise law that reads it, or for the Beta law beside it.

    Recorded orders buy and sell as they did, so no price tilts them, and rest as they did.
    """
    settings = settings_of(_flow(path))
    if law != RECORDED:
        return settings
    _stream(path)  # says in one line what is wrong with it
    return settings | {LAW: RECORDED, _TILT: 0.0, _TILT_MAX: 0.0, BOUND: bound_of_recorded(settings[BOUND])}


def bound_of_recorded(of_poisson: int) -> int:
    """The most recorded noise orders of a step: half as many again as the Poisson law of the same rate needs.

    Training takes time for the rows of a step, whatever the day: with this a step of recorded orders has half as many
    again as one of drawn orders. Busier steps are played as several.
    """
    return min(math.ceil(_ROOM * of_poisson), _MOST_ORDERS)


def _names_a_file(path: Any) -> bool:
    return isinstance(path, str) and bool(path.strip()) and path != NONE


def _flow(path: str) -> Flow:
    try:
        status = Path(path).stat() if Path(path).is_file() else None
        return _read(path, status.st_mtime_ns, status.st_size) if status else read_flow(path)
    except (OSError, ValueError) as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise ConfigError(FLOW, path, f"a flow.json as python -m amarl_jax.fit_flow writes it: {reason}") from None


def _stream(path: str) -> Stream:
    """The recorded orders beside a flow."""
    file = Path(path).with_name(STREAM_FILE)
    try:
        status = file.stat() if file.is_file() else None
        return _read_stream(str(file), status.st_mtime_ns, status.st_size) if status else read_stream(file)
    except (OSError, ValueError) as error:
        raise ConfigError(LAW, RECORDED, f"table, or beside the recorded orders: {error}") from None


def _recorded_noise(path: str, bound: int) -> RecordedNoise:
    return _packed(_stream(path).digest, path, bound)


@functools.lru_cache(maxsize=4)
def _packed(digest: str, path: str, bound: int) -> RecordedNoise:
    """The recorded noise of these orders, which stand beside a flow; the same ones are packed once."""
    return recorded_noise(_stream(path), bound)


@functools.lru_cache(maxsize=4)
def _read_stream(path: str, modified: int, size: int) -> Stream:
    """The file as it is now; the same one is read once."""
    return read_stream(path)


@functools.lru_cache(maxsize=4)
def _read(path: str, modified: int, size: int) -> Flow:
    """The file as it is now; the same one is read once."""
    return read_flow(path)
