"""Synthetic sweeps of known kind: information falls over the penalties of the default grid, seed by seed."""

import numpy as np

from amarl_jax.transition.curve_fits import logistic_drop, penalty_axis
from amarl_jax.transition.locate import Curves

PENALTY = np.array([0.0, *(4.0 * 2.0 ** (-k / 2) for k in reversed(range(13)))])
X = penalty_axis(PENALTY)
SMOOTH = ("linear", "exponential", "hyperbola", "power", "logistic")
KINDS = ("flat", "step", *SMOOTH)


def truth(kind, midpoint=2.5, width=2.0):
    """The mean curve, nats."""
    if kind == "flat":
        return np.full(len(PENALTY), 0.3)
    if kind == "linear":
        return 0.6 - 0.14 * PENALTY
    if kind == "hyperbola":
        return 0.6 / (1.0 + PENALTY / 0.5)
    if kind == "power":
        return 0.6 / np.sqrt(1.0 + PENALTY / 0.1)
    if kind == "exponential":
        return 0.02 + 0.6 * np.exp(-PENALTY / 0.8)
    if kind == "logistic":
        return 0.02 + 0.6 * logistic_drop(X, midpoint, width)
    return np.where(midpoint > X, 0.62, 0.02)


def noisy(rng, mean, n_seeds=8, noise=0.02, shared=0.01):
    """Seeds around a mean curve: noise of each lane, and a shift that the lanes of a seed share. [S, L]."""
    lanes = noise * rng.normal(size=(n_seeds, len(mean)))
    return mean + lanes + shared * rng.normal(size=(n_seeds, 1))


def curves(rng, kind, n_seeds=8, about=None, **shape):
    """One arm; the accuracy is that of weak leakage made linear, ``1/2 + I / 1.4``."""
    information = noisy(rng, truth(kind, **shape), n_seeds)
    return Curves(PENALTY, information, 0.5 + information / 1.4, **(about or {}))
