"""Estimates in closed form, and a fresh detector that reads nothing off a mimic and plenty off a hurried order."""

import math

import jax
import numpy as np
import pytest

from amarl_jax.evaluation import metrics
from amarl_jax.evaluation.metrics import (
    MetricValue,
    Scale,
    claimed_information,
    efficiency,
    evaluate_summaries,
    exact_metrics,
    mean_and_error,
)
from amarl_jax.information.tape_detector import TapeDetectorSpec
from amarl_jax.posterior.exact import ExactRow

LN2 = math.log(2.0)


def test_mean_and_its_standard_error_by_hand():
    # deviations -2, -1, 0, 3: sum of squares 14, variance 14 / 3, error sqrt(14 / 3 / 4)
    estimate = mean_and_error(np.array([1.0, 2.0, 3.0, 6.0], np.float32))
    assert estimate.value == pytest.approx(3.0)
    assert estimate.stderr == pytest.approx(math.sqrt(14 / 12))


def test_one_episode_has_a_mean_and_no_error():
    estimate = mean_and_error(np.array([2.5]))
    assert estimate.value == 2.5
    assert math.isnan(estimate.stderr)


def test_booleans_and_integers_are_averaged_in_double():
    assert mean_and_error(np.array([True, False, True, True])).value == 0.75
    assert mean_and_error(np.full(10, 2**24 + 1)).value == 2**24 + 1, "float32 would round it"


@pytest.mark.parametrize("prior", [0.5, 0.3])
def test_a_belief_that_stays_at_the_prior_claims_nothing(prior):
    estimate = claimed_information(np.full(6, prior), np.array([0, 1, 0, 1, 0, 0]), prior)
    assert estimate.value == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("prior", [0.5, 0.3])
def test_a_belief_that_is_certain_and_right_claims_the_entropy_of_the_mixture(prior):
    z = np.array([1] * 3 + [0] * 7)
    entropy = -0.3 * math.log(prior) - 0.7 * math.log(1 - prior)
    assert claimed_information(z.astype(float), z, prior).value == pytest.approx(entropy)


def test_a_calibrated_belief_claims_the_mutual_information_of_its_channel():
    """A binary symmetric channel that is right with probability 0.8: ln 2 - H(0.8)."""
    z = np.array([1] * 10 + [0] * 10)
    belief = np.array([0.8] * 8 + [0.2] * 2 + [0.2] * 8 + [0.8] * 2)
    information = LN2 + 0.8 * math.log(0.8) + 0.2 * math.log(0.2)
    assert claimed_information(belief, z, 0.5).value == pytest.approx(information)


def test_a_belief_that_is_certain_and_wrong_costs_a_finite_amount():
    estimate = claimed_information(np.array([0.0, 1.0]), np.array([1, 0]), 0.5)
    assert estimate.value == pytest.approx(math.log(1e-6) + LN2)


def test_an_efficiency_is_a_share_with_the_errors_of_both():
    """0.3 of 0.4 nats: (0.02, 0.75 x 0.03) over 0.4 in quadrature; of next to nothing there is no share."""
    share = efficiency(MetricValue(0.3, 0.02), MetricValue(0.4, 0.03))
    assert share.value == pytest.approx(0.75)
    assert share.stderr == pytest.approx(math.sqrt(0.02**2 + 0.0225**2) / 0.4)
    assert math.isnan(efficiency(MetricValue(0.3, 0.02), MetricValue(0.0099, 0.001)).value)
    assert math.isnan(efficiency(MetricValue(0.3, 0.02), MetricValue(math.nan, math.nan)).value)


def test_the_exact_information_is_of_the_episodes_that_were_read():
    """Four of six episodes, posteriors 0.8 below and 0.9 above for the truth: ln 1.6 and ln 1.8 beside 1/2."""
    z = np.array([1, 0, 1, 0, 1, 1])
    sign = 2.0 * z[:4] - 1.0
    below, above = (sign * math.log(odds) for odds in (4.0, 9.0))
    rows = ExactRow(below[:, None].astype(np.float32), above.astype(np.float32), np.full(4, -1, np.int32))
    found = exact_metrics(rows, z, 0.5)
    assert found["information/exact_nats_lower"].value == pytest.approx(math.log(1.6), abs=1e-3)
    assert found["information/exact_nats_upper"].value == pytest.approx(math.log(1.8), abs=1e-3)
    assert found["information/exact_nats"].value == pytest.approx(0.5 * math.log(1.6 * 1.8), abs=1e-3)
    assert found["information/exact_accuracy"].value == 1.0


def test_without_a_reading_there_is_no_exact_metric_and_no_share(evaluations):
    assert not [name for name in evaluations["twap"].metrics if "exact" in name or "efficiency" in name]


@pytest.fixture(scope="module")
def evaluations(summaries):
    """Everything reported of both sets of episodes, detectors of their own, half as long trained, included."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "DETECTOR", TapeDetectorSpec(n_folds=2, min_steps=250))
        return {
            name: evaluate_summaries(jax.random.key(9), rows, Scale(prior=0.5, unit_ticks=17.0, tick_bps=2.0))
            for name, rows in summaries.items()
        }


def test_a_fresh_detector_reads_nothing_off_a_mimic(evaluations):
    information = evaluations["mimic"].metrics["information/fresh_nats"]
    accuracy = evaluations["mimic"].metrics["information/fresh_accuracy"]
    assert abs(information.value) < 3 * information.stderr + 0.005  # and a detector's own noise on 2048 episodes
    assert abs(accuracy.value - 0.5) <= 4 * accuracy.stderr  # both 0 of a detector that says nothing
    assert information.stderr < 0.02, "an error this small could tell"


def test_the_same_detector_reads_a_hurried_order(evaluations):
    information = evaluations["twap"].metrics["information/fresh_nats"]
    accuracy = evaluations["twap"].metrics["information/fresh_accuracy"]
    assert information.value - 4 * information.stderr > 0.1
    assert accuracy.value > 0.7
    assert evaluations["twap"].metrics["information/fresh_kl_nats"].value > information.value


def test_what_concerns_the_parent_order_counts_informed_episodes_only(evaluations, summaries):
    for name, rows in summaries.items():
        z, shortfall = np.asarray(rows.z), np.asarray(rows.shortfall_ticks, np.float64)
        metrics, informed = evaluations[name].metrics, [x for x, label in zip(shortfall, z, strict=True) if label == 1]
        assert (evaluations[name].n_episodes, evaluations[name].n_informed) == (2048, 1024)
        assert metrics["execution/shortfall_ticks"].value == pytest.approx(math.fsum(informed) / 1024)
        assert metrics["execution/shortfall_units"].value == pytest.approx(math.fsum(informed) / 1024 / 17.0)
        assert metrics["execution/shortfall_bps"].value == pytest.approx(math.fsum(informed) / 1024 * 2.0)
        assert metrics["maker/pnl_tick_lots"].value == pytest.approx(
            math.fsum(np.asarray(rows.maker_pnl, np.float64)) / 2048, rel=1e-6
        )


def test_a_belief_frozen_at_the_prior_is_right_half_of_the_time_and_claims_nothing(evaluations):
    for evaluation in evaluations.values():
        assert evaluation.metrics["information/belief_nats"].value == pytest.approx(0.0, abs=1e-12)
        assert evaluation.metrics["information/belief_accuracy"].value == 0.5
        assert evaluation.metrics["information/bound_nats"].value == pytest.approx(LN2)
        assert evaluation.metrics["maker/belief_accuracy_mean"].value == pytest.approx(0.5)


def test_every_metric_is_named_by_its_subject_and_finite(evaluations):
    metrics = evaluations["twap"].metrics
    assert {name.split("/")[0] for name in metrics} == {"execution", "information", "market", "maker", "arbitrageur"}
    assert all(math.isfinite(estimate.value) for estimate in metrics.values())
