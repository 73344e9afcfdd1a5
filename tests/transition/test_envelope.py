"""The price paid between neighbouring penalties: on a frontier of known slope, by learners that pay half; Fieller."""

import numpy as np
import pytest
from scipy import stats

from amarl_jax.transition.envelope import fieller, slopes

PENALTY = np.array([0.0, 0.25, 0.5, 1.0, 1.5, 2.0])


def lanes(paid, noise=0.0001, n_seeds=8):
    """Seeds on ``C = 2 (0.7 - I)^2`` at ``I = 0.7 - lambda / 4``, lambda being what is really paid: [S, L] each."""
    rng = np.random.default_rng(0)
    shift = 0.02 * rng.normal(size=(n_seeds, 1))  # shared by the lanes of a seed: pairing takes it out
    nats = 0.7 - np.asarray(paid) / 4.0
    return (
        nats + shift + noise * rng.normal(size=(n_seeds, len(PENALTY))),
        2.0 * (0.7 - nats) ** 2 + shift + noise * rng.normal(size=(n_seeds, len(PENALTY))),
    )


def test_optimal_policies_pay_the_middle_penalty():
    """The chord of a parabola has the slope of its middle."""
    for slope in slopes(PENALTY, *lanes(PENALTY)):
        middle = 0.5 * (slope.below + slope.above)
        assert slope.slope.lower < middle < slope.slope.upper
        assert slope.ratio == pytest.approx(1.0, abs=0.15)
    exact = slopes(PENALTY, *lanes(PENALTY, noise=0.0))
    assert [slope.ratio for slope in exact] == pytest.approx([1.0] * 5)
    assert all(slope.agrees for slope in exact)


def test_learners_that_act_on_half_the_penalty_are_found_out():
    found = slopes(PENALTY, *lanes(0.5 * PENALTY))
    assert [slope.ratio for slope in found] == pytest.approx([0.5] * 5, abs=0.12)
    assert [slope.agrees for slope in found[2:]] == [False] * 3
    assert found[0].agrees is not False, "anything between 0 and lambda is optimal there"


def test_a_curve_that_stays_where_it_is_has_no_slope():
    zigzag = 0.01 * np.outer([1, -1] * 4, [1, -1] * 3)  # every difference has mean 0 over the seeds
    information, cost = 0.5 + zigzag, lanes(PENALTY)[1]
    for slope in slopes(PENALTY, information, cost):
        assert (slope.agrees, slope.slope.lower, slope.slope.note) == (None, None, "not determined")
    one = slopes(PENALTY, information[:1], cost[:1])[0]
    assert (one.agrees, one.slope.lower) == (None, None)


def test_fiellers_limits_are_what_the_t_test_just_rejects():
    rng = np.random.default_rng(1)
    below = 1.0 + 0.3 * rng.normal(size=8)
    above = 2.0 * below + 0.5 * rng.normal(size=8)
    found = fieller(above, below)
    for limit in (found.lower, found.upper):
        assert stats.ttest_1samp(above - limit * below, 0.0).pvalue == pytest.approx(0.05)
