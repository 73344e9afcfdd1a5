"""Two groups of seeds and two ways through the penalties, where they are there and where they are not."""

import numpy as np
import pytest

from amarl_jax.transition.bistability import bimodality, hysteresis
from tests.transition.curves import PENALTY, noisy, truth


def test_seeds_stuck_on_two_branches_are_told_from_scattered_ones():
    rng = np.random.default_rng(0)
    loud, quiet = truth("step", midpoint=3.2), truth("step", midpoint=1.8)
    seeds = np.concatenate([noisy(rng, loud, 5), noisy(rng, quiet, 3)])
    apart = loud - quiet > 0.1
    splits = bimodality(PENALTY, seeds)
    assert [split.bimodal for split in splits] == apart.tolist()
    stuck = next(split for split in splits if split.bimodal)
    assert stuck.n_loud == 5
    assert (stuck.quiet_nats, stuck.loud_nats) == pytest.approx((0.02, 0.62), abs=0.05)  # noise 0.02 in 3 and 5 seeds


def test_scattered_seeds_are_called_bimodal_at_most_at_the_stated_level():
    """60 sweeps of Gaussian seeds, level 5% over all penalties: 9 or more alarms happen with probability 0.2%."""
    alarms = sum(
        any(split.p_value < 0.05 for split in bimodality(PENALTY, np.random.default_rng(i).normal(size=(8, 14))))
        for i in range(60)
    )
    assert alarms < 9


def test_two_groups_a_hair_apart_are_one():
    information = np.full((8, 14), 0.3) + 0.01 * (np.arange(8) < 4)[:, None]
    information += 1e-4 * np.random.default_rng(0).normal(size=(8, 14))
    assert not any(split.bimodal for split in bimodality(PENALTY, information))


def test_a_loop_between_the_two_ways_is_hysteresis_and_noise_is_not():
    rng = np.random.default_rng(1)
    up, down = noisy(rng, truth("step", midpoint=3.2)), noisy(rng, truth("step", midpoint=1.8))
    loop = hysteresis(PENALTY, up, down)
    assert loop.found
    # height 0.6 over the penalties between the two jumps, by the trapezoid rule over the grid
    exact = np.trapezoid(truth("step", midpoint=3.2) - truth("step", midpoint=1.8), np.arcsinh(PENALTY / 0.1))
    assert loop.lower < exact < loop.upper
    assert loop.widest_nats == pytest.approx(0.6, abs=0.05)
    assert np.sinh(1.8) * 0.1 < loop.widest_at < np.sinh(3.2) * 0.1
    none = hysteresis(PENALTY, noisy(rng, truth("logistic")), noisy(rng, truth("logistic")))
    assert not none.found
    backwards = hysteresis(PENALTY, down, up)
    assert not backwards.found, "going up starts loud: less information on the way up is something else"


def test_groups_as_far_apart_as_is_called_detectable_are_found_with_power_080():
    """40 sweeps of one penalty: 0.8 +- 0.13, two standard errors; the distances tried are half a deviation apart."""
    rng = np.random.default_rng(3)
    scattered = rng.normal(size=(8, 1))
    distance = bimodality(PENALTY[:1], scattered)[0].detectable_nats / scattered.std(ddof=1)
    apart = distance * (np.arange(8) < 4)[:, None]
    found = sum(bimodality(PENALTY[:1], rng.normal(size=(8, 1)) + apart)[0].bimodal for _ in range(40))
    assert 0.67 <= found / 40 <= 0.97


def test_loops_as_large_as_is_called_detectable_are_found_with_power_080():
    """The percentile interval is a little shorter than Student's, which the power is reckoned with."""
    rng = np.random.default_rng(4)
    span, found = np.ptp(np.arcsinh(PENALTY / 0.1)), 0
    level = hysteresis(PENALTY, np.tile(rng.normal(size=(8, 1)), 14) / span, np.zeros((8, 14)))
    assert f"an area of {level.detectable_area:.3f} is found with power 0.8" in str(level)
    for _ in range(40):
        areas = 3.26 / np.sqrt(8.0) + rng.normal(size=(8, 1))  # t(7) at 97.5% and at 80%, standard errors from 0
        found += hysteresis(PENALTY, np.tile(areas, 14) / span, np.zeros((8, 14))).found
    assert 0.6 < found / 40 < 0.99


def test_seven_seeds_say_nothing():
    information = noisy(np.random.default_rng(2), truth("step"), 7)
    assert bimodality(PENALTY, information) is None
    loop = hysteresis(PENALTY, information + 0.3, information)
    assert (loop.found, loop.lower) == (None, None)
    assert str(loop) == "hysteresis not determined"
    assert loop.detectable_area is None
