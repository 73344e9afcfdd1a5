"""lambda* and the shape of curves of known kind, with eight seeds: closed forms, recovery rates, honest silence."""

import math
from collections import Counter

import numpy as np
import pytest
from scipy import optimize, stats

from amarl_jax.transition.curve_fits import (
    SHAPES,
    at_edge,
    compare_shapes,
    fit,
    fit_logistics,
    logistic_drop,
    penalty_at,
    penalty_axis,
)
from amarl_jax.transition.locate import MARGIN_NATS, Curves, fallen_by, locate, steepest_fall, upper_limit
from amarl_jax.transition.verdict import as_json
from tests.transition.curves import KINDS, PENALTY, SMOOTH, X, curves, noisy, truth

N_SAMPLES = 10  # of each kind; the full-size rates are in experiments/transition
EXPECTED = {"flat": "flat", "step": "step", **dict.fromkeys(SMOOTH, "smooth")}


def test_the_penalty_axis_is_asinh_and_back():
    assert penalty_axis(0.1) == pytest.approx(math.log(1 + math.sqrt(2)))
    np.testing.assert_allclose(penalty_at(penalty_axis(PENALTY)), PENALTY, rtol=1e-12)


def test_an_exact_logistic_is_recovered():
    found = fit_logistics(X, 0.05 + 0.5 * logistic_drop(X, np.array([[1.7], [2.9]]), np.array([[1.2], [3.0]])))
    np.testing.assert_allclose(found.midpoint, [1.7, 2.9], atol=0.01)
    np.testing.assert_allclose(found.width, [1.2, 3.0], atol=0.03)  # the last grid's mesh
    np.testing.assert_allclose(found.height, 0.5, atol=0.005)
    np.testing.assert_allclose(found.floor, 0.05, atol=0.005)


def test_the_logistic_fit_is_the_least_squares_fit():
    """Against scipy's own minimiser, started at the truth."""
    rng = np.random.default_rng(3)
    weight = rng.uniform(0.5, 2.0, len(X))
    curve = noisy(rng, truth("logistic"), 1, noise=0.05)[0]
    found = fit_logistics(X, curve[None], weight)

    def model(x, midpoint, width, height, floor):
        return floor + height * logistic_drop(x, midpoint, width)

    best, _ = optimize.curve_fit(model, X, curve, p0=(2.5, 2.0, 0.6, 0.02), sigma=weight**-0.5)
    ours, theirs = (np.sum(weight * (curve - fitted) ** 2) for fitted in (found.fitted[0], model(X, *best)))
    assert ours == pytest.approx(theirs, rel=1e-3)
    assert found.midpoint[0] == pytest.approx(best[0], abs=0.02)


def test_a_step_is_a_logistic_without_width():
    found = fit_logistics(X, truth("step", midpoint=2.2)[None])
    gap = X[np.searchsorted(X, 2.2) - 1], X[np.searchsorted(X, 2.2)]
    assert gap[0] < found.midpoint[0] < gap[1]
    assert found.width[0] < gap[1] - gap[0]
    np.testing.assert_allclose(found.fitted[0], truth("step", midpoint=2.2), atol=1e-3)


def test_the_steepest_fall_of_a_parabolas_integral_is_its_vertex():
    x = np.array([0.0, 0.5, 1.2, 2.0, 2.5, 3.1, 4.0])

    def accuracy(peak):
        """Its slope over each interval is a parabola in the interval's middle."""
        middle, length = (x[1:] + x[:-1]) / 2, np.diff(x)
        return np.concatenate([[1.0], 1.0 - np.cumsum(length * (2.0 - 0.2 * (middle - peak) ** 2))])

    found = steepest_fall(x, np.stack([accuracy(1.9), accuracy(2.4), accuracy(0.0), accuracy(3.9)]))
    np.testing.assert_allclose(found[:2], [1.9, 2.4], atol=1e-9)
    np.testing.assert_allclose(found[2:], [0.25, 3.55])  # at an end: the middle of the steepest piece


def test_the_upper_limit_is_students():
    sample = np.random.default_rng(0).normal(size=(8, 3))
    expected = stats.ttest_1samp(sample, 0.0, alternative="less").confidence_interval(0.95).high
    np.testing.assert_allclose(upper_limit(sample), expected)


def test_equality_needs_every_larger_penalty_to_stay_under_the_margin():
    information = np.zeros((8, 14)) + np.random.default_rng(1).normal(size=(8, 14)) * 1e-3
    information[:, :3] += 0.3
    assert locate(Curves(PENALTY, information, 0.5 + information)).lambda_eq.value == PENALTY[3]
    information[:, 9] += 0.05  # one lapse later on
    assert locate(Curves(PENALTY, information, 0.5 + information)).lambda_eq.value == PENALTY[10]
    information[:, -1] += 0.05
    never = locate(Curves(PENALTY, information, 0.5 + information)).lambda_eq
    assert (never.value, never.note) == (None, "not reached")


@pytest.fixture(scope="module")
def samples():
    """Sweeps of every kind, located."""
    return {kind: [locate(curves(np.random.default_rng([i, 7]), kind)) for i in range(N_SAMPLES)] for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_the_kind_is_right_or_not_determined(kind, samples):
    """Never another kind, and nearly always the right one with eight seeds and a noise of 0.02 nats."""
    named = Counter(found.kind for found in samples[kind])
    assert set(named) <= {EXPECTED[kind], "not determined"}, named
    assert named[EXPECTED[kind]] >= 0.8 * N_SAMPLES, named


def test_the_intervals_hold_the_truth_about_as_often_as_they_say(samples):
    """Percentile intervals of eight seeds are somewhat short: 6 or fewer of 10 happen at 90% once in 80."""
    inside = Counter()
    for found in samples["logistic"]:
        for name in ("lambda_half", "lambda_isotonic", "lambda_chi"):
            location = getattr(found, name)
            inside[name] += location.lower <= penalty_at(2.5) <= location.upper
    assert min(inside[name] for name in ("lambda_half", "lambda_isotonic", "lambda_chi")) >= 7, inside


def test_without_noise_every_shape_is_its_own_best_prediction():
    """Up to the mesh: decays lie 4% apart, and half of that moves a height of 0.6 by 0.6 * 0.02 / e at most."""
    for shape in ("step", "exponential", "hyperbola", "logistic"):
        np.testing.assert_allclose(fit(shape, PENALTY, truth(shape)), truth(shape), atol=0.0045)
    np.testing.assert_allclose(fit("constant", PENALTY, truth("flat")), 0.3)


def test_a_hyperbola_is_not_taken_for_a_logistic():
    scores = compare_shapes(PENALTY, noisy(np.random.default_rng(0), truth("hyperbola"), noise=0.005))
    assert set(scores.log_likelihood) == set(SHAPES)
    assert scores.chosen == "hyperbola"
    assert scores.beats("hyperbola", "step")
    assert not scores.beats("step", "hyperbola")


def test_half_the_fall_is_where_the_closest_monotone_curve_has_it():
    x = np.array([0.0, 1.0, 2.0, 3.0, 4.0])
    straight, bumpy, flat, step = (
        [4.0, 3.0, 2.0, 1.0, 0.0],
        [4.0, 2.0, 3.0, 1.0, 0.0],
        [1.0] * 5,
        [1.0, 1.0, 0.0, 0.0, 0.0],
    )
    found = fallen_by(x, np.array([straight, bumpy, flat, step]), (0.25, 0.5, 0.75))
    np.testing.assert_allclose(found[0], [1.0, 2.0, 3.0])
    # the two in the middle are pooled to 2.5: straight from (2, 2.5) to (3, 1), which passes 2 a third of the way
    np.testing.assert_allclose(found[1], [2.0 / 3.0, 2.0 + 1.0 / 3.0, 3.0])
    np.testing.assert_allclose(found[2], 0.0)
    np.testing.assert_allclose(found[3], [1.25, 1.5, 1.75])


def test_fits_at_the_edge_of_their_range_are_not_determined():
    """A fall below the grid, one beyond it, a line without plateaus: no logistic midpoint, whatever the fit says."""
    below, beyond = (0.02 + 0.6 * logistic_drop(X, midpoint, 0.5) for midpoint in (X[0] - 0.3, X[-1] + 0.3))
    found = fit_logistics(X, np.stack([below, beyond, 0.6 - 0.1 * X, truth("logistic")]))
    assert at_edge(X, found, -MARGIN_NATS).tolist() == [True, True, True, False]
    first = np.where(PENALTY > 0.0, 0.02, 0.62)
    information = noisy(np.random.default_rng(0), first)
    location = locate(Curves(PENALTY, information, 0.5 + information / 1.4))
    for name in ("lambda_half", "lambda_isotonic", "lambda_chi"):
        assert getattr(location, name).note == "not determined", name
        assert getattr(location, name).lower is None


def test_seven_seeds_have_no_interval_no_kind_and_no_verdict():
    arm = curves(np.random.default_rng(0), "step", n_seeds=7)
    found = locate(arm)
    assert found.lambda_half.value == pytest.approx(penalty_at(2.5), rel=0.2)
    assert (found.lambda_half.lower, found.lambda_half.note) == (None, "not determined")
    assert (found.kind, found.shapes) == ("not determined", None)
    assert as_json(found)["lambda_half"]["note"] == "not determined"


def test_a_curve_that_does_not_fall_has_no_midpoint():
    information = noisy(np.random.default_rng(5), np.full(14, 0.3))
    found = locate(Curves(PENALTY, information, 0.5 + information))
    assert found.lambda_half.value is None
    assert found.lambda_half.note == "no fall found"


def test_curves_that_make_no_sense_are_refused():
    good = np.zeros((8, 14))
    with pytest.raises(ValueError, match="over at least 5 penalties"):
        Curves(PENALTY[:4], good[:, :4], good[:, :4])
    with pytest.raises(ValueError, match="must ascend"):
        Curves(PENALTY[::-1], good, good)
    with pytest.raises(ValueError, match="failed lanes"):
        Curves(PENALTY, np.where(np.arange(14) == 3, np.nan, good), good)
