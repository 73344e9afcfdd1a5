"""The randomising trader: it draws how loud an episode is, and the transition becomes continuous.

Its policy is a law ``mu`` of the leverage d. It maximises ``E_mu[g(d)] - lambda I(mu)``, where ``I(mu)`` is the
information of the channel whose z = 1 law is the mixture. ``I`` is convex in that law (Cover and Thomas 2006, thm
2.7.4), so the problem is concave: the maximum is unique as a law of F and moves continuously with lambda.
"""

import dataclasses
import math

import numpy as np
from scipy import optimize, special

from amarl_jax.theory.covert import Haste, best_leverage
from amarl_jax.theory.gaussian_channel import (
    Channel,
    FloatArray,
    inflection,
    information,
    log_likelihood_ratio,
    noise_density,
    prior_entropy,
    reading_grid,
)

N_LEVERAGES = 201  # support points of mu
MAX_ITERATIONS = 100


@dataclasses.dataclass(frozen=True)
class Mixture:
    """The randomised optimum at one penalty."""

    leverage: FloatArray  # [n] support of mu
    weight: FloatArray  # [n] probabilities
    haste: float  # E[g(d)], reward units
    information: float  # I(mu), nats
    gap: float  # certified: the true optimum over the support is at most this much higher, reward units

    def loud_probability(self, threshold: float) -> float:
        """``P(d > threshold)``; with the inflection of I as threshold, episodes no quiet hill explains."""
        return float(np.sum(self.weight[self.leverage > threshold]))


@dataclasses.dataclass(frozen=True)
class _Problem:
    """Minimise ``lambda I(w) - gain . w`` over the simplex."""

    density: FloatArray  # [n, F] of F given each leverage, times the grid spacing
    noise: FloatArray  # [F] the same given z = 0
    gain: FloatArray  # [n] g(d)
    penalty: float  # lambda
    prior: float  # p_z

    def information(self, weight: FloatArray) -> float:
        """``p E_mu[log m1 / m] + (1 - p) E_0[log m0 / m]``, nats."""
        informed = weight @ self.density
        log_belief, log_disbelief = self._log_posterior(informed)
        terms = self.prior * informed * (log_belief - math.log(self.prior))
        return float(np.sum(terms + (1.0 - self.prior) * self.noise * (log_disbelief - math.log1p(-self.prior))))

    def gradient(self, weight: FloatArray) -> FloatArray:
        """``dI/dw_i = p E[log b / p | d_i]``, b the posterior under the whole mixture: no term through b survives."""
        log_belief = self._log_posterior(weight @ self.density)[0]
        return self.penalty * self.prior * (self.density @ (log_belief - math.log(self.prior))) - self.gain

    def hessian(self, weight: FloatArray) -> FloatArray:
        """``d2I/dw_i dw_j = p sum_F m_i m_j (1 - b) / m1``, positive semidefinite."""
        informed = weight @ self.density
        disbelief = np.exp(self._log_posterior(informed)[1])
        return self.penalty * self.prior * (self.density * (disbelief / informed)) @ self.density.T

    def _log_posterior(self, informed: FloatArray) -> tuple[FloatArray, FloatArray]:
        log_odds = special.logit(self.prior) + np.log(informed) - np.log(self.noise)
        return special.log_expit(log_odds), special.log_expit(-log_odds)


def best_mixture(
    penalty: float, haste: Haste, channel: Channel, tolerance: float = 1e-9, n_leverages: int = N_LEVERAGES
) -> Mixture:
    """Solve ``max_mu E_mu[g] - lambda I(mu)`` over laws on a grid of [0, d_max], to a certified gap.

    Primal-dual interior point (Boyd and Vandenberghe 2004, section 11.7): Newton on stationarity and on
    ``w_i s_i = tau`` with tau shrunk along the way; s are the multipliers of ``w >= 0``. The gap reported is the
    Frank-Wolfe gap of the final weights, an upper bound whatever the solver did.
    """
    d = np.linspace(0.0, haste.max_leverage, n_leverages)
    problem = _problem(penalty, d, haste, channel)
    weight, slack, level = np.full(n_leverages, 1.0 / n_leverages), np.ones(n_leverages), 0.0
    for _ in range(MAX_ITERATIONS):
        gradient = problem.gradient(weight)
        gap = float(gradient @ weight - np.min(gradient))
        if gap < tolerance:
            break
        weight, slack, level = _newton_step(problem, gradient, weight, slack, level)
    return Mixture(d, weight, float(problem.gain @ weight), problem.information(weight), gap)


def _newton_step(
    problem: _Problem, gradient: FloatArray, weight: FloatArray, slack: FloatArray, level: float
) -> tuple[FloatArray, FloatArray, float]:
    """One damped Newton step; ``level`` is the multiplier of ``sum w = 1``. Weights stay positive and sum to 1."""
    target = 0.1 * float(weight @ slack) / len(weight)
    system = problem.hessian(weight) + np.diag(slack / weight)
    rhs = -(gradient + level - target / weight)
    scale = np.sqrt(weight / slack)  # symmetric scaling: the unscaled matrix spans 20 orders of magnitude
    factor = scale[:, None] * system * scale[None, :]
    solved = scale[:, None] * np.linalg.solve(factor, scale[:, None] * np.stack([rhs, np.ones_like(rhs)], axis=1))
    level_step = float(np.sum(solved[:, 0]) / np.sum(solved[:, 1]))
    weight_step = solved[:, 0] - level_step * solved[:, 1]
    slack_step = target / weight - slack - slack / weight * weight_step
    length = min(_longest(weight, weight_step), _longest(slack, slack_step))
    moved = weight + length * weight_step
    return moved / np.sum(moved), slack + length * slack_step, level + length * level_step


def _longest(value: FloatArray, step: FloatArray) -> float:
    """The longest step, at most 1, that keeps 1% of every entry."""
    shrinking = step < 0
    return float(min(1.0, np.min(-0.99 * value[shrinking] / step[shrinking], initial=1.0)))


def _problem(penalty: float, d: FloatArray, haste: Haste, channel: Channel) -> _Problem:
    """Densities of F on the quadrature grid, for every leverage of the support."""
    reading, spacing = reading_grid(float(d[-1]))
    noise = spacing * noise_density(reading)
    density = noise * np.exp(log_likelihood_ratio(reading, d[:, None], channel))
    return _Problem(density, noise, haste.value(d), penalty, channel.prior)
