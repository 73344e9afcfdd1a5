"""What each step of a source is fitted to."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amarl_jax.learn.tape_readers import shares_of_classes


@pytest.mark.parametrize(("n_envs", "n_informed", "n_steps"), [(64, 32, 4), (128, 64, 16), (24, 7, 16), (100, 50, 16)])
def test_every_episode_is_seen_and_every_step_sees_both_classes(n_envs, n_informed, n_steps):
    z = jax.random.permutation(jax.random.key(0), jnp.arange(n_envs) < n_informed).astype(jnp.int32)
    parts = np.asarray(shares_of_classes(jax.random.key(1), z, n_steps))
    assert set(parts.ravel()) == set(range(n_envs))
    assert len(parts) <= n_steps
    informed = np.asarray(z)[parts].mean(axis=1)
    np.testing.assert_allclose(informed, n_informed / n_envs, atol=1.5 / parts.shape[1])
