"""The envelope condition between neighbouring penalties: do learned policies act on the nominal price?

Policies that minimise ``C + lambda I`` at two penalties obey ``lambda_1 <= -(C_2 - C_1) / (I_2 - I_1) <= lambda_2``,
whatever the market: each is no worse than the other at its own penalty. A measured slope below ``lambda_1`` says that
the learners act on less than the nominal penalty, one above ``lambda_2`` that they overpay.
"""

import dataclasses
import math
from typing import Any

import numpy as np
from scipy import special

from amarl_jax.transition.intervals import CONFIDENCE, NOT_DETERMINED, Location

TOLERANCE = 0.25  # of the middle penalty, by which a slope may miss it where the two penalties are closer than that


@dataclasses.dataclass(frozen=True)
class Slope:
    """``-dC/dI`` between the policies of two neighbouring penalties."""

    below: float  # the smaller penalty, reward units per nat
    above: float  # the larger
    slope: Location  # reward units per nat, with Fieller's interval over paired seeds
    ratio: float | None  # of the slope to the middle penalty; None without a slope
    agrees: bool | None  # within 25% of the middle penalty, or between the two; None: the interval cannot tell

    def as_json(self) -> dict[str, Any]:
        """Ready for a strict JSON file."""
        plain = {"lambda_below": self.below, "lambda_above": self.above, "ratio": self.ratio, "agrees": self.agrees}
        return plain | {"slope": self.slope.as_json()}


def slopes(penalty: np.ndarray, information: np.ndarray, cost: np.ndarray) -> list[Slope]:
    """The envelope condition between every two neighbours.

    For a slope s the seeds' values ``dC + s dI`` have mean 0; the interval holds every s that a t test over seeds does
    not reject (Fieller 1954). Where ``dI`` does not differ significantly from 0 that set is no interval, and nothing is
    determined.

    Args:
        penalty: [L] lambda, ascending.
        information: [S, L] nats, the same seeds at every penalty.
        cost: [S, L] reward units.
    """
    information, cost = np.asarray(information, np.float64), np.asarray(cost, np.float64)
    found = []
    for below, above, d_nats, d_units in zip(
        penalty[:-1], penalty[1:], np.diff(information, axis=1).T, np.diff(cost, axis=1).T, strict=True
    ):
        found.append(_between(float(below), float(above), d_nats, d_units))
    return found


def _between(below: float, above: float, d_nats: np.ndarray, d_units: np.ndarray) -> Slope:
    middle = 0.5 * (below + above)
    slope = fieller(-d_units, d_nats)
    if slope.value is None or slope.lower is None or slope.upper is None:
        return Slope(below, above, slope, None if slope.value is None else slope.value / middle, None)
    low, high = min(below, (1.0 - TOLERANCE) * middle), max(above, (1.0 + TOLERANCE) * middle)
    inside = bool(low <= slope.lower and slope.upper <= high)
    outside = bool(slope.upper < low or slope.lower > high)
    return Slope(below, above, slope, slope.value / middle, inside if inside or outside else None)


def fieller(numerator: np.ndarray, denominator: np.ndarray) -> Location:
    """Ratio of two paired means with Fieller's 95% interval; none unless the denominator differs from 0 significantly.

    Args:
        numerator: [S].
        denominator: [S].
    """
    above, below = float(numerator.mean()), float(denominator.mean())
    value = above / below if below != 0.0 else None
    n = len(numerator)
    if n < 2 or value is None:
        return Location(value, note=NOT_DETERMINED)
    covariance = np.cov(numerator, denominator) / n
    k = float(special.stdtrit(n - 1, 0.5 + CONFIDENCE / 2.0)) ** 2
    # the s with (above - s below)^2 <= k (v_aa - 2 s v_ab + s^2 v_bb): a quadratic between whose roots they lie
    square = below**2 - k * covariance[1, 1]
    linear = above * below - k * covariance[0, 1]
    constant = above**2 - k * covariance[0, 0]
    if square <= 0.0:
        return Location(value, note=NOT_DETERMINED)
    root = math.sqrt(max(linear**2 - square * constant, 0.0))
    return Location(value, (linear - root) / square, (linear + root) / square)
