"""Kernels of recurrences for a GPU: all steps of an episode in one launch, with the state kept on the chip.

Written in Pallas and compiled by Triton, in which an array has a power of two of numbers: what is read is padded with
zeros, and what is padded is not written. Each has the values of the step that it repeats, to rounding.
"""

import functools
import math
from typing import Any

import chex
import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from amarl_jax.kernels import iota, padded, whole_block
from amarl_jax.nets.order_filter import DECAY, N_FILTER, N_SUMS, FilterInputs
from amarl_jax.types import Array

Filter = tuple[Array, tuple[tuple[Array, Array], ...]]  # see order_filter.filter_step
Ref = Any  # of Pallas, which types none
LARGEST_GRU = 64  # units whose matrix stays in registers


def filter_states(layers: Filter, start: Array, inputs: FilterInputs, interpret: bool = False) -> Array:
    """Attributions after each step of :func:`amarl_jax.nets.order_filter.filter_step`, [T, 2, N_FILTER].

    Args:
        layers: as there.
        start: [2, N_FILTER].
        inputs: leaves [T, 2, ...].
        interpret: True where there is no GPU.
    """
    first, middle = layers
    chex.assert_shape(start, (2, N_FILTER))
    n_steps, n_sides, n_out, width = inputs.weights.shape
    weights = [first, *(x for layer in middle for x in layer)]
    rows = [inputs.base, inputs.weights, inputs.offsets, inputs.marks]
    return pl.pallas_call(
        functools.partial(_filter_kernel, n_middle=len(middle)),
        grid=(n_sides,),
        in_specs=[*map(whole_block, weights), _one_row(start, 0), *(_one_row(x, 1) for x in rows)],
        out_specs=pl.BlockSpec((n_steps, None, N_FILTER), lambda side: (0, side, 0)),
        out_shape=jax.ShapeDtypeStruct((n_steps, *start.shape), jnp.float32),
        compiler_params=plgpu.CompilerParams(num_warps=_warps(n_out, width)),
        interpret=interpret,
        name="filter_states",
    )(*weights, start, *rows)


def _filter_kernel(*refs: Ref, n_middle: int) -> None:
    """One hypothesis of one episode: weights, start [N_FILTER], rows [T, ...] and states [T, N_FILTER]."""
    first_ref, *middle_refs = refs[: 1 + 2 * n_middle]
    start_ref, base_ref, weights_ref, offsets_ref, marks_ref, states_ref = refs[1 + 2 * n_middle :]
    first = _read(first_ref)
    middle = [(_read(kernel), _read(bias)) for kernel, bias in zip(middle_refs[::2], middle_refs[1::2], strict=True)]
    n_out = offsets_ref.shape[1]
    entry, column = iota(padded(N_FILTER)), iota(padded(n_out))
    is_order = (column > 0) & (column < n_out)
    mark_index = (column - 1)[:, None], (entry % N_SUMS)[None, :]
    is_mark = is_order[:, None] & (entry < 3 * N_SUMS)[None, :]

    def step(t: Array, attributed: Array) -> Array:
        hidden = _silu(_row_times(jnp.tanh(0.5 * attributed), first) + _read(base_ref, t))
        for kernel, bias in middle:
            hidden = _silu(_row_times(hidden, kernel) + bias)
        out = jnp.sum(_read(weights_ref, t) * hidden[None, :], axis=1) + _read(offsets_ref, t)
        act = jnp.sum(jnp.where(column == 0, out, 0.0))
        log_acted = jnp.where(is_order, _log_sigmoid(act) + out, -1e9)
        waits = _log_sigmoid(-act)
        top = jnp.maximum(jnp.max(log_acted), waits)
        log_step = top + jnp.log(jnp.sum(jnp.exp(log_acted - top)) + jnp.exp(waits - top))
        shares = jnp.exp(log_acted - log_step)
        marks = plgpu.load(marks_ref.at[(t, *mark_index)], mask=is_mark, other=0.0)
        new = jnp.sum(shares[:, None] * marks, axis=0)
        kept = 1.0 - jnp.sum(jnp.where(entry == 0, new, 0.0))
        factor = jnp.where(entry < 2 * N_SUMS, jnp.where(entry < N_SUMS, 1.0, DECAY), kept)
        age, ratio = entry == 3 * N_SUMS, entry == 3 * N_SUMS + 1
        attributed = jnp.where(ratio, attributed + log_step, factor * attributed + jnp.where(age, 0.1 * kept, new))
        plgpu.store(states_ref.at[t, entry], attributed, mask=entry < N_FILTER)
        return attributed

    jax.lax.fori_loop(0, states_ref.shape[0], step, _read(start_ref))


def gru_states(parameters: tuple[Array, Array], start: Array, gates_in: Array, interpret: bool = False) -> Array:
    """States after each step of the GRU of :mod:`amarl_jax.nets.predictor`, [T, H].

    Args:
        parameters: recurrent [H, 3 H] and candidate bias [H].
        start: [H].
        gates_in: [T, 3 H], the input's share of the gates.
        interpret: True where there is no GPU.
    """
    (n_steps, _), (width,) = gates_in.shape, start.shape
    operands = [*parameters, start, gates_in]
    return pl.pallas_call(
        _gru_kernel,
        grid=(1,),
        in_specs=[whole_block(x) for x in operands],
        out_specs=pl.BlockSpec((n_steps, width), lambda _: (0, 0)),
        out_shape=jax.ShapeDtypeStruct((n_steps, width), jnp.float32),
        compiler_params=plgpu.CompilerParams(num_warps=_warps(width, 3 * width)),
        interpret=interpret,
        name="gru_states",
    )(*operands)


def _gru_kernel(recurrent_ref: Ref, bias_ref: Ref, start_ref: Ref, gates_ref: Ref, states_ref: Ref) -> None:
    width = start_ref.shape[0]
    unit = iota(padded(width))
    live = unit < width
    both = live[:, None] & live[None, :]
    reset_h, update_h, candidate_h = (
        plgpu.load(recurrent_ref.at[unit[:, None], (unit + gate * width)[None, :]], mask=both, other=0.0)
        for gate in range(3)
    )
    bias = _read(bias_ref)

    def step(t: Array, state: Array) -> Array:
        reset_in, update_in, candidate_in = (
            plgpu.load(gates_ref.at[t, unit + gate * width], mask=live, other=0.0) for gate in range(3)
        )
        reset = jax.lax.logistic(reset_in + _row_times(state, reset_h))
        update = jax.lax.logistic(update_in + _row_times(state, update_h))
        candidate = jnp.tanh(candidate_in + reset * (_row_times(state, candidate_h) + bias))
        state = update * state + (1.0 - update) * candidate
        plgpu.store(states_ref.at[t, unit], state, mask=live)
        return state

    jax.lax.fori_loop(0, states_ref.shape[0], step, _read(start_ref))


def _one_row(x: Array, axis: int) -> pl.BlockSpec:
    """All of an array but one axis, of which each program of the grid has its own entry."""
    shape = tuple(None if i == axis else n for i, n in enumerate(x.shape))
    return pl.BlockSpec(shape, lambda row: tuple(row if i == axis else 0 for i in range(x.ndim)))


def _warps(*shape: int) -> int:
    """Warps of a program whose largest array has this shape: some 32 numbers in each thread."""
    return min(8, max(1, math.prod(map(padded, shape)) // 1024))


def _read(ref: Ref, *at: Array) -> Array:
    """The entry ``at`` of an array of one or two more axes, each padded with zeros."""
    shape = ref.shape[len(at) :]
    index = [iota(padded(n)) for n in shape]
    if len(shape) == 1:
        return plgpu.load(ref.at[(*at, *index)], mask=index[0] < shape[0], other=0.0)
    row, column = index[0][:, None], index[1][None, :]
    return plgpu.load(ref.at[(*at, row, column)], mask=(row < shape[0]) & (column < shape[1]), other=0.0)


def _row_times(x: Array, kernel: Array) -> Array:
    return jnp.sum(x[:, None] * kernel, axis=0)


def _silu(x: Array) -> Array:
    return x * jax.lax.logistic(x)


def _log_sigmoid(x: Array) -> Array:
    return jnp.minimum(x, 0.0) - jnp.log1p(jnp.exp(-jnp.abs(x)))
