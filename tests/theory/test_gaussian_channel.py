"""The Gaussian channel against adaptive quadrature of other formulas, simulation, and the laws of known information."""

import math

import numpy as np
import pytest
from scipy import integrate

from amarl_jax.ground_truth.laws import TRUTH
from amarl_jax.theory.gaussian_channel import (
    Channel,
    accuracy,
    divergence,
    inflection,
    information,
    information_curvature,
    information_slope,
    prior_entropy,
    weak_information,
)

KNOWN, RANDOM = Channel(), Channel(side_known=False)
CHANNELS = [KNOWN, RANDOM, Channel(prior=0.3), Channel(prior=0.1, side_known=False)]
LEVERAGES = np.array([0.1, 0.7, 2.0, 4.0, 8.0])
BINARY_GAUSSIANS = [case for case in TRUTH.values() if case["family"] == "binary_gauss"]


def normal(x):
    return np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)


def differential_entropy(density, reach):
    """By adaptive Gauss-Kronrod: ``-int f ln f``."""

    def integrand(x):
        return -density(x) * math.log(density(x)) if density(x) > 1e-300 else 0.0

    return integrate.quad(integrand, -reach, reach, epsabs=1e-12, limit=400, points=[0.0])[0]


def information_by_entropies(d, channel):
    """``I = h(F) - p h(F|z=1) - (1-p) h(F|z=0)``: no posterior in it."""
    p, sides = channel.prior, (1.0,) if channel.side_known else (1.0, -1.0)

    def informed(x):
        return sum(normal(x - side * d) for side in sides) / len(sides)

    def mixture(x):
        return p * informed(x) + (1 - p) * normal(x)

    entropies = [differential_entropy(f, d + 12.0) for f in (mixture, informed, normal)]
    return entropies[0] - p * entropies[1] - (1 - p) * entropies[2]


@pytest.mark.parametrize("channel", CHANNELS)
def test_information_equals_the_difference_of_entropies(channel):
    expected = [information_by_entropies(d, channel) for d in LEVERAGES[1:4]]
    np.testing.assert_allclose(information(LEVERAGES[1:4], channel), expected, atol=1e-8)  # adaptive quadrature's own


@pytest.mark.parametrize("case", BINARY_GAUSSIANS, ids=lambda case: case["id"])
def test_laws_of_known_information(case):
    channel = Channel(case["pi"])
    assert information(case["dprime"], channel) == pytest.approx(case["mi"], abs=6e-8)  # seven digits are given
    assert divergence(case["dprime"], channel) == pytest.approx(case["kl_10"], abs=6e-8)
    assert accuracy(case["dprime"], channel) == pytest.approx(case["bayes_acc"], abs=6e-8)


@pytest.mark.parametrize("channel", CHANNELS)
def test_slope_and_curvature_are_derivatives(channel):
    step = 1e-4  # central differences: error step^2, rounding 1e-16 / step
    slope = (information(LEVERAGES + step, channel) - information(LEVERAGES - step, channel)) / (2 * step)
    np.testing.assert_allclose(information_slope(LEVERAGES, channel), slope, atol=1e-8)
    curvature = (information_slope(LEVERAGES + step, channel) - information_slope(LEVERAGES - step, channel)) / (
        2 * step
    )
    np.testing.assert_allclose(information_curvature(LEVERAGES, channel), curvature, atol=1e-8)


def test_curvature_is_the_i_mmse_form():
    """``E[v] - 2 d^2 E[v^2]``, integrated adaptively."""

    def integrand(x, d, power):
        variance = 1.0 / (2.0 + 2.0 * math.cosh(d * x - d * d / 2))  # b (1 - b)
        return 0.5 * (normal(x) + normal(x - d)) * variance**power

    for d in (0.5, 1.6, 3.0):
        first, second = (integrate.quad(integrand, -12, 15, (d, k), epsabs=1e-12, limit=200)[0] for k in (1, 2))
        assert information_curvature(d, KNOWN) == pytest.approx(first - 2 * d * d * second, abs=1e-9)


def test_inflection_points():
    """The specification quotes 1.635 and 2.185, from a coarse grid; they are 1.6363 and 2.1897."""
    for channel, quoted, exact in ((KNOWN, 1.635, 1.636256), (RANDOM, 2.185, 2.189653)):
        d = inflection(channel)
        assert d == pytest.approx(quoted, abs=0.005)
        assert d == pytest.approx(exact, abs=1e-6)
        around = np.array([d - 1e-3, d + 1e-3])
        left, right = information_curvature(around, channel)
        assert left > 0 > right
        # the convex side reaches past the quoted point: second differences of I alone, no derivative formula
        step = 0.01
        bend = np.diff(information(quoted + step * np.array([-1.0, 0.0, 1.0]), channel), 2)
        assert bend / step**2 > 1e-4


@pytest.mark.parametrize("channel", CHANNELS)
def test_information_turns_from_convex_to_concave_exactly_once(channel):
    signs = np.sign(information_curvature(np.linspace(0.02, 12.0, 600), channel))
    assert np.count_nonzero(np.diff(signs)) == 1


def test_limits():
    for channel in CHANNELS:
        assert information(20.0, channel) == pytest.approx(prior_entropy(channel), abs=1e-9)
        assert information(0.02, channel) == pytest.approx(float(weak_information(0.02, channel)), rel=1e-3)
    assert weak_information(1.0, KNOWN) == pytest.approx(1 / 8)
    assert weak_information(1.0, RANDOM) == pytest.approx(1 / 16)
    # the random side's power law is within 10% up to d = 0.3 and no further than 20% at 0.5
    ratio = information(np.array([0.3, 0.5]), RANDOM) / weak_information(np.array([0.3, 0.5]), RANDOM)
    assert ratio[0] > 0.9
    assert 0.8 < ratio[1] < 0.9


def test_information_saturates_where_the_divergence_does_not():
    """Section 5: KL = 1.5 is I = 0.275 and accuracy 0.807; weak leakage has KL = 4 I."""
    d = math.sqrt(3.0)
    assert divergence(d, KNOWN) == pytest.approx(1.5)
    assert information(d, KNOWN) == pytest.approx(0.275, abs=5e-4)
    assert accuracy(d, KNOWN) == pytest.approx(0.807, abs=5e-4)
    assert divergence(0.1, KNOWN) / information(0.1, KNOWN) == pytest.approx(4.0, rel=0.01)


def test_divergence_is_convex_for_both_sides():
    """Hence ``g - lambda KL`` with g concave has one hill at every lambda: no jump under a KL penalty."""
    d = np.linspace(0.0, 8.0, 400)
    for channel in (KNOWN, RANDOM):
        assert np.all(np.diff(divergence(d, channel), 2) > 0)


@pytest.mark.parametrize("channel", [RANDOM, Channel(0.8, side_known=False), Channel(0.2)])
def test_accuracy_against_simulation(channel):
    rng = np.random.default_rng(4)
    n, d = 400_000, 1.5
    z = rng.random(n) < channel.prior
    side = np.where(rng.random(n) < 0.5, 1.0, -1.0) if not channel.side_known else np.ones(n)
    f = rng.standard_normal(n) + z * side * d
    informed = normal(f - d) if channel.side_known else 0.5 * (normal(f - d) + normal(f + d))
    guess = channel.prior * informed > (1 - channel.prior) * normal(f)
    assert accuracy(d, channel) == pytest.approx(np.mean(guess == z), abs=4 * 0.5 / math.sqrt(n))  # 4 standard errors


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="prior"):
        Channel(prior=1.0)
    with pytest.raises(ValueError, match="negative"):
        information(-1.0, KNOWN)
    with pytest.raises(ValueError, match="leverage must lie"):
        information(100.0, KNOWN)
