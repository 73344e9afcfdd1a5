"""Running location and scale of features over episodes, so that a small critic sees deviations, not totals.

A whole-past count of 3,900 orders with a standard deviation of 60 carries its information in the 60.
"""

import chex
import jax.numpy as jnp
from flax import struct

from amarl_jax.types import Array

VARIANCE_FLOOR = 1e-6  # features that do not vary map to 0


@struct.dataclass
class FeatureScale:
    """Mean and variance over episodes of both classes together, for each position of S (``[T, D]``, say)."""

    mean: Array  # [*S]
    variance: Array  # [*S]
    n_updates: Array  # [] int32


def init_scale(shape: tuple[int, ...]) -> FeatureScale:
    """State before the first update."""
    return FeatureScale(mean=jnp.zeros(shape), variance=jnp.ones(shape), n_updates=jnp.zeros((), jnp.int32))


def update_scale(scale: FeatureScale, features: Array, decay: Array | float) -> FeatureScale:
    """Blend in a batch of episodes [E, *S]: a plain average over updates at first, exponential later.

    Mean and variance are those of the mixture of past and batch, ``v = (1-r)(v + r d^2) + r v_batch`` with ``d`` the
    move of the mean before blending and ``r = max(1 / n, 1 - decay)``.
    """
    chex.assert_equal_shape([features[0], scale.mean])
    rate = jnp.maximum(1.0 / (scale.n_updates + 1), 1.0 - decay)
    batch_mean = jnp.mean(features, axis=0)
    move = batch_mean - scale.mean
    batch_variance = jnp.mean((features - batch_mean[None]) ** 2, axis=0)
    return FeatureScale(
        mean=scale.mean + rate * move,
        variance=(1.0 - rate) * (scale.variance + rate * move**2) + rate * batch_variance,
        n_updates=scale.n_updates + 1,
    )


def standardise(scale: FeatureScale, features: Array) -> Array:
    """``asinh((x - mean) / std)``, for features of shape S; the caller vmaps over episodes."""
    chex.assert_equal_shape([features, scale.mean])
    return jnp.asinh((features - scale.mean) / jnp.sqrt(scale.variance + VARIANCE_FLOOR))
