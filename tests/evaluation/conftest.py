"""Episodes of scripted execution policies in the market of tests/market, as evaluation sees them."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from amarl_jax.evaluation.episodes import fresh_summaries
from amarl_jax.learn.players import Players, PriorBelief
from amarl_jax.market.env import Market
from amarl_jax.policies.mimic import Mimic
from amarl_jax.policies.protocol import Decision
from amarl_jax.policies.twap import Twap
from amarl_jax.policies.uniform import Uniform
from amarl_jax.types import Agent, Array
from tests.market.conftest import SPEC, params, random_episodes

__all__ = ["params", "random_episodes"]

N_EPISODES, BATCH = 2048, 1024


MIMIC, TWAP = Mimic(SPEC), Twap(SPEC, window=4)


@dataclasses.dataclass(frozen=True)
class MimicOrTwap:
    """Both policies in one program, a traced switch between them: two would be compiled twice."""

    hurries: Array  # [] bool

    def init(self, params):
        return MIMIC.init(params)

    def act(self, key, carry, view, params):
        carry, patient = MIMIC.act(key, carry, view, params)
        _, hurried = TWAP.act(key, (), view, params)
        return carry, Decision(jnp.where(self.hurries, hurried.action, patient.action), (), jnp.float32(0.0))


@pytest.fixture(scope="session")
def summaries(params):
    """2048 fresh episodes with the mimic and with a TWAP over four steps, against random maker and arbitrageur."""

    def play(key, hurries):
        others = Uniform(SPEC, Agent.MAKER), Uniform(SPEC, Agent.ARBITRAGEUR)
        players = Players(MimicOrTwap(hurries), *others)
        return fresh_summaries(key, Market(SPEC), players, PriorBelief(), params, N_EPISODES - 1, BATCH)

    compiled = jax.jit(play)
    return {
        "mimic": compiled(jax.random.key(31), jnp.bool_(False)),
        "twap": compiled(jax.random.key(32), jnp.bool_(True)),
    }
