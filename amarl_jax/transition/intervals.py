"""Numbers read off curves of several seeds, with intervals, and the words where there is none."""

import dataclasses
import math
from typing import Any

import numpy as np
from scipy import special

FEWEST_SEEDS = 8  # whole curves are resampled, and fewer give too few different samples
N_RESAMPLES = 1000
CONFIDENCE = 0.95
NOT_DETERMINED = "not determined"
NOT_REACHED = "not reached"


@dataclasses.dataclass(frozen=True)
class Location:
    """A number read off a curve, with its interval over seeds."""

    value: float | None  # None: not reached, or nothing to locate
    lower: float | None = None  # None: not determined; infinite: not reached in so many resamples
    upper: float | None = None
    note: str = ""  # "not determined", "not reached" or empty

    def __str__(self) -> str:
        """``value [lower, upper]`` with two decimals."""
        value = self.note if self.value is None else f"{self.value:.2f}"
        return value if self.lower is None else f"{value} [{self.lower:.2f}, {self.upper:.2f}]"

    def as_json(self) -> dict[str, Any]:
        """Ready for a strict JSON file; infinite limits read "not reached"."""
        parts = {"value": self.value, "lower": self.lower, "upper": self.upper}
        words = {part: NOT_REACHED if x == math.inf else x for part, x in parts.items()}
        return words | {"note": self.note}


def student_half_width(values: np.ndarray, confidence: float = CONFIDENCE) -> np.ndarray:
    """Half the width of the interval of the mean over seeds by Student's t, [...] of [S, ...] with S of at least 2."""
    n = len(values)
    return special.stdtrit(n - 1, 0.5 + confidence / 2.0) * values.std(axis=0, ddof=1) / math.sqrt(n)


def percentile_interval(values: np.ndarray) -> Location:
    """Location of the first value, with 95% percentile limits of the resampled rest.

    Args:
        values: [1 + R]; with R = 0 there is no interval. Infinite where a resample does not reach what is looked for.
    """
    value = float(values[0]) if math.isfinite(values[0]) else None
    if len(values) == 1:
        return Location(value, note=NOT_DETERMINED)
    tail = (1.0 - CONFIDENCE) / 2.0
    lower, upper = np.quantile(values[1:], (tail, 1.0 - tail), method="inverted_cdf")
    return Location(value, float(lower), float(upper), "" if value is not None else NOT_REACHED)


def resampled_seeds(n_seeds: int, seed: int) -> np.ndarray:
    """Seeds [1 + R, S], drawn with replacement: the first row is the sample itself; R is 0 below eight seeds."""
    n = N_RESAMPLES if n_seeds >= FEWEST_SEEDS else 0
    drawn = np.random.default_rng(seed).integers(0, n_seeds, (n, n_seeds))
    return np.concatenate([np.arange(n_seeds)[None], drawn])


def counted_seeds(n_seeds: int) -> str:
    """Number of seeds for a sentence: "1 seed", "2 seeds"."""
    return f"{n_seeds} seed{'s' * (n_seeds != 1)}"
