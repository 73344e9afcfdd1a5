"""The shape of a measured curve: constant, step, exponential, hyperbola or logistic in the penalty.

A logistic and a step are taken in ``x = asinh(lambda / 0.1)``, a scale that is linear near 0 and logarithmic beyond;
exponentials and hyperbolas in lambda itself. All fits are least squares. For given nonlinear parameters (midpoint and
width, decay, location) the rest is linear, so every candidate on a grid is solved in closed form, for all resampled
curves at once, and the best logistic is polished on finer grids around it (variable projection, Golub and Pereyra
1973).
"""

import dataclasses

import numpy as np
from scipy import special

SCALE = 0.1  # of the penalty axis, reward units per nat
WIDTH_PER_SCALE = 4.0  # a logistic's tangent at its midpoint spans its whole height in 4 scale lengths
SMOOTH = ("exponential", "hyperbola", "logistic")
SHAPES = ("constant", "step", *SMOOTH)  # simplest first
N_MIDPOINTS, N_WIDTHS, N_DECAYS = 41, 31, 161
N_POLISHES = 3
SHRINKAGE = 6.0  # weight, in seeds, of the pooled variance in the variance at each penalty


def penalty_axis(penalty: np.ndarray) -> np.ndarray:
    """``x = asinh(lambda / 0.1)``."""
    return np.arcsinh(np.asarray(penalty, np.float64) / SCALE)


def penalty_at(x: np.ndarray) -> np.ndarray:
    """The inverse of :func:`penalty_axis`."""
    return SCALE * np.sinh(np.asarray(x, np.float64))


@dataclasses.dataclass(frozen=True)
class Logistics:
    """Four-parameter logistics ``floor + height / (1 + exp((x - midpoint) / (width / 4)))``, one per curve."""

    midpoint: np.ndarray  # [B] on the asinh axis
    width: np.ndarray  # [B] on the asinh axis; 0 is a step
    height: np.ndarray  # [B] fall from small penalties to large ones
    floor: np.ndarray  # [B]
    fitted: np.ndarray  # [B, L]


def logistic_drop(x: np.ndarray, midpoint: np.ndarray, width: np.ndarray) -> np.ndarray:
    """``1 / (1 + exp((x - midpoint) / (width / 4)))``; widths near 0 give a step that is 1/2 at its midpoint."""
    scale = np.maximum(width / WIDTH_PER_SCALE, 1e-6)
    return 0.5 * (1.0 - np.tanh(np.clip((x - midpoint) / (2.0 * scale), -40.0, 40.0)))


def fit_logistics(x: np.ndarray, curves: np.ndarray, weight: np.ndarray | None = None) -> Logistics:
    """Least-squares logistics in x of every curve.

    Midpoints stay within the measured range and heights are unconstrained: a flat curve gets a height near 0, and its
    midpoint means nothing.

    Args:
        x: [L] ascending, L of at least 5.
        curves: [B, L].
        weight: [L] of the points; None weighs all alike.
    """
    curves = np.asarray(curves, np.float64)
    span = x[-1] - x[0]
    widths = np.concatenate([[0.0], np.geomspace(0.05, WIDTH_PER_SCALE, N_WIDTHS - 1)]) * span
    midpoints = np.linspace(x[0], x[-1], N_MIDPOINTS)
    grid = np.stack(np.meshgrid(midpoints, widths, indexing="ij"), axis=-1).reshape(-1, 2)
    candidates = np.broadcast_to(grid, (len(curves), *grid.shape))
    steps = np.array([midpoints[1] - midpoints[0], 0.15 * span])
    best = _best_candidates(x, curves, candidates, weight)
    offsets = np.stack(np.meshgrid(np.linspace(-1, 1, 9), np.linspace(-1, 1, 9), indexing="ij"), -1).reshape(-1, 2)
    for _ in range(N_POLISHES):
        candidates = best[:, None] + steps * offsets
        candidates[..., 0] = np.clip(candidates[..., 0], x[0], x[-1])
        candidates[..., 1] = np.clip(candidates[..., 1], 0.0, widths[-1])
        best = _best_candidates(x, curves, candidates, weight)
        steps = steps / 4.0
    midpoint, width = best.T
    basis = logistic_drop(x, midpoint[:, None], width[:, None])
    height, floor = _line_through(basis, curves, weight)
    return Logistics(midpoint, width, height, floor, floor[:, None] + height[:, None] * basis)


def _best_candidates(
    x: np.ndarray, curves: np.ndarray, candidates: np.ndarray, weight: np.ndarray | None
) -> np.ndarray:
    """Best candidate [B, 2] of [B, C, 2] (midpoint, width), by the squared error for its curve."""
    if candidates.strides[0] == 0:  # one grid for all curves: one projection for all
        basis = logistic_drop(x, candidates[0, :, :1], candidates[0, :, 1:])
        explained = _explained(basis, curves, weight)
    else:
        basis = logistic_drop(x, candidates[..., :1], candidates[..., 1:])
        explained = np.stack([_explained(b, c[None], weight)[0] for b, c in zip(basis, curves, strict=True)])
    return candidates[np.arange(len(curves)), np.argmax(explained, axis=1)]


def _explained(basis: np.ndarray, curves: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
    """Squares explained by a constant and one basis function, [B, C], for basis [C, L] and curves [B, L]."""
    w = np.ones(basis.shape[-1]) if weight is None else weight
    w = w / w.sum()
    centred = basis - (basis @ w)[:, None]
    power = (centred**2) @ w
    product = (curves * w) @ centred.T  # the curve's own mean drops out against a centred basis
    return np.where(power > 1e-12, product**2 / np.maximum(power, 1e-12), 0.0)


def _line_through(basis: np.ndarray, curves: np.ndarray, weight: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Slope and intercept [B] of each curve [B, L] on its basis function [B, L]."""
    w = np.ones(curves.shape[-1]) if weight is None else weight
    w = w / w.sum()
    mean_basis, mean_curve = basis @ w, curves @ w
    centred = basis - mean_basis[:, None]
    power = (centred**2) @ w
    slope = np.where(power > 1e-12, ((curves * centred) @ w) / np.maximum(power, 1e-12), 0.0)
    return slope, mean_curve - slope * mean_basis


def at_edge(x: np.ndarray, found: Logistics, lowest: float) -> np.ndarray:
    """True [B] for uninformative fits: at an end of their range, wider than the axis, or with too low a floor.

    A midpoint in the first or last interval of the grid, a tangent that spans more than all of it, or a floor that no
    information can have, means that the measured penalties do not show both plateaus of a logistic.
    """
    inside = (found.midpoint > x[1]) & (found.midpoint < x[-2])
    return ~inside | (found.width >= x[-1] - x[0]) | (found.floor < lowest)


def fit(shape: str, penalty: np.ndarray, curve: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    """A shape's least-squares values at the penalties, [L].

    ``a``; ``a + b [lambda < l]`` with l between two penalties; ``a + b exp(-lambda / l)``; ``a + b / (1 + lambda /
    l)``; a logistic in ``asinh(lambda / 0.1)``.
    """
    if shape == "constant":
        return np.full(len(penalty), np.average(curve, weights=weight))
    if shape == "logistic":
        return fit_logistics(penalty_axis(penalty), curve[None], weight).fitted[0]
    basis = _candidates(shape, penalty)
    best = basis[[int(np.argmax(_explained(basis, curve[None], weight)[0]))]]
    slope, intercept = _line_through(best, curve[None], weight)
    return (intercept[:, None] + slope[:, None] * best)[0]


def _candidates(shape: str, penalty: np.ndarray) -> np.ndarray:
    """Basis functions [C, L] of a family of one nonlinear parameter."""
    if shape == "step":
        return np.tril(np.ones((len(penalty), len(penalty))))[:-1]
    span = penalty[-1] - penalty[0]
    decay = np.geomspace(0.25 * np.min(np.diff(penalty)), 2.0 * span, N_DECAYS)[:, None]
    return np.exp(-(penalty - penalty[0]) / decay) if shape == "exponential" else 1.0 / (1.0 + penalty / decay)


@dataclasses.dataclass(frozen=True)
class ShapeScores:
    """Scores of how well each shape predicts a seed that it was not fitted to."""

    by_seed: dict[str, np.ndarray]  # [S] log-likelihood of each seed, left out, nats
    chosen: str  # the simplest within one standard error of the best

    @property
    def log_likelihood(self) -> dict[str, float]:
        """Mean over seeds, nats per seed."""
        return {shape: float(scores.mean()) for shape, scores in self.by_seed.items()}

    @property
    def best_smooth(self) -> str:
        """The smooth shape that predicts best."""
        return max(SMOOTH, key=lambda shape: float(self.by_seed[shape].mean()))

    def beats(self, shape: str, other: str) -> bool:
        """True if one shape predicts better than another by a t test over seeds, 97.5% one-sided."""
        gap = self.by_seed[shape] - self.by_seed[other]
        n = len(gap)
        return bool(gap.mean() > special.stdtrit(n - 1, 0.975) * gap.std(ddof=1) / np.sqrt(n))


def compare_shapes(penalty: np.ndarray, curves: np.ndarray) -> ShapeScores:
    """Leave one seed out: fit each shape to the mean of the others, score the one left out.

    Gaussian errors, their variance at each penalty estimated from the other seeds and shrunk towards its mean over
    penalties; it is the same for all shapes, so that only their means compete. Seeds share keys across penalties, so
    errors along a curve are correlated: the comparison is paired by seed, and the choice is the simplest shape within
    one standard error of the best (Hastie, Tibshirani and Friedman 2009, section 7.10).

    Args:
        penalty: [L] ascending.
        curves: [S, L], S of at least 3.
    """
    penalty, curves = np.asarray(penalty, np.float64), np.asarray(curves, np.float64)
    n = len(curves)
    scores = np.zeros((len(SHAPES), n))
    for left_out in range(n):
        rest = np.delete(curves, left_out, axis=0)
        spread = rest.var(axis=0, ddof=1)
        variance = ((n - 2) * spread + SHRINKAGE * spread.mean()) / (n - 2 + SHRINKAGE) + 1e-12
        mean = rest.mean(axis=0)
        for i, shape in enumerate(SHAPES):
            error = curves[left_out] - fit(shape, penalty, mean, 1.0 / variance)
            scores[i, left_out] = -0.5 * np.sum(error**2 / variance + np.log(2.0 * np.pi * variance))
    mean_score = scores.mean(axis=1)
    gap = scores[int(np.argmax(mean_score))] - scores
    allowed = gap.std(axis=1, ddof=1) / np.sqrt(n)
    simplest = next(i for i in range(len(SHAPES)) if gap[i].mean() <= allowed[i])
    return ShapeScores(dict(zip(SHAPES, scores, strict=True)), SHAPES[simplest])
