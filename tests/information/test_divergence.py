import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amarl_jax.ground_truth.laws import TRUTH, sample
from amarl_jax.information import calibration, divergence
from amarl_jax.information.detector_fit import DetectorSpec, cross_fit, plan

SMALL = DetectorSpec(n_folds=3, hidden=(8,), n_steps=40, n_checks=4, batch_size=64)


def exact_log_ratio(rng, n, kl):
    """Gaussian episodes and their true log-ratio, at KL = d'^2 / 2."""
    d_prime = np.sqrt(2 * kl)
    labels = np.arange(n) % 2
    return d_prime * (rng.normal(d_prime * labels) - d_prime / 2), labels


def test_detector_divergences_of_a_gaussian(key):
    case = TRUTH["bin_gauss_d1.0"]
    z, y = sample(case, np.random.default_rng(2), 2000)
    y = np.concatenate([y, np.random.default_rng(3).normal(size=(2000, 2))], axis=1)
    result = divergence.trajectory_divergence(key, y, z, n_bootstrap=200, spec=SMALL)
    for interval, truth in (
        (result.kl_nats, case["kl_10"]),
        (result.kl_plug_in_nats, case["kl_10"]),
        (result.jensen_shannon_nats, case["mi"]),
        (result.total_variation, case["tv"]),
    ):
        assert interval.lower < interval.value < interval.upper
        spread = (interval.upper - interval.lower) / 4  # about one standard error
        assert abs(interval.value - truth) < 3.5 * spread


def test_the_prior_it_trains_at_and_the_class_counts_leave_the_kl(key):
    rng = np.random.default_rng(4)
    z = (np.arange(2000) < 500).astype(int)
    y = rng.normal(size=(2000, 1)) + z[:, None]
    result = divergence.trajectory_divergence(key, y, z, prior=0.2, n_bootstrap=100, spec=SMALL)
    assert abs(result.kl_nats.value - 0.5) < 0.2  # standard error 0.06; uncorrected it is off by ln 3 or ln 4
    assert abs(result.kl_plug_in_nats.value - 0.5) < 0.2


@pytest.mark.parametrize("kl", [0.5, 1.5])
def test_bootstrap_covers_the_kl_when_the_log_ratio_is_exact(kl, key):
    """60 replications; at a true coverage of 95% fewer than 50 is a chance of 1e-4."""
    rng = np.random.default_rng(5)
    keys, covered = jax.random.split(key, 60), 0
    for i in range(60):
        interval = divergence.bootstrap(keys[i], *exact_log_ratio(rng, 1000, kl), n_bootstrap=100).kl_nats
        covered += interval.lower < kl < interval.upper
    assert covered >= 50


def test_bootstrap_width_comes_from_both_classes(key):
    """The standard error of the plug-in is that of z = 1 alone; DV adds the partition's, from z = 0."""
    log_ratio, labels = exact_log_ratio(np.random.default_rng(6), 4000, 0.5)
    result = divergence.bootstrap(key, log_ratio, labels)
    plug_in = 1.0 / np.sqrt(2000)  # the log-ratio's deviation is d' = 1
    partition = np.sqrt((np.e - 1) / 2000)  # Var exp(log-ratio) = exp(d'^2) - 1 under z = 0
    for interval, expected in (
        (result.kl_plug_in_nats, plug_in),
        (result.kl_nats, np.hypot(plug_in, partition)),
    ):
        assert (interval.upper - interval.lower) / (2 * 1.96) == pytest.approx(expected, rel=0.15)
    with pytest.raises(ValueError, match="both classes"):
        divergence.bootstrap(jax.random.key(1), log_ratio, np.zeros(4000))


def test_what_a_fit_on_half_the_episodes_loses_raises_the_upper_limit_only(key):
    log_ratio, labels = exact_log_ratio(np.random.default_rng(6), 1000, 0.5)
    plain, extended, no_worse = (
        divergence.bootstrap(jax.random.key(1), log_ratio, labels, on_half, n_bootstrap=200)
        for on_half in (None, 0.5 * log_ratio, log_ratio)
    )
    loss = plain.kl_nats.value - divergence.bootstrap(key, 0.5 * log_ratio, labels, n_bootstrap=2).kl_nats.value
    assert loss > 0.05
    value, lower, upper = plain.kl_nats
    expected = value + loss + np.hypot(upper - value, 1.95996 * loss)
    np.testing.assert_allclose(extended.kl_nats, (value, lower, expected), rtol=1e-5)
    assert extended.total_variation.upper == plain.total_variation.upper  # halved log-ratios guess alike
    np.testing.assert_allclose(no_worse.kl_nats, plain.kl_nats, rtol=1e-6)
    silent = divergence.bootstrap(jax.random.key(2), np.zeros(40), np.arange(40) % 2, n_bootstrap=10)
    assert silent.kl_nats == (0.0, 0.0, 0.0)


def test_intervals_of_a_fitted_detector_cover_a_kl_that_the_fit_itself_cannot_reach():
    """40 replications of 300 episodes; fewer than 32 is a chance of 1% at a coverage of 90%."""
    n, kl, n_replications = 300, 0.125, 40
    rng, labels = np.random.default_rng(7), np.arange(300) % 2
    features = rng.normal(size=(n_replications, n, 5)).astype(np.float32)
    features[:, :, 2] += np.sqrt(2 * kl) * labels[None]
    spec = dataclasses.replace(divergence.LIGHT, n_folds=3, hidden=(4,), n_steps=20, n_checks=2, batch_size=64)
    log_ratios = []
    for share in (1.0, 0.5):
        each = dataclasses.replace(spec, training_share=share)
        plans = [plan(jax.random.key(i), labels, 5, each) for i in range(n_replications)]
        fit = jax.vmap(lambda design, x, each=each: cross_fit(design, x, jnp.asarray(labels), jnp.float32(0.5), each))
        log_ratios.append(np.asarray(fit(jax.tree.map(lambda *x: jnp.stack(x), *plans), features)))
    covered = np.zeros(2, int)
    for i, (full, half) in enumerate(zip(*log_ratios, strict=True)):
        for j, on_half in enumerate((half, None)):
            interval = divergence.bootstrap(jax.random.key(i), full, labels, on_half, n_bootstrap=100).kl_nats
            covered[j] += interval.lower <= kl <= interval.upper
    assert covered[0] >= 32
    assert covered[1] < covered[0] - 4  # percentiles alone cover what the detector found, which is less


EDGES = ([2.0, 4.0, 6.0], np.linspace(0.25, 0.75, 3), [0.5])


def orders(rng, n, tilt=0.0):
    size = np.searchsorted([0.3 + tilt, 0.6 + tilt, 0.8], rng.random(n)) * 2.0 + 1.0
    return np.stack([size, rng.random(n), rng.integers(0, 2, n)], axis=1)


def test_null_bias_of_the_histogram_kl():
    rng = np.random.default_rng(7)
    results = [divergence.histogram_divergence(orders(rng, 3000), orders(rng, 3000), EDGES) for _ in range(100)]
    assert all(result.n_bins == 32 for result in results)
    assert results[0].null_bias_nats == pytest.approx(31 / 3000)
    mean = np.mean([result.kl_nats for result in results])
    assert mean == pytest.approx(31 / 3000, rel=0.1)  # its standard error is 2.5%
    assert f"{31 / 3000:.4f} is null bias (32 bins)" in str(results[0])


def test_histogram_divergence_of_known_laws():
    rng = np.random.default_rng(8)
    p, q = np.array([0.4, 0.3, 0.1, 0.2]), np.array([0.3, 0.3, 0.2, 0.2])
    result = divergence.histogram_divergence(orders(rng, 200_000, tilt=0.1), orders(rng, 200_000), EDGES)
    assert result.kl_nats == pytest.approx(divergence.kl_divergence(p, q), abs=0.003)
    assert result.jensen_shannon_nats == pytest.approx(divergence.jensen_shannon(p, q), abs=0.001)
    assert result.total_variation == pytest.approx(0.1, abs=0.006)  # 32 bins add about 0.004 of noise


def test_discrete_divergences_by_hand():
    p, q = np.array([0.5, 0.5, 0.0]), np.array([0.25, 0.25, 0.5])
    assert divergence.kl_divergence(p, q) == pytest.approx(np.log(2))
    assert divergence.kl_divergence(q, p) == np.inf
    assert divergence.total_variation(p, q) == pytest.approx(0.5)
    assert divergence.jensen_shannon([1.0, 0.0], [0.0, 1.0]) == pytest.approx(np.log(2))
    for name in ("bern_0.9_0.5", "bern_0.6_0.5"):
        case = TRUTH[name]
        laws = [np.array([1 - case[f"q{z}"], case[f"q{z}"]]) for z in (0, 1)]
        assert divergence.jensen_shannon(*laws) == pytest.approx(case["mi"], abs=1e-6)
        assert divergence.kl_divergence(laws[1], laws[0]) == pytest.approx(case["kl_10"], abs=1e-6)
        assert divergence.total_variation(*laws) == pytest.approx(case["tv"], abs=1e-6)
    with pytest.raises(ValueError, match="sum to 1"):
        divergence.entropy([0.5, 0.6])


def test_flow_entropy_is_unbiased_to_first_order():
    rng = np.random.default_rng(9)
    truth = divergence.entropy([0.3, 0.3, 0.2, 0.2]) + np.log(4) + np.log(2)
    estimates = [divergence.flow_entropy(orders(rng, 400), EDGES) for _ in range(100)]
    assert np.mean(estimates) == pytest.approx(truth, abs=0.008)  # the plug-in alone is 31 / 800 = 0.039 too low
    with pytest.raises(ValueError, match="expected orders"):
        divergence.histogram(orders(rng, 5), EDGES[:2])


def test_brier_and_calibration_error():
    rng = np.random.default_rng(10)
    probability = rng.beta(2, 2, 20_000)
    z = rng.random(20_000) < probability
    assert calibration.brier(probability, z) == pytest.approx(0.2, abs=0.005)  # E p (1 - p) of Beta(2, 2)
    assert calibration.brier([0.0, 0.25, 1.0], [0, 1, 1]) == pytest.approx(0.5625 / 3)
    assert calibration.expected_calibration_error(probability, z) < 0.015  # noise: 0.8 sqrt(10 x 0.2 / 20000) = 0.008
    off = calibration.expected_calibration_error(np.minimum(probability + 0.1, 1.0), z)
    assert off == pytest.approx(0.1, abs=0.015)
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        calibration.brier([1.5], [1])


def test_accuracy_with_wilsons_interval():
    interval = calibration.accuracy(np.array([0.9] * 8 + [0.1] * 2), np.ones(10))
    np.testing.assert_allclose(interval, (0.8, 0.4902, 0.9433), atol=1e-4)  # Wilson (1927), 8 of 10
    assert calibration.accuracy(jnp.array([0.5, 0.5]), jnp.array([0, 1])).value == 0.5
