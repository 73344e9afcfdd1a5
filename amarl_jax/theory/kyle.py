"""Kyle's single auction: the price impact of an informed trader hidden in noise, and how to measure it.

Value ``v ~ N(p_0, sigma_v^2)`` is known to one trader, who sends ``x``; noise sends ``u`` with mean 0 and standard
deviation ``sigma_u``; the maker sees only ``y = x + u`` and sets ``p = E[v | y]``. In the linear equilibrium
``x = beta (v - p_0)`` and ``p = p_0 + lambda y``. The trader maximises ``(v - p_0 - lambda x) x``, so
``beta = 1 / (2 lambda)``; the maker's regression is ``lambda = beta sigma_v^2 / (beta^2 sigma_v^2 + sigma_u^2)``;
together ``lambda = sigma_v / (2 sigma_u)`` (Kyle 1985, Econometrica 53, theorem 1). The regression step needs only
variances, so lambda is the best *linear* price for any noise; it is the conditional expectation for Gaussian noise.
"""

import math

import chex
import jax.numpy as jnp
from flax import struct

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
