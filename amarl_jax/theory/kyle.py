"""Kyle's single auction: the price impact of an informed trader hidden in noise, and how to measure it.

Value ``v ~ N(p_0, sigma_v^2)`` is known to one trader, who sends ``x``; noise sends ``u`` with mean 0 and standard
deviation ``sigma_u``; the maker sees only ``y = x + u`` and sets ``p = E[v | y]``. In the linear equilibrium
``x = beta (v - p_0)`` and ``p = p_0 + lambda y``. The trader maximises ``(v - p_0 - lambda x) x``, so
``beta = 1 / (2 lambda)``; the maker's regression is ``lambda = beta sigma_v^2 / (beta^2 sigma_v^2 + sigma_u^2)``;
together ``lambda = sigma_v / (2 sigma_u)`` (Kyle 1985, Econometrica 53, theorem 1). The regression step needs only
variances, so lambda is the best *linear* price for any noise; it is the conditional expectation for Gaussian noise.

Over N auctions the trader spreads what it knows (Kyle 1985, theorem 2), see :func:`sequential_kyle`.
"""

import math

import chex
import jax.numpy as jnp
import numpy as np
from flax import struct
from scipy import optimize

from amarl_jax.theory.gaussian_channel import FloatArray
from amarl_jax.types import Array


@struct.dataclass
class KyleAuction:
    """The linear equilibrium."""

    price_impact: Array | float  # lambda, ticks per lot
    intensity: Array | float  # beta, lots per tick
    informed_profit: Array | float  # E[(v - p) x], tick-lots per auction: what the noise traders lose
    posterior_variance: Array | float  # Var(v | y), ticks^2: half of the prior's
    information: Array | float  # I(v; y), nats: ln(2) / 2 whatever the volatilities


@struct.dataclass
class SequentialKyle:
    """The linear equilibrium of N auctions, one row per auction."""

    price_impact: FloatArray  # [N] lambda_n, ticks per lot: p_n = p_(n-1) + lambda_n y_n
    intensity: FloatArray  # [N] beta_n, lots per tick: x_n = beta_n (v - p_(n-1))
    value_slope: FloatArray  # [N] alpha_n, lots per tick: profits after auction n are alpha_n (v - p_n)^2 + delta_n
    posterior_variance: FloatArray  # [N] Sigma_n = E[(v - p_n)^2], ticks^2
    informed_profit: float  # E of all auctions, tick-lots


@struct.dataclass
class ImpactEstimate:
    """Least-squares price impact."""

    price_impact: Array  # [] ticks per lot
    standard_error: Array  # [] of price_impact, robust to heteroscedastic errors


def kyle_auction(value_deviation: Array | float, noise_deviation: Array | float) -> KyleAuction:
    """Closed forms of the single auction.

    Args:
        value_deviation: sigma_v, ticks.
        noise_deviation: sigma_u, lots of net noise flow per auction.
    """
    return KyleAuction(
        price_impact=value_deviation / (2.0 * noise_deviation),
        intensity=noise_deviation / value_deviation,
        informed_profit=0.5 * value_deviation * noise_deviation,
        posterior_variance=0.5 * value_deviation**2,
        information=0.5 * math.log(2.0),
    )


def sequential_kyle(value_deviation: float, noise_deviation: float, n_auctions: int) -> SequentialKyle:
    """Equilibrium of ``n_auctions`` auctions in a row.

    ``lambda_n = beta_n Sigma_n / sigma_u^2`` (regression), ``beta_n = (1 - 2 alpha_n lambda_n) / (2 lambda_n (1 -
    alpha_n lambda_n))`` (best response), ``alpha_(n-1) = 1 / (4 lambda_n (1 - alpha_n lambda_n))``, ``delta_(n-1) =
    delta_n + alpha_n lambda_n^2 sigma_u^2``, ``Sigma_n = (1 - beta_n lambda_n) Sigma_(n-1)``, ``alpha_N = delta_N
    = 0``.
    Both conditions on lambda_n are one equation, ``(1 - lambda_n^2 sigma_u^2 / Sigma_n) (1 - alpha_n lambda_n) = 1/2``,
    with one root where both factors are positive. The recursion runs backwards from ``Sigma_N = 1``, and prices are
    rescaled to the variance wanted at the start.

    Args:
        value_deviation: sigma_v, ticks.
        noise_deviation: sigma_u, lots of net noise flow in one auction.
        n_auctions: N.
    """
    rows, slope, variance = [], 0.0, 1.0
    for _ in range(n_auctions):
        share = noise_deviation**2 / variance
        ends = (1.0 / math.sqrt(share), 1.0 / slope if slope else math.inf)
        impact = optimize.brentq(_both_conditions, 0.0, min(ends), args=(share, slope), xtol=1e-15)
        rows.append((impact, impact * share, slope, variance))
        variance /= 1.0 - impact**2 * share
        slope = 1.0 / (4.0 * impact * (1.0 - slope * impact))
    impact, intensity, value_slope, posterior = np.array(rows[::-1]).T
    scale = value_deviation / math.sqrt(variance)  # ticks per unit of price in the recursion
    leftover = np.sum(value_slope * impact**2) * noise_deviation**2
    return SequentialKyle(
        price_impact=impact * scale,
        intensity=intensity / scale,
        value_slope=value_slope / scale,
        posterior_variance=posterior * scale**2,
        informed_profit=float((slope * variance + leftover) * scale),
    )


def _both_conditions(impact: float, share: float, slope: float) -> float:
    """Zero where lambda_n is the maker's regression on the trader's best response; falls from 1/2 to -1/2."""
    return (1.0 - impact**2 * share) * (1.0 - slope * impact) - 0.5


def estimate_price_impact(value_change: Array, flow: Array) -> ImpactEstimate:
    """Regression of ``v - p_0`` on net flow ``y``, with an intercept.

    ``lambda = cov(v, y) / var(y)``; the standard error is ``sqrt(sum e^2 y~^2) / sum y~^2`` with residuals e and
    demeaned flow ``y~`` (White 1980, HC1 with its factor n / (n - 2)), valid when the noise is not Gaussian.

    Args:
        value_change: [n] ticks, one per auction.
        flow: [n] lots.
    """
    chex.assert_rank([value_change, flow], 1)
    chex.assert_equal_shape([value_change, flow])
    n = flow.shape[0]
    centred_flow = flow - jnp.mean(flow)
    centred_value = value_change - jnp.mean(value_change)
    total = jnp.sum(centred_flow**2)
    impact = jnp.sum(centred_flow * centred_value) / total
    residual = centred_value - impact * centred_flow
    error = jnp.sqrt(n / (n - 2) * jnp.sum((residual * centred_flow) ** 2)) / total
    return ImpactEstimate(price_impact=impact, standard_error=error)
