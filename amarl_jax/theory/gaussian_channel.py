"""Exact information, in nats, of an unlimited detector about ``z`` from one Gaussian reading of the tape.

``F = N(0, 1)`` when z = 0. When z = 1 its mean is the leverage ``d >= 0`` (side known to the detector) or ``+d`` and
``-d`` with equal chance (side random). ``d`` is the agent's signal-to-noise ratio, ``Q / (sigma sqrt(N))`` when Q lots
hide among N noise orders of standard deviation sigma. Everything is float64 NumPy: integrals are trapezoid sums over
a grid of F, exponentially accurate for these analytic, Gaussian-tailed integrands (Trefethen and Weideman 2014).
"""

import dataclasses
import math

import numpy as np
from scipy import optimize, special

FloatArray = np.ndarray
MAX_LEVERAGE = 25.0  # beyond it densities leave the range of float64; I is ln 2 to the last digit from 17 on
TAIL = 9.0  # standard deviations of F kept on either side; what is cut weighs 1e-19


@dataclasses.dataclass(frozen=True)
class Channel:
    """The detector's problem: how likely z = 1 is beforehand, and whether the parent's side is public."""

    prior: float = 0.5  # p_z = P(z = 1)
    side_known: bool = True  # False: the side is +1 or -1 with equal chance, unknown to the detector

    def __post_init__(self) -> None:
        if not 0.0 < self.prior < 1.0:
            raise ValueError(f"prior must lie strictly between 0 and 1, got {self.prior}")


def prior_entropy(channel: Channel) -> float:
    """``H(z)`` in nats, the most that I can reach."""
    return float(special.entr(channel.prior) + special.entr(1.0 - channel.prior))


def reading_grid(max_leverage: float) -> tuple[FloatArray, float]:
    """A grid of F that covers ``N(0, 1)`` and ``N(+-d, 1)`` up to ``max_leverage``, and its spacing.

    The integrands are analytic in a strip of half-width ``pi / d``, so a spacing h costs ``exp(-2 pi^2 / (h d))``.
    """
    if not 0.0 <= max_leverage <= MAX_LEVERAGE:
        raise ValueError(f"leverage must lie in [0, {MAX_LEVERAGE:g}], got {max_leverage}")
    spacing = min(0.125, 0.7 / max(max_leverage, 1.0))
    half = math.ceil((max_leverage + TAIL) / spacing)
    return spacing * np.arange(-half, half + 1), spacing


def noise_density(reading: FloatArray) -> FloatArray:
    """Standard normal density of F given z = 0."""
    return np.exp(-0.5 * reading**2) / math.sqrt(2.0 * math.pi)


def log_likelihood_ratio(reading: FloatArray, leverage: FloatArray, channel: Channel) -> FloatArray:
    """``log p(F | z=1) / p(F | z=0)``: ``d F - d^2/2`` (side known) or ``log cosh(d F) - d^2/2`` (random).

    Arguments broadcast against each other.
    """
    product = leverage * reading
    if not channel.side_known:
        product = np.logaddexp(product, -product) - math.log(2.0)
    return product - 0.5 * leverage**2


def information(leverage: FloatArray | float, channel: Channel) -> FloatArray:
    """``I(z; F) = p E_1[log b / p] + (1 - p) E_0[log (1 - b) / (1 - p)]`` with ``b = P(z = 1 | F)``, nats.

    Args:
        leverage: [...] d >= 0.
        channel: the detector's problem.

    Returns:
        [...] nats: ``p (1 - p) d^2 / 2`` for small d (random side ``p (1 - p) d^4 / 4``), ``H(z)`` for large.
    """
    d, reading, spacing = _columns(leverage)
    ratio = log_likelihood_ratio(reading, d, channel)
    log_odds = ratio + special.logit(channel.prior)
    noise = noise_density(reading)
    gain_informed = special.log_expit(log_odds) - math.log(channel.prior)
    gain_noise = special.log_expit(-log_odds) - math.log1p(-channel.prior)
    density = channel.prior * np.exp(ratio) * gain_informed + (1.0 - channel.prior) * gain_noise
    return spacing * np.sum(noise * density, axis=-1)


def information_slope(leverage: FloatArray | float, channel: Channel) -> FloatArray:
    """``dI/dd = p d E_{F ~ N(d, 1)}[(1 - b) t]``, ``t = 1`` (side known) or ``tanh(d F)`` (random), nats per unit d.

    With the side known it is ``d E[b (1 - b)]``, the I-MMSE relation (Guo, Shamai and Verdu 2005).
    """
    d, reading, spacing = _columns(leverage)
    belief, tilt = _belief_and_tilt(reading, d, channel)
    return channel.prior * spacing * np.sum(noise_density(reading - d) * d * (1.0 - belief) * tilt, axis=-1)


def information_curvature(leverage: FloatArray | float, channel: Channel) -> FloatArray:
    """``d^2 I / dd^2``; with the side known it is ``E[v] - 2 d^2 E[v^2]``, ``v = b (1 - b)``. Nats per unit d^2.

    ``p E_{N(d, 1)}[(1 - b) (t + d^2 (1 - t^2 - b t^2) + d (F (1 - t^2) - b t (F t - d)))]``: the two terms of the
    chain rule are d moving the law of F and d moving the detector.
    """
    d, f, spacing = _columns(leverage)
    belief, tilt = _belief_and_tilt(f, d, channel)
    spread = 1.0 - tilt**2
    moved_law = d**2 * (spread - belief * tilt**2)
    moved_detector = tilt + d * (f * spread - belief * tilt * (f * tilt - d))
    return channel.prior * spacing * np.sum(noise_density(f - d) * (1.0 - belief) * (moved_law + moved_detector), -1)


def inflection(channel: Channel) -> float:
    """The leverage at which I turns from convex to concave: 1.635 at p_z = 1/2, 2.185 with a random side."""
    return float(optimize.brentq(lambda d: float(information_curvature(d, channel)), 0.3, 8.0, xtol=1e-12))


def divergence(leverage: FloatArray | float, channel: Channel) -> FloatArray:
    """``KL(F | z=1 || F | z=0)`` in nats: ``d^2 / 2``, or ``d^2 / 2 - I(sign; F | z=1)`` (random side)."""
    d, reading, spacing = _columns(leverage)
    ratio = log_likelihood_ratio(reading, d, channel)
    return spacing * np.sum(noise_density(reading) * np.exp(ratio) * ratio, axis=-1)


def accuracy(leverage: FloatArray | float, channel: Channel) -> FloatArray:
    """Best probability of naming z right, ``E[max(b, 1 - b)]``; ``Phi(d / 2)`` at p_z = 1/2 with the side known."""
    d = np.asarray(leverage, np.float64)
    d_safe = np.maximum(d, 1e-12)
    threshold = -special.logit(channel.prior) + 0.5 * d_safe**2  # of d F, or of log cosh(d F)
    if channel.side_known:
        cut = threshold / d_safe
        hit, false_alarm = special.ndtr(d_safe - cut), special.ndtr(-cut)
    else:
        edge = np.maximum(threshold, 0.0)  # below 0 every reading says z = 1
        cut = (edge + np.log1p(np.sqrt(-np.expm1(-2.0 * edge)))) / d_safe
        hit, false_alarm = special.ndtr(d_safe - cut) + special.ndtr(-d_safe - cut), 2.0 * special.ndtr(-cut)
    informed = channel.prior
    return informed * hit + (1.0 - informed) * (1.0 - false_alarm)


def weak_information(leverage: FloatArray | float, channel: Channel) -> FloatArray:
    """Leading order of I at small d: ``p (1 - p) chi^2 / 2``, with ``chi^2 = d^2`` or (random side) ``d^4 / 2``."""
    d = np.asarray(leverage, np.float64)
    chi_square = d**2 if channel.side_known else 0.5 * d**4
    return 0.5 * channel.prior * (1.0 - channel.prior) * chi_square


def _columns(leverage: FloatArray | float) -> tuple[FloatArray, FloatArray, float]:
    """Leverages [..., 1], the reading grid [F] that suits the largest, and its spacing."""
    d = np.asarray(leverage, np.float64)[..., None]
    if np.any(d < 0):
        raise ValueError("leverage must not be negative")
    reading, spacing = reading_grid(float(np.max(d, initial=0.0)))
    return d, reading, spacing


def _belief_and_tilt(reading: FloatArray, d: FloatArray, channel: Channel) -> tuple[FloatArray, FloatArray]:
    """Posterior b, and ``t`` with ``d log-likelihood-ratio / dF = d t``."""
    belief = special.expit(log_likelihood_ratio(reading, d, channel) + special.logit(channel.prior))
    return belief, np.tanh(d * reading) if not channel.side_known else np.ones_like(belief)
