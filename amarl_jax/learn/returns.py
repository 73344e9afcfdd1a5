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

    factor = jnp.asarray(discount * decay, residual.dtype)
    advantage = jax.lax.platform_dependent(residual, factor, cpu=_summed_step_by_step, default=_summed_at_once)
    return jax.lax.stop_gradient((advantage, advantage + value))


def _summed_step_by_step(residual: Array, factor: Array) -> Array:
    """``A[t] = d[t] + factor * A[t+1]``, [T]."""

    def step(advantage: Array, residual_t: Array) -> tuple[Array, Array]:
        advantage = residual_t + factor * advantage
        return advantage, advantage

    return jax.lax.scan(step, jnp.zeros_like(residual[0]), residual, reverse=True)[1]


def _summed_at_once(residual: Array, factor: Array) -> Array:
    """Sums of :func:`_summed_step_by_step` without a loop: on a GPU each iteration is a kernel launch."""

    def compose(later: tuple[Array, Array], earlier: tuple[Array, Array]) -> tuple[Array, Array]:
        return later[0] * earlier[0], earlier[1] + earlier[0] * later[1]

    factors = jnp.full_like(residual, factor)
    return jax.lax.associative_scan(compose, (factors, residual), reverse=True)[1]


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
