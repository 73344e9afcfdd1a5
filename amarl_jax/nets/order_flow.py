"""The log-ratio of a tape as that of a marked point process: orders enter as orders, the side is a mixture.

    l[t] = log sum_u P(u | gaps) prod_{s <= t} (1 - g_u + sum_j r_u(m_j)) - sum_{s <= t} log(1 - g_0 + n_s g_0 / nu)

``u`` is the side of the parent order, ``g_u`` the chance that it sends an order in a step and ``r_u(m_j)`` that chance
times the density of the order's marks over their density among all others. Both are read off a context by one small
network with the same weights for both sides: marks and context are always relative to the hypothesised side. What each
hypothesis has attributed to the slot so far (the responsibilities ``r_u(m_j) / (1 - g_u + sum r_u)``) is part of its
context, a filter with the expected state instead of its law. A step needs its own orders and a memory alone, so an
episode at once and its steps one by one give the same numbers.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import replace

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from amarl_jax.nets.order_filter import (
    N_FILTER,
    SIDES,
    FilterInputs,
    add_attributed,
    filter_step,
    order_marks,
)
from amarl_jax.nets.recurrence import is_parallel, parallel_recurrence
from amarl_jax.nets.recurrent_kernels import filter_states
from amarl_jax.types import GAP_UNITS, Array, Tape

MAX_LOTS = 20  # sizes above count as this
DEPTHS_TICKS = (-3, 6)  # behind mid; what is beyond counts as the last
N_KINDS = 2 + DEPTHS_TICKS[1] - DEPTHS_TICKS[0]  # a market order, or a limit order at a depth
N_MARKS = MAX_LOTS + N_KINDS + 2
N_BASIS = 8  # numbers that describe an order's marks, beside 1
N_VALUE = 4
N_PUBLIC = 13
N_CONTEXT = N_PUBLIC + N_FILTER + 2  # what a step knows of the tape so far, for networks on top
RESTING_DECAY = 0.88  # per step, of the probability that a passive order still rests
GAIN = 4.0  # of the network's output: log-ratios of several nats are common
RATE_START = 0.2  # chance per step that a slot acts, before training
COUNT_START = 5.5  # nu, orders per step, before training


@struct.dataclass
class FlowMemory:
    """What a step needs of the steps before; both hypotheses, ``u = +1`` first, on an axis of 2."""

    gap: Array  # [] W - mid, ticks, after the last step
    spread: Array  # [] ticks, after the last step
    gaps: Array  # [N_VALUE] sums of the evidence for the side of value
    volume: Array  # [] signed lots so far
    resting: Array  # [2] expected passive orders at rest, bids first
    attributed: Array  # [2, N_FILTER] what each hypothesis has attributed to the slot, see _attribute
    log_ratio: Array  # [2] of each hypothesis so far, nats
    log_noise: Array  # [] of z = 0, nats


def init_memory() -> FlowMemory:
    """The memory before the first step of an episode."""
    zero = jnp.float32(0.0)
    return FlowMemory(
        gap=zero,
        spread=jnp.float32(2.0),
        gaps=jnp.zeros(N_VALUE, jnp.float32),
        volume=zero,
        resting=jnp.zeros(2, jnp.float32),
        attributed=jnp.zeros((2, N_FILTER), jnp.float32),
        log_ratio=jnp.zeros(2, jnp.float32),
        log_noise=zero,
    )


@struct.dataclass
class _Orders:
    """The rows of one step, or with a leading axis of many."""

    side: Array  # [K] +1, -1, 0 for none
    lots: Array  # [K]
    taking: Array  # [K] 1 if marketable
    marks: Array  # [K, 1 + N_BASIS] what describes size and kind, both sides alike


def _orders(tape: Tape, spread: Array, basis: Array) -> _Orders:
    """Rows with the same marks for mirrored orders. Any leading axes.

    A half-tick mid rounds a buy's price down. An odd spread before the step shows it: twice the mid is the sum of the
    quotes, so it is odd exactly where their difference is.
    """
    side, price, lots = (x.astype(jnp.float32) for x in (tape.side, tape.price_ticks, tape.size_lots))
    taking = tape.marketable.astype(jnp.float32)
    depth = jnp.clip(jnp.where(side > 0, -price - spread[..., None] % 2, price), *DEPTHS_TICKS)
    kind = jnp.where((taking > 0) & (price == 0), 0.0, 1.0 + depth - DEPTHS_TICKS[0])
    indicators = (
        jnp.clip(lots, 1, MAX_LOTS)[..., None] == _row(np.arange(1, MAX_LOTS + 1), side.ndim),
        kind[..., None] == _row(np.arange(N_KINDS), side.ndim),
        ((taking > 0) & (kind > 0))[..., None],
        (tape.time_256 == 0)[..., None],
    )
    marks = jnp.concatenate(indicators, axis=-1).astype(jnp.float32) @ basis
    return _Orders(
        side=side,
        lots=lots * jnp.abs(side),
        taking=taking * jnp.abs(side),
        marks=jnp.concatenate([jnp.ones_like(side)[..., None], marks], axis=-1),
    )


def _row(x: np.ndarray, n_lead: int) -> np.ndarray:
    return x.reshape(*(1,) * n_lead, -1)


def _basis() -> np.ndarray:
    """Initial description of the marks, [N_MARKS, N_BASIS]: the statistics of a Beta law of size and of depth."""
    size = np.clip((np.arange(1, MAX_LOTS + 1) - 0.5) / MAX_LOTS, 0.01, 0.99)
    depth = np.clip((np.arange(N_KINDS - 1) + 0.5) / (N_KINDS - 1), 0.02, 0.98)
    table = np.zeros((N_MARKS, N_BASIS), np.float32)
    table[:MAX_LOTS, 0] = np.log(size) + 1.45
    table[:MAX_LOTS, 1] = 3 * (np.log1p(-size) + 0.29)
    limits = slice(MAX_LOTS + 1, MAX_LOTS + N_KINDS)
    table[limits, 2], table[limits, 3], table[limits, 4] = 1.0, np.log(depth) + 1.0, np.log1p(-depth) + 1.0
    table[-2, 5] = table[-1, 6] = 1.0
    table[:MAX_LOTS, 7] = 0.3 * np.cos(np.pi * np.arange(MAX_LOTS))
    return table


class OrderFlow(nn.Module):
    """Log-ratio ``log p(F_<=t | z = 1) / p(F_<=t | z = 0)`` of a tape, 0 before it is trained."""

    horizon: int  # T, steps
    hidden: tuple[int, ...] = (32, 32)
    recurrence: str = "auto"  # see amarl_jax.nets.recurrence

    def setup(self) -> None:
        """Build the parameters; the last layer starts near 0, so that both sides, and both classes, look alike."""
        widths = (N_PUBLIC + N_FILTER, *self.hidden, 1 + 2 * (1 + N_BASIS))
        scales = (*(math.sqrt(1.5 / width) for width in widths[:-2]), 1e-2)
        self.layers = [
            (
                self.param(f"kernel_{i}", nn.initializers.normal(scale), (m, n), jnp.float32),
                self.param(f"bias_{i}", nn.initializers.zeros, (n,), jnp.float32),
            )
            for i, (scale, m, n) in enumerate(zip(scales, widths, widths[1:], strict=False))
        ]
        self.basis = self.param("basis", lambda key: jnp.asarray(_basis()))
        self.value = self.param("value", lambda key: jnp.array([1.0, 0.0, 0.0, 0.0], jnp.float32))
        self.rate = self.param(
            "rate", nn.initializers.zeros, (2,), jnp.float32
        )  # logs of g_0 and nu over their initial values

    def __call__(self, tape: Tape) -> Array:
        """Log-ratio at every prefix of an episode, [T] nats, from leaves [T, ...]."""
        return self.read(tape)[0]

    def read(self, tape: Tape) -> tuple[Array, Array]:
        """Log-ratio [T], nats, and context [T, N_CONTEXT] at every prefix of an episode, from leaves [T, ...]."""
        chex.assert_rank([tape.side, tape.value_gap_16], [2, 1])

        start = init_memory()
        spread = tape.spread_ticks.astype(jnp.float32)
        orders = _orders(tape, jnp.concatenate([start.spread[None], spread[:-1]]), self.basis)
        time = jnp.arange(spread.shape[0], dtype=jnp.int32)
        if is_parallel(self.recurrence) and self.hidden:
            memories = self._memories(start, tape, orders, time)
            return jax.vmap(self._step)(memories, tape, orders, time)[1:]

        def step(memory: FlowMemory, inputs: tuple[Tape, _Orders, Array]) -> tuple[FlowMemory, tuple[Array, Array]]:
            memory, log_ratio, context = self._step(memory, *inputs)
            return memory, (log_ratio, context)

        return jax.lax.scan(step, start, (tape, orders, time))[1]

    def decode(self, memory: FlowMemory, tape: Tape, t: Array) -> tuple[FlowMemory, Array, Array]:
        """Read the tape's step at time t: the memory after it, log-ratio [] nats and context [N_CONTEXT] so far."""
        return self._step(memory, tape, _orders(tape, memory.spread, self.basis), t)

    def _memories(self, start: FlowMemory, tape: Tape, orders: _Orders, time: Array) -> FlowMemory:
        """The memory before each step, [T, ...]: public sums at once, and what is attributed by a recurrence."""
        public = _public_memories(start, tape, orders, time)
        seen = jax.vmap(functools.partial(_public, horizon=self.horizon))(
            public, orders, tape.removals.astype(jnp.float32), time.astype(jnp.float32)
        )
        inputs = jax.vmap(functools.partial(_filter_inputs, (self.layers, self.rate)))(seen, orders)
        layers = self.layers[0][0][N_PUBLIC:], tuple(self.layers[1:-1])
        after = parallel_recurrence(filter_step, layers, start.attributed, inputs, filter_states, self.recurrence)
        attributed = _before(start.attributed, after)
        noise = _before(start.log_noise, jnp.cumsum(_noise(self.rate, orders)))
        return replace(public, attributed=attributed, log_ratio=attributed[..., -1], log_noise=noise)

    def _step(self, memory: FlowMemory, tape: Tape, orders: _Orders, t: Array) -> tuple[FlowMemory, Array, Array]:
        removals, t = tape.removals.astype(jnp.float32), t.astype(jnp.float32)
        public = _public(memory, orders, removals, t, self.horizon)
        gate, shares, log_step = _responsibilities((self.layers, self.rate), memory.attributed, public, orders)
        after = replace(
            _observe(memory, tape, orders, t),
            attributed=_attribute(memory.attributed, shares, orders, log_step),
            log_ratio=memory.log_ratio + log_step,
            log_noise=memory.log_noise + _noise(self.rate, orders),
        )
        value = jnp.dot(after.gaps, self.value)
        side = jax.nn.log_sigmoid(jnp.stack([value, -value])) + after.log_ratio
        log_ratio = jax.nn.logsumexp(side) - after.log_noise
        believed = jax.nn.softmax(side) @ jnp.concatenate(
            [jnp.tanh(0.5 * after.attributed), 0.2 * gate[:, None]], axis=1
        )
        return after, log_ratio, jnp.concatenate([public[0], believed, jnp.tanh(0.25 * log_ratio)[None]])


_Parameters = tuple[Sequence[tuple[Array, Array]], Array]  # kernels and biases of the network, and the rate


def _responsibilities(
    parameters: _Parameters, attributed: Array, public: Array, orders: _Orders
) -> tuple[Array, Array, Array]:
    """Of each hypothesis the log-odds that it acts [2], the share of each order [2, K], and the log-ratio of the step.

    Args:
      parameters: of the process.
      attributed: [2, N_FILTER] before the step.
      public: [2, N_PUBLIC].
      orders: [K].
    """
    layers, rate = parameters
    gate, log_density = _law(layers, attributed, public, orders)
    log_gate, log_count = jax.nn.log_sigmoid(gate), math.log(COUNT_START) + rate[1]
    log_acted = log_gate[:, None] + log_density - log_count
    log_acted = jnp.where((orders.side != 0)[None], log_acted, -1e9)
    log_step = jax.nn.logsumexp(jnp.concatenate([log_acted, jax.nn.log_sigmoid(-gate)[:, None]], axis=1), axis=1)
    return gate, jnp.exp(log_acted - log_step[:, None]), log_step


def _law(
    layers: Sequence[tuple[Array, Array]], attributed: Array, public: Array, orders: _Orders
) -> tuple[Array, Array]:
    """The log-odds that each hypothesis acts, [2], and log densities of the orders relative to noise, [2, K]."""
    x = jnp.concatenate([public, jnp.tanh(0.5 * attributed)], axis=1)
    for kernel, bias in layers[:-1]:
        x = nn.silu(x @ kernel + bias[None])
    kernel, bias = layers[-1]
    out = GAIN * (x @ kernel + bias[None])
    weights = out[:, 1:].reshape(2, 2, 1 + N_BASIS)
    both = jnp.einsum("kb,ucb->uck", orders.marks, weights)
    along = orders.side[None] * SIDES[:, None] > 0
    start = math.log(RATE_START / (1.0 - RATE_START))
    return start + out[:, 0], jnp.where(along, both[:, 0], both[:, 1])


def _noise(rate: Array, orders: _Orders) -> Array:
    """The log-ratio of a step's number of orders at z = 0, nats, for orders [..., K]."""
    log_rate, log_count = math.log(RATE_START) + rate[0], math.log(COUNT_START) + rate[1]
    n_orders = jnp.sum(jnp.abs(orders.side), axis=-1)
    return jnp.log1p(jnp.exp(log_rate) * (n_orders * jnp.exp(-log_count) - 1.0))


def _filter_inputs(parameters: _Parameters, public: Array, orders: _Orders) -> FilterInputs:
    """What :func:`_responsibilities` and the attributions of a step depend on beside what is attributed already."""
    layers, rate = parameters
    (first, bias), (last, last_bias) = layers[0], layers[-1]
    along, live = orders.side[None] * SIDES[:, None] > 0, (orders.side != 0)[None]
    both = GAIN * jnp.einsum("kb,hcb->ckh", orders.marks, last[:, 1:].reshape(-1, 2, 1 + N_BASIS))
    both_bias = GAIN * jnp.einsum("kb,cb->ck", orders.marks, last_bias[1:].reshape(2, 1 + N_BASIS))
    weights = jnp.where(along[..., None], both[:1], both[1:])
    offsets = jnp.where(along, both_bias[:1], both_bias[1:]) - math.log(COUNT_START) - rate[1]
    start = math.log(RATE_START / (1.0 - RATE_START)) + GAIN * last_bias[0]
    to_act = jnp.broadcast_to(GAIN * last[:, 0], (2, 1, last.shape[0]))
    marks = order_marks(orders.side, orders.lots, orders.taking)
    return FilterInputs(
        base=public @ first[:N_PUBLIC] + bias[None],
        weights=jnp.concatenate([to_act, jnp.where(live[..., None], weights, 0.0)], axis=1),
        offsets=jnp.concatenate([jnp.broadcast_to(start, (2, 1)), jnp.where(live, offsets, -1e9)], axis=1),
        marks=jnp.stack(jnp.broadcast_arrays(*marks), axis=-1),
    )


def _public(memory: FlowMemory, orders: _Orders, removals: Array, t: Array, horizon: int) -> Array:
    """Public information when the step's orders arrive, relative to each side, [2, N_PUBLIC]."""
    gap, time = memory.gap * SIDES, t / horizon
    mean_gap = memory.gaps[1] * 4.0 / (1.0 + t)
    left = jnp.log((removals + 0.3) / (0.1 * memory.resting + 0.6))
    left = jnp.stack([left, left[::-1]])
    one = jnp.ones(2, jnp.float32)
    columns = (
        one,
        one * (2.0 * time - 1.0),
        one * jnp.exp(-10.0 * time),
        one * jnp.exp(-10.0 * (1.0 - time)),
        jnp.asinh(gap),
        jnp.tanh(gap),
        jnp.tanh(0.5 * jnp.abs(gap)),
        one * (memory.spread / 3.0 - 1.0),
        jnp.asinh(memory.volume * SIDES / 20.0),
        jnp.asinh(mean_gap * SIDES),
        left[:, 0],
        left[:, 1],
        one * (jnp.log1p(jnp.sum(jnp.abs(orders.side))) - 1.8),
    )
    return jnp.stack(columns, axis=1)


def _attribute(before: Array, shares: Array, orders: _Orders, log_step: Array) -> Array:
    """Attributions of each hypothesis after the step, [2, N_FILTER]."""
    marks = order_marks(orders.side, orders.lots, orders.taking)
    return add_attributed(before, jnp.stack([jnp.sum(shares * mark, axis=1) for mark in marks], axis=1), log_step)


def _observe(memory: FlowMemory, tape: Tape, orders: _Orders, t: Array) -> FlowMemory:
    """The memory updated with the public information of the step."""
    gap, gaps, volume, offered = _observed(tape, orders, t)
    return replace(
        memory,
        gap=gap,
        spread=tape.spread_ticks.astype(jnp.float32),
        gaps=memory.gaps + gaps,
        volume=memory.volume + volume,
        resting=RESTING_DECAY * memory.resting + offered,
    )


def _observed(tape: Tape, orders: _Orders, t: Array) -> tuple[Array, Array, Array, Array]:
    """What a step shows: gap [] ticks, evidence of the side of value [N_VALUE], signed lots [], passive orders [2]."""
    gap = tape.value_gap_16.astype(jnp.float32) / GAP_UNITS
    early = jnp.tanh(0.25 * gap) * jnp.exp(-t / 8.0)
    passive = (1.0 - orders.taking) * jnp.abs(orders.side)
    offered = jnp.stack([jnp.sum(passive * (orders.side > 0)), jnp.sum(passive * (orders.side < 0))])
    gaps = jnp.stack([jnp.tanh(0.25 * gap), 0.25 * gap, jnp.tanh(gap), early])
    return gap, gaps, jnp.sum(orders.side * orders.lots), offered


def _public_memories(start: FlowMemory, tape: Tape, orders: _Orders, time: Array) -> FlowMemory:
    """The memory before each step, [T, ...], with nothing attributed."""
    gap, gaps, volume, offered = jax.vmap(_observed)(tape, orders, time.astype(jnp.float32))

    def decayed(earlier: tuple[Array, Array], later: tuple[Array, Array]) -> tuple[Array, Array]:
        return earlier[0] * later[0], later[1] + later[0] * earlier[1]

    resting = jax.lax.associative_scan(decayed, (jnp.full_like(offered, RESTING_DECAY), offered))[1]
    after = {
        "gap": gap,
        "spread": tape.spread_ticks.astype(jnp.float32),
        "gaps": jnp.cumsum(gaps, axis=0),
        "volume": jnp.cumsum(volume),
        "resting": resting,
    }
    memories = jax.tree.map(lambda x: jnp.broadcast_to(x[None], (gap.shape[0], *x.shape)), start)
    return replace(memories, **{name: _before(getattr(start, name), x) for name, x in after.items()})


def _before(start: Array, after: Array) -> Array:
    """Values before each step, given those after each, [T, ...]."""
    return jnp.concatenate([start[None], after[:-1]])
