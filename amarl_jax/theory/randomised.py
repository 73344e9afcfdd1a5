"""The randomising trader: it draws how loud an episode is, and the transition becomes continuous.

Its policy is a law ``mu`` of the leverage d. It maximises ``E_mu[g(d)] - lambda I(mu)``, where ``I(mu)`` is the
information of the channel whose z = 1 law is the mixture. ``I`` is convex in that law (Cover and Thomas 2006, thm
2.7.4), so the problem is concave: the maximum is unique as a law of F and moves continuously with lambda.
"""

import dataclasses
import math

import numpy as np
from scipy import optimize, special

from amarl_jax.theory.deterministic import Haste, best_leverage
from amarl_jax.theory.gaussian_channel import (
    Channel,
    FloatArray,
    inflection,
    log_likelihood_ratio,
    noise_density,
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
        """``P(d > threshold)``; with the inflection of I as threshold, the episodes beyond any quiet optimum."""
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
        """``dI/dw_i = p E[log b / p | d_i]``, b the posterior under the whole mixture: the terms through b cancel."""
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
    weight, gap = _solve(problem, tolerance)
    return Mixture(d, weight, float(problem.gain @ weight), problem.information(weight), gap)


def purity_gap(penalty: float, haste: Haste, channel: Channel) -> float:
    """First-order gain of mixing over the pure optimum d*, reward units; 0 where mixing cannot help.

    ``max_x [g(x) - lambda p i(x)] - [g(d*) - lambda p i(d*)]`` with ``i(x) = E[log b / p | x]`` scored by the detector
    that expects d*: the derivative of the objective as mass moves from d* to x (the KKT condition of the mixture).
    """
    pure = best_leverage(penalty, haste, channel)
    support = np.append(np.linspace(0.0, haste.max_leverage, 4 * N_LEVERAGES), pure)
    reading, spacing = reading_grid(haste.max_leverage)
    log_odds = log_likelihood_ratio(reading, np.array(pure), channel) + special.logit(channel.prior)
    log_belief = special.log_expit(log_odds)
    density = np.exp(log_likelihood_ratio(reading, support[:, None], channel)) * noise_density(reading)
    score = haste.value(support) - penalty * channel.prior * spacing * (density @ log_belief)
    return float(np.max(score) - score[-1])


def mixing_onset(haste: Haste, channel: Channel, tolerance: float = 1e-8) -> float | None:
    """The smallest lambda at which the pure optimum stops being optimal among mixtures; None if there is none.

    For linear g with the side known and p_z = 1/2 it is ``4 / d_max^2``: moving mass from the corner to d = 0 costs
    haste 1 and saves ``p (i(d_max) - i(0)) = E[log-likelihood ratio | d_max] / 2 = d_max^2 / 4`` nats.
    """
    penalties = np.geomspace(0.005, 20.0, 61)
    excess = lambda penalty: purity_gap(penalty, haste, channel) - tolerance  # noqa: E731
    first = next((k for k, penalty in enumerate(penalties) if excess(float(penalty)) > 0), None)
    if first is None or first == 0:
        return None if first is None else float(penalties[0])
    return float(optimize.brentq(excess, penalties[first - 1], penalties[first], xtol=1e-6))


def penalty_at_loud_probability(level: float, haste: Haste, channel: Channel) -> float:
    """The lambda at which P(d > inflection of I) of the randomised optimum has fallen to ``level``.

    A small level, such as 1%, marks the end of the loud episodes: with the side known and finite leverage the quiet
    optimum is itself a mixture and keeps a thin tail, of order 1e-4, above the inflection.
    """
    threshold = inflection(channel)
    if haste.max_leverage <= threshold:
        raise ValueError(f"no leverage up to {haste.max_leverage} is loud, the inflection of I is at {threshold:.3f}")
    excess = lambda penalty: best_mixture(penalty, haste, channel).loud_probability(threshold) - level  # noqa: E731
    return float(optimize.brentq(excess, 0.02, 20.0, xtol=1e-4))


def infinite_leverage_loud_probability(penalty: float, prior: float = 0.5) -> float:
    """P(loud) of the optimum when loud episodes are fully visible and quiet ones are noise.

    Stationarity is ``1 = lambda p ln(1 / b)`` with b the posterior of a quiet tape, so ``b = exp(-1 / (lambda p))``
    and ``P(loud) = max(0, (p - b) / (p (1 - b)))``, at p = 1/2 ``(e^(2/lambda) - 2) / (e^(2/lambda) - 1)``.
    """
    quiet_belief = math.exp(-1.0 / (penalty * prior))
    return max(0.0, (prior - quiet_belief) / (prior * (1.0 - quiet_belief)))


def infinite_leverage_information(loud_probability: float, prior: float = 0.5) -> float:
    """``H(z) - P(quiet tape) H(b)``, nats, with that share of z = 1 episodes fully visible, the rest noise."""
    quiet_tape = 1.0 - prior * loud_probability
    belief = prior * (1.0 - loud_probability) / quiet_tape
    entropy = lambda q: float(special.entr(q) + special.entr(1.0 - q))  # noqa: E731
    return entropy(prior) - quiet_tape * entropy(belief)


def infinite_leverage_death(prior: float = 0.5) -> float:
    """The lambda at which P(loud) at infinite leverage reaches 0, ``1 / (p ln(1 / p))``: 2.885 at p = 1/2."""
    return 1.0 / (prior * math.log(1.0 / prior))


def _solve(problem: _Problem, tolerance: float) -> tuple[FloatArray, float]:
    """Optimal weights and their Frank-Wolfe gap."""
    n = len(problem.gain)
    weight, slack, level = np.full(n, 1.0 / n), np.ones(n), 0.0
    for _ in range(MAX_ITERATIONS):
        gradient = problem.gradient(weight)
        gap = float(gradient @ weight - np.min(gradient))
        if gap < tolerance:
            return weight, gap
        weight, slack, level = _newton_step(problem, gradient, weight, slack, level)
    raise RuntimeError(f"no mixture within {tolerance} of the optimum after {MAX_ITERATIONS} Newton steps")


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
