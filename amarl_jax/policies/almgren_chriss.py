"""Almgren and Chriss (2001): the trajectory that trades impact cost off against the risk of waiting."""

import dataclasses
import math

import jax.numpy as jnp

from amarl_jax.market.observe import ExecutionView
from amarl_jax.market.params import EnvParams, MarketSpec
from amarl_jax.policies.protocol import Decision
from amarl_jax.policies.schedule import Schedule, elapsed_share, keep_up
from amarl_jax.types import Array

FLATTEST = 1e-3  # below this urgency the trajectory is TWAP's to the last float32 digit


def remaining_share(elapsed: Array, urgency: float) -> Array:
    """``x(t) / X = sinh(K (1 - t)) / sinh(K)`` of the order still to do at a share t of the horizon.

    Minimises ``sum eta v^2 + lambda sigma^2 x^2`` over trajectories from X to 0 (Almgren and Chriss 2001, eq. 17).

    Args:
        elapsed: [...] t in [0, 1].
        urgency: ``K = kappa T``, dimensionless; 0 is TWAP.
    """
    urgency = max(urgency, FLATTEST)
    # the sinh ratio with decaying exponentials only, which large urgencies do not overflow
    return jnp.exp(-urgency * elapsed) * jnp.expm1(-2.0 * urgency * (1.0 - elapsed)) / math.expm1(-2.0 * urgency)


def urgency(risk_aversion: float, volatility: float, impact: float, n_steps: int) -> float:
    """``K = kappa n`` from ``cosh(kappa) = 1 + lambda sigma^2 / (2 eta)``, steps of length 1.

    Args:
        risk_aversion: lambda, cost per variance, 1 / (lot tick).
        volatility: sigma, ticks per square root of a step.
        impact: eta, temporary impact, ticks per lot traded in a step.
        n_steps: n.
    """
    return n_steps * math.acosh(1.0 + risk_aversion * volatility**2 / (2.0 * impact))


@dataclasses.dataclass(frozen=True)
class AlmgrenChriss(Schedule):
    """Keeps up with the Almgren-Chriss trajectory, in market orders.

    Attributes:
        spec: market sizes.
        urgency: ``kappa T``; about ``1 - exp(-kappa T t)`` of the order is done by a share t of the day.
        clip_lots: smallest order worth sending before the close.
    """

    spec: MarketSpec
    urgency: float = 10.0
    clip_lots: int = 1

    def decide(self, view: ExecutionView, params: EnvParams) -> Decision:
        """A market order for the lots behind the trajectory, if at least a clip or at the close."""
        elapsed = elapsed_share(view, self.spec, self.spec.horizon)
        due = 1.0 - remaining_share(elapsed, self.urgency)
        return keep_up(view, due, elapsed >= 1.0, params, self.spec, self.clip_lots)
