import dataclasses
import math

import jax.numpy as jnp
import numpy as np
import pytest

from amarl_jax.ground_truth.laws import TRUTH
from amarl_jax.information.detector import check_below_entropy, detect, summarise
from amarl_jax.information.detector_fit import DetectorSpec, cross_fit, plan

N, D = 2000, 20


def gaussian(d_prime, seed, n=N):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % 2)
    features = rng.normal(size=(n, D))
    features[:, 3] += d_prime * labels
    return features, labels


def test_nothing_is_detected_where_there_is_nothing(key):
    detection = detect(key, *gaussian(0.0, 0))
    assert abs(float(detection.mi)) < 0.01
    assert abs(float(detection.accuracy) - 0.5) < 3 * 0.5 / np.sqrt(N)  # three standard errors of a fair coin


@pytest.mark.parametrize("fixture", ["bin_gauss_d1.0", "bin_gauss_d1.0_pi0.2"])
def test_gaussian_information_and_accuracy(fixture, key):
    case = TRUTH[fixture]
    detection = detect(key, *gaussian(case["dprime"], 1), prior=case["pi"])
    assert abs(float(detection.mi) - case["mi"]) < 3 * float(detection.mi_stderr)
    assert abs(float(detection.accuracy) - case["bayes_acc"]) < 3 * float(detection.accuracy_stderr) + 0.005
    assert 0.3 < float(detection.kl_nats) < 0.7  # truth 0.5; its standard error here is about 0.06
    assert 0.3 < float(detection.kl_plug_in_nats) < 0.7


def test_a_difference_in_variance_alone_is_detected(key):
    rng = np.random.default_rng(2)
    labels = np.arange(N) % 2
    features = rng.normal(size=(N, D))
    features[:, 0] *= np.where(labels == 1, 2.0, 1.0)
    detection = detect(key, features, labels)
    assert float(detection.mi) > 0.5 * 0.0927334  # the exact value; a linear detector reads 0, the network alone 0.003
    assert float(detection.mi) < 0.0927334 + 3 * float(detection.mi_stderr)


def test_an_episodes_own_label_has_no_part_in_its_score(key):
    spec = DetectorSpec(n_folds=3, hidden=(8,), n_steps=40)
    features, labels = gaussian(1.0, 3, n=120)
    design = plan(key, labels, D, spec)

    def fit(z):
        return np.asarray(cross_fit(design, jnp.asarray(features, jnp.float32), jnp.asarray(z), 0.5, spec))

    for i in range(3):
        in_fold = np.asarray(design.fold) == i
        assert set(np.flatnonzero(in_fold)).isdisjoint(np.asarray(design.rows[i]).ravel())
        assert set(np.asarray(design.validation[i])).isdisjoint(np.asarray(design.fitting[i]))
    in_fold = np.asarray(design.fold) == 1
    honest, lied = fit(labels), fit(np.where(in_fold, 1 - labels, labels))
    np.testing.assert_array_equal(honest[in_fold], lied[in_fold])
    assert np.abs(honest - lied)[~in_fold].max() > 1e-2


def test_a_share_of_the_training_episodes_and_penalties_of_ones_own(key):
    spec = DetectorSpec(n_folds=2, hidden=(4,), n_steps=0, n_checks=1)
    features, labels = gaussian(0.0, 4, n=120)
    whole, half = (plan(key, labels, D, dataclasses.replace(spec, training_share=share)) for share in (1.0, 0.5))
    np.testing.assert_array_equal(whole.fold, half.fold)
    assert whole.fitting.shape[1] + whole.validation.shape[1] == 60
    assert half.fitting.shape[1] + half.validation.shape[1] == 30

    def fit(ridges):
        x, z = jnp.asarray(features, jnp.float32), jnp.asarray(labels)
        return np.asarray(cross_fit(whole, x, z, 0.5, dataclasses.replace(spec, ridges=ridges)))

    assert fit((1e3, math.inf)).std() < 0.1
    assert fit((1e-3,)).std() > 0.5, "noise fitted without a choice"


def test_summary_by_hand():
    log_ratio = jnp.log(jnp.array([3.0, 1.0 / 3.0, 3.0, 1.0 / 3.0]))
    summary = summarise(log_ratio, jnp.array([1, 1, 0, 0]), 0.5)
    pointwise = [np.log(1.5), np.log(0.5), np.log(0.5), np.log(1.5)]
    np.testing.assert_allclose(summary.mi, np.mean(pointwise), atol=1e-6)
    spread = np.var(pointwise[:2], ddof=1) / 2
    np.testing.assert_allclose(summary.mi_stderr, np.sqrt(0.25 * spread + 0.25 * spread), rtol=1e-5)
    np.testing.assert_allclose(summary.accuracy, 0.5)
    np.testing.assert_allclose(summary.kl_plug_in_nats, 0.0, atol=1e-6)
    np.testing.assert_allclose(summary.kl_nats, -np.log((3 + 1 / 3) / 2), atol=1e-6)


def test_impossible_estimates_and_bad_input_are_errors(key):
    check_below_entropy(0.70, 0.01, 0.5)
    check_below_entropy(0.6931473016738892, 3.3e-8, 0.5)  # all told apart, as float32 adds it up
    with pytest.raises(ValueError, match="above H"):
        check_below_entropy(0.73, 0.01, 0.5)
    with pytest.raises(ValueError, match="above H"):
        check_below_entropy(float("nan"), 0.01, 0.5)
    features, labels = gaussian(0.0, 0, n=40)
    with pytest.raises(ValueError, match="finite"):
        detect(key, np.where(features > 1, np.nan, features), labels)
    with pytest.raises(ValueError, match="0 or 1"):
        detect(key, features, labels + 1)
    with pytest.raises(ValueError, match="at least 10 episodes of each class"):
        detect(key, features, np.zeros(40))
    with pytest.raises(ValueError, match="features"):
        detect(key, features[:, 0], labels)
