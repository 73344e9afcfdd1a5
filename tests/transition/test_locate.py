"""lambda* and the shape of curves of known kind, with eight seeds: closed forms, recovery rates, honest silence."""

import math
from collections import Counter

import numpy as np
import pytest
from scipy import optimize, stats

from amarl_jax.transition.curve_fits import fit_logistics, logistic_drop, penalty_at, penalty_axis
from amarl_jax.transition.locate import Curves, locate, steepest_fall, upper_limit
from amarl_jax.transition.verdict import as_json, judge
from tests.transition.curves import KINDS, PENALTY, X, curves, noisy, truth

N_SAMPLES = 20  # of each kind; the full-size rates are in experiments/transition


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
def test_the_right_kind_is_named_at_least_85_percent_of_the_time(kind, samples):
    named = Counter(found.kind for found in samples[kind])
    assert named[kind] >= 0.85 * N_SAMPLES, named


def test_the_intervals_hold_the_truth_about_as_often_as_they_say(samples):
    """Percentile intervals of eight seeds are somewhat short: 95% nominal, at least 75% here (15 of 20)."""
    inside = Counter()
    for found in samples["logistic"]:
        inside["half"] += found.lambda_half.lower <= penalty_at(2.5) <= found.lambda_half.upper
        inside["width"] += found.width.lower <= 2.0 <= found.width.upper
        inside["chi"] += found.lambda_chi.lower <= penalty_at(2.5) <= found.lambda_chi.upper
    assert min(inside["half"], inside["width"], inside["chi"]) >= 0.75 * N_SAMPLES, inside


def test_the_width_of_a_step_reaches_the_grid_and_that_of_a_slope_does_not(samples):
    assert all(found.width.lower <= found.grid_spacing for found in samples["step"])
    assert all(found.width.lower > found.grid_spacing for found in samples["logistic"])


def test_seven_seeds_have_no_interval_no_kind_and_no_verdict():
    arm = curves(np.random.default_rng(0), "step", n_seeds=7)
    found = locate(arm)
    assert found.lambda_half.value == pytest.approx(penalty_at(2.5), rel=0.2)
    assert (found.lambda_half.lower, found.lambda_half.note) == (None, "not determined")
    assert (found.kind, found.shapes) == ("not determined", None)
    assert judge([arm]).word == "not determined"
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


def arms(kinds, randomiser=True, n_seeds=8):
    """Arms from ``{(start, T): kind or width}``."""
    made = []
    for i, ((start, horizon), kind) in enumerate(kinds.items()):
        about = {"start": start, "horizon": horizon, "private_randomiser": randomiser}
        shape = {} if isinstance(kind, str) else {"width": kind}
        name = kind if isinstance(kind, str) else "logistic"
        made.append(curves(np.random.default_rng(i), name, n_seeds, about, **shape))
    return made


NARROWING = {("quiet", 50): 2.0, ("quiet", 200): "step", ("loud", 50): 2.0, ("loud", 200): "step"}


def test_a_transition_is_narrow_narrowing_and_the_same_from_both_starts():
    assert judge(arms(NARROWING)).word == "transition"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({("loud", 200): 2.0}, "from the loud start the width"),
        ({("quiet", 50): "step", ("loud", 50): "step"}, "does not shrink"),
        ({("quiet", 200): 2.0, ("loud", 200): 2.0}, "stays above the grid spacing"),
    ],
)
def test_anything_less_is_a_crossover(change, reason):
    verdict = judge(arms(NARROWING | change))
    assert verdict.word == "crossover"
    assert reason in str(verdict)


@pytest.mark.parametrize(
    ("left_out", "reason"),
    [("loud", "no loud start was run"), ("quiet", "no quiet start was run"), (50, "only one horizon was run")],
)
def test_what_was_not_run_is_not_assumed(left_out, reason):
    verdict = judge(arms({key: kind for key, kind in NARROWING.items() if left_out not in key}))
    assert verdict.word == "crossover"
    assert reason in str(verdict)


def test_arms_without_the_private_randomiser_do_not_decide():
    without = arms(NARROWING, randomiser=False)
    assert str(judge(without)) == "crossover: no arm with the private randomiser on"
    both = judge([*without, *arms(dict.fromkeys(NARROWING, 2.0))])
    assert both.word == "crossover"
    assert len(both.arms) == 8, "they are reported beside"


def test_one_arm_with_too_few_seeds_leaves_the_verdict_open():
    few = arms({("loud", 200): "step"}, n_seeds=6)
    verdict = judge([*arms(NARROWING)[:3], *few])
    assert str(verdict) == "not determined: 6 seeds, 8 are needed"
