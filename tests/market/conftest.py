"""One small market shared by the tests of this folder: few shapes, so few compilations."""

import functools

import jax
import jax.numpy as jnp
import pytest

from amarl_jax.learn.players import Players, PriorBelief
from amarl_jax.learn.rollout import rollouts
from amarl_jax.market.env import Market
from amarl_jax.market.params import EnvParams, MarketSpec
from amarl_jax.policies.mimic import Mimic
from amarl_jax.policies.uniform import Uniform
from amarl_jax.trees import as_arrays
from amarl_jax.types import Agent

SPEC = MarketSpec(
    horizon=24, book_capacity=48, max_noise_orders=8, max_order_size=20, n_levels=4, n_tape_events=6, initial_levels=3
)
PARAMS = EnvParams(
    noise_rate=3.0,
    slot_rate=0.3,
    parent_lots=12,
    maker_inventory_limit=15,
    arbitrageur_position_limit=10,
    value_target_ticks=10.0,
    value_reversion=0.2,
    news_speed=0.3,
    max_spread_ticks=5,
)


@pytest.fixture(scope="session")
def market():
    return Market(SPEC)


@pytest.fixture(scope="session")
def params():
    return as_arrays(PARAMS)


@functools.cache
def compiled_rollouts(execution: str):
    """Batched episodes of one execution policy against random maker and arbitrageur; params are traced."""
    policy = {"mimic": Mimic(SPEC), "uniform": Uniform(SPEC, Agent.EXECUTION)}[execution]
    everyone = Players(policy, Uniform(SPEC, Agent.MAKER), Uniform(SPEC, Agent.ARBITRAGEUR))
    return jax.jit(lambda keys, z, params: rollouts(keys, Market(SPEC), everyone, PriorBelief(), z, params))


@pytest.fixture(scope="session")
def random_episodes(params):
    """2048 episodes of random play, both classes."""
    keys = jax.random.split(jax.random.key(1), 2048)
    return compiled_rollouts("uniform")(keys, jnp.arange(2048) % 2, params)
