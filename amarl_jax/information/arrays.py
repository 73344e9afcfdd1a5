"""Checks of users' arrays, and removal of their offset and unit before anything is rounded to float32.

float32 carries seven digits: 1e9 + noise, or a time stamp in nanoseconds, would lose all its variation and read 0 nats.
So differences from a typical row are taken first: exactly for 64-bit integers and dates, in their own precision for
floats. What was rounded away before it arrives is lost: where half of the rows lie within ``STEPS`` steps of the
array's own type, a warning says so.
"""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from amarl_jax.types import Array

STEPS = 8  # rounding steps of its floating type that the middle half of a column must span, else a warning
HUGE = 1e307  # differences of larger numbers might overflow


def numbers(name: str, values: Array | ArrayLike) -> np.ndarray:
    """The values as an array of integers or floats, nothing rounded; dates and durations become integers.

    Raises:
      ValueError: strings, objects, complex numbers, masked or missing entries, or values that are not finite.
    """
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        raise ValueError(f"{name} has masked entries: leave their rows out")
    try:
        array = np.asarray(values)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} cannot be read as an array of numbers: {' '.join(str(error).split())}") from None
    if array.dtype.kind in "mM":
        if np.isnat(array).any():
            raise ValueError(f"{name} must be finite: it has dates that are missing")
        return array.astype(np.int64)
    if array.dtype.kind == "V" and jnp.issubdtype(array.dtype, jnp.floating):  # bfloat16 and its kin
        array = array.astype(np.float32)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name} must be real numbers, got an array of {array.dtype}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite")
    return array


def labels_of_two_classes(labels: Array | np.ndarray, n: int) -> np.ndarray:
    """Labels as int32 [n], each 0 or 1, or a ValueError."""
    array = numbers("labels", labels)
    if array.shape != (n,):
        raise ValueError(f"expected labels [{n}], one for each row, got {array.shape}")
    if not np.isin(array, (0, 1)).all():
        raise ValueError("labels must be 0 or 1")
    return array.astype(np.int32)


def typed_key(key: Array) -> Array:
    """The key itself if it is a single typed one, else a ValueError."""
    if not isinstance(key, jax.Array) or not jnp.issubdtype(key.dtype, jax.dtypes.prng_key) or key.shape:
        got = f"an array of {key.dtype} {key.shape}" if hasattr(key, "dtype") else repr(key)
        raise ValueError(f"key must be one typed key, as jax.random.key(0) is, got {got}")
    return key


def probability(name: str, value: ArrayLike) -> float:
    """A number between 0 and 1, both excluded, or a ValueError."""
    array = numbers(name, value)
    if array.ndim or not 0.0 < array < 1.0:
        raise ValueError(f"{name} must be a number between 0 and 1, got {array}")
    return float(array)


def count(name: str, value: int, least: int) -> int:
    """An integer of at least ``least``, or a ValueError."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}")
    return int(value)


def deviations(name: str, values: np.ndarray) -> np.ndarray:
    """Columns of [n, ..., D] minus their middle row, over the largest such deviation: float64 in [-1, 1].

    In sequences [n, T, D] every step has its own offset (the mean of the middle half of the rows), but all steps of a
    column share a scale. A column is constant if its smallest value equals its largest, and then it is exactly 0.
    Invertible up to rounding to float64, so the information is that of the values.

    Args:
      name: of the array, for the warning.
      values: as :func:`numbers` returns them.
    """
    values = values.astype(np.int64) if values.dtype.kind in "bi" else values
    if values.dtype.kind == "f":
        _warn_of_rounding(name, values)
        values = values / 4 if float(np.abs(values).max()) > HUGE else values
    middle = values.shape[0] // 2
    difference = _less(values, np.partition(values, middle, axis=0)[middle])
    if values.ndim > 2:
        from scipy import stats  # takes a second to import

        difference = difference - stats.trim_mean(difference, 0.25, axis=0)
        difference[:, np.all(values == values[0], axis=0)] = 0.0
    largest = np.abs(difference).max(axis=tuple(range(values.ndim - 1)))
    return difference / np.where(largest > 0, largest, 1.0)


def check_varies(name: str, values: np.ndarray) -> None:
    """Raise ValueError if every row of deviations [n, ...] is the same."""
    if (values == values[0]).all():
        raise ValueError(f"{name} takes one value only, so it has no information to share")


def _less(values: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """``values - reference`` rounded once, to float64; integers of 64 bits by halves, which cannot overflow."""
    if values.dtype.kind == "f":
        precise = values.astype(np.float64) if values.dtype.itemsize < 8 else values
        return (precise - reference.astype(precise.dtype)).astype(np.float64)
    high, low = (values >> 32).astype(np.int64), (values & 0xFFFFFFFF).astype(np.int64)
    high -= (reference >> 32).astype(np.int64)
    low -= (reference & 0xFFFFFFFF).astype(np.int64)
    return high * 2.0**32 + low


def _warn_of_rounding(name: str, values: np.ndarray) -> None:
    """Warn of columns whose middle half, at some step, spans only a few rounding steps of their floating type."""
    n = values.shape[0]
    low, high = n // 4, (3 * n) // 4
    ordered = np.partition(values, (low, high), axis=0)
    with np.errstate(over="ignore"):  # an infinite spread is not a small one
        middle, whole = ordered[high] - ordered[low], values.max(axis=0) - values.min(axis=0)
    spread = np.where(middle > 0, middle, whole)
    step = np.spacing(np.maximum(np.abs(ordered[low]), np.abs(ordered[high])))
    rounded = (whole > 0) & (spread < STEPS * step)
    if rounded.any():
        at = tuple(int(i) for i in np.argwhere(rounded)[0])
        warnings.warn(
            f"{name} has {np.count_nonzero(rounded)} columns, the first at {at}, that vary by less than {STEPS} steps "
            f"of {values.dtype} around {float(ordered[high][at]):.6g}: rounding took part of what they say; subtract "
            "the offset before that, or pass integers",
            stacklevel=4,
        )
