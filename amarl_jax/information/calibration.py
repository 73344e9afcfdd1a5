"""Calibration of probabilities of a binary label: Brier score, expected calibration error, accuracy with interval."""

import math
from statistics import NormalDist

import numpy as np

from amarl_jax.information.arrays import count, numbers
from amarl_jax.information.arrays import probability as checked_probability
from amarl_jax.information.divergence import Interval
from amarl_jax.types import Array


def brier(probability: Array | np.ndarray, labels: Array | np.ndarray) -> float:
    """``mean (P(z = 1) - z)^2`` over episodes [n]: 0 is perfect, 1/4 a fair coin's (Brier 1950)."""
    probability, labels = _checked(probability, labels)
    return float(np.mean((probability - labels) ** 2))


def expected_calibration_error(probability: Array | np.ndarray, labels: Array | np.ndarray, n_bins: int = 10) -> float:
    """Mean over equally filled bins of ``|mean probability - share of z = 1|`` (Naeini et al. 2015), episodes [n].

    Its expectation for perfect probabilities is not 0 but about ``0.8 sqrt(n_bins p (1 - p) / n)``.
    """
    probability, labels = _checked(probability, labels)
    n_bins = count("n_bins", n_bins, 1)
    order = np.argsort(probability, kind="stable")
    parts = [part for part in np.array_split(order, n_bins) if part.size]
    return float(sum(part.size * abs(probability[part].mean() - labels[part].mean()) for part in parts) / order.size)


def accuracy(probability: Array | np.ndarray, labels: Array | np.ndarray, confidence: float = 0.95) -> Interval:
    """Share of episodes [n] guessed right by ``P(z = 1) > 1/2``, ties counted half, with Wilson's (1927) interval."""
    probability, labels = _checked(probability, labels)
    right = np.where(probability == 0.5, 0.5, (probability > 0.5) == (labels == 1))
    n, share = right.size, float(right.mean())
    quantile = NormalDist().inv_cdf((1.0 + checked_probability("confidence", confidence)) / 2.0)
    centre = (share + quantile**2 / (2 * n)) / (1 + quantile**2 / n)
    half = quantile / (1 + quantile**2 / n) * math.sqrt(share * (1 - share) / n + quantile**2 / (4 * n**2))
    return Interval(share, centre - half, centre + half)


def _checked(probability: Array | np.ndarray, labels: Array | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    probability, labels = numbers("probability", probability).astype(np.float64), numbers("labels", labels)
    if probability.ndim != 1 or probability.shape != labels.shape or probability.size == 0:
        raise ValueError(f"expected probabilities [n] and labels [n], got {probability.shape} and {labels.shape}")
    if not ((probability >= 0) & (probability <= 1)).all() or not np.isin(labels, (0, 1)).all():
        raise ValueError("probabilities must lie in [0, 1] and labels be 0 or 1")
    return probability, labels
