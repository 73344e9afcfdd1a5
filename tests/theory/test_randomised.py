"""The randomised optimum: certified, unique, continuous, and equal to its closed forms where it has any."""

import math

import numpy as np
import pytest
from scipy import optimize, special, stats

from amarl_jax.theory.deterministic import Haste, best_information, best_leverage, jump, linear_haste, quadratic_haste
from amarl_jax.theory.gaussian_channel import Channel, inflection, information, prior_entropy
from amarl_jax.theory.randomised import (
    best_mixture,
    infinite_leverage_death,
    infinite_leverage_information,
    infinite_leverage_loud_probability,
    mixing_onset,
    penalty_at_loud_probability,
    purity_gap,
)

KNOWN, RANDOM = Channel(), Channel(side_known=False)
FOUR = linear_haste(4.0)


def mixture_information(leverage, weight, channel, reach=16.0, n=4001):
    """``H(z) - E[H(b)]`` by Simpson's rule on densities, another formula and another grid than the solver's."""
    f = np.linspace(-reach, reach, n)
    sides = (1.0,) if channel.side_known else (1.0, -1.0)
    informed = np.mean([weight @ stats.norm.pdf(f[None] - s * leverage[:, None]) for s in sides], axis=0)
    p, noise = channel.prior, stats.norm.pdf(f)
    total = p * informed + (1 - p) * noise
    belief = p * informed / total
    entropy = special.entr(belief) + special.entr(1 - belief)
    simpson = np.ones(n)
    simpson[1:-1:2], simpson[2:-1:2] = 4.0, 2.0
    return prior_entropy(channel) - float(simpson @ (total * entropy)) * (f[1] - f[0]) / 3


@pytest.mark.parametrize("channel", [KNOWN, RANDOM, Channel(0.3)])
@pytest.mark.parametrize("penalty", [0.5, 1.4, 2.6])
def test_optimum_is_certified_and_beats_a_general_optimiser(channel, penalty):
    found = best_mixture(penalty, FOUR, channel, n_leverages=9)
    assert 0 <= found.gap < 1e-9
    assert found.information == pytest.approx(mixture_information(found.leverage, found.weight, channel), abs=1e-8)
    assert found.haste == pytest.approx(float(found.weight @ found.leverage) / 4.0)

    def loss(raw):
        weight = raw**2 / np.sum(raw**2)
        return penalty * mixture_information(found.leverage, weight, channel, n=401) - weight @ found.leverage / 4.0

    other = optimize.minimize(loss, np.full(9, 1 / 3), method="L-BFGS-B", options={"maxfun": 4000, "ftol": 1e-14})
    # quasi-Newton with numerical gradients ends within 1e-4, never below the certified optimum
    assert -1e-8 < other.fun - (penalty * found.information - found.haste) < 1e-4


def test_mixed_information_quoted_for_four():
    """Quoted 0.32, 0.22 and 0.02 at lambda 1.4, 1.8, 3; the middle one is 0.2146, 0.21 (0.22 is infinite d_max)."""
    found = [best_mixture(lam, FOUR, KNOWN) for lam in (1.4, 1.8, 3.0)]
    np.testing.assert_allclose([m.information for m in found], [0.317, 0.2146, 0.0214], atol=5e-5)
    np.testing.assert_allclose([m.information for m in found], [0.32, 0.22, 0.02], atol=0.006)
    for m in found:
        assert m.information == pytest.approx(mixture_information(m.leverage, m.weight, KNOWN), abs=1e-8)
    infinite = infinite_leverage_information(infinite_leverage_loud_probability(1.8))
    assert infinite == pytest.approx(0.22, abs=0.005)


def test_mixing_never_loses_and_moves_continuously_where_the_pure_optimum_jumps():
    penalties = np.linspace(1.2, 1.7, 11)
    for channel in (KNOWN, RANDOM):
        mixed = [best_mixture(lam, FOUR, channel) for lam in penalties]
        pure = [best_leverage(lam, FOUR, channel) for lam in penalties]
        for lam, m, d in zip(penalties, mixed, pure, strict=True):
            assert m.haste - lam * m.information >= d / 4 - lam * float(information(d, channel)) - 1e-4  # the grid of d
        nats = np.array([m.information for m in mixed])
        pure_nats = information(np.array(pure), channel)
        assert np.max(-np.diff(nats)) < 0.02
        assert np.max(-np.diff(pure_nats)) > 0.4


def test_grid_of_leverages_is_fine_enough():
    coarse, fine = (best_mixture(1.8, FOUR, KNOWN, n_leverages=n) for n in (101, 401))
    assert coarse.information == pytest.approx(fine.information, abs=1e-4)
    objective = [m.haste - 1.8 * m.information for m in (coarse, fine)]
    assert objective[1] - objective[0] == pytest.approx(0.0, abs=1e-5)  # O(spacing^2)


@pytest.mark.parametrize("max_leverage", [2.0, 4.0, 6.0])
def test_mixing_starts_at_four_over_the_square_of_the_leverage(max_leverage):
    """Known side, p_z = 1/2; at d_max = 4 it is 1/4 exactly, quoted "near 0.3"."""
    onset = mixing_onset(linear_haste(max_leverage), KNOWN)
    assert onset == pytest.approx(4.0 / max_leverage**2, abs=1e-5)  # the threshold of detection, 1e-8
    before, after = (best_mixture(factor * onset, linear_haste(max_leverage), KNOWN, 1e-11) for factor in (0.95, 2.0))
    assert before.weight[-1] > 1 - 1e-9
    assert after.weight[-1] < 1 - 1e-5  # quiet episodes begin as exp(-2 / lambda)


def test_mixing_is_invisible_at_first():
    quiet = [1 - best_mixture(lam, FOUR, KNOWN, 1e-11).weight[-1] for lam in (0.3, 0.4)]
    np.testing.assert_allclose(quiet, [1.4e-4, 2.9e-3], rtol=0.05)


def test_mixing_starts_for_a_quadratic_haste_too():
    assert mixing_onset(quadratic_haste(6.0), KNOWN) == pytest.approx(0.1116, abs=1e-3)
    assert mixing_onset(linear_haste(1.2), RANDOM) is None  # pure at every lambda: I is convex on [0, 1.2]


def test_death_of_the_loud_episodes():
    """``1 / (p ln(1 / p))`` = 2.885 at infinite leverage; at finite leverage P(loud) fades around it."""
    assert infinite_leverage_death(0.5) == pytest.approx(2.885, abs=5e-4)
    assert best_mixture(2.885, FOUR, KNOWN).loud_probability(inflection(KNOWN)) == pytest.approx(0.052, abs=1e-3)
    assert penalty_at_loud_probability(0.01, FOUR, KNOWN) == pytest.approx(3.133, abs=2e-3)
    assert penalty_at_loud_probability(0.001, FOUR, KNOWN) == pytest.approx(3.447, abs=2e-3)
    assert penalty_at_loud_probability(0.01, FOUR, RANDOM) == pytest.approx(2.574, abs=2e-3)
    far = [best_mixture(lam, linear_haste(20.0), KNOWN, n_leverages=101).loud_probability(3.0) for lam in (2.84, 2.87)]
    assert far[0] > 0.01 > far[1]  # 2.857
    with pytest.raises(ValueError, match="no leverage"):
        penalty_at_loud_probability(0.1, linear_haste(1.0), KNOWN)


@pytest.mark.parametrize("penalty", [0.5, 1.0, 1.8, 2.8, 3.5])
def test_infinite_leverage_by_brute_force(penalty):
    """Best P(loud) on a fine grid, with I from the two-letter erasure channel's own joint table."""
    for prior in (0.5, 0.3):
        w = np.linspace(0.0, 1.0, 100_001)[1:-1]
        joint = np.stack([prior * w, prior * (1 - w), np.full_like(w, 1 - prior)])  # (1, loud) (1, quiet) (0, quiet)
        quiet = joint[1] + joint[2]
        nats = joint[0] * np.log(1 / prior)
        nats += joint[1] * np.log((1 - w) / quiet) + joint[2] * np.log(1 / quiet)
        best = w[np.argmax(w - penalty * nats)]
        assert infinite_leverage_loud_probability(penalty, prior) == pytest.approx(best, abs=2e-5)  # the grid's spacing
        assert infinite_leverage_information(0.4, prior) == pytest.approx(float(np.interp(0.4, w, nats)), abs=1e-8)
    half = max(0.0, (math.exp(2 / penalty) - 2) / (math.exp(2 / penalty) - 1))
    assert infinite_leverage_loud_probability(penalty) == pytest.approx(half)


def test_finite_leverage_tends_to_the_closed_form():
    for penalty in (1.0, 1.8):
        exact = infinite_leverage_loud_probability(penalty)
        found = [best_mixture(penalty, linear_haste(scale), KNOWN).loud_probability(3.0) for scale in (8.0, 24.0)]
        errors = np.abs(np.array(found) - exact)
        assert errors[1] < 0.002 < errors[0]


def test_the_quiet_trader_of_known_side_mixes_too():
    """At weak leakage ``E[d^2] = 1.5 E[d]^2``: I depends on E[d] alone at leading order, at the next one spread pays.

    With the side random I depends on ``E[d^2]`` itself, spread costs at once, and the quiet optimum is pure.
    """
    ratios = []
    for penalty in (10.0, 40.0):
        near = Haste(FOUR.value, FOUR.slope, 1.0)
        found = best_mixture(penalty, near, KNOWN, tolerance=1e-13)
        mean = found.weight @ found.leverage
        ratios.append(found.weight @ found.leverage**2 / mean**2)
        assert mean == pytest.approx(4.0 / (penalty * 4.0), rel=0.01)  # d* of the weak expansion
        assert found.information == pytest.approx(best_information(penalty, FOUR, KNOWN), rel=0.02)
    assert abs(ratios[1] - 1.5) < abs(ratios[0] - 1.5) < 0.02
    assert purity_gap(2.70, FOUR, RANDOM) > 1e-3
    assert purity_gap(2.73, FOUR, RANDOM) == pytest.approx(0.0, abs=1e-12)
    assert purity_gap(3.0, FOUR, KNOWN) > 0.1


def test_a_public_coin_earns_the_straight_line_and_a_private_one_more():
    """Time-sharing in public has I linear in the weight; not telling the detector which episode it is lowers I."""
    found = jump(FOUR, KNOWN)
    mixed = best_mixture(found.penalty, FOUR, KNOWN)
    pure = found.quiet / 4 - found.penalty * found.quiet_information
    assert found.loud / 4 - found.penalty * found.loud_information == pytest.approx(pure, abs=1e-8)
    assert mixed.haste - found.penalty * mixed.information > pure + 0.1
