"""What a fitted flow sets in a configuration: ``environment.flow`` and the settings that its file speaks of.

A setting that is given beside ``environment.flow`` has the value given. Of the file the tilt is taken only where orders
lean against the recent price by more than two standard errors: a tilt below 0 would carry no value into prices.
"""

import functools
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
_LEAST_CAPACITY, _SPARE = 96, 48  # orders a side


def with_flow(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The overrides with those of the flow that they name in front of them, its path made absolute."""
    overrides = absolute(overrides)
    path = overrides.get(FLOW, NONE)
    return overrides if not _names_a_file(path) else settings_of(_flow(path)) | overrides


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
    for name in ("environment.offset_min_ticks", "environment.offset_max_ticks", "agents.execution.max_order_size"):
        own = settings_of(flow)[name]
        if values[name] != own:
            raise ConfigError(name, values[name], f"{own}, as the table in {values[FLOW]} has it, or noise_law beta")
    return table_of(np.array(flow.table))


def settings_of(flow: Flow) -> dict[str, Any]:
    """Settings by dotted name, with which the market's noise traders have the flow's laws."""
    table = np.array(flow.table)
    lots, places = np.arange(1, flow.max_lots + 1), table.sum(1) / table.sum()
    mean = float(lots @ table.sum(0) / table.sum())
    deviation = math.sqrt(float((lots - mean) ** 2 @ table.sum(0) / table.sum()))
    widest = math.sqrt(mean * max(flow.max_lots - mean, 1e-6))
    resting = flow.rate * (1.0 - places[0]) * flow.lifetime_steps / 2
    values = {
        LAW: "table",
        "environment.tick_size": flow.tick / 1e4,
        "environment.initial_mid_price": flow.mid,
        "environment.noise_trader_arrival_rate": flow.rate,
        "environment.max_noise_orders": smallest_noise_bound(flow.rate),
        "environment.market_order_probability": float(places[0]),
        "environment.noise_order_size_mean": mean,
        "environment.noise_order_size_std": min(max(deviation, 0.02 * widest), 0.98 * widest),
        "environment.order_lifetime_steps": flow.lifetime_steps,
        "environment.offset_min_ticks": flow.offset_min,
        "environment.offset_max_ticks": flow.offset_max,
        "environment.initial_levels": flow.opening_levels,
        "environment.initial_sizes": (flow.opening_lots,),
        "environment.book_capacity": max(_LEAST_CAPACITY, math.ceil(1.2 * resting) + _SPARE + flow.opening_levels),
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
