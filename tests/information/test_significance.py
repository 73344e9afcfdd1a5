import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amarl_jax.information import planting, significance
from amarl_jax.information.detector_fit import DetectorSpec

SMALL = DetectorSpec(n_folds=2, hidden=(4,), n_steps=20, n_checks=2, batch_size=32)
N_EPISODES, N_STEPS = 40, 25


def separation(features, labels):
    """Absolute difference of the classes' means of the first column."""
    ones = labels.astype(features.dtype)
    one, zero = ones @ features[:, 0] / ones.sum(), (1 - ones) @ features[:, 0] / (1 - ones).sum()
    return jnp.abs(one - zero)


def test_pooling_steps_rejects_true_nulls_and_episodes_do_not(key):
    """Steps share their episode's level, which has nothing to do with z: half of step-level tests at 5% reject."""
    rng = np.random.default_rng(1)
    keys, n_tests = jax.random.split(key, (60, 2)), 60
    by_step, by_episode = np.zeros(n_tests), np.zeros(n_tests)
    labels = np.arange(N_EPISODES) % 2
    for i in range(n_tests):
        steps = rng.normal(size=(N_EPISODES, 1)) * 0.5 + rng.normal(size=(N_EPISODES, N_STEPS))
        for j, (p_value, x, z) in enumerate(
            ((by_episode, steps.mean(1)[:, None], labels), (by_step, steps.reshape(-1, 1), np.repeat(labels, N_STEPS)))
        ):
            p_value[i] = significance.permutation_test(keys[i, j], x, z, statistic=separation, n_permutations=99)
    assert np.mean(by_step <= 0.05) > 0.25
    assert np.mean(by_episode <= 0.05) <= 0.15  # 5% nominal; 10 or more of 60 is a chance of 1e-3


def test_size_of_the_detectors_permutation_test(key):
    """Small here, 40 tests at 10%: 10 or more rejections is a chance of 5e-3."""
    rng = np.random.default_rng(2)
    labels = np.arange(40) % 2
    p_values = [
        significance.permutation_test(k, rng.normal(size=(40, 2)), labels, n_permutations=19, spec=SMALL)
        for k in jax.random.split(key, 40)
    ]
    assert np.sum(np.array(p_values) <= 0.1) < 10
    assert np.unique(p_values).size > 5


def test_a_difference_is_rejected_and_named(key):
    rng = np.random.default_rng(3)
    labels = np.arange(200) % 2
    features = rng.normal(size=(200, 2)) + labels[:, None]
    verdict = significance.compare(key, features, labels, n_permutations=39, n_planted=8, spec=SMALL)
    assert verdict.p_value == pytest.approx(1 / 40)
    assert not verdict.not_rejected
    assert not verdict.bounded
    assert not verdict.indistinguishable
    assert str(verdict).startswith("distinguished")


def test_silence_of_a_weak_detector_is_not_equivalence(key):
    """60 episodes of 6 columns: nothing is found, nor is what was planted."""
    rng = np.random.default_rng(4)
    labels = np.arange(60) % 2
    verdict = significance.compare(key, rng.normal(size=(60, 6)), labels, n_permutations=39, n_planted=16, spec=SMALL)
    assert verdict.not_rejected
    assert not verdict.powered
    assert not verdict.indistinguishable
    assert str(verdict).startswith("undecided")


def test_all_three_parts_together(key):
    rng = np.random.default_rng(5)
    labels = np.arange(3000) % 2
    verdict = significance.compare(key, rng.normal(size=(3000, 1)), labels, n_permutations=19, n_planted=12, spec=SMALL)
    assert verdict.not_rejected
    assert verdict.bounded
    assert verdict.powered
    assert str(verdict).startswith("indistinguishable to this detector")
    assert verdict.recovered_nats < 0.02 + 3 * verdict.recovered_stderr


@pytest.mark.parametrize(("share", "prior"), [(0.5, 0.5), (0.25, 0.5), (0.25, 0.25)])
def test_what_is_planted_is_what_it_says(share, prior):
    """Information of the re-paired column at the prior, from a fine histogram; the episodes are all still there."""
    rng = np.random.default_rng(6)
    n = 400_000
    labels = (np.arange(n) < share * n).astype(int)
    column = rng.exponential(size=n)
    order = planting.planted_order(rng, column, labels, 0.02, prior)
    assert np.array_equal(np.sort(order), np.arange(n))
    bins = np.searchsorted(np.quantile(column, np.arange(1, 40) / 40), column[order])
    laws = np.stack([np.bincount(bins[labels == z], minlength=40) / np.sum(labels == z) for z in (0, 1)])
    weights = np.array([1 - prior, prior])
    information = np.sum(weights @ (laws * np.log(laws / (weights @ laws))))
    assert information == pytest.approx(0.02, abs=0.0008)  # 39 bins add 5e-5, binning takes 1e-4, noise is 3e-4


def test_what_cannot_be_planted_is_an_error(key):
    labels = np.arange(60) % 2
    with pytest.raises(ValueError, match="no column"):
        significance.compare(key, np.ones((60, 2)), labels, spec=SMALL)
    column = np.zeros(60)
    column[0] = 1.0
    with pytest.raises(ValueError, match="cannot be planted"):
        planting.planted_order(np.random.default_rng(1), column, labels, 0.3, 0.5)
