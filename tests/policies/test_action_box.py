"""The box of actions: what it reaches, and the way into it."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amarl_jax.market.env import decode_quotes
from amarl_jax.market.slot import as_sent, decode_action
from amarl_jax.policies.action_box import ACTION_SIZES, decode, encode
from amarl_jax.types import Agent
from tests.market.conftest import PARAMS, SPEC, params

__all__ = ["params"]


def test_actions_of_the_box_reach_every_kind_of_order(params):
    def to(agent, *action):
        return np.asarray(decode(agent, jnp.array(action), params, SPEC)).tolist()

    assert to(Agent.EXECUTION, -0.1, 0.5, 0.0, 1.0)[0] == 0.0, "abstains"
    assert to(Agent.EXECUTION, 0.1, 0.5, -1.0, 1.0) == [0.5, -2.0, 1.0]
    assert to(Agent.EXECUTION, 0.1, -0.5, 9.0, -1.0) == [-0.5, 5.0, -1.0]
    assert to(Agent.MAKER, -1.0, 1.0, -1.0, 0.0) == [0.0, 5.0, 0.0, 0.5]
    assert to(Agent.ARBITRAGEUR, 7.0) == 1.0


@pytest.mark.parametrize("agent", list(Agent))
@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_what_is_not_finite_does_not_become_an_order(agent, wrong, params):
    for i in range(ACTION_SIZES[agent]):
        action = jnp.full(ACTION_SIZES[agent], -0.5).at[i].set(wrong)
        assert np.isnan(np.asarray(decode(agent, action, params, SPEC))).all()


def drawn_actions(agent, n=4096):
    """Public units over and beyond their ranges, abstentions and halves of a tick among them. [n, ...]."""
    draws = np.random.default_rng(3).uniform(-1.3, 1.3, (n, 4)).astype(np.float32)
    if agent == Agent.ARBITRAGEUR:
        return np.clip(draws[:, 0], -1, 1)
    if agent == Agent.MAKER:
        draws[:, :2] = np.round(draws[:, :2] * 16) / 2  # of 5 ticks
        draws[::3, 2:] = np.round(draws[::3, 2:] * 20) / 20  # halves of a lot, of 10
        return draws
    draws[::5, 0] = 0.0
    draws[:, 1] = np.round(draws[:, 1] * 12) / 2  # of -2 to 5 ticks
    return draws[:, :3]


@pytest.mark.parametrize("agent", list(Agent))
@pytest.mark.parametrize("widest", [5, 7, 10])
def test_an_action_that_went_through_the_box_sends_the_same_orders(agent, widest, params):
    """By the market's own reading of actions, not by the box's."""
    params = params.replace(max_spread_ticks=jnp.int32(widest))
    read = {
        Agent.EXECUTION: lambda x: as_sent(decode_action(x, jnp.int32(-1), SPEC)),
        Agent.MAKER: lambda x: decode_quotes(x, jnp.int32(1), params),
        Agent.ARBITRAGEUR: lambda x: x,
    }[agent]
    actions = jnp.asarray(drawn_actions(agent))

    @jax.jit
    @jax.vmap
    def both(action):
        boxed = encode(agent, action, params, SPEC)
        return boxed, read(action), read(decode(agent, boxed, params, SPEC))

    boxed, sent, played = both(actions)
    chex.assert_shape(boxed, (len(actions), ACTION_SIZES[agent]))
    assert np.abs(np.asarray(boxed)).max() <= 1.0
    chex.assert_trees_all_equal(sent, played)
    assert len(np.unique(np.asarray(boxed), axis=0)) > 50
    assert PARAMS.max_quote_lots == 10, "the halves above"
