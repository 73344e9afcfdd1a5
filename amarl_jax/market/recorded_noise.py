"""Noise traders that replay a recording: an episode is a window of a recorded day, its orders in recorded order.

Offsets are relative to the simulated mid; sides, sizes, times within the step and lifetimes are those recorded. In each
step, with the slot's rate, one of the step's orders is taken out of the noise and kept for the slot, in either class:
at ``z = 0`` the slot sends it, at ``z = 1`` the execution policy sees it and sends what it decides. So ``z`` changes
the decision rule alone, and a policy that sends the kept order cannot be told from noise.
"""

import dataclasses
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import struct

from amarl_jax.flow.stream import TIME_UNITS, Stream
from amarl_jax.market.noise import NoiseOrders
from amarl_jax.market.params import EnvParams, MarketSpec
from amarl_jax.market.slot import SlotDecision, as_sent
from amarl_jax.market.table_noise import TableNoise
from amarl_jax.types import Array

_OFFSET_ZERO = 64  # stored value of an offset of 0
_NO_ROW = np.int32(1 << 30)


@struct.dataclass
class Planned:
    """What the slot does in the coming step at ``z = 0``: an order taken out of the recorded ones, or nothing."""

    decision: SlotDecision
    row: Array  # [] int32, index among the step's orders, beyond all of them for none
    lifetime: Array  # [] int32 steps that the slot's order rests, in either class; 0: drawn


class StepFlow(NamedTuple):
    """The noise orders of a step, [M_max] each."""

    orders: NoiseOrders
    n_sent: Array  # [] int32, how many of them are sent
    cut: Array  # [] int32, orders cut off by the bound
    lifetimes: Array
    time: Array  # in [0, 1) of the step


@dataclasses.dataclass(frozen=True)
class RecordedNoise(TableNoise):
    """The recorded orders, packed: a constant of the program, held once per device.

    As a law of single orders, and in its ``marks``, it is the fitted table of ``EnvParams``, which is all that readers
    of the market know. Two instances with the same orders are equal.

    Attributes:
        digest: of the orders.
        first: [S + 1] int32, number of each step's first order.
        packed: [n] uint32: side, kind, lots, offset and lifetime in 1, 1, 7, 7 and 16 bits from above.
        time: [n] uint16, place in the step.
    """

    digest: str
    first: np.ndarray = dataclasses.field(compare=False, repr=False)
    packed: np.ndarray = dataclasses.field(compare=False, repr=False)
    time: np.ndarray = dataclasses.field(compare=False, repr=False)

    @property
    def n_steps(self) -> int:
        """Steps of the recording."""
        return len(self.first) - 1

    def count_mass(self, spec: MarketSpec) -> np.ndarray:
        """Share of steps with n noise orders, for n = 0 .. max_noise_orders + 1, as readers know it.

        Half a step is added to every number within the bound; the last, beyond it, has probability 0.
        """
        counts = np.minimum(np.diff(self.first), spec.max_noise_orders)
        found = np.bincount(counts, minlength=spec.max_noise_orders + 2) + 0.5
        found[-1] = 0.0
        return (found / found.sum()).astype(np.float32)

    def plan(self, uniform: Array, step: Array, params: EnvParams) -> Planned:
        """The order that is taken out of a step of the recording, if any.

        Args:
            uniform: [2] in [0, 1): decide whether one is taken, and which.
            step: [] int32.
            params: market constants.
        """
        begin, n = self._of_step(step)
        row = jnp.minimum((uniform[1] * n).astype(jnp.int32), jnp.maximum(n - 1, 0))
        orders, lifetime, _ = self._unpacked(begin + row)
        acts = (uniform[0] < params.slot_rate) & (n > 0)
        decision = SlotDecision(acts, orders.side, orders.lots, orders.offset_ticks, orders.is_limit)
        kept = jnp.where((n > 0) & orders.is_limit, lifetime, 0)
        return Planned(as_sent(decision), jnp.where(acts, row, _NO_ROW), kept)

    def flow(self, step: Array, planned: Planned, spec: MarketSpec) -> StepFlow:
        """The noise orders of a step of the recording: all but what was taken out, at most ``max_noise_orders``."""
        begin, n = self._of_step(step)
        index = jnp.arange(spec.max_noise_orders, dtype=jnp.int32)
        orders, lifetimes, time = self._unpacked(begin + index + (index >= planned.row))
        there = n - planned.decision.acts.astype(jnp.int32)
        count = jnp.minimum(there, spec.max_noise_orders)
        return StepFlow(orders, count, there - count, lifetimes, time)

    def _of_step(self, step: Array) -> tuple[Array, Array]:
        """Number of a step's first order, and how many it has."""
        first = jnp.asarray(self.first)
        step = jnp.clip(step, 0, self.n_steps - 1)
        return first[step], first[step + 1] - first[step]

    def _unpacked(self, rows: Array) -> tuple[NoiseOrders, Array, Array]:
        """Orders with these numbers, their lifetimes, and their times as fractions of the step. [...] each."""
        rows = jnp.clip(rows, 0, len(self.packed) - 1)
        bits = jnp.asarray(self.packed)[rows]

        def field(shift: int, width: int) -> Array:
            return ((bits >> np.uint32(shift)) & np.uint32((1 << width) - 1)).astype(jnp.int32)

        orders = NoiseOrders(
            side=2 * field(31, 1) - 1,
            lots=field(23, 7),
            offset_ticks=field(16, 7) - _OFFSET_ZERO,
            is_limit=field(30, 1) > 0,
        )
        return orders, field(0, 16), jnp.asarray(self.time)[rows].astype(jnp.float32) / np.float32(TIME_UNITS)


def recorded_noise(stream: Stream) -> RecordedNoise:
    """The noise traders of a recorded stream."""
    columns = ((stream.side > 0, 31), (stream.is_limit, 30), (stream.lots, 23), (stream.offset + _OFFSET_ZERO, 16))
    packed = stream.lifetime.astype(np.uint32)
    for column, shift in columns:
        packed |= column.astype(np.uint32) << np.uint32(shift)
    return RecordedNoise(stream.digest, stream.first, packed, stream.time)


def windows_of(n_steps: int, horizon: int, held_out: float) -> tuple[np.ndarray, np.ndarray]:
    """Half-open ranges of first steps for the windows of training and of evaluation, [2] int32 each.

    Training windows exclude the last ``held_out`` share of the steps; with 0 evaluation has the same windows.

    Raises:
        ValueError: one of the two parts is shorter than a window.
    """
    split = n_steps - round(held_out * n_steps)
    parts = ((0, split), (split if held_out else 0, n_steps))
    for low, high in parts:
        if high - low < horizon:
            raise ValueError(f"windows of {horizon} steps, of which a part of the recording has {high - low}")
    training, evaluation = (np.array([low, high - horizon + 1], np.int32) for low, high in parts)
    return training, evaluation


def first_step(uniform: Array, windows: Array) -> Array:
    """First step of an episode's window, uniform over the allowed ones. [] int32, from a number [] in [0, 1)."""
    low, high = jnp.asarray(windows).astype(jnp.int32)
    n = high - low
    return low + jnp.minimum((uniform * n).astype(jnp.int32), n - 1)


def on_held_out(params: EnvParams) -> EnvParams:
    """Market constants that play the windows of evaluation, where noise is recorded; others are unchanged."""
    return params if params.windows is None else dataclasses.replace(params, windows=params.windows[..., ::-1, :])
