"""The deterministic trader: haste against detection, its optimum, its first-order jump and where the jump ends.

It maximises ``g(d) - lambda I(d)`` over the leverage d in [0, d_max]. ``I`` is convex and then concave
(:mod:`amarl_jax.theory.gaussian_channel`), so the objective can have two hills: a quiet one and a loud one. The
trader that mixes loud and quiet episodes is in :mod:`amarl_jax.theory.randomised`.
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
from scipy import optimize

from amarl_jax.theory.gaussian_channel import (
    Channel,
    FloatArray,
    inflection,
    information,
    information_curvature,
    information_slope,
)

N_GRID = 1601  # leverages on which a hill is first looked for, before it is polished


@dataclasses.dataclass(frozen=True)
class Haste:
    """Earnings from trading at leverage d: ``g`` concave, rising on [0, d_max], ``g(0) = 0`` and ``g(d_max) = 1``."""

    value: Callable[[FloatArray], FloatArray]  # g(d), reward units
    slope: Callable[[FloatArray], FloatArray]  # g'(d)
    max_leverage: float  # d_max: the whole order at once, or the optimum of g


def linear_haste(max_leverage: float) -> Haste:
    """``g(d) = d / d_max``: every unit of speed is worth the same, up to the whole order at once."""
    return Haste(lambda d: d / max_leverage, lambda d: np.full_like(d, 1.0 / max_leverage), max_leverage)


def quadratic_haste(optimum: float) -> Haste:
    """``g(d) = 1 - (1 - d / D)^2``: impact makes haste worth less and less, the impatient optimum is ``d = D``."""
    return Haste(lambda d: 1.0 - (1.0 - d / optimum) ** 2, lambda d: 2.0 * (1.0 - d / optimum) / optimum, optimum)


@dataclasses.dataclass(frozen=True)
class Jump:
    """A first-order transition: at this penalty two hills are equally high."""

    penalty: float  # lambda*, reward units per nat
    quiet: float  # leverage of the stealthy hill
    loud: float  # leverage of the detected hill
    quiet_information: float  # nats
    loud_information: float  # nats


@dataclasses.dataclass(frozen=True)
class CriticalPoint:
    """End of the first-order line: below this leverage scale the optimum moves continuously."""

    scale: float  # d_max of a linear g, D of a quadratic one
    leverage: float  # d at which the two hills merge
    penalty: float  # lambda there


def signed_order_deviation(mean_lots: float, std_lots: float) -> float:
    """``sigma = sqrt(E[size^2])``, lots: standard deviation of one noise order signed by a fair coin."""
    return math.hypot(mean_lots, std_lots)


def leverage(parent_lots: float, order_deviation: float, n_noise_orders: float) -> float:
    """``d = Q / (sigma sqrt(N))``: Q lots among the summed signed volume of N noise orders, dimensionless."""
    return parent_lots / (order_deviation * math.sqrt(n_noise_orders))


def hidden_lots(information_nats: float, order_deviation: float, n_noise_orders: float, channel: Channel) -> float:
    """The square-root law: lots that N noise orders hide within a leak of I nats, ``sigma sqrt(N) d(I)``.

    ``d(I) = sqrt(8 I)`` for small I at p_z = 1/2, ``(16 I)^(1/4)`` with a random side (Bash, Goeckel and Towsley 2013;
    Ma, Xia and Zhang 2025).
    """
    return order_deviation * math.sqrt(n_noise_orders) * leverage_at(information_nats, channel)


def leverage_at(information_nats: float, channel: Channel) -> float:
    """The leverage d at which ``I(d)`` equals the given nats, the inverse of I on (0, 20)."""
    return float(optimize.brentq(lambda d: float(information(d, channel)) - information_nats, 0.0, 20.0, xtol=1e-13))


def best_leverage(penalty: float, haste: Haste, channel: Channel) -> float:
    """``d*(lambda)``, the global maximiser of ``g(d) - lambda I(d)`` on [0, d_max]."""
    return _best_on(penalty, haste, channel, 0.0, haste.max_leverage)[0]


def best_information(penalty: float, haste: Haste, channel: Channel) -> float:
    """``I*(lambda) = I(d*(lambda))``, nats."""
    return float(information(best_leverage(penalty, haste, channel), channel))


def jump(haste: Haste, channel: Channel) -> Jump | None:
    """The first-order jump of ``d*(lambda)``, or None where it moves continuously.

    ``max_d g - lambda I`` is the support function of the curve ``(I(d), g(d))``, so the leverages that are optimal for
    some lambda are those on the curve's upper concave envelope, and a jump is a straight piece of that envelope, of
    slope ``lambda*`` (Maxwell's construction). The piece is found on a grid and polished by equating the two hills.
    """
    grid = np.linspace(0.0, haste.max_leverage, N_GRID)
    touching = _upper_envelope(information(grid, channel), haste.value(grid))
    gaps = np.diff(touching)
    widest = int(np.argmax(gaps))
    if gaps[widest] <= 3:  # neighbours on the grid, up to rounding at the inflection
        return None
    middle = float(grid[(touching[widest] + touching[widest + 1]) // 2])

    def excess(penalty: float) -> float:
        loud = _best_on(penalty, haste, channel, middle, haste.max_leverage)[1]
        return loud - _best_on(penalty, haste, channel, 0.0, middle)[1]

    penalty = float(optimize.brentq(excess, 1e-6, 100.0, xtol=1e-12))
    quiet = _best_on(penalty, haste, channel, 0.0, middle)[0]
    loud = _best_on(penalty, haste, channel, middle, haste.max_leverage)[0]
    nats = information(np.array([quiet, loud]), channel)
    return Jump(penalty, quiet, loud, float(nats[0]), float(nats[1]))


def linear_critical_point(channel: Channel) -> CriticalPoint:
    """End of the first-order line for linear g: ``d_max`` at the inflection of I.

    The corner ``d_max`` and an interior hill can coexist only if ``g' / I' = 1 / (d_max I')`` rises again before
    ``d_max``, that is if I turns concave before it.
    """
    d = inflection(channel)
    return CriticalPoint(scale=d, leverage=d, penalty=1.0 / (d * float(information_slope(d, channel))))


def quadratic_critical_point(channel: Channel) -> CriticalPoint:
    """End of the first-order line for quadratic g: ``D = min_d d - I'(d) / I''(d)`` over the concave part of I.

    Hills exist in pairs where ``g' / I'`` rises: ``I'' / I' < g'' / g' = -1 / (D - d)``, that is ``D > d - I' / I''``.
    """
    start = inflection(channel) + 1e-3
    scale_at = lambda d: float(d - information_slope(d, channel) / information_curvature(d, channel))  # noqa: E731
    found = optimize.minimize_scalar(scale_at, bounds=(start, start + 4.0), method="bounded", options={"xatol": 1e-10})
    d, scale = float(found.x), float(found.fun)
    slope = 2.0 * (1.0 - d / scale) / scale
    return CriticalPoint(scale=scale, leverage=d, penalty=slope / float(information_slope(d, channel)))


def critical_scale(
    family: Callable[[float], Haste], channel: Channel, low: float, high: float, tolerance: float = 1e-3
) -> float:
    """The leverage scale at which a family of hastes begins to jump, by bisection on ``g' / I'`` rising anywhere."""

    def jumps(scale: float) -> bool:
        haste = family(scale)
        grid = np.linspace(0.02 * scale, scale, N_GRID)[:-1]  # the corner itself may have g' = 0
        return bool(np.any(np.diff(haste.slope(grid) / information_slope(grid, channel)) > 0))

    if jumps(low) or not jumps(high):
        raise ValueError(f"the first-order line does not begin between scales {low} and {high}")
    while high - low > tolerance:
        middle = 0.5 * (low + high)
        low, high = (low, middle) if jumps(middle) else (middle, high)
    return 0.5 * (low + high)


def _best_on(penalty: float, haste: Haste, channel: Channel, low: float, high: float) -> tuple[float, float]:
    """Global maximiser of ``g - lambda I`` on [low, high] and its value: a grid, then Brent in its best cell."""
    objective = lambda d: haste.value(d) - penalty * information(d, channel)  # noqa: E731
    grid = np.linspace(low, high, N_GRID // 4)
    values = objective(grid)
    best = int(np.argmax(values))
    cell = (grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)])
    found = optimize.minimize_scalar(
        lambda d: -float(objective(np.float64(d))), bounds=cell, method="bounded", options={"xatol": 1e-10}
    )
    if -found.fun > values[best]:
        return float(found.x), float(-found.fun)
    return float(grid[best]), float(values[best])


def _upper_envelope(x: FloatArray, y: FloatArray) -> FloatArray:
    """Indices of the vertices of the upper concave envelope of points with non-decreasing x (Andrew's chain)."""
    chain: list[int] = []
    for k in range(len(x)):
        while len(chain) > 1:
            i, j = chain[-2], chain[-1]
            if (y[j] - y[i]) * (x[k] - x[i]) > (y[k] - y[i]) * (x[j] - x[i]):
                break
            chain.pop()
        chain.append(k)
    return np.array(chain)
