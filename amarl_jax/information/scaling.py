"""Location and scale of columns, robust against outliers, so that a small critic sees deviations, not totals."""

import numpy as np

IQR_OF_NORMAL = 1.349  # interquartile range of N(0, 1)
TAIL = 3.0  # robust standard deviations beyond which tails are logarithmic
OUTLYING = 5.0  # the same for features that are standardised by mean and deviation afterwards


def robustly_standardised(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Columns [n, ..., D] as robust deviations with logarithmic tails, to unit variance, clipped to the rows' range.

    A function of the data can only lose information, so a bound stays a bound. Outside the range of the given rows a
    critic would extrapolate. The bulk is only shifted and scaled: a quadratic log-ratio stays quadratic. Columns that
    are constant over the given rows become 0. ``values`` are float64, of
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
    """Columns [n, D] in robust standard deviations, with logarithmic tails beyond ``OUTLYING`` of them, float64.

    A single outlier of 1e6 would shrink the other 2,000 rows to a ten-thousandth of the column's standard deviation,
    too little to learn from. Where most rows are equal, the unit is the median absolute deviation of the others.

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
