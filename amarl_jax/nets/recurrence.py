"""Nonlinear recurrences over time in forms with the same values: one loop, or few kernels for an accelerator.

Where a kernel costs a launch, what counts is how often a step's operations run one by one. Differentiating a loop runs
each of them once more per step, and stores what it needs step by step. Backwards in time, though, a recurrence is
linear, ``g[t] = c[t] + J[t+1]^T g[t+1]``, so once its states are known its gradient takes a few operations on all steps
at once (Lim et al. 2024, "Parallelizing non-linear sequential models over the sequence length", section 3.2). The
states themselves are one kernel on a GPU, where there is one for the step, and a loop of few iterations elsewhere.
"""

import functools
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp

from amarl_jax.kernels import OLDEST, cuda_capability
from amarl_jax.types import Array, PyTree

FORMS = ("auto", "loop", "parallel", "kernel", "interpreted")
STEPS_PER_GRAPH = 10  # of the forward loop: each iteration is launched as a CUDA graph

Step = Callable[[Any, Array, Any], Array]  # constants, state [..., S] and input of one step to the state after it
Kernel = Callable[[Any, Array, Any, bool], Array]  # constants, start, inputs, and if it is interpreted, to all states


def form_of(form: str) -> str:
    """How a recurrence is computed: as asked for, and with "auto" by what JAX computes on.

    "loop" on a CPU, "kernel" on an NVIDIA GPU that Triton compiles for, "parallel" elsewhere; "interpreted" is a kernel
    without a GPU, for tests.
    """
    if form not in FORMS:
        raise ValueError(f"a recurrence is one of {', '.join(FORMS)}, got {form!r}")
    if form != "auto":
        return form
    device: Any = jax.config.jax_default_device  # type: ignore[attr-defined]
    platform = jax.default_backend() if device is None else getattr(device, "platform", device)
    if platform == "cpu":
        return "loop"
    return "kernel" if (cuda_capability() or 0) >= OLDEST else "parallel"


def is_parallel(form: str) -> bool:
    """True if a recurrence of this form is not one loop."""
    return form_of(form) != "loop"


def parallel_recurrence(
    step: Step, constants: PyTree, start: Array, inputs: PyTree, kernel: Kernel | None = None, form: str = "parallel"
) -> Array:
    """States ``s[t] = step(constants, s[t-1], inputs[t])`` of all steps, [T, ..., S], with ``s[-1] = start``.

    The gradient takes [T, ..., S, S] numbers, and a fixed number of operations.

    Args:
      step: independent over all axes of the state but the last; it closes over no traced array.
      constants: what it reads in every step.
      start: [..., S].
      inputs: leaves [T, ...], floating.
      kernel: of all steps, where there is one.
      form: of FORMS; without a kernel all are "parallel".
    """
    chex.assert_type([start, *jax.tree.leaves(inputs)], float)
    form = form_of(form)
    if kernel is None or form not in ("kernel", "interpreted"):
        return _states(step, None, False, constants, start, inputs)
    return _states(step, kernel, form == "interpreted", constants, start, inputs)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _states(
    step: Step, kernel: Kernel | None, interpret: bool, constants: PyTree, start: Array, inputs: PyTree
) -> Array:
    def one(state: Array, row: PyTree) -> tuple[Array, Array]:
        state = step(constants, state, row)
        return state, state

    if kernel is not None:
        return kernel(constants, start, inputs, interpret)
    return jax.lax.scan(one, start, inputs, unroll=STEPS_PER_GRAPH)[1]


def _states_forward(
    step: Step, kernel: Kernel | None, interpret: bool, constants: PyTree, start: Array, inputs: PyTree
) -> tuple[Array, tuple]:
    states = _states(step, kernel, interpret, constants, start, inputs)
    return states, (constants, start, inputs, states)


def _states_backward(
    step: Step, kernel: Kernel | None, interpret: bool, kept: tuple, cotangent: Array
) -> tuple[PyTree, Array, PyTree]:
    constants, start, inputs, states = kept
    before = jnp.concatenate([start[None], states[:-1]])
    steps = jax.vmap(step, in_axes=(None, 0, 0))
    total = linear_recurrence(_transposed_jacobians(lambda x: steps(constants, x, inputs), before), cotangent)
    _, pull = jax.vjp(steps, constants, before, inputs)
    of_constants, of_before, of_inputs = pull(total)
    return of_constants, of_before[0], of_inputs


_states.defvjp(_states_forward, _states_backward)


def _transposed_jacobians(function: Callable[[Array], Array], at: Array) -> Array:
    """``J^T`` [..., S, S] of a function that maps the rows [..., S] one by one."""

    def column(unit: Array) -> Array:
        return jax.jvp(function, (at,), (jnp.broadcast_to(unit, at.shape),))[1]

    size = at.shape[-1]
    units = jnp.eye(size, dtype=at.dtype).reshape(size, *(1,) * (at.ndim - 1), size)
    return jnp.moveaxis(jax.vmap(column)(units), 0, -2)


def linear_recurrence(matrices: Array, added: Array) -> Array:
    """``g[t] = added[t] + matrices[t+1] g[t+1]`` from the last step back, [T, ..., S]; ``matrices`` [T, ..., S, S]."""
    chex.assert_equal_shape_prefix([matrices, added], added.ndim)
    matrices = jnp.concatenate([matrices[1:], jnp.zeros_like(matrices[:1])])

    def compose(later: tuple[Array, Array], earlier: tuple[Array, Array]) -> tuple[Array, Array]:
        (a, x), (b, y) = later, earlier
        return b @ a, y + jnp.squeeze(b @ x[..., None], -1)

    return jax.lax.associative_scan(compose, (matrices, added), reverse=True)[1]
