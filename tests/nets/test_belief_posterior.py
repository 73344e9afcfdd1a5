"""A small belief trained on a law of known posterior; all laws, larger: experiments/calibration/posterior.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amarl_jax.information import mine
from amarl_jax.information.calibration import expected_calibration_error
from amarl_jax.nets.spec import BeliefSpec
from tests.information.laws import TRUTH
from tests.nets.known_posteriors import Training, episodes, read, train

LAW = "seq_gauss_d0.5_T10"
TRAINING = Training(n_steps=2000, batch=32, learning_rate=1e-2, beta_entropy=0.35)  # biased enough to see it undone


@pytest.fixture(scope="module")
def beliefs():
    """Belief, de-biased belief, exact posterior [n, T] and z [n] of 12,000 fresh episodes."""
    spec = BeliefSpec(d_model=16, n_heads=2, n_layers=1, d_ff=32)
    model, parameters = train(LAW, jax.random.key(1), spec, TRAINING)
    return read(model, parameters, LAW, jax.random.key(2), 12, 1000, TRAINING.beta_entropy)


def test_the_debiased_belief_is_the_posterior_at_every_prefix(beliefs):
    belief, posterior, exact, _ = beliefs
    errors = np.abs(posterior - exact).mean(axis=0)
    assert errors.max() < 0.03
    assert np.abs(belief - exact).mean(axis=0)[-1] > 0.05  # what the entropy bonus costs
    assert np.abs(0.5 - exact).mean(axis=0)[-1] > 0.2  # there was something to learn


def test_the_debiased_belief_is_calibrated_at_every_prefix(beliefs):
    belief, posterior, _, z = beliefs
    errors = [expected_calibration_error(np.float64(column), z) for column in posterior.T]
    assert max(errors) < 0.02 + 0.012  # the noise of 12,000 episodes in 10 bins
    assert expected_calibration_error(np.float64(belief[:, -1]), z) > 0.05


def test_increments_of_a_trained_belief_telescope(beliefs):
    posterior = beliefs[1]
    inside = posterior[((posterior > mine.POSTERIOR_MIN) & (posterior < mine.POSTERIOR_MAX)).all(axis=1)]
    assert len(inside) > 5000
    increments = jax.jit(jax.vmap(lambda row: mine.leakage_increments(jnp.log(row), 0.5)))(inside)
    whole = 0.5 * np.log(inside[:, -1].astype(np.float64) / 0.5)
    np.testing.assert_allclose(np.sum(increments, axis=1), whole, atol=1e-5)


@pytest.mark.parametrize("name", ["seq_gauss_d0.5_T10", "seq_bern_0.55_T10", "seq_pois_T5", "seq_ar1_phi0.3_T20"])
def test_posteriors_of_the_laws_are_those_of_their_tapes(name):
    """Calibrated, and as informative as the fixture says: ``E log p(z | F) / p(z)`` is I(z; F)."""
    n = 20_000
    _, exact, z = jax.jit(episodes, static_argnums=(0, 2))(name, jax.random.key(3), n)
    exact, z = np.asarray(exact, np.float64), np.asarray(z)
    gained = np.log(2 * np.where(z[:, None] == 1, exact, 1 - exact))[:, -1]
    assert gained.mean() == pytest.approx(TRUTH[name]["mi"], abs=4 * gained.std() / np.sqrt(n))
    assert expected_calibration_error(exact[:, -1], z) < 0.02
