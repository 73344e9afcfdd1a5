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
from amarl_jax.market.noise import orders, size_distribution
from amarl_jax.market.observe import execution_features
from amarl_jax.market.params import as_arrays
from amarl_jax.market.slot import as_sent, decode_action, noise_decision
from amarl_jax.market.table_noise import TableNoise
from amarl_jax.nets.spec import NetworkSpec
from amarl_jax.policies.constant_spread import ConstantSpread
from amarl_jax.policies.learned import actor, learned_policy
from amarl_jax.policies.mimic import noise_buys
from amarl_jax.policies.value_rule import ValueRule
from amarl_jax.posterior.filter import BUYS, NOISE, Reader
from amarl_jax.testing import check_policy
from amarl_jax.types import Agent
from tests.information.test_brute_force import PARAMS, SPEC
from tests.posterior import test_laws
from tests.posterior.games import ENOUGH
from tests.posterior.test_table_law import settings

NETWORK = NetworkSpec(execution_hidden=(8,), execution_head="tilt")
LAW = TableNoise()
GAME = Game(SPEC, NETWORK, LearnSpec(n_envs=8, n_minibatches=2, belief_microbatch=4), noise_law=LAW)
N_EPISODES = 40


@functools.cache
def started(gate=float(PARAMS.slot_rate), along=0.5):
    """The untrained learner's parameters, told to act as often as the slot at z = 0 and evenly, or otherwise."""
    hypers = hypers_as_arrays(Hypers(start_gate=gate, start_along=along))
    init = jax.jit(lambda key, h, p: init_state(key, GAME, h, p).agents.execution.params)
    return init(jax.random.key(0), hypers, settings(0))


@functools.cache
def trained():
    """Parameters that hang on the state, as after training."""
    rng = np.random.default_rng(5)
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(0.0, 0.5, x.shape), x.dtype), started())


def tilted(parameters, law=LAW, deterministic=False, spec=SPEC):
    return learned_policy(Agent.EXECUTION, parameters, NETWORK, spec, deterministic, law)


@functools.cache
def _play():
    market = Market(SPEC, LAW, keeps_records=True)

    def play(parameters, keys, z, params):
        players = Players(tilted(parameters), ConstantSpread(1.5, 0.7), ValueRule())
        return rollouts(keys, market, players, PriorBelief(), z, params)

    return jax.jit(chex.assert_max_traces(play, n=1))


def played(parameters, z, seed=0):
    """Episodes in a table's market; the seed is the table's."""
    keys = jax.random.split(jax.random.key(3), N_EPISODES)
    return _play()(parameters, keys, jnp.full(N_EPISODES, z, jnp.int32), settings(0, seed))


def test_untrained_it_leaves_no_trace_whatever_the_table():
    for seed in (0, 1):
        noise, informed = (played(started(), z, seed) for z in (0, 1))
        chex.assert_trees_all_equal(noise.output, informed.output)
    other = played(trained(), 1, 1)
    assert not np.array_equal(other.output.tape.size_lots, informed.output.tape.size_lots), "one that learned is seen"


def test_untrained_it_is_read_as_noise_and_nothing_else():
    """Its exact information is 0: the filters of both traders and that of noise are one, bit for bit."""
    reader = Reader(tilted(started()), LAW, SPEC, ENOUGH)
    record = played(started(), 1).output.record
    find = jax.jit(jax.vmap(lambda key, one: reader.likelihoods(key, one, settings(0)).of_orders))
    of_orders = find(jax.random.split(jax.random.key(1), N_EPISODES), record)
    np.testing.assert_array_equal(of_orders[..., BUYS], of_orders[..., NOISE])
    assert np.ptp(of_orders[:, -1, NOISE]) > 0.5, "the records say something of the slot"


@pytest.mark.parametrize("direction", [1, -1])
def test_untrained_it_decides_as_noise_does_in_the_beta_law_too(direction):
    params, spec = as_arrays(PARAMS), SPEC
    view = test_laws.view(direction, 0.5, 2, news_gap=1.3)
    depth = jnp.zeros(4 * spec.n_levels, jnp.float32)
    view = view.replace(public=view.public.replace(depth=depth))
    policy, size_cdf = tilted(started(), orders), size_distribution(params, spec.max_order_size)

    def both(key):
        action = policy.act(key, size_cdf, view, params)[1].action
        noise = noise_decision(jax.random.clone(key), noise_buys(view, params), size_cdf, params, spec, orders)
        return as_sent(decode_action(action, view.direction, spec)), as_sent(noise)

    ours, theirs = jax.jit(jax.vmap(both))(jax.random.split(jax.random.key(2), 2000))
    chex.assert_trees_all_equal(ours, theirs)
    assert 0.3 < float(ours.acts.mean()) < 0.7


def test_trained_it_draws_from_its_law_and_its_mode_is_certain():
    check_policy(tilted(trained()), spec=SPEC, params=settings(0))
    check_policy(tilted(trained(), deterministic=True), spec=SPEC, params=settings(0))


def test_ppo_scores_what_was_drawn_as_it_was_drawn():
    """From features and the noise law alone, trained or not."""
    network = actor(Agent.EXECUTION, NETWORK)

    def score(parameters, seen, latents, cells):
        return network.apply(parameters, seen, cells).log_prob(latents)

    scores = jax.jit(jax.vmap(jax.vmap(score, (None, 0, 0, None)), (None, 0, 0, None)))
    for parameters in (started(), trained()):
        episodes = played(parameters, 1)
        found = market_experience(episodes, jnp.zeros((*episodes.belief.shape, 3)), GAME, settings(0))
        scored = scores(parameters, found.seen[0], found.latents[0], *found.beside[0])
        np.testing.assert_allclose(scored, found.log_prob[0], atol=2e-5)
        assert np.ptp(found.log_prob[0]) > 0.5


def test_features_alone_decide_as_the_view_does():
    """What a loaded policy is given: the same draws of the same keys."""
    policy, params = tilted(trained()), settings(0)
    view = test_laws.view(-1, 0.5, 2, news_gap=1.3)
    view = view.replace(public=view.public.replace(depth=jnp.zeros(4 * SPEC.n_levels, jnp.float32)))

    def both(key):
        seen = policy.act(key, policy.init(params), view, params)[1].action
        return seen, policy.decide(jax.random.clone(key), execution_features(view), params).action

    np.testing.assert_array_equal(*jax.jit(jax.vmap(both))(jax.random.split(jax.random.key(5), 500)))


def test_the_first_policy_acts_as_often_as_it_is_told():
    loud = started(0.9, 0.95)
    episodes = jax.tree.map(np.asarray, played(loud, 1))
    sent = episodes.output.slot.acts
    assert sent.mean() == pytest.approx(0.9, abs=0.08)
    along = episodes.output.slot.side * episodes.direction[:, None] == 1
    assert along[sent].mean() == pytest.approx(0.95, abs=0.06)
