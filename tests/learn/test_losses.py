import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amarl_jax.learn.losses import clipped_surrogate, masked_mean, value_loss

TOLERANCE = 1e-6  # float32 rounding of a mean over 64 numbers of order 1


def test_clipped_surrogate_and_gradient_equal_rlax(key):
    rlax = pytest.importorskip("rlax")
    key_new, key_old, key_advantage = jax.random.split(key, 3)
    new, old = 0.3 * jax.random.normal(key_new, (64,)), 0.3 * jax.random.normal(key_old, (64,))
    advantage = jax.random.normal(key_advantage, (64,))

    def ours(log_prob):
        return clipped_surrogate(log_prob, old, advantage, jnp.ones(64), 0.2)[0]

    def theirs(log_prob):
        return rlax.clipped_surrogate_pg_loss(jnp.exp(log_prob - old), advantage, 0.2)

    assert abs(float(ours(new) - theirs(new))) < TOLERANCE
    np.testing.assert_allclose(jax.grad(ours)(new), jax.grad(theirs)(new), atol=TOLERANCE)


def test_clipped_surrogate_by_hand():
    ratio = jnp.array([1.5, 0.5, 1.1, 7.0])
    advantage = jnp.array([1.0, -2.0, 3.0, jnp.nan])
    loss, aux = clipped_surrogate(jnp.log(ratio), jnp.zeros(4), advantage, jnp.array([1.0, 1.0, 1.0, 0.0]), 0.2)
    # min(1.5, 1.2) = 1.2;  min(-1, 0.8 * -2) = -1.6;  3.3
    np.testing.assert_allclose(loss, -(1.2 - 1.6 + 3.3) / 3, atol=TOLERANCE)
    np.testing.assert_allclose(aux.clip_fraction, 2 / 3, atol=TOLERANCE)
    kl = [r - 1 - np.log(r) for r in (1.5, 0.5, 1.1)]
    np.testing.assert_allclose(aux.approx_kl, np.mean(kl), atol=TOLERANCE)


def test_masked_and_extreme_entries_leave_loss_and_gradient_finite():
    new, old = jnp.array([0.0, jnp.nan, 200.0]), jnp.array([0.0, 0.0, -200.0])

    def loss(x):
        return clipped_surrogate(x, old, jnp.array([1.0, 1.0, -1.0]), jnp.array([1.0, 0.0, 1.0]), 0.2)[0]

    value, gradient = jax.value_and_grad(loss)(new)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
    assert gradient[1] == 0
    empty, _ = clipped_surrogate(new, old, jnp.ones(3), jnp.zeros(3), 0.2)
    assert empty == 0


def test_value_loss_and_weighted_mean_by_hand():
    value = jnp.array([[1.0, 7.0], [5.0, 7.0], [0.0, 3.0]])
    target = jnp.array([[0.0, 7.0], [0.0, 7.0], [2.0, 0.0]])
    loss = value_loss(value, target, jnp.array([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]]))
    np.testing.assert_allclose(loss, [2.5, 9.0], atol=TOLERANCE)
    weights = jnp.array([0.1, 0.3])
    np.testing.assert_allclose(masked_mean(jnp.array([1.0, 3.0]), weights), 2.5, atol=TOLERANCE)
    rows = jnp.array([[1.0, 3.0], [0.0, -4.0]])
    np.testing.assert_allclose(masked_mean(rows, weights), [2.5, -3.0], atol=TOLERANCE)
