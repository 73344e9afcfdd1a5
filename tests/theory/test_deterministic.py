"""The deterministic trader's optimum and its jump, against brute force and every figure of the specification."""

import itertools
import math

import numpy as np
import pytest

from amarl_jax.theory.deterministic import (
    Haste,
    best_information,
    best_leverage,
    critical_scale,
    hidden_lots,
    jump,
    leverage,
    leverage_at,
    linear_critical_point,
    linear_haste,
    quadratic_critical_point,
    quadratic_haste,
    signed_order_deviation,
)
from amarl_jax.theory.gaussian_channel import Channel, accuracy, divergence, information, information_slope

KNOWN, RANDOM = Channel(), Channel(side_known=False)


@pytest.mark.parametrize(
    ("channel", "max_leverage", "expected"),
    [
        (KNOWN, 2.0, 2.16),
        (KNOWN, 3.0, 1.60),
        (KNOWN, 4.0, 1.43),
        (KNOWN, 6.0, 1.39),
        (RANDOM, 3.0, 1.40),
        (RANDOM, 4.0, 1.26),
        (RANDOM, 6.0, 1.27),
    ],
)
def test_jump_of_a_linear_haste(channel, max_leverage, expected):
    found = jump(linear_haste(max_leverage), channel)
    assert found.penalty == pytest.approx(expected, abs=0.005)  # the digits given
    # by brute force: on a fine grid the best leverage is loud just below the penalty and quiet just above it
    grid = np.linspace(0.0, max_leverage, 20001)
    nats = information(grid, channel)
    best = [grid[np.argmax(grid / max_leverage - lam * nats)] for lam in found.penalty * np.array([0.999, 1.001])]
    assert best[0] == max_leverage == pytest.approx(found.loud)
    assert best[1] == pytest.approx(found.quiet, abs=0.02)  # d* moves by about d*'(lambda) times 0.1%
    assert found.loud_information == pytest.approx(float(information(max_leverage, channel)))


def test_jump_tends_to_one_over_ln_two():
    """Slowly: a loud order of leverage 20 is certain to be seen, the quiet one still earns a little."""
    penalties = [jump(linear_haste(scale), KNOWN).penalty for scale in (10.0, 15.0, 20.0)]
    errors = 1 / math.log(2) - np.array(penalties)
    # the quiet hill is worth lambda d*^2 / 8 = 2 / (lambda d_max^2), and moves lambda* by that over ln 2
    np.testing.assert_allclose(errors, 2 / np.array([10.0, 15.0, 20.0]) ** 2, rtol=0.03)
    # from below, after a minimum
    for channel, lowest, at in ((KNOWN, 1.388, 5.4), (RANDOM, 1.242, 4.6)):
        below, bottom, above = (jump(linear_haste(at + shift), channel).penalty for shift in (-0.4, 0.0, 0.4))
        assert bottom == pytest.approx(lowest, abs=1e-3)
        assert bottom < min(below, above)


@pytest.mark.parametrize(("channel", "scale"), [(KNOWN, 1.636), (RANDOM, 2.190)])
def test_first_order_line_of_a_linear_haste_ends_at_the_inflection(channel, scale):
    critical = linear_critical_point(channel)
    assert critical.scale == pytest.approx(scale, abs=5e-4)
    assert critical.penalty == pytest.approx({True: 2.616, False: 1.806}[channel.side_known], abs=5e-4)
    assert jump(linear_haste(critical.scale - 0.02), channel) is None
    above = jump(linear_haste(critical.scale + 0.02), channel)
    assert above.penalty == pytest.approx(critical.penalty, rel=0.02)
    assert above.loud - above.quiet < 0.1  # the hills merge
    searched = critical_scale(linear_haste, channel, 1.0, 4.0)
    assert searched == pytest.approx(critical.scale, abs=0.005)  # the grid of leverages


@pytest.mark.parametrize("channel", [KNOWN, RANDOM])
def test_first_order_line_of_a_quadratic_haste(channel):
    """Known side: an optimum of about 4.7 (4.643), where the impatient trader is caught more than 98% of the time."""
    critical = quadratic_critical_point(channel)
    assert critical.scale == pytest.approx({True: 4.643, False: 4.803}[channel.side_known], abs=5e-4)
    assert 0.98 < float(accuracy(critical.scale, channel)) < 0.995
    if channel.side_known:
        assert (critical.leverage, critical.penalty) == pytest.approx((2.945, 1.030), abs=6e-4)
    assert critical_scale(quadratic_haste, channel, 3.0, 7.0) == pytest.approx(critical.scale, abs=0.003)
    assert jump(quadratic_haste(critical.scale - 0.05), channel) is None
    above = jump(quadratic_haste(critical.scale + 0.05), channel)
    assert above.quiet < critical.leverage < above.loud
    assert above.penalty == pytest.approx(critical.penalty, rel=0.02)


def test_pure_optimum_quoted_for_four():
    """I* at lambda 1.4, 1.8 and 3: 0.63 (still loud), 0.04 and 0.01."""
    found = [best_information(lam, linear_haste(4.0), KNOWN) for lam in (1.4, 1.8, 3.0)]
    np.testing.assert_allclose(found, [0.63, 0.04, 0.01], atol=0.005)  # the digits given


@pytest.mark.parametrize(("channel", "power", "penalty"), [(KNOWN, -2.0, 100.0), (RANDOM, -4.0 / 3.0, 3000.0)])
def test_leakage_decays_as_a_power_and_is_never_zero(channel, power, penalty):
    penalties = np.array([penalty, 2.0 * penalty])
    found = np.array([best_information(lam, linear_haste(4.0), channel) for lam in penalties])
    assert np.all(found > 0)
    assert math.log(found[1] / found[0]) / math.log(2.0) == pytest.approx(power, abs=0.005)  # corrections are O(d^2)
    if channel.side_known:
        np.testing.assert_allclose(found, 2.0 / (penalties * 4.0) ** 2, rtol=1e-3)


def test_optimum_solves_the_first_order_condition_of_a_haste_of_ones_own():
    """``g = sin``: concave and rising on [0, pi / 2], scaled to a leverage of 5; and the quadratic that is shipped."""
    rate = 0.5 * math.pi / 5.0
    sine = Haste(lambda d: np.sin(rate * d), lambda d: rate * np.cos(rate * d), 5.0)
    for haste, penalty in itertools.product((sine, quadratic_haste(5.0)), (0.4, 2.0, 6.0)):
        d = best_leverage(penalty, haste, KNOWN)
        cost = penalty * float(information_slope(d, KNOWN))
        assert float(haste.slope(np.float64(d))) == pytest.approx(cost, abs=1e-5)


@pytest.mark.parametrize("channel", [KNOWN, RANDOM])
def test_a_divergence_penalty_does_not_jump(channel):
    """On a fine grid of lambda the best leverage under ``g - lambda KL`` never moves by more than its smooth rate."""
    grid = np.linspace(0.0, 6.0, 6001)
    nats = divergence(grid, channel)
    penalties = np.geomspace(0.01, 10.0, 400)
    best = np.array([grid[np.argmax(grid / 6.0 - lam * nats)] for lam in penalties])
    assert np.all(np.diff(best) <= 0)
    assert np.max(-np.diff(best)) < 0.15
    under_information = np.array([best_leverage(lam, linear_haste(6.0), channel) for lam in penalties[200:330:10]])
    assert np.max(-np.diff(under_information)) > 4.0  # the same check sees the jump there is


def test_square_root_law():
    """Noise orders of 5 +- 2 lots; sixteen times the noise hides four times the lots at the same leak."""
    deviation = signed_order_deviation(5.0, 2.0)
    assert deviation == pytest.approx(math.sqrt(29.0))
    lots = [hidden_lots(0.01, deviation, n, KNOWN) for n in (500, 2000, 8000)]
    np.testing.assert_allclose(np.diff(np.log2(lots)), 1.0, atol=1e-12)
    for n, q in zip((500, 2000, 8000), lots, strict=True):
        assert float(information(leverage(q, deviation, n), KNOWN)) == pytest.approx(0.01, abs=1e-12)
    assert leverage_at(1e-4, KNOWN) == pytest.approx(math.sqrt(8e-4), rel=1e-3)
    assert leverage_at(1e-6, RANDOM) == pytest.approx((16e-6) ** 0.25, rel=1e-2)


def test_square_root_law_by_simulation():
    """Summed signed noise of N orders, with Q lots added or not: an optimal detector's accuracy is ``Phi(d / 2)``."""
    rng = np.random.default_rng(7)
    n_orders, n_episodes, lots = 400, 40_000, 108.0
    sides = 2 * rng.integers(0, 2, (n_episodes, n_orders), dtype=np.int8) - 1
    sizes = rng.integers(2, 9, (n_episodes, n_orders), dtype=np.int8)  # mean 5, standard deviation 2
    flow = np.sum(sides * sizes, axis=1, dtype=np.int32) + lots * (np.arange(n_episodes) % 2)
    right = np.mean((flow > lots / 2) == (np.arange(n_episodes) % 2 == 1))
    d = leverage(lots, signed_order_deviation(5.0, 2.0), n_orders)
    assert right == pytest.approx(float(accuracy(d, KNOWN)), abs=4 * 0.5 / math.sqrt(n_episodes))  # 4 standard errors
