import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amarl_jax.ground_truth.book_comparison import as_on
from amarl_jax.learn.returns import gae, normalise

TOLERANCE = 1e-6  # float32 rounding of a 40-step recursion on numbers of order 1


@pytest.mark.parametrize(("discount", "decay", "bootstrap"), [(1.0, 0.95, 0.0), (0.99, 0.95, 0.7), (0.9, 0.0, -1.0)])
def test_gae_equals_rlax(key, discount, decay, bootstrap):
    rlax = pytest.importorskip("rlax")
    key_reward, key_value = jax.random.split(key)
    reward, value = 0.1 * jax.random.normal(key_reward, (40,)), 0.1 * jax.random.normal(key_value, (40,))
    advantage, target = gae(reward, value, discount, decay, bootstrap)
    expected = rlax.truncated_generalized_advantage_estimation(
        reward, jnp.full(40, discount), decay, jnp.append(value, bootstrap)
    )
    np.testing.assert_allclose(advantage, expected, atol=TOLERANCE)
    np.testing.assert_allclose(target, expected + value, atol=TOLERANCE)


@pytest.mark.parametrize("platform", ["cpu", "cuda"])
def test_gae_by_hand(platform, monkeypatch):
    monkeypatch.setattr(jax.lax, "platform_dependent", as_on(platform))
    # d = (1 + .5*2 - 1, 0 + .5*4 - 2, 2 + .5*6 - 4) = (1, 0, 1); A = (1 + .25*.25, .25, 1)
    advantage, target = gae(jnp.array([1.0, 0.0, 2.0]), jnp.array([1.0, 2.0, 4.0]), 0.5, 0.5, 6.0)
    np.testing.assert_allclose(advantage, [1.0625, 0.25, 1.0], atol=TOLERANCE)
    np.testing.assert_allclose(target, [2.0625, 2.25, 5.0], atol=TOLERANCE)


def test_undiscounted_target_with_full_decay_is_the_reward_to_go():
    reward, value = jnp.array([0.5, -1.0, 3.0, 2.0]), jnp.array([9.0, -3.0, 1.0, 5.0])
    _, target = gae(reward, value, 1.0, 1.0)
    np.testing.assert_allclose(target, [4.5, 4.0, 5.0, 2.0], atol=TOLERANCE)


def test_no_gradient_flows_into_the_value():
    gradient = jax.grad(lambda v: sum(jnp.sum(x) for x in gae(jnp.ones(3), v, 0.9, 0.9)))(jnp.arange(3.0))
    np.testing.assert_array_equal(gradient, np.zeros(3))


def test_normalise_takes_each_column_by_itself_and_ignores_masked_entries():
    partly = jnp.array([1.0, jnp.nan, 3.0, 1e9]), jnp.array([1.0, 0.0, 1.0, 0.0])
    nothing = jnp.array([2.0, 5.0, 1.0, 0.0]), jnp.zeros(4)
    constant = jnp.full(4, 2.0), jnp.ones(4)
    x, mask = (jnp.stack(columns, axis=-1).reshape(2, 2, 3) for columns in zip(partly, nothing, constant, strict=True))
    normal = np.asarray(normalise(x, mask)).reshape(4, 3)
    np.testing.assert_allclose(normal[:, 0], [-1.0, 0.0, 1.0, 0.0], atol=TOLERANCE)
    np.testing.assert_array_equal(normal[:, 1:], np.zeros((4, 2)))
