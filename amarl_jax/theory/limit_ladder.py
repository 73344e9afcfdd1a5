"""Kyle's auction with a limit order book in place of the single price: the competitive ladder, computed.

Makers post limit orders before they see any flow. The informed trader, who knows ``v ~ N(0, 1)``, and noise, ``u ~
N(0, 1)`` in lots of ``LOT``, each send one market order, in either order with equal odds, and each walks what is left:
everyone pays the prices of the orders it hits, not one price. The ask side is eaten to the depth ``A = max(x, 0) +
max(u, 0)`` whoever comes first, so under free entry the lot at depth q breaks even at the upper-tail expectation

``p(q) = E[v | A >= q]``

(Glosten 1994, J. Finance 49; in discrete prices Sandas 2001, Rev. Financial Studies 14; for a strategic trader Back
and Baruch 2013, Econometrica 81). The trader's x-th lot costs ``(p(x) + E[p(x + max(u, 0))]) / 2``. There is no closed
form; :func:`competitive_ladder` iterates the two conditions on a grid of prices, NumPy only. Both sides are mirror
images. Units: prices in sigma_v, lots of ``LOT = 1 / LOTS`` of sigma_u.
"""

import dataclasses

import numpy as np
from scipy import stats

from amarl_jax.theory.gaussian_channel import FloatArray

LOTS = 100  # per sigma_u
MAX_LOTS = 12 * LOTS  # deepest ladder
VALUES = np.linspace(-5.0, 5.0, 501)  # v, symmetric
WEIGHTS = stats.norm.pdf(VALUES) / np.sum(stats.norm.pdf(VALUES))
NOISE = np.arange(-5 * LOTS, 5 * LOTS + 1)  # u in lots
NOISE_MASS = np.diff(stats.norm.cdf(np.append(NOISE - 0.5, NOISE[-1] + 0.5) / LOTS))
NOISE_MASS = NOISE_MASS / NOISE_MASS.sum()
BOUGHT_MASS = np.append(NOISE_MASS[NOISE <= 0].sum(), NOISE_MASS[NOISE > 0])  # of max(u, 0) = 0, 1, ... lots


@dataclasses.dataclass(frozen=True)
class Ladder:
    """The ask side of an equilibrium; bids are its mirror image."""

    price: FloatArray  # [K] sigma_v
    depth: FloatArray  # [K] lots at this price or better
    order: FloatArray  # [V] lots the informed trader sends at each of VALUES
    profit: float  # E of the trader, sigma_v sigma_u
    error: float  # lots, largest change of the last iteration


def lot_prices(price: FloatArray, depth: FloatArray) -> FloatArray:
    """Price of every lot of a ladder, in the order in which lots trade. [total depth]."""
    return np.repeat(price, np.diff(np.round(depth).astype(int), prepend=0))


def trader_gain(price_of_lot: FloatArray) -> FloatArray:
    """Expected gain of a buy order of 0, 1, ... lots at each of VALUES, first or second with equal odds. [V, n + 1].

    A lot beyond the ladder does not trade.
    """
    beyond = np.zeros(len(BOUGHT_MASS) - 1)
    later = np.correlate(np.append(price_of_lot, beyond), BOUGHT_MASS, "valid")
    there = np.correlate(np.append(np.ones_like(price_of_lot), beyond), BOUGHT_MASS, "valid")
    marginal = 0.5 * VALUES[:, None] * (1.0 + there) - 0.5 * (price_of_lot + later)
    return np.cumsum(np.pad(marginal, ((0, 0), (1, 0))), axis=1)


def marginal_value(order: FloatArray) -> tuple[FloatArray, FloatArray]:
    """``P(A >= q)`` and ``E[v | A >= q]`` at q = 1 .. MAX_LOTS for the trader's orders [V], in lots, signed."""
    reached = np.append(1.0 - np.cumsum(np.append(0.0, BOUGHT_MASS))[:-1], 0.0)  # P(max(u, 0) >= 0, 1, ...)
    missing = np.arange(1, MAX_LOTS + 1)[None, :] - np.maximum(np.round(order), 0).astype(int)[:, None]
    probability = reached[np.clip(missing, 0, len(reached) - 1)]
    total = WEIGHTS @ probability
    return total, (WEIGHTS * VALUES) @ probability / np.maximum(total, 1e-300)


def competitive_ladder(price: FloatArray, n_iterations: int = 150, damping: float = 0.1) -> Ladder:
    """The free-entry ladder on a grid of ask prices [K]: at each price the last lot still breaks even.

    Args:
        price: rising, positive, sigma_v.
        n_iterations: of the damped iteration between the trader's best response and the break-even depths.
        damping: step towards the new depths.
    """
    depth = np.arange(1, len(price) + 1) * (6.0 * LOTS / len(price))
    for _ in range(n_iterations):
        gain = trader_gain(lot_prices(price, depth))
        bought = np.argmax(gain, axis=1)
        order = (bought - bought[::-1]).astype(float)
        probability, value = marginal_value(order)
        value = np.where(probability < 1e-9, np.inf, np.maximum.accumulate(value))
        change = np.searchsorted(value, price, side="right") - depth
        depth = depth + damping * change
    profit = float(WEIGHTS @ (np.max(gain, axis=1) + np.max(gain, axis=1)[::-1])) / LOTS
    return Ladder(price, depth, order, profit, float(np.max(np.abs(change))))


def variance_given_flow(order: FloatArray) -> float:
    """``Var(v | x + u)`` in sigma_v^2, by Bayes on the grid, for the trader's orders [V] in lots."""
    lots = np.round(order).astype(int)
    flow = np.arange(lots.min() + NOISE[0], lots.max() + NOISE[-1] + 1)
    at = flow[None, :] - lots[:, None] - NOISE[0]
    inside = (at >= 0) & (at < len(NOISE))
    joint = WEIGHTS[:, None] * np.where(inside, NOISE_MASS[np.clip(at, 0, len(NOISE) - 1)], 0.0)
    mass, first = joint.sum(axis=0), VALUES @ joint
    return float(WEIGHTS @ VALUES**2 - np.sum(first**2 / np.maximum(mass, 1e-300)))
