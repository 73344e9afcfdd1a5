"""``amarl_jax.load_policy``: what was trained, as a function."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import amarl_jax
from amarl_jax.errors import BadInput
from amarl_jax.policies.learned import actor
from amarl_jax.types import Agent

WIDTHS = {"execution": 4 * 3 + 12, "maker": 4 * 3 + 5 * 4 + 7, "arbitrageur": 4 * 3 + 7}
SHAPES = {"execution": (3,), "maker": (4,), "arbitrageur": ()}


@pytest.mark.parametrize("seat", list(Agent))
def test_a_loaded_policy_is_a_pure_function_of_key_and_observation(seat, workdirs):
    agent = seat.name.lower()
    policy = amarl_jax.load_policy(workdirs["run"], agent)
    observations = jax.random.normal(jax.random.key(1), (5, WIDTHS[agent]))
    actions = jax.jit(jax.vmap(policy))(jax.random.split(jax.random.key(2), 5), observations)
    chex.assert_shape(actions, (5, *SHAPES[agent]))
    chex.assert_trees_all_close(actions[3], policy(jax.random.split(jax.random.key(2), 5)[3], observations[3]))
    certain = amarl_jax.load_policy(workdirs["run"], agent, deterministic=True)
    modes = [certain(jax.random.key(seed), observations[0]) for seed in (0, 1)]
    np.testing.assert_array_equal(*modes)


def test_the_arbitrageur_of_a_lane_plays_that_lanes_parameters(workdirs):
    observation = jnp.linspace(-1.0, 1.0, WIDTHS["arbitrageur"])
    for lane in (0, 1):
        policy = amarl_jax.load_policy(workdirs["sweep"], "arbitrageur", lane, deterministic=True)
        spec = actor(Agent.ARBITRAGEUR, workdirs["network"])
        head = spec.apply(workdirs["states"][lane].agents[Agent.ARBITRAGEUR].params, observation)
        assert float(policy(jax.random.key(0), observation)) == pytest.approx(float(jnp.tanh(head.mode())), rel=1e-6)


def test_an_unknown_agent_is_bad_input(workdirs):
    with pytest.raises(BadInput, match="execution, maker, arbitrageur"):
        amarl_jax.load_policy(workdirs["run"], "noise")
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        amarl_jax.nothing  # noqa: B018
