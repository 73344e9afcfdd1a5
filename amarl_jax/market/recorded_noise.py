"""Noise traders who send what was recorded: an episode is a window of a recorded day, its orders in recorded order.

Offsets are relative to the simulated mid; sides, sizes, times within the step and lifetimes are those recorded. In each
step, with the slot's rate, one of the step's orders is taken out of the noise and kept for the slot, in either class:
at ``z = 0`` the slot sends it, at ``z = 1`` whoever decides for the slot sees it and sends what he likes. So ``z`` is
a decision rule and nothing else, and who sends it cannot be told from noise.
"""

import dataclasses
import functools
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import struct

from amarl_jax.flow.bounded_steps import in_bounded_steps
from amarl_jax.flow.stream import TIME_UNITS, Stream, orders_by_step, steps_at_rest
from amarl_jax.market.noise import NoiseOrders
from amarl_jax.market.params import EnvParams, MarketSpec
from amarl_jax.market.slot import SlotDecision, as_sent
from amarl_jax.market.table_noise import TableNoise
from amarl_jax.types import Array

_OFFSET_ZERO = 64  # of a packed offset
_NO_ROW = np.int32(1 << 30)


@struct.dataclass
class Planned:
    """What the slot does in the coming step at ``z = 0``: an order taken out of the recorded ones, or nothing."""

    decision: SlotDecision
    row: Array  # [] int32, which of the step's orders it is, beyond them where it is none


class StepFlow(NamedTuple):
    """The noise orders of a step, [M_max] each."""

    orders: NoiseOrders
    n_sent: Array  # [] int32 of them that are sent
    cut: Array  # [] int32 beyond the bound
    lifetimes: Array
    time: Array  # in [0, 1) of the step


@dataclasses.dataclass(frozen=True)
class RecordedNoise(TableNoise):
    """The recorded orders, packed, a constant of the program: once on a device, whatever plays in it.

    As a law of single orders, and by its ``marks``, it is the fitted table of ``EnvParams``, which is what readers of
    the market know of it. Two of the same orders are equal.

    Attributes:
        digest: of the orders as they are played.
        bound: most orders of a step as it is played, 0 for none.
        divided: steps of the recording that are played as several, as they have more orders than that.
        n_recorded: steps of the recording.
        first: [S + 1] int32, number of each step's first order.
        packed: [n] uint32: side, kind, lots, offset and lifetime in 1, 1, 7, 7 and 16 bits from above.
        time: [n] uint16, place in the step.
    """

    digest: str
    bound: int = dataclasses.field(compare=False)
    divided: int = dataclasses.field(compare=False)
    n_recorded: int = dataclasses.field(compare=False)
    first: np.ndarray = dataclasses.field(compare=False, repr=False)
    packed: np.ndarray = dataclasses.field(compare=False, repr=False)
    time: np.ndarray = dataclasses.field(compare=False, repr=False)

    @property
    def n_steps(self) -> int:
        """Steps of the recording, as they are played."""
        return len(self.first) - 1

    @property
    def in_words(self) -> str:
        """How much of the recording runs on a slower clock."""
        orders, steps = len(self.packed) / max(self.n_steps, 1), f"{self.n_steps:,} steps"
        if not self.divided:
            return f"the recording's {steps} are played as they are, {orders:.3g} orders each"
        most = f"{self.divided:,} of the recording's {self.n_recorded:,} have more than {self.bound}"
        return f"{steps} are played, {orders:.3g} orders each; {most} and are played as several"

    def count_mass(self, slot_rate: Array | float, spec: MarketSpec) -> Array:
        """How often a step has n noise orders, for n = 0 .. max_noise_orders + 1, as it is known to a reader.

        With the slot's rate one of the recorded orders is taken out. Every number has half a step beside its own; the
        last, beyond the bound, cannot be.
        """
        counts = np.minimum(np.diff(self.first), spec.max_noise_orders + 1)
        often = np.bincount(counts, minlength=spec.max_noise_orders + 2) + 0.5
        recorded = jnp.asarray(often / often.sum(), jnp.float32)
        taken = jnp.concatenate([recorded[1:], jnp.zeros(1)]).at[0].add(recorded[0])
        found = (1.0 - slot_rate) * recorded + slot_rate * taken
        return found.at[-2].add(found[-1]).at[-1].set(0.0)

    def plan(self, uniform: Array, step: Array, params: EnvParams) -> Planned:
        """What is taken out of the orders of a step of the recording.

        Args:
            uniform: [2] in [0, 1): whether, and which.
            step: [] int32.
            params: market constants.
        """
        begin, n = self._of_step(step)
        row = jnp.minimum((uniform[1] * n).astype(jnp.int32), jnp.maximum(n - 1, 0))
        orders, _, _ = self._unpacked(begin + row)
        acts = (uniform[0] < params.slot_rate) & (n > 0)
        decision = SlotDecision(acts, orders.side, orders.lots, orders.offset_ticks, orders.is_limit)
        return Planned(as_sent(decision), jnp.where(acts, row, _NO_ROW))

    def lifetime(self, uniform: Array) -> Array:
        """How long the slot's order rests, in either class: as one of the recorded limit orders, each as likely.

        It says nothing of what the step's orders are. [] int32 steps of [] in [0, 1); 0 where none was recorded.
        """
        if not self.rests.size:
            return jnp.int32(0)
        return jnp.asarray(self.rests)[jnp.minimum((uniform * self.rests.size).astype(jnp.int32), self.rests.size - 1)]

    @functools.cached_property
    def rests(self) -> np.ndarray:
        """Steps that the recorded limit orders rest, [n_limit] int32."""
        return (self.packed[(self.packed >> np.uint32(30)) & 1 > 0] & np.uint32(0xFFFF)).astype(np.int32)

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
        """Orders of these numbers, what they rest, and their place in the step. [...] each."""
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


def recorded_noise(recording: Stream, bound: int | None = None) -> RecordedNoise:
    """The noise traders of a recorded stream, in steps of at most ``bound`` orders where one is given."""
    stream = recording if bound is None else in_bounded_steps(recording, bound)
    columns = ((stream.side > 0, 31), (stream.is_limit, 30), (stream.lots, 23), (stream.offset + _OFFSET_ZERO, 16))
    packed = steps_at_rest(stream).astype(np.uint32)
    for column, shift in columns:
        packed |= column.astype(np.uint32) << np.uint32(shift)
    divided = 0 if bound is None else int((orders_by_step(recording) > bound).sum())
    return RecordedNoise(stream.digest, bound or 0, divided, recording.n_steps, stream.first, packed, stream.time)


def windows_of(n_steps: int, horizon: int, held_out: float) -> tuple[np.ndarray, np.ndarray]:
    """First steps that windows of training and of evaluation may have: from the first to before the second, [2] int32.

    The last ``held_out`` of the steps are no part of any window of training; with 0 evaluation has the same windows.

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
    """Where an episode's window begins: one of the allowed steps, each as likely. [] int32 of [] in [0, 1)."""
    low, high = jnp.asarray(windows).astype(jnp.int32)
    n = high - low
    return low + jnp.minimum((uniform * n).astype(jnp.int32), n - 1)


def on_held_out(params: EnvParams) -> EnvParams:
    """The market on what no training has seen: the windows of evaluation, where the noise is a recording's."""
    return params if params.windows is None else dataclasses.replace(params, windows=params.windows[..., ::-1, :])
