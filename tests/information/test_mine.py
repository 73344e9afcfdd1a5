import jax
import jax.numpy as jnp
import numpy as np

from amarl_jax.information import mine

LABELS = jnp.array([0, 1, 1, 0, 1, 1])


def test_donsker_varadhan_by_hand():
    scores = jnp.log(jnp.array([[1.0, 2.0], [4.0, 3.0]]))
    bound = mine.donsker_varadhan(scores, jnp.array([0, 1]), 0.25)
    joint = 0.75 * np.log(1.0) + 0.25 * np.log(3.0)  # z = 0 saw the first row, z = 1 the second
    partition = 0.75 * (0.75 * 1 + 0.25 * 2) + 0.25 * (0.75 * 4 + 0.25 * 3)
    np.testing.assert_allclose(bound, joint - np.log(partition), rtol=1e-6)


def test_weights_restore_the_prior():
    weights = mine.episode_weights(LABELS, 0.3)
    np.testing.assert_allclose(jnp.sum(jnp.where(LABELS == 1, weights, 0.0)), 0.3, rtol=1e-6)
    np.testing.assert_allclose(mine.episode_weights(jnp.ones(4, jnp.int32), 0.3), 0.25)


def test_positions_are_kept_apart(key):
    scores = jax.random.normal(key, (6, 5, 2))
    together = mine.donsker_varadhan(scores, LABELS, 0.5)
    apart = [mine.donsker_varadhan(scores[:, t], LABELS, 0.5) for t in range(5)]
    np.testing.assert_allclose(together, jnp.stack(apart), atol=1e-6)


def test_the_moving_average_of_a_constant_partition_is_that_constant_from_the_first_step(key):
    scores = jax.random.normal(key, (6, 3, 2))
    state = mine.init_mine((3,))
    expected = mine.log_partition(scores, LABELS, 0.5)
    for n in range(1, 4):
        _, state = mine.mine_loss(scores, LABELS, 0.5, state, 0.99)
        np.testing.assert_allclose(state.log_partition_ema, expected, atol=1e-6)
        np.testing.assert_array_equal(state.n_updates, [n] * 3)


def test_the_gradient_divides_by_the_bias_corrected_moving_average(key):
    key_first, key_second = jax.random.split(key)
    first, second = jax.random.normal(key_first, (6, 2)), 1.0 + jax.random.normal(key_second, (6, 2))
    _, state = mine.mine_loss(first, LABELS, 0.5, mine.init_mine(), 0.9)
    gradient = jax.grad(lambda s: mine.mine_loss(s, LABELS, 0.5, state, 0.9)[0])(second)
    weights = np.asarray(mine.episode_weights(LABELS, 0.5))
    z = [float(np.sum(weights[:, None] * 0.5 * np.exp(np.asarray(s)))) for s in (first, second)]
    ema = (0.9 * 0.1 * z[0] + 0.1 * z[1]) / (1 - 0.9**2)  # zero-started average over its own weight
    joint = weights[:, None] * np.eye(2)[np.asarray(LABELS)]
    expected = weights[:, None] * 0.5 * np.exp(np.asarray(second)) / ema - joint
    np.testing.assert_allclose(gradient, expected, atol=1e-6)


def test_the_first_gradient_is_that_of_the_bound(key):
    scores = jax.random.normal(key, (6, 2))
    loss = jax.grad(lambda s: mine.mine_loss(s, LABELS, 0.5, mine.init_mine(), 0.99)[0])(scores)
    bound = jax.grad(lambda s: mine.donsker_varadhan(s, LABELS, 0.5))(scores)
    np.testing.assert_allclose(loss, -bound, atol=1e-6)


def test_scores_far_out_stay_finite():
    scores = jnp.array([[-300.0, -310.0], [-305.0, -300.0]])
    state = mine.init_mine()
    for shift in (0.0, 600.0):  # partitions e-300 then e+300, both outside float32
        loss, state = mine.mine_loss(scores + shift, jnp.array([0, 1]), 0.5, state, 0.99)
        assert np.isfinite(loss)
        assert np.isfinite(state.log_partition_ema)


def test_posterior_is_bayes_and_ignores_what_depends_on_f_alone():
    log_ratio = jnp.array([-2.0, 0.0, 3.0])
    scores = jnp.stack([jnp.array([5.0, -1.0, 2.0]), jnp.array([5.0, -1.0, 2.0]) + log_ratio], axis=-1)
    expected = 0.3 * np.exp(log_ratio) / (0.7 + 0.3 * np.exp(log_ratio))
    np.testing.assert_allclose(jnp.exp(mine.log_posterior(scores, 0.3)[:, 1]), expected, rtol=1e-5)


def test_entropy_of_the_prior():
    np.testing.assert_allclose(mine.prior_entropy(0.5), np.log(2), rtol=1e-6)
    np.testing.assert_allclose(mine.prior_entropy(jnp.array([0.25, 0.75, 0.0])), 0.5623351, rtol=1e-6)


def test_increments_by_hand_clip_and_telescope():
    posterior = jnp.array([0.6, 0.5, 0.999, 0.001])
    increments = mine.leakage_increments(jnp.log(posterior), 0.3)
    levels = np.log([0.3, 0.6, 0.5, 0.98, 0.02])
    np.testing.assert_allclose(increments, 0.3 * np.diff(levels), atol=1e-6)
    np.testing.assert_allclose(jnp.sum(increments), 0.3 * np.log(0.02 / 0.3), atol=1e-6)
    np.testing.assert_allclose(
        mine.leakage_levels(jnp.log(posterior), 0.3), 0.3 * (levels[1:] - levels[0]) / 4, atol=1e-6
    )
    certain = mine.leakage_increments(jnp.array([-jnp.inf, 0.0]), 0.5)  # P = 0, then P = 1
    np.testing.assert_allclose(certain, 0.5 * np.log([0.02 / 0.5, 0.98 / 0.02]), atol=1e-6)


def test_leakage_is_never_differentiated_through():
    for credit in (mine.leakage_increments, mine.leakage_levels):
        gradient = jax.grad(lambda x, credit=credit: jnp.sum(credit(x, 0.5) * jnp.arange(3.0)))(-jnp.ones(3))
        np.testing.assert_array_equal(gradient, np.zeros(3))
