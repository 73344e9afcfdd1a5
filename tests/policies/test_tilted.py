"""The trader that tilts the noise law: untrained it is that law, bit for bit; trained it draws from its own."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amarl_jax.learn.experience import market_experience
from amarl_jax.learn.game import Game
from amarl_jax.learn.hypers import Hypers, LearnSpec
from amarl_jax.learn.hypers import as_arrays as hypers_as_arrays
from amarl_jax.learn.rollout import Players, PriorBelief, rollouts
from amarl_jax.learn.state import init_state
from amarl_jax.market.env import Market
from amarl_jax.market.noise import orders
from amarl_jax.market.params import as_arrays
from amarl_jax.market.table_noise import TableNoise
from amarl_jax.nets.spec import NetworkSpec
from amarl_jax.policies.constant_spread import ConstantSpread
from amarl_jax.policies.learned import actor, learned_policy
from amarl_jax.policies.value_rule import ValueRule
from amarl_jax.posterior.filter import BUYS, NOISE, Reader
from amarl_jax.testing import check_policy
from amarl_jax.types import Agent
from tests.information.test_brute_force import PARAMS, SPEC
from tests.market.test_table_noise import settings
from tests.posterior.games import ENOUGH

NETWORK = NetworkSpec(execution_hidden=(8,), execution_head="tilt")
LAWS = {"table": TableNoise(), "beta": orders}
N_EPISODES = 60


def constants(law, seed=0):
    """Of a market with this noise law; the seed is the table's."""
    return settings(0, seed) if law == "table" else as_arrays(PARAMS)


def game(law):
    return Game(SPEC, NETWORK, LearnSpec(n_envs=8, n_minibatches=2, belief_microbatch=4), noise_law=LAWS[law])


@functools.cache
def fresh(law):
    """The untrained learner's parameters, told to act as often as the slot at z = 0 and evenly."""
    params = constants(law)
    hypers = hypers_as_arrays(Hypers(start_gate=params.slot_rate, start_along=0.5))
    return init_state(jax.random.key(0), game(law), hypers, params).agents.execution.params


def tilted(parameters, law, deterministic=False):
    return learned_policy(Agent.EXECUTION, parameters, NETWORK, SPEC, deterministic, LAWS[law])


def trained(law):
    """Parameters that hang on the state, as after training."""
    rng = np.random.default_rng(5)
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(0.0, 0.5, x.shape), x.dtype), fresh(law))


@functools.cache
def _play(law):
    market = Market(SPEC, LAWS[law], keeps_records=True)

    def play(parameters, keys, z, params):
        players = Players(tilted(parameters, law), ConstantSpread(1.5, 0.7), ValueRule())
        return rollouts(keys, market, players, PriorBelief(), z, params)

    return jax.jit(chex.assert_max_traces(play, n=1))


def played(law, parameters, z, seed=0):
    keys = jax.random.split(jax.random.key(3), N_EPISODES)
    return _play(law)(parameters, keys, jnp.full(N_EPISODES, z, jnp.int32), constants(law, seed))


@pytest.mark.parametrize("law", LAWS)
def test_untrained_it_leaves_no_trace_whatever_the_table(law):
    for seed in (0, 1) if law == "table" else (0,):
        noise, informed = (played(law, fresh(law), z, seed) for z in (0, 1))
        chex.assert_trees_all_equal(noise.output, informed.output)
    after = played(law, trained(law), 1, seed)
    assert not np.array_equal(after.output.tape.size_lots, informed.output.tape.size_lots), "one that learned is seen"


@pytest.mark.parametrize("law", LAWS)
def test_untrained_it_is_read_as_noise_and_nothing_else(law):
    """Its exact information is 0: the filters of both traders and that of noise are one, bit for bit."""
    reader = Reader(tilted(fresh(law), law), LAWS[law], SPEC, ENOUGH)
    record = jax.tree.map(lambda x: x[:20], played(law, fresh(law), 1).output.record)
    find = jax.jit(jax.vmap(lambda key, one: reader.likelihoods(key, one, constants(law)).of_orders))
    of_orders = find(jax.random.split(jax.random.key(1), 20), record)
    np.testing.assert_array_equal(of_orders[..., BUYS], of_orders[..., NOISE])
    assert np.ptp(of_orders[:, -1, NOISE]) > 0.5, "the records say something of the slot"


@pytest.mark.parametrize("law", LAWS)
def test_it_draws_from_its_law_untrained_trained_and_in_its_mode(law):
    for policy in (tilted(fresh(law), law), tilted(trained(law), law), tilted(trained(law), law, deterministic=True)):
        check_policy(policy, spec=SPEC, params=constants(law))


def test_ppo_scores_what_was_drawn_as_it_was_drawn():
    """From features and the noise law alone, trained or not."""
    for parameters in (fresh("table"), trained("table")):
        episodes = played("table", parameters, 1)
        experience = market_experience(
            episodes, jnp.zeros((*episodes.belief.shape, 3)), game("table"), constants("table")
        )
        network, (cells,) = actor(Agent.EXECUTION, NETWORK), experience.beside[Agent.EXECUTION]

        def score(seen, latents, parameters=parameters, network=network, cells=cells):
            return network.apply(parameters, seen, cells).log_prob(latents)

        scored = jax.jit(jax.vmap(jax.vmap(score)))(experience.seen[0], experience.latents[0])
        np.testing.assert_allclose(scored, experience.log_prob[0], atol=2e-5)


def test_features_alone_decide_as_the_view_does():
    policy = tilted(trained("table"), "table")
    episodes = played("table", trained("table"), 1)
    features = episodes.execution_seen[:, 1].reshape(N_EPISODES, -1)
    decide = jax.jit(jax.vmap(lambda key, seen: policy.decide(key, seen, constants("table")).action))
    actions = decide(jax.random.split(jax.random.key(5), N_EPISODES), features)
    assert actions.shape == (N_EPISODES, 3)
    assert 0 < float((actions[:, 0] != 0).mean()) <= 1


def test_the_first_policy_acts_as_often_as_it_is_told():
    params = constants("table")
    hypers = hypers_as_arrays(Hypers(start_gate=0.7, start_along=0.9))
    parameters = init_state(jax.random.key(0), game("table"), hypers, params).agents.execution.params
    slot = jax.tree.map(np.asarray, played("table", parameters, 1).output.slot)
    assert slot.acts.mean() == pytest.approx(0.7, abs=0.1)
