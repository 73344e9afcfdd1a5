"""Advantages and value targets of one episode."""

import chex
import jax
import jax.numpy as jnp

from amarl_jax.learn.split import WHOLE, EnvSplit
from amarl_jax.types import Array

STD_FLOOR = 1e-8  # keeps the normalisation of constant advantages finite


def gae(
    reward: Array, value: Array, discount: Array | float, decay: Array | float, bootstrap: Array | float = 0.0
) -> tuple[Array, Array]:
    """Generalised advantage estimates and value targets of one fixed-horizon episode.

    ``A[t] = d[t] + discount * decay * A[t+1]`` with ``d[t] = r[t] + discount * V[t+1] - V[t]`` and ``V[T]`` the
    bootstrap, 0 where the episode really ends; the target is ``A + V``. No gradient flows through either
    (Schulman et al. 2016, "High-dimensional continuous control using generalized advantage estimation", eq. 16).

    Args:
      reward: [T].
      value: [T], predictions at the start of each step.
      discount: gamma, [].
      decay: lambda of GAE, [].
      bootstrap: value after the last step, [].

    Returns:
      (advantage [T], target [T]), in the unit of the reward.
    """
    chex.assert_rank([reward, value], 1)
    chex.assert_equal_shape([reward, value])
    next_value = jnp.append(value[1:], bootstrap)
    residual = reward + discount * next_value - value

    def step(advantage: Array, residual_t: Array) -> tuple[Array, Array]:
        advantage = residual_t + discount * decay * advantage
        return advantage, advantage

    _, advantage = jax.lax.scan(step, jnp.zeros_like(residual[0]), residual, reverse=True)
    return jax.lax.stop_gradient((advantage, advantage + value))


def normalise(x: Array, mask: Array, split: EnvSplit = WHOLE) -> Array:
    """Zero mean and unit standard deviation of each column over its entries with mask 1; masked entries become 0.

    Args:
      x: [..., column].
      mask: 0 or 1, the shape of ``x``; it may be 0 everywhere.
      split: of the entries over devices, which normalise the whole together.
    """
    chex.assert_equal_shape([x, mask])
    axes = tuple(range(x.ndim - 1))
    total = lambda terms: split.sum(jnp.sum(terms, axes, keepdims=True))  # noqa: E731
    n = jnp.maximum(total(mask.astype(x.dtype)), 1.0)
    centred = jnp.where(mask > 0, x, 0.0) - total(jnp.where(mask > 0, x, 0.0)) / n
    centred = jnp.where(mask > 0, centred, 0.0)
    return centred / jnp.maximum(jnp.sqrt(total(centred**2) / n), STD_FLOOR)
