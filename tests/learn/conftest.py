"""One tiny game and its compiled programs, shared by the tests of this folder: compiling is what costs."""

import functools

import chex
import jax
import pytest

from amarl_jax.learn.game import Game
from amarl_jax.learn.hypers import Hypers, LearnSpec
from amarl_jax.learn.phases import play, play_and_learn
from amarl_jax.learn.setup import Setup
from amarl_jax.learn.state import init_state
from amarl_jax.market.params import EnvParams, MarketSpec
from amarl_jax.market.rewards import RewardWeights
from amarl_jax.nets.spec import BeliefSpec, NetworkSpec

MARKET = MarketSpec(horizon=10, book_capacity=32, max_noise_orders=4, n_levels=2, n_tape_events=4, initial_levels=3)
NETWORK = NetworkSpec(
    execution_hidden=(8,),
    maker_hidden=(8,),
    arbitrageur_hidden=(8,),
    critic_hidden=(8,),
    critic_head_hidden=4,
    statistics_hidden=(8,),
    predictor_hidden=4,
    belief=BeliefSpec(d_model=8, n_heads=2, n_layers=1, d_ff=8, max_seq_len=4),
)
LEARN = LearnSpec(
    n_envs=8,
    n_epochs=2,
    n_minibatches=2,
    execution_phase_steps=10,
    maker_arbitrageur_phase_steps=10,
    n_mine_steps=2,
    n_belief_steps=2,
    belief_microbatch=4,
    replay_capacity=16,
    replay_batch=4,
)
GAME = Game(MARKET, NETWORK, LEARN)


def tiny_setup():
    """What the tests of this folder train with."""
    params = EnvParams(noise_rate=2.0, slot_rate=0.3, parent_lots=10, max_spread_ticks=4)
    return Setup(Hypers(n_updates=10.0), RewardWeights(), params, GAME).arrays()


@pytest.fixture(scope="session")
def setup():
    return tiny_setup()


@pytest.fixture(scope="session")
def hypers(setup):
    return setup.hypers


@pytest.fixture(scope="session")
def start(setup):
    """A fresh learner; its key is cloned by whoever uses it, as every use consumes it."""
    return jax.jit(lambda key: init_state(key, setup))(jax.random.key(5))


def with_key(state, seed: int):
    """The learner with a key of the test's own."""
    return state.replace(key=jax.random.key(seed))


@functools.cache
def compiled_learning():
    """One rollout of the phase given as a traced number: the body of the update. It may be traced once only."""

    def learn(state, phase, setup):
        return play_and_learn(state, phase, setup)

    return jax.jit(chex.assert_max_traces(learn, n=1))  # counted by function: one of our own


@functools.cache
def compiled_play(n_envs: int):
    """Episodes of a learner as it stands."""
    return jax.jit(lambda key, state, setup: play(key, state, setup, n_envs))
