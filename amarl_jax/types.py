"""Shared pytrees and the axis legend.

Axes, named the same way in every file:

| axis | runs over |
|---|---|
| T | steps of an episode |
| E | environments |
| S | sweep lanes |
| N | book slots per side |
| L | price levels of a snapshot |
| K | events of one step on the anonymous tape |
| O | owners of orders |
| D | features |

Units: prices in ticks relative to the opening mid, sizes in lots, money in tick-lots, information in nats,
latencies in milliseconds. A ``mid2`` is twice a mid, an exact integer.
"""

from enum import IntEnum
from typing import Any

import jax
import numpy as np
from flax import struct

Array = jax.Array
PyTree = Any


class Owner(IntEnum):
    """Owner of an order; the index on every ``[O]`` axis."""

    SLOT = 0  # the institutional parent slot: noise law at z = 0, execution agent at z = 1
    MAKER = 1
    ARBITRAGEUR = 2
    NOISE = 3
    PROVIDER = 4  # initial liquidity


class Agent(IntEnum):
    """Index of an agent on every ``[agent]`` axis: value heads, rewards, discounts."""

    EXECUTION = 0
    MAKER = 1
    ARBITRAGEUR = 2


AGENT_NAMES = tuple(agent.name.lower() for agent in Agent)  # AGENT_NAMES[agent] is one's name
N_OWNERS = len(Owner)
N_AGENTS = len(Agent)
TIME_UNITS = 256  # arrival times on the tape are in 1/256 of a step
GAP_UNITS = 16  # value gaps on the tape are in 1/16 tick
HALF_TICK = np.float32(0.5)  # mids are doubled; a Python 0.5 times an int32 is a float64 where x64 is enabled


@struct.dataclass
class Tape:
    """Public record of one step, without owners: events in arrival order, then the public state after them.

    Small integers, so that a stored episode is bit for bit what was acted on. The maker's own orders are not on it
    (it is the maker's tape); every other order is, the arbitrageur's included. With a leading axis, an episode.
    """

    side: Array  # [K] int8, +1 buy, -1 sell, 0 no event in this row
    price_ticks: Array  # [K] int8, limit price minus mid at the start of the step, rounded down; 0 for market orders
    size_lots: Array  # [K] int8, as submitted
    marketable: Array  # [K] int8, 1 if the order could trade on arrival
    time_256: Array  # [K] uint8, arrival in 1/256 of the step
    removals: Array  # [2] int8, orders that expired or were replaced at the start of the step, on bid and ask side
    value_gap_16: Array  # [] int16, W - mid after the step in 1/16 tick
    spread_ticks: Array  # [] int16, best ask - best bid after the step; 0 if a side is empty


def empty_tape(n_events: int) -> Tape:
    """A step of ``n_events`` rows in which nothing happened."""
    rows = np.zeros(n_events, np.int8)
    return Tape(
        side=jax.numpy.asarray(rows),
        price_ticks=jax.numpy.asarray(rows),
        size_lots=jax.numpy.asarray(rows),
        marketable=jax.numpy.asarray(rows),
        time_256=jax.numpy.asarray(rows, dtype=np.uint8),
        removals=jax.numpy.zeros(2, np.int8),
        value_gap_16=jax.numpy.zeros((), np.int16),
        spread_ticks=jax.numpy.zeros((), np.int16),
    )
