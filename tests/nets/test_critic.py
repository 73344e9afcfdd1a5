"""Head i must be blind to a_i, and to nothing else."""

import chex
import jax
import numpy as np

from amarl_jax.nets.critic import Critic

ACTION_SIZES = (5, 4, 1)


def test_value_i_depends_on_every_action_but_a_i(random_parameters):
    rng = np.random.default_rng(0)
    critic = Critic((32, 16), 8)
    state = rng.standard_normal(7).astype(np.float32)
    actions = tuple(rng.standard_normal(n).astype(np.float32) for n in ACTION_SIZES)
    parameters = random_parameters(critic, state, actions)

    def values(state, actions):
        value = critic.apply(parameters, state, actions)
        chex.assert_shape(value, (3,))
        return value

    by_state, by_action = jax.jit(jax.jacrev(values, argnums=(0, 1)))(state, actions)
    dependence = np.stack([np.abs(jacobian).sum(axis=1) for jacobian in by_action], axis=1)  # [value, action]
    np.testing.assert_array_equal(dependence > 0, ~np.eye(3, dtype=bool))
    assert (np.abs(by_state).sum(axis=1) > 0).all()
