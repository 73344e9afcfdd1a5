"""Where hiding begins: lambda* by three definitions, with intervals over seeds, and what kind of change it is.

A curve is one seed's values over the penalties; lanes share random keys across penalties, so whole curves are
resampled. Everything is host-side NumPy. With fewer than eight seeds intervals and verdict are "not determined".
"""

import dataclasses
import math

import numpy as np
from scipy import special

from amarl_jax.transition.curve_fits import (
    ShapeScores,
    compare_shapes,
    fit_logistics,
    penalty_at,
    penalty_axis,
)

FEWEST_SEEDS = 8
MARGIN_NATS = 0.01  # below it a policy counts as hidden
N_RESAMPLES = 1000
CONFIDENCE = 0.95
NOT_DETERMINED = "not determined"
NOT_REACHED = "not reached"


@dataclasses.dataclass(frozen=True)
class Curves:
    """One arm of a sweep."""

    penalty: np.ndarray  # [L] lambda, ascending, reward units per nat
    information: np.ndarray  # [S, L] nats, held out: exact, or found by a fresh detector
    accuracy: np.ndarray  # [S, L] of the same
    horizon: int = 0  # T, steps of an episode, with Q in proportion
    start: str = "quiet"  # initial policies: "quiet" or "loud"
    private_randomiser: bool = True

    def __post_init__(self) -> None:
        shape = (len(self.information), len(self.penalty))
        if self.information.shape != shape or self.accuracy.shape != shape or shape[1] < 5:
            raise ValueError(f"expected curves [S, L] over at least 5 penalties, got {self.information.shape}")
        if not np.all(np.diff(self.penalty) > 0) or self.penalty[0] < 0:
            raise ValueError("penalties must ascend from 0 or more")
        if not (np.isfinite(self.information).all() and np.isfinite(self.accuracy).all()):
            raise ValueError("curves must be finite: leave out the seeds of failed lanes")

    @property
    def n_seeds(self) -> int:
        """S."""
        return len(self.information)


@dataclasses.dataclass(frozen=True)
class Location:
    """A number read off a curve, with its interval over seeds."""

    value: float | None  # None: not reached, or nothing to locate
    lower: float | None = None  # None: not determined; infinite: not reached in so many resamples
    upper: float | None = None
    note: str = ""  # "not determined", "not reached" or empty


@dataclasses.dataclass(frozen=True)
class Transition:
    """What one arm says of lambda*."""

    lambda_eq: Location  # from here on the upper limit of I stays below the margin
    lambda_half: Location  # midpoint of the logistic
    lambda_chi: Location  # steepest fall of the accuracy
    width: Location  # of the logistic, on the asinh axis
    grid_spacing: float  # between the penalties on either side of the midpoint, on the asinh axis
    height_nats: Location  # what the logistic falls by
    shapes: ShapeScores | None  # None with too few seeds
    n_seeds: int
    width_samples: np.ndarray  # [R] widths of resampled curves; empty with too few seeds

    @property
    def kind(self) -> str:
        """Linear, exponential, logistic, or step: a logistic whose width's interval reaches the grid spacing."""
        if self.shapes is None:
            return NOT_DETERMINED
        return "step" if self.shapes.chosen == "logistic" and reaches_spacing(self) else self.shapes.chosen


def reaches_spacing(transition: Transition) -> bool:
    """True if the width's interval reaches down to the grid spacing: as narrow as could have been seen."""
    lower = transition.width.lower
    return lower is not None and lower <= transition.grid_spacing


def locate(curves: Curves, seed: int = 0) -> Transition:
    """Everything that one arm's curves say, with percentile intervals over resampled seeds.

    Args:
        curves: one arm.
        seed: of the bootstrap.
    """
    x, n = penalty_axis(curves.penalty), curves.n_seeds
    rng = np.random.default_rng(seed)
    chosen = np.concatenate([np.arange(n)[None], rng.integers(0, n, (N_RESAMPLES if determined(curves) else 0, n))])
    information = curves.information[chosen]  # [1 + R, S, L]
    logistics = fit_logistics(x, information.mean(axis=1))
    equal = np.array([_equality(curves.penalty, sample) for sample in information])
    steepest = steepest_fall(x, curves.accuracy[chosen].mean(axis=1))
    spacing = np.diff(x)[np.clip(np.searchsorted(x, logistics.midpoint[0]) - 1, 0, len(x) - 2)]
    height = _interval(logistics.height)
    falls = height.lower is None or height.lower > 0
    half = _interval(penalty_at(logistics.midpoint)) if falls else Location(None, note="no fall found")
    return Transition(
        lambda_eq=_interval(equal),
        lambda_half=half,
        lambda_chi=_interval(penalty_at(steepest)),
        width=_interval(logistics.width),
        grid_spacing=float(spacing),
        height_nats=height,
        shapes=compare_shapes(curves.penalty, curves.information) if determined(curves) else None,
        n_seeds=n,
        width_samples=logistics.width[1:],
    )


def determined(curves: Curves) -> bool:
    """True if there are enough seeds for an interval."""
    return curves.n_seeds >= FEWEST_SEEDS


def upper_limit(information: np.ndarray) -> np.ndarray:
    """One-sided 95% upper limit of the mean over seeds, [L], by Student's t; infinite for a single seed.

    Args:
        information: [S, L] nats.
    """
    n = len(information)
    if n < 2:
        return np.full(information.shape[1], np.inf)
    error = information.std(axis=0, ddof=1) / math.sqrt(n)
    return information.mean(axis=0) + special.stdtrit(n - 1, CONFIDENCE) * error


def _equality(penalty: np.ndarray, information: np.ndarray) -> float:
    """The smallest penalty from which the upper limit of I stays under the margin; infinite if it never does."""
    below = upper_limit(information) < MARGIN_NATS
    stays = np.logical_and.accumulate(below[::-1])[::-1]
    return float(penalty[np.argmax(stays)]) if stays.any() else math.inf


def steepest_fall(x: np.ndarray, accuracy: np.ndarray) -> np.ndarray:
    """Where ``|d accuracy / d x|`` peaks, [B]: the steepest piece's middle, moved by a parabola through its neighbours.

    Args:
        x: [L] the penalty axis.
        accuracy: [B, L].
    """
    middle = 0.5 * (x[1:] + x[:-1])
    slope = np.abs(np.diff(accuracy, axis=1) / np.diff(x))
    peak = np.argmax(slope, axis=1)
    inside = np.clip(peak, 1, len(middle) - 2)
    rows = np.arange(len(slope))
    below, above = middle[inside] - middle[inside - 1], middle[inside + 1] - middle[inside]
    drop_below, drop_above = (slope[rows, inside] - slope[rows, inside + k] for k in (-1, 1))
    bend = below * drop_above + above * drop_below
    shift = 0.5 * (above**2 * drop_below - below**2 * drop_above) / np.where(bend > 0, bend, np.inf)
    return np.where(peak == inside, middle[inside] + np.clip(shift, -below, above), middle[peak])


def _interval(values: np.ndarray) -> Location:
    """The first value, and percentile limits of the resampled rest."""
    value = float(values[0]) if math.isfinite(values[0]) else None
    if len(values) == 1:
        return Location(value, note=NOT_DETERMINED)
    tail = (1.0 - CONFIDENCE) / 2.0
    lower, upper = np.quantile(values[1:], (tail, 1.0 - tail), method="inverted_cdf")
    return Location(value, float(lower), float(upper), "" if value is not None else NOT_REACHED)
