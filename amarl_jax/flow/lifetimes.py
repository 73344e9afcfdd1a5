"""How long orders rest until their owners take them out, where trades and the end of the recording cut many short."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Survival:
    """Kaplan and Meier's estimate."""

    seconds: np.ndarray  # [k] ascending, at which owners took orders out
    share: np.ndarray  # [k] P(it still rests behind that time), if nothing else ends it

    def at(self, seconds: np.ndarray) -> np.ndarray:
        """``P(lifetime > seconds)``, [...]."""
        return np.concatenate([[1.0], self.share])[np.searchsorted(self.seconds, seconds, side="right")]


def kaplan_meier(seconds: np.ndarray, ended: np.ndarray) -> Survival:
    """The survival function of lifetimes of which some are only known to be longer.

    ``S(t) = prod_(t_i <= t) (1 - d_i / n_i)`` over the times ``t_i`` at which ``d_i`` of the ``n_i`` still there end.

    Args:
        seconds: [n] lifetime, or how long it was watched.
        ended: [n] bool, whether it ended then.
    """
    times, index, counts = np.unique(seconds, return_inverse=True, return_counts=True)
    deaths = np.bincount(index.reshape(-1), ended, minlength=len(times))
    at_risk = len(seconds) - np.concatenate([[0], np.cumsum(counts)[:-1]])
    dies = deaths > 0
    return Survival(times[dies], np.cumprod(1.0 - deaths[dies] / at_risk[dies]))


def mean_steps(seconds: np.ndarray, ended: np.ndarray, step_seconds: float) -> float:
    """The geometric law's mean lifetime in steps of the simulated market, at least 1: time watched over ends.

    An order of k steps comes within a step and leaves as the k-th behind it begins, so it rests k - 1/2 steps.
    """
    if not ended.any():
        return 1e6
    return float(max(seconds.sum() / (ended.sum() * step_seconds) + 0.5, 1.0))
