"""The square-root law from the arms' files: do curves collapse at equal Q / (sigma sqrt(N)), what hides with N?

Two exponents, for either alone can mislead. Lots that were hidden are bounded by the parent order: where all of it
hides, a larger one might have. So the second asks for no threshold: it is the a for which I, over arms of different Q
and N at one penalty, depends on Q / N^a alone.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from measured import Interval, Measured, interval
from scipy import special

from amarl_jax.theory.gaussian_channel import Channel, information

HIDDEN_NATS = 0.05  # a lane below it counts as hidden
WHOLE = 0.98  # of the parent order: so much hidden is all of it, and a larger one might hide too
N_RESAMPLES = 2000


class Exponent(NamedTuple):
    """A power of N with its 95% interval; NaN where it is not determined."""

    value: float
    lower: float
    upper: float

    def __str__(self) -> str:
        return "not determined" if math.isnan(self.value) else f"{self.value:.2f} [{self.lower:.2f}, {self.upper:.2f}]"


UNKNOWN = Exponent(math.nan, math.nan, math.nan)


def hidden_lots(arm: Measured, penalties: np.ndarray) -> Interval:
    """The most lots done, of a seed's lanes with I below :data:`HIDDEN_NATS`; mean over the seeds that hid at all.

    Args:
        arm: one arm.
        penalties: [P] that all compared arms have, for more penalties are more chances to hide.
    """
    information, completion = (arm.seeds_at(penalties, name) for name in ("information_nats", "completion"))
    hidden = np.where(information < HIDDEN_NATS, completion, -np.inf).max(axis=1, initial=-np.inf)
    return interval(np.where(np.isfinite(hidden), arm.order_lots * np.maximum(hidden, 0.0), np.nan))


def runs_out(arm: Measured, lots: Interval) -> bool:
    """Whether the whole parent order was hidden, so that its size bounds what is seen."""
    return lots.value >= WHOLE * arm.order_lots


def hidden_exponent(arms: Sequence[Measured], penalties: np.ndarray) -> Exponent:
    """Slope of log hidden lots on log N over the arms whose order did not run out; limits from the seeds' errors."""
    found = [(arm.n_noise, hidden_lots(arm, penalties)) for arm in arms]
    points = [(n, lots) for arm, (n, lots) in zip(arms, found, strict=True) if not runs_out(arm, lots)]
    points = [(n, lots) for n, lots in points if lots.n > 1 and lots.value > 0]
    if len({n for n, _ in points}) < 2:
        return UNKNOWN
    x = np.log([n for n, _ in points])
    value, half, n_seeds = (np.array([getattr(lots, name) for _, lots in points]) for name in ("value", "half", "n"))
    error = half / special.stdtrit(n_seeds - 1, 0.975)
    rng = np.random.default_rng(0)
    draws = value + error * rng.standard_t(np.maximum(n_seeds - 1, 1), (N_RESAMPLES, len(points)))
    y = np.log(np.maximum(np.concatenate([value[None], draws]), 1e-3))
    slopes = y @ (x - x.mean()) / np.sum((x - x.mean()) ** 2)
    return Exponent(float(slopes[0]), *(float(q) for q in np.quantile(slopes[1:], (0.025, 0.975))))


def collapse_exponent(arms: Sequence[Measured], penalty: float) -> Exponent:
    """The a in ``log d = c + b (log Q - a log N)`` over the arms, d the leverage of the Gaussian channel that leaks I.

    Least squares, weighted by what the scatter of I over seeds, pooled over the arms, makes of d; limits from I redrawn
    with that scatter. b need not be 1, for policies differ. An arm within two standard errors of 0 or of ln 2 says
    nothing of d and is left out. Not determined where Q and N were not moved independently, or I does not surely grow
    with Q.
    """
    at = np.array([penalty])
    samples = [(arm, arm.seeds_at(at, "information_nats")[:, 0]) for arm in arms]
    freedom = sum(max(len(x) - 1, 0) for _, x in samples)
    squares = sum(float(((x - x.mean()) ** 2).sum()) for _, x in samples if len(x))
    deviation = math.sqrt(squares / max(freedom, 1))
    samples = [(arm, x) for arm, x in samples if len(x) and _between(x.mean(), 2.0 * deviation / math.sqrt(len(x)))]
    design = np.array([(1.0, math.log(arm.order_lots), math.log(arm.n_noise)) for arm, _ in samples]).reshape(-1, 3)
    if freedom < 1 or np.linalg.matrix_rank(design) < design.shape[1]:
        return UNKNOWN
    mean, count = (np.array([float(of(x)) for _, x in samples]) for of in (np.mean, len))
    rng = np.random.default_rng(0)
    scale = deviation * np.sqrt(freedom / rng.chisquare(freedom, (N_RESAMPLES, 1))) / np.sqrt(count)
    drawn = np.concatenate([mean[None], mean + scale * rng.normal(size=(N_RESAMPLES, len(mean)))])
    log_leverage, steepness = _through_channel(drawn, deviation / np.sqrt(count))
    root = np.sqrt(count) / steepness  # one over the standard error of log d, up to a factor
    _, by_order, by_noise = np.linalg.lstsq(root[:, None] * design, (root * log_leverage).T, rcond=None)[0]
    if np.quantile(by_order[1:], 0.025) <= 0:
        return UNKNOWN
    power = -by_noise / by_order
    return Exponent(float(power[0]), *(float(q) for q in np.quantile(power[1:], (0.025, 0.975))))


def _between(nats: float, margin: float) -> bool:
    """Whether I keeps its distance from 0 and from ln 2."""
    return margin < nats < math.log(2.0) - margin


def _through_channel(nats: np.ndarray, error: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """log d of every I [B, A], the side known, and ``d log d / d I`` [A] at the first row.

    I is kept a standard error inside its range, 0 to ln 2: closer to either end it says nothing of d.
    """
    grid = np.geomspace(1e-2, 12.0, 2000)
    leak = information(grid, Channel())
    slope = np.gradient(np.log(grid), leak)
    kept = np.clip(nats, np.maximum(error, leak[0]), np.log(2.0) - np.maximum(error, 1e-4))
    return np.interp(kept, leak, np.log(grid)), np.interp(kept[0], leak, slope)
