"""Uniform play fills each agent's range evenly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amarl_jax.policies.uniform import Uniform
from amarl_jax.types import Agent
from tests.market.conftest import SPEC

N = 4096
STANDARD_ERRORS = 5.0  # of a mean of N draws; a false alarm is a matter of one in a million


@pytest.fixture(scope="module")
def draws(params):
    """N actions of each agent."""

    def act(agent):
        policy = Uniform(SPEC, agent)
        keys = jax.random.split(jax.random.key(agent), N)
        return np.asarray(jax.vmap(lambda key: policy.act(key, policy.init(params), None, params)[1].action)(keys))

    return {agent: act(agent) for agent in Agent}


def assert_uniform(x, low, high):
    """Within the range, close to its ends, and with the mean and variance of a uniform law."""
    width = high - low
    assert low <= x.min() < low + 0.01 * width
    assert high - 0.01 * width < x.max() <= high
    assert abs(x.mean() - (low + high) / 2) < STANDARD_ERRORS * width / np.sqrt(12 * x.size)
    assert x.var() == pytest.approx(width**2 / 12, rel=0.1)


def test_the_execution_agent_abstains_half_of_the_time_and_is_uniform_else(draws):
    size, offset, logit = draws[Agent.EXECUTION].T
    acts = size != 0.0
    assert abs(acts.mean() - 0.5) < STANDARD_ERRORS * 0.5 / np.sqrt(N)
    assert_uniform(size[acts], -1.0, 1.0)
    assert_uniform(offset, SPEC.offset_min_ticks, SPEC.offset_max_ticks)
    assert_uniform(logit, -0.5, 0.5)


def test_the_maker_quotes_anywhere_in_its_range(draws, params):
    for column, high in enumerate([float(params.max_spread_ticks)] * 2 + [1.0] * 2):
        assert_uniform(draws[Agent.MAKER][:, column], 0.0, high)


def test_the_arbitrageur_buys_idles_and_sells_a_third_each(draws):
    assert draws[Agent.ARBITRAGEUR].shape == (N,)
    assert_uniform(draws[Agent.ARBITRAGEUR], -1.0, 1.0)


def test_the_marks_of_an_action_are_independent(draws):
    """Correlations of independent draws stay within 5 / sqrt(N)."""
    acts = draws[Agent.EXECUTION][:, 0] != 0.0
    for rows in (draws[Agent.MAKER], draws[Agent.EXECUTION][acts]):
        correlation = np.corrcoef(rows.T) - np.eye(rows.shape[1])
        assert np.abs(correlation).max() < STANDARD_ERRORS / np.sqrt(len(rows))


def test_nothing_is_remembered_of_a_draw(params):
    carry, decision = Uniform(SPEC, Agent.MAKER).act(jax.random.key(0), (), None, params)
    assert (carry, decision.latents, float(decision.log_prob)) == ((), (), 0.0)
    assert decision.action.dtype == jnp.float32
