"""Lifetimes of orders until their owners cancel them, censored by trades and by the end of the recording."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Survival:
    """Kaplan-Meier estimate of a survival function."""

    seconds: np.ndarray  # [k] ascending, at which owners took orders out
    share: np.ndarray  # [k] P(it still rests after that time), if nothing else ends it

    def at(self, seconds: np.ndarray) -> np.ndarray:
        """``P(lifetime > seconds)``, [...]."""
        return np.concatenate([[1.0], self.share])[np.searchsorted(self.seconds, seconds, side="right")]


def kaplan_meier(seconds: np.ndarray, ended: np.ndarray) -> Survival:
    """The survival function of right-censored lifetimes.

    ``S(t) = prod_(t_i <= t) (1 - d_i / n_i)`` over the times ``t_i`` at which ``d_i`` of the ``n_i`` still there end.

    Args:
        seconds: [n] lifetime, or how long it was observed.
        ended: [n] bool, whether it ended then; else it is censored.
    """
    times, index, counts = np.unique(seconds, return_inverse=True, return_counts=True)
    deaths = np.bincount(index.reshape(-1), ended, minlength=len(times))
    at_risk = len(seconds) - np.concatenate([[0], np.cumsum(counts)[:-1]])
    dies = deaths > 0
    return Survival(times[dies], np.cumprod(1.0 - deaths[dies] / at_risk[dies]))


def mean_steps(seconds: np.ndarray, ended: np.ndarray, step_seconds: float) -> float:
    """The geometric law's mean lifetime in steps of the simulated market, at least 1: time observed over ends.

    An order of k steps arrives within a step and leaves at the start of the k-th after it: after k - 1/2 on average.
    """
    if not ended.any():
        return 1e6
    return float(max(seconds.sum() / (ended.sum() * step_seconds) + 0.5, 1.0))
