"""The filter of a tape's point process: what each hypothesis attributes to the slot, and a step of it in few kernels.

The step is that of :class:`amarl_jax.nets.order_flow.OrderFlow` with everything that does not depend on the state taken
out of it, so that it can be computed for all steps at once. Its matrix products are sums, which XLA joins with what is
done before them; as products of a library they would be kernels of their own.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from amarl_jax.types import Array

N_SUMS = 6  # sums kept of the attributed orders
N_FILTER = 3 * N_SUMS + 2
DECAY = 0.9  # per step, of recent attributions: orders rest for ten steps
SIDES = np.array([1.0, -1.0], np.float32)  # of the parent order, by hypothesis


@struct.dataclass
class FilterInputs:
    """What a step of the filter reads beside its state."""

    base: Array  # [2, H] what public information adds to the first layer
    weights: Array  # [2, 1 + K, H] of the log-odds to act, and of the log density of each order
    offsets: Array  # [2, 1 + K] likewise
    marks: Array  # [2, K, N_SUMS]


def order_marks(side: Array, lots: Array, taking: Array) -> tuple[Array, ...]:
    """What the sums add up of each order, N_SUMS times [2, K] or [1, K], from rows [K]."""
    along = side[None] * SIDES[:, None]
    passive = (1.0 - taking)[None]
    signed = along * lots[None] / 10.0
    return (
        jnp.abs(along),
        signed * taking[None],
        signed * passive,
        along,
        jnp.where(along > 0, passive, 0.0),
        jnp.where(along < 0, passive, 0.0),
    )


def add_attributed(before: Array, new: Array, log_step: Array) -> Array:
    """Attributions of each hypothesis after a step, [2, N_FILTER].

    Orders, signed lots taken and offered, signed orders and orders at rest on either side, each since the opening,
    recently, and at the last order; time since that order; and the log-ratio so far.

    Args:
      before: [2, N_FILTER].
      new: [2, N_SUMS] of the step's orders, by their shares.
      log_step: [2] the log-ratio of the step.
    """
    acted = new[:, :1]
    total, lately, last, age, ratio = jnp.split(before, np.cumsum([N_SUMS, N_SUMS, N_SUMS, 1]), axis=1)
    parts = (total + new, DECAY * lately + new, last * (1.0 - acted) + new, (age + 0.1) * (1.0 - acted))
    return jnp.concatenate([*parts, ratio + log_step[:, None]], axis=1)


def filter_step(layers: tuple[Array, Sequence[tuple[Array, Array]]], attributed: Array, inputs: FilterInputs) -> Array:
    """The attributions [2, N_FILTER] after a step, of those before it.

    Args:
      layers: the first layer's kernel [N_FILTER, H] of the attributions, kernels and biases of the middle layers.
      attributed: [2, N_FILTER].
      inputs: of the step.
    """
    first, middle = layers
    hidden = nn.silu(_product(jnp.tanh(0.5 * attributed), first) + inputs.base)
    for kernel, bias in middle:
        hidden = nn.silu(_product(hidden, kernel) + bias[None])
    out = jnp.sum(inputs.weights * hidden[:, None], axis=-1) + inputs.offsets
    acts, waits = jax.nn.log_sigmoid(out[:, :1]), jax.nn.log_sigmoid(-out[:, 0])
    log_acted = acts + out[:, 1:]
    top = jax.lax.stop_gradient(jnp.maximum(jnp.max(log_acted, axis=1), waits))
    log_step = top + jnp.log(jnp.sum(jnp.exp(log_acted - top[:, None]), axis=1) + jnp.exp(waits - top))
    shares = jnp.exp(log_acted - log_step[:, None])
    return add_attributed(attributed, jnp.sum(shares[..., None] * inputs.marks, axis=1), log_step)


def _product(x: Array, kernel: Array) -> Array:
    """``x @ kernel`` as a sum."""
    return jnp.sum(x[..., None] * kernel[None], axis=1)
