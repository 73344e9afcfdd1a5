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
from amarl_jax.market.params import FlowTable
from amarl_jax.market.table_noise import table_of

FLOW, LAW, NONE = "environment.flow", "environment.noise_law", "none"
OF_A_FILE = ("table",)  # laws that read the file of the flow
DRAWS_NOTHING = (  # where the marks come from the file: settings of the Beta law alone
    "environment.market_order_probability",
    "environment.noise_order_size_mean",
    "environment.noise_order_size_std",
)
_SHAPES = ("environment.offset_min_ticks", "environment.offset_max_ticks", "agents.execution.max_order_size")
_LEAST_CAPACITY, _MOST_CAPACITY, _SPARE = 96, 4096, 48  # orders a side
_EDGE = 0.02  # share of the range that means and deviations of sizes keep from its ends, for a Beta law to have them


def with_flow(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The overrides with those of the flow that they name in front of them, its path made absolute."""
    overrides = absolute(overrides)
    path = overrides.get(FLOW, NONE)
    return overrides if not _names_a_file(path) else settings_of(_flow(path)) | overrides


def from_file(values: Mapping[str, Any], plain: Mapping[str, Any]) -> dict[str, Any]:
    """What a configuration file that names a flow itself leaves to it, dotted name to value, the path made absolute.

    Args:
        values: the file's settings.
        plain: those of the default configuration; what the file has otherwise stays as the file has it.
    """
    path = values.get(FLOW, NONE)
    if not _names_a_file(path):
        return {}
    named = absolute({FLOW: path})
    taken = settings_of(_flow(named[FLOW]))
    if all(values[name] == value for name, value in taken.items() if name != LAW):
        return named  # loaded with it
    return {name: value for name, value in taken.items() if values[name] == plain[name]} | named


def content_hash(law: str, path: str) -> str:
    """Hash of the file that the noise law reads at ``path``; empty where it reads none."""
    if law not in OF_A_FILE:
        return ""
    _flow(path)  # says in one line what is wrong with it
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def absolute(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The overrides with the flow's path made absolute, so that a saved configuration names one file."""
    path = overrides.get(FLOW, NONE)
    if not _names_a_file(path):
        return dict(overrides)
    return dict(overrides) | {FLOW: os.path.abspath(os.path.expanduser(os.path.expandvars(path)))}


def table_for(values: Mapping[str, Any]) -> FlowTable | None:
    """The table that the settings (dotted name to value) ask for, None for the Beta law.

    Raises :class:`ConfigError` where there is none, or where its shape is not that of the market's sizes.
    """
    if values[LAW] != "table":
        return None
    if values[FLOW] == NONE:
        raise ConfigError(
            LAW, "table", f"beta, or beside {FLOW}=DIR/flow.json, which python -m amarl_jax.fit_flow writes"
        )
    flow = _flow(values[FLOW])
    settings = settings_of(flow)
    for name in (*_SHAPES, *DRAWS_NOTHING):
        own = settings[name]
        if values[name] != own:
            raise ConfigError(name, values[name], f"{own}, as the table in {values[FLOW]} has it, or noise_law beta")
    return table_of(np.array(flow.table))


def check_axis(name: str, law: str) -> None:
    """Raise :class:`ConfigError` where a sweep would vary what the noise law does not read."""
    if law in OF_A_FILE and name in DRAWS_NOTHING:
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


def _names_a_file(path: Any) -> bool:
    return isinstance(path, str) and bool(path.strip()) and path != NONE


def _flow(path: str) -> Flow:
    try:
        status = Path(path).stat() if Path(path).is_file() else None
        return _read(path, status.st_mtime_ns, status.st_size) if status else read_flow(path)
    except (OSError, ValueError) as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise ConfigError(FLOW, path, f"a flow.json as python -m amarl_jax.fit_flow writes it: {reason}") from None


@functools.lru_cache(maxsize=4)
def _read(path: str, modified: int, size: int) -> Flow:
    """The file as it is now; the same one is read once."""
    return read_flow(path)
