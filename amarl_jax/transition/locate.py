"""The penalty lambda* at which hiding begins, by three definitions, with intervals over seeds; the kind of fall.

- ``lambda_eq``: the smallest penalty from which the one-sided 95% upper limit of I stays below 0.01 nats.
- ``lambda_half``: the midpoint of a four-parameter logistic of I in ``asinh(lambda / 0.1)``; beside it, without a
  model, ``lambda_isotonic``: where the monotone curve closest to I has fallen by half of what it falls over the grid.
- ``lambda_chi``: the peak of ``|d accuracy / dx|``, the steepest fall of the accuracy on that axis.

What lies in the first or last interval of the grid is not located by it, and reads "not determined". A curve is one
seed's values over the penalties; lanes share random keys across penalties, so whole curves are resampled. Everything is
host-side NumPy. With fewer than eight seeds intervals and kinds are "not determined".
"""

import dataclasses
import math

import numpy as np
from scipy import optimize, special

from amarl_jax.transition.curve_fits import (
    ShapeScores,
    at_edge,
    compare_shapes,
    fit_logistics,
    penalty_at,
    penalty_axis,
)
from amarl_jax.transition.intervals import (
    CONFIDENCE,
    FEWEST_SEEDS,
    NOT_DETERMINED,
    Location,
    percentile_interval,
    resampled_seeds,
    student_half_width,
)

MARGIN_NATS = 0.01  # below it a policy counts as hidden
FLAT_NATS = 0.05  # a curve whose fall is surely smaller than this is flat
FLAT, STEP, SMOOTH = "flat", "step", "smooth"  # kinds of a curve, beside "not determined"
NARROW = 2.0  # grid spacings: a step's width is surely within so many
EDGE_SHARE = 0.025  # of resamples that may lie at the edge of what is located


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
        """Number of seeds, S."""
        return len(self.information)


@dataclasses.dataclass(frozen=True)
class Transition:
    """lambda* of one arm and the kind of its fall."""

    lambda_eq: Location  # from here on the upper limit of I stays below the margin
    lambda_half: Location  # midpoint of the logistic
    lambda_isotonic: Location  # half of the fall over the grid, without a model
    lambda_chi: Location  # steepest fall of the accuracy
    width: Location  # twice the distance from 1/4 to 3/4 of the fall, on the asinh axis; the grid spacing for a step
    grid_spacing: float  # between the penalties on either side of the half fall, on the asinh axis
    height_nats: Location  # I at the smallest penalty less I at the largest, Student's interval
    shapes: ShapeScores | None  # None with too few seeds
    n_seeds: int
    width_samples: np.ndarray  # [R] widths of resampled curves; empty with too few seeds

    @property
    def kind(self) -> str:
        """Flat, step (as narrow as the grid can show), smooth (surely wider than the grid), or not determined.

        Flat: the fall is surely below 0.05 nats, and no shape predicts seeds left out better than a constant. Step: the
        width is surely within two spacings, and no smooth shape predicts better. Smooth: the width is surely above the
        spacing, and a smooth shape predicts better than a step.
        """
        height, width, shapes = self.height_nats, self.width, self.shapes
        if shapes is None or height.lower is None or height.upper is None:
            return NOT_DETERMINED
        if height.upper < FLAT_NATS and not any(shapes.beats(shape, "constant") for shape in shapes.by_seed):
            return FLAT
        if height.lower <= 0.0 or width.lower is None or width.upper is None:
            return NOT_DETERMINED
        smooth = shapes.beats(shapes.best_smooth, "step")
        if not smooth and width.upper <= NARROW * self.grid_spacing:
            return STEP
        return SMOOTH if smooth and width.lower > self.grid_spacing * (1.0 + 1e-9) else NOT_DETERMINED


def locate(curves: Curves, seed: int = 0) -> Transition:
    """lambda*, width, height and shape of one arm's curves, with percentile intervals over resampled seeds.

    Args:
        curves: one arm.
        seed: of the bootstrap.
    """
    x, n = penalty_axis(curves.penalty), curves.n_seeds
    chosen = resampled_seeds(n, seed)
    information = curves.information[chosen]  # [1 + R, S, L]
    means = information.mean(axis=1)
    height = _mean_interval(curves.information[:, 0] - curves.information[:, -1])
    logistics = fit_logistics(x, means)
    quarters = fallen_by(x, means, (0.25, 0.5, 0.75))
    half = quarters[:, 1]
    steepest = steepest_fall(x, curves.accuracy[chosen].mean(axis=1))
    within = lambda where: (where < x[1]) | (where > x[-2])  # noqa: E731
    edges = (at_edge(x, logistics, -MARGIN_NATS), within(half), within(steepest))
    falls = height.lower is None or height.lower > 0.0
    located = [
        _inside(penalty_at(where), edge) if falls else Location(None, note="no fall found")
        for where, edge in zip((logistics.midpoint, half, steepest), edges, strict=True)
    ]
    return Transition(
        lambda_eq=percentile_interval(np.array([_equality(curves.penalty, sample) for sample in information])),
        lambda_half=located[0],
        lambda_isotonic=located[1],
        lambda_chi=located[2],
        width=percentile_interval(2.0 * (quarters[:, 2] - quarters[:, 0])),
        grid_spacing=float(np.diff(x)[np.clip(np.searchsorted(x, half[0]) - 1, 0, len(x) - 2)]),
        height_nats=height,
        shapes=compare_shapes(curves.penalty, curves.information) if determined(curves) else None,
        n_seeds=n,
        width_samples=2.0 * (quarters[1:, 2] - quarters[1:, 0]),
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


def fallen_by(x: np.ndarray, curves: np.ndarray, shares: tuple[float, ...]) -> np.ndarray:
    """Places where each curve has fallen by the given shares of its whole fall, [B, len(shares)] on the axis of x.

    The curve is the non-increasing one closest to the values in squares (isotonic regression), straight between them; a
    curve that does not fall gives the first place for every share.

    Args:
        x: [L] ascending.
        curves: [B, L].
        shares: within (0, 1).
    """
    places = np.empty((len(curves), len(shares)))
    for i, curve in enumerate(curves):
        fitted = optimize.isotonic_regression(curve, increasing=False).x
        levels = fitted[0] - np.asarray(shares) * (fitted[0] - fitted[-1])
        places[i] = np.interp(levels, fitted[::-1], x[::-1]) if fitted[0] > fitted[-1] else x[0]
    return places


def steepest_fall(x: np.ndarray, accuracy: np.ndarray) -> np.ndarray:
    """Peak of ``|d accuracy / d x|``, [B]: middle of the steepest piece, refined by a parabola through its neighbours.

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


def _equality(penalty: np.ndarray, information: np.ndarray) -> float:
    """The smallest penalty from which the upper limit of I stays under the margin; infinite if it never does."""
    below = upper_limit(information) < MARGIN_NATS
    stays = np.logical_and.accumulate(below[::-1])[::-1]
    return float(penalty[np.argmax(stays)]) if stays.any() else math.inf


def _inside(values: np.ndarray, edge: np.ndarray) -> Location:
    """A location with its interval; without one where it, or more than 2.5% of the resamples, lie at an ``edge``."""
    if edge[0] or (len(edge) > 1 and edge[1:].mean() > EDGE_SHARE):
        return Location(None if edge[0] else float(values[0]), note=NOT_DETERMINED)
    return percentile_interval(values)


def _mean_interval(values: np.ndarray) -> Location:
    """Mean over seeds [S] with Student's interval; none below eight seeds."""
    value = float(values.mean())
    if len(values) < FEWEST_SEEDS:
        return Location(value, note=NOT_DETERMINED)
    half = float(student_half_width(values))
    return Location(value, value - half, value + half)
