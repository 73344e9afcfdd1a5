import dataclasses

import jax
import numpy as np
import pytest

from amarl_jax.ground_truth.laws import TRUTH, sample
from amarl_jax.information import EstimateSpec, estimate, estimators
from amarl_jax.information.parts import divide

SMALL = EstimateSpec(n_folds=2, hidden=(32,), n_embedding=16, n_steps=300, n_checks=10, learning_rate=5e-3)
PAIRS = dataclasses.replace(SMALL, n_steps=400, linear_fraction=0.5)
N = 4000


def of_law(name, key, n=N, spec=SMALL, **settings):
    return estimate(*sample(TRUTH[name], np.random.default_rng(5), n), key=key, spec=spec, **settings)


def assert_near(result, truth, share=0.0):
    """Within 0.02 nats, or 3 of its own standard errors; above by no more than the latter."""
    assert abs(result.value - truth) < max(0.02, 3 * result.stderr, share * truth)
    assert result.value < truth + 3 * result.stderr + 1e-6


@pytest.mark.parametrize("name", ["bin_gauss_d1.0", "poisson_6.0_4.0", "bern_0.9_0.5", "expon_2.0_1.0"])
def test_labels_on_laws_of_known_information(name, key):
    result = of_law(name, key)
    assert_near(result, TRUTH[name]["mi"])
    assert result.stderr < 0.02
    assert result.estimator == "mine"


@pytest.mark.parametrize("name", ["bin_gauss_d0", "poisson_3.0_3.0", "bern_0.5_0.5", "expon_1.0_1.0"])
def test_null_cases_read_zero_held_out(name, key):
    assert abs(of_law(name, key).value) < 0.01


def test_independent_pairs_read_zero_held_out(key):
    assert abs(of_law("gauss_rho0.0_d1", key, n=5000, spec=PAIRS).value) < 0.01


@pytest.mark.parametrize("name", ["gauss_rho0.3_d10", "gauss_rho0.9_d1"])
def test_continuous_pairs(name, key):
    """n = 5000: within 0.05 nats or 10%."""
    result = of_law(name, key, n=5000, spec=PAIRS)
    truth = TRUTH[name]["mi"]
    assert abs(result.value - truth) < max(0.05, 0.1 * truth)
    assert result.value < truth + 3 * result.stderr
    assert result.ceiling == pytest.approx(np.log(result.n_held_out / PAIRS.n_folds))


def test_no_episode_is_scored_by_a_critic_that_it_trained_or_stopped(key):
    labels = np.arange(1003) % 3 == 0
    folds, n_blocks = divide(key, labels, 1003, dataclasses.replace(SMALL, n_folds=5))
    assert n_blocks == 40
    for parts in folds:
        used = np.concatenate([parts.fitting, parts.validation, parts.held_out])
        assert np.array_equal(np.sort(used), np.arange(1003))  # each episode has one use in a fold
        assert np.isin(parts.training, parts.fitting).all()
        assert abs(labels[np.asarray(parts.held_out)].mean() - 1 / 3) < 0.01  # stratified
    held_out = np.concatenate([parts.held_out for parts in folds])
    assert np.unique(held_out).size == held_out.size == 1000  # once each, up to whole groups of the jackknife


def test_sequences_whose_marginals_are_identical(key):
    truth = TRUTH["seq_ar1_phi0.3_T20"]["mi"]
    spec = dataclasses.replace(SMALL, n_steps=120, batch_size=128)
    result = of_law("seq_ar1_phi0.3_T20", key, n=2400, spec=spec)
    assert result.value > 0.8 * truth
    assert result.value < truth + 3 * result.stderr


def test_size_and_log_size_share_their_information(key):
    z, size = sample(TRUTH["lognormal_size_0.5"], np.random.default_rng(6), N)
    on_size, on_log = (estimate(z, y, key=jax.random.clone(key), spec=SMALL) for y in (size, np.log(size)))
    assert_near(on_size, TRUTH["bin_gauss_d0.5"]["mi"])
    assert abs(on_size.value - on_log.value) < 0.01  # the same episodes: only the two fits differ


def test_student_t_with_one_degree_of_freedom(key):
    """Bivariate Cauchy at rho = 0.5: ln(2 / sqrt 3) + 0.2242 nats; moments do not exist. No quadratic form sees it."""
    rng = np.random.default_rng(7)
    x = rng.normal(size=(5000, 2)) @ np.linalg.cholesky([[1, 0.5], [0.5, 1]]).T
    x /= np.sqrt(rng.chisquare(1, size=(5000, 1)))
    spec = dataclasses.replace(PAIRS, hidden=(32, 32), n_steps=900, linear_fraction=1 / 3)
    result = estimate(x[:, 0], x[:, 1:], key=key, spec=spec)
    assert abs(result.value - 0.3680) < 0.1


def test_the_prior_is_the_estimands(key):
    z, y = sample(TRUTH["bin_gauss_d1.0"], np.random.default_rng(8), N)
    result = estimate(z, y, key=key, spec=SMALL, prior=0.2)
    assert_near(result, TRUTH["bin_gauss_d1.0_pi0.2"]["mi"])
    assert result.ceiling == pytest.approx(TRUTH["bin_gauss_d1.0_pi0.2"]["Hz"], abs=1e-5)


def test_overfitting_shows_in_the_gap_not_in_the_value(key):
    """400 episodes of 20 columns, d' = 2 in one: the critic claims more on its own episodes than on the others."""
    rng = np.random.default_rng(9)
    z = np.arange(400) % 2
    y = rng.normal(size=(400, 20))
    y[:, 0] += 2.0 * z
    result = estimate(z, y, key=key, spec=dataclasses.replace(SMALL, learning_rate=2e-3))
    curve = result.curve
    assert curve.validation[-1] < curve.validation.max() - 0.1
    assert result.training_gap > 0.03
    assert result.value < TRUTH["bin_gauss_d2.0"]["mi"] + 3 * result.stderr
    assert curve.step.shape == curve.training.shape == curve.validation.shape == (11,)


def test_standard_error_matches_the_spread_over_fresh_held_out_data(key):
    """Gaussian at d' = 1: the pointwise information has deviation 0.44, measured over the law by quadrature."""
    result = of_law("bin_gauss_d1.0", key)
    y = np.linspace(-8, 9, 20001)
    density = np.exp(-0.5 * (y[None] - np.array([[0.0], [1.0]])) ** 2) / np.sqrt(2 * np.pi)
    pointwise = np.log(density / density.mean(0))
    mean = np.sum(density * pointwise, axis=1) * (y[1] - y[0])
    variance = np.sum(density * pointwise**2, axis=1) * (y[1] - y[0]) - mean**2
    expected = np.sqrt(variance.mean() / result.n_held_out)
    assert 0.6 < result.stderr / expected < 1.5  # 40 groups: 11% of noise, and the critic is not the exact ratio


@dataclasses.dataclass(frozen=True)
class HalfTemperature(estimators.BarberAgakov):
    """Somebody's own: the posterior at half its log-odds."""

    name: str = "half_temperature"

    def bound(self, scores, labels, prior):
        return super().bound(0.5 * scores, labels, prior)


def test_a_users_own_estimator_is_a_few_lines(key, monkeypatch):
    monkeypatch.setattr(estimators, "REGISTRY", dict(estimators.REGISTRY))
    estimators.register(HalfTemperature())
    result = of_law("bin_gauss_d1.0", key, estimator="half_temperature")
    assert result.estimator == "half_temperature"
    assert_near(result, TRUTH["bin_gauss_d1.0"]["mi"])
    with pytest.raises(ValueError, match="exists already"):
        estimators.register(HalfTemperature())


def test_what_cannot_be_estimated_is_a_clear_error(key):
    y = np.random.default_rng(1).normal(size=(400, 2))
    z = np.arange(400) % 2
    for x, bad_y, settings, message in (
        (z[:-1], y, {}, "expected x"),
        (z, y[:, 0], {}, "expected x"),
        (z, np.where(y > 2, np.nan, y), {}, "finite"),
        (np.arange(400), y, {}, "pass floats"),
        (np.ones(400, int), y, {}, "one value only"),
        (z[:20], y[:20], {}, "too few"),
        ((np.arange(400) == 7).astype(int), y, {}, "every label needs"),
        (z, y, {"prior": np.array([0.5, 0.2, 0.3])}, "probabilities that sum to 1"),
        (z, y, {"prior": 0.0}, "positive probabilities"),
        (y, y, {"prior": 0.5}, "only be given for labels"),
        (z, y, {"n_folds": 1}, "at least 2"),
        (z, y, {"estimator": "mime"}, "unknown mutual-information estimator"),
    ):
        with pytest.raises(ValueError, match=message):
            estimate(x, bad_y, key=jax.random.clone(key), spec=SMALL, **settings)
