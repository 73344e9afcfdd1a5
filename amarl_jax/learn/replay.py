"""Prioritised replay of packed episodes, on device, for one lane.

Schaul et al. 2016, "Prioritized experience replay", proportional form. At a few hundred episodes per lane a
cumulative sum over all priorities costs less than a sum tree and batches better.
"""

import chex
import jax
import jax.numpy as jnp
from flax import struct

from amarl_jax.learn.split import WHOLE, EnvSplit
from amarl_jax.types import Array, PyTree

PRIORITY_MIN = 1e-6  # no stored episode may become impossible to draw


class ReplayState(struct.PyTreeNode):
    """A ring of items; slots ``0 .. size - 1`` hold one."""

    storage: PyTree  # leaves [capacity, ...], the items' own dtypes
    priority: Array  # [capacity] float32, positive where live, 0 where empty
    cursor: Array  # [] int32, slot the next item goes to
    size: Array  # [] int32, live items


@struct.dataclass
class ReplaySample:
    """What :func:`sample` drew."""

    indices: Array  # [n] int32, slots
    items: PyTree  # leaves [n, ...]
    weights: Array  # [n] float32, importance weights in [0, 1]; all 0 while the ring is empty


def init(item: PyTree, capacity: int) -> ReplayState:
    """An empty ring for items with the shapes and dtypes of ``item`` (arrays or ``jax.ShapeDtypeStruct``)."""
    return ReplayState(
        storage=jax.tree.map(lambda leaf: jnp.zeros((capacity, *leaf.shape), leaf.dtype), item),
        priority=jnp.zeros(capacity, jnp.float32),
        cursor=jnp.zeros((), jnp.int32),
        size=jnp.zeros((), jnp.int32),
    )


def add(state: ReplayState, items: PyTree, priority: Array | None = None) -> ReplayState:
    """Store a batch, overwriting the oldest items once the ring is full.

    Args:
      state: the ring.
      items: leaves [n, ...], n at most the capacity.
      priority: [n]; without it new items get the largest live priority (1 in an empty ring), so that each is
        likely to be drawn before its loss is known.
    """
    capacity = state.priority.shape[0]
    n = jax.tree.leaves(items)[0].shape[0]
    chex.assert_tree_shape_prefix(items, (n,))
    if n > capacity:
        raise ValueError(f"a batch of {n} items does not fit a replay of capacity {capacity}")
    if priority is None:
        priority = jnp.full(n, jnp.where(state.size > 0, jnp.max(state.priority), 1.0))
    chex.assert_shape(priority, (n,))
    slots = (state.cursor + jnp.arange(n, dtype=jnp.int32)) % capacity
    return state.replace(
        storage=jax.tree.map(lambda old, new: old.at[slots].set(new), state.storage, items),
        priority=state.priority.at[slots].set(jnp.maximum(priority, PRIORITY_MIN)),
        cursor=(state.cursor + n) % capacity,
        size=jnp.minimum(state.size + n, capacity),
    )


def probabilities(state: ReplayState, alpha: Array | float) -> Array:
    """``P(i) = p_i^alpha / sum_j p_j^alpha`` over live slots, [capacity]; all 0 while the ring is empty."""
    live = jnp.arange(state.priority.shape[0], dtype=jnp.int32) < state.size
    powered = jnp.where(live, jnp.maximum(state.priority, PRIORITY_MIN) ** alpha, 0.0)
    return powered / jnp.where(state.size > 0, jnp.sum(powered), 1.0)


def sample(
    uniform: Array, state: ReplayState, alpha: Array | float, beta: Array | float, split: EnvSplit = WHOLE
) -> ReplaySample:
    """Draw ``n`` items with replacement, each with probability :func:`probabilities`.

    The n draws are stratified: one from each of n equal slices of the cumulative law, so slot i is drawn
    ``n P(i)`` times in the mean and never more than one slice away from it. The importance weights
    ``w_i = (size P(i))^-beta`` are divided by the largest weight of any live item, so they do not depend on
    what else was drawn.

    Args:
      uniform: [n] independent draws from [0, 1).
      state: the ring.
      alpha: priority exponent, 0 is uniform.
      beta: importance exponent, 1 corrects fully.
      split: over devices that draw from a ring each, all of one size; the largest weight is that of all rings.
    """
    probability = probabilities(state, alpha)
    cumulative = jnp.cumsum(probability)
    n = uniform.shape[0]
    point = (jnp.arange(n, dtype=jnp.int32) + uniform) / n * cumulative[-1]
    indices = jnp.sum(point[:, None] >= cumulative[None, :], axis=1, dtype=jnp.int32)
    indices = jnp.clip(indices, 0, jnp.maximum(state.size - 1, 0))
    smallest = split.least(jnp.min(jnp.where(probability > 0, probability, jnp.inf)))
    drawn = jnp.where(state.size > 0, probability[indices], 1.0)
    weights = jnp.where(state.size > 0, (drawn / jnp.where(state.size > 0, smallest, 1.0)) ** -beta, 0.0)
    return ReplaySample(indices=indices, items=jax.tree.map(lambda leaf: leaf[indices], state.storage), weights=weights)


def update_priorities(state: ReplayState, indices: Array, priority: Array) -> ReplayState:
    """Set the priorities of drawn items, for example to their latest loss; both [n]."""
    chex.assert_equal_shape([indices, priority])
    return state.replace(priority=state.priority.at[indices].set(jnp.maximum(priority, PRIORITY_MIN)))
