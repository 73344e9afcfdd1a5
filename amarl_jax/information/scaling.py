"""Running location and scale of features over episodes, so that a small critic sees deviations, not totals.

A whole-past count of 3,900 orders with a standard deviation of 60 carries its information in the 60.
"""

import chex
import jax.numpy as jnp
import numpy as np
from flax import struct

from amarl_jax.types import Array

IQR_OF_NORMAL = 1.349  # interquartile range of N(0, 1)
TAIL = 3.0  # robust standard deviations beyond which tails are logarithmic
OUTLYING = 5.0  # the same for features that are standardised by mean and deviation afterwards
VARIANCE_FLOOR = 1e-6  # features that do not vary map to 0


@struct.dataclass
class FeatureScale:
    """Mean and variance over episodes of both classes together, for each position of S (``[T, D]``, say)."""

    mean: Array  # [*S]
    variance: Array  # [*S]
    n_updates: Array  # [] int32


def init_scale(shape: tuple[int, ...]) -> FeatureScale:
    """State before the first update."""
    return FeatureScale(
        mean=jnp.zeros(shape, jnp.float32), variance=jnp.ones(shape, jnp.float32), n_updates=jnp.zeros((), jnp.int32)
    )


def update_scale(scale: FeatureScale, features: Array, decay: Array | float) -> FeatureScale:
    """Blend in a batch of episodes [E, *S]: a plain average over updates at first, exponential later.

    Mean and variance are those of the mixture of past and batch, ``v = (1-r)(v + r d^2) + r v_batch`` with ``d`` the
    move of the mean before blending and ``r = max(1 / n, 1 - decay)``.
    """
    chex.assert_equal_shape([features[0], scale.mean])
    rate = jnp.maximum(1.0 / (scale.n_updates + 1).astype(jnp.float32), 1.0 - decay)
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


def robustly_standardised(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Columns [n, ..., D] as robust deviations with logarithmic tails, to unit variance, clipped to the rows' range.

    A function of the data can only lose information, so a bound stays a bound; what lies outside the range of the
    given rows would meet a critic that extrapolates. The bulk stays as it is: a quadratic log-ratio stays quadratic.
    Columns that are constant over the given rows, the smallest value the largest, become 0. Values are float64, of
    about unit size (see :func:`amarl_jax.information.arrays.deviations`).
    """
    sample = values[rows].reshape(-1, values.shape[-1])
    varies = sample.min(axis=0) < sample.max(axis=0)
    low, median, high = np.quantile(sample, (0.25, 0.5, 0.75), axis=0)
    scale = np.where(high > low, (high - low) / IQR_OF_NORMAL, sample.std(axis=0))
    scale = np.where(varies, scale, 1.0)
    compressed = _logarithmic_tails((sample - median) / scale)
    mean, std = compressed.mean(axis=0), np.where(varies, compressed.std(axis=0), 1.0)
    clipped = np.clip(_logarithmic_tails((values - median) / scale), compressed.min(axis=0), compressed.max(axis=0))
    return np.where(varies, (clipped - mean) / std, 0.0).astype(np.float32)


def without_outliers(values: np.ndarray) -> np.ndarray:
    """Columns [n, D] in units of their middle half, with logarithmic tails beyond ``OUTLYING`` of them, float64.

    One row of 1e6 would make the deviation of 2,000 others a ten-thousandth of the column's, too little to be learned
    from. Where most rows are alike the unit is the median size of what the others differ by.

    Args:
      values: less a typical row (see :func:`amarl_jax.information.arrays.deviations`).
    """
    low, high = np.quantile(values, (0.25, 0.75), axis=0)
    others = np.array([np.median(column[column > 0]) if column.any() else 0.0 for column in np.abs(values).T])
    unit = np.where(high > low, (high - low) / IQR_OF_NORMAL, others)
    return _logarithmic_tails(values / np.where(unit > 0, unit, 1.0), OUTLYING)


def _logarithmic_tails(deviations: np.ndarray, tail: float = TAIL) -> np.ndarray:
    """The identity up to ``tail``, ``tail (1 + log(|u| / tail))`` with the sign of u beyond."""
    size = np.abs(deviations)
    return np.where(
        size <= tail, deviations, np.sign(deviations) * tail * (1.0 + np.log(np.maximum(size, tail) / tail))
    )
