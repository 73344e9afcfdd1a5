"""The market as JaxMARL and a single agent see it: shapes, conventions, and rewards that are the core's."""

import dataclasses
import pickle

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amarl_jax.adapters.jaxmarl import MarketEnv
from amarl_jax.adapters.playable import Playable, PlayState
from amarl_jax.adapters.single_agent import SingleAgent, SingleState
from amarl_jax.information.mine import leakage_increments
from amarl_jax.learn.players import Players
from amarl_jax.learn.rollout import rollout, step_keys
from amarl_jax.market import rewards
from amarl_jax.market.env import Actions
from amarl_jax.market.rewards import RewardWeights
from amarl_jax.policies.uniform import Uniform
from amarl_jax.types import AGENT_NAMES, Agent
from tests.market.conftest import PARAMS, SPEC, market, params

__all__ = ["market", "params"]

T = SPEC.horizon
WIDTHS = {"execution": 4 * 4 + 12, "maker": 4 * 4 + 5 * 6 + 7, "arbitrageur": 4 * 4 + 7}


class CountingBelief:
    """More buys than sells so far make it surer; a belief that moves, for terms that need one."""

    def init(self, params):
        return jnp.float32(0.0)

    def read(self, memory, tape, time, params):
        memory = memory + 0.2 * jnp.sum(tape.side.astype(jnp.float32))
        return memory, jax.nn.sigmoid(memory), jnp.zeros(0)


PLAYABLE = Playable(SPEC, PARAMS, RewardWeights(), CountingBelief(), z=1)
UNIFORM = Players(*(Uniform(SPEC, agent) for agent in Agent))


@pytest.fixture(scope="module")
def replayed(market, params):
    """An episode of the core, and what the adapter pays when it plays the same actions with the same keys."""

    def both(key):
        episode = rollout(key, market, UNIFORM, CountingBelief(), jnp.int32(1), params)
        key_reset, key_steps = jax.random.split(key)
        start = PlayState(market.reset(key_reset, params, jnp.int32(1)), jnp.float32(0.0), params.informed_probability)

        def minute(state, xs):
            time, *actions = xs
            key_env = step_keys(key_steps, time)[0]
            state, paid, done, _ = PLAYABLE.step(key_env, state, Actions(*actions))
            return state, (paid, done)

        actions = (episode.execution.action, episode.maker.action, episode.arbitrageur.action)
        return episode, jax.lax.scan(minute, start, (jnp.arange(T), *actions))

    with jax.debug_key_reuse(False):  # the same keys twice are the point
        return jax.jit(both)(jax.random.key(3))


def test_rewards_of_single_steps_are_those_the_core_composes_of_the_whole_episode(replayed, params):
    episode, (final, (paid, done)) = replayed
    terms = rewards.market_terms(episode.output, episode.direction, params)
    leakage = leakage_increments(jnp.log(episode.belief), params.informed_probability)
    whole = rewards.compose(terms, episode.output, episode.z, episode.belief, leakage, jnp.zeros(T), RewardWeights())
    assert float(jnp.sum(jnp.abs(rewards.belief_lag(episode.output, episode.belief)))) > 0, "a term that is there"
    np.testing.assert_allclose(np.asarray(paid), np.asarray(whole), rtol=1e-5, atol=1e-6)  # float32 sums reordered
    assert done.tolist() == [False] * (T - 1) + [True]
    chex.assert_trees_all_equal(final.market, episode.final)


@pytest.fixture(scope="module")
def jaxmarl_episode():
    """A batch of four over an episode and one step: the last step of each resets."""
    env = MarketEnv(dataclasses.replace(PLAYABLE, z=None))

    def play(key):
        key_reset, key_steps = jax.random.split(key)
        seen, state = env.reset(key_reset)

        def minute(carry, time):
            key_act, key_step = jax.random.split(jax.random.fold_in(key_steps, time))
            keys = dict(zip(env.agents, jax.random.split(key_act, 3), strict=True))
            actions = {name: env.action_space(name).sample(keys[name]) for name in env.agents}
            out = env.step(key_step, carry, actions)
            return out[1], (*out, actions)

        return seen, jax.lax.scan(minute, state, jnp.arange(T + 1))[1]

    return env, jax.jit(jax.vmap(play))(jax.random.split(jax.random.key(5), 4))


def test_jaxmarl_key_sets_shapes_and_dtypes(jaxmarl_episode):
    env, (first, (seen, _, paid, dones, infos, actions)) = jaxmarl_episode
    assert env.agents == list(AGENT_NAMES)
    assert env.num_agents == 3
    for tree in (first, seen, paid, actions, env.observation_spaces, env.action_spaces):
        assert sorted(tree) == sorted(env.agents)
    assert sorted(dones) == sorted([*env.agents, "__all__"])
    for name in env.agents:
        assert env.observation_space(name).shape == (max(WIDTHS.values()) + 3,), "one width, and who it is"
        assert env.action_space(name).shape == (4,)
        chex.assert_shape(first[name], (4, *env.observation_space(name).shape))
        chex.assert_shape(seen[name], (4, T + 1, *env.observation_space(name).shape))
        chex.assert_shape([paid[name], dones[name]], (4, T + 1))
        chex.assert_type([seen[name], paid[name], dones[name]], [jnp.float32, jnp.float32, jnp.bool_])
        assert bool(env.action_space(name).contains(actions[name]))
        assert bool(env.observation_space(name).contains(seen[name])), "finite or infinite, not nan"
    chex.assert_tree_all_finite((seen, paid))
    chex.assert_shape(jax.tree.leaves(infos), (4, T + 1, 3))
    np.testing.assert_array_equal(np.asarray(first["maker"][:, -3:]), [[0.0, 1.0, 0.0]] * 4)


def test_jaxmarl_resets_itself_at_the_horizon_and_pays_execution_only_when_it_decides(jaxmarl_episode):
    _, (_, (seen, states, paid, dones, infos, _)) = jaxmarl_episode
    assert np.asarray(dones["__all__"]).tolist() == [[False] * (T - 1) + [True, False]] * 4
    assert np.asarray(states.market.time).tolist() == [[*range(1, T), 0, 1]] * 4
    np.testing.assert_array_equal(np.asarray(states.belief[:, T - 1]), 0.5)
    time_left = np.asarray(seen["arbitrageur"][:, T - 1, 4 * 4])
    np.testing.assert_array_equal(time_left, 1.0)
    z, execution = np.asarray(infos["z"])[:, :, 0], np.asarray(paid["execution"])
    assert set(z[:, 0]) == {0, 1}, "both classes are among the four"
    assert (execution[z == 0] == 0).all()
    assert (execution[z == 1] != 0).any()


def test_unpadded_environments_have_each_agents_own_width():
    env = MarketEnv(PLAYABLE, homogeneous=False)
    assert {name: space.shape[0] for name, space in env.observation_spaces.items()} == WIDTHS
    assert [space.shape for space in env.action_spaces.values()] == [(4,), (4,), (1,)]


@pytest.mark.default_emitters
def test_a_single_agent_in_its_seat_leaves_the_market_as_it_was_with_all_seats_inside(replayed, market, params):
    """The arbitrageur's actions from outside, the others from inside, with the keys of an episode of the core."""
    episode, (_, (paid, _)) = replayed
    env = SingleAgent(PLAYABLE, Agent.ARBITRAGEUR, UNIFORM)

    def play(key):
        key_reset, key_steps = jax.random.split(key)
        _, opened = env.reset(key_reset)
        start = PlayState(market.reset(key_reset, params, jnp.int32(1)), jnp.float32(0.0), params.informed_probability)

        def minute(state, xs):
            time, action = xs
            _, state, reward, _, _ = env.step(jax.random.fold_in(key_steps, time), state, action[None])
            return state, reward

        state = dataclasses.replace(opened, play=start)
        return jax.lax.scan(minute, state, (jnp.arange(T), episode.arbitrageur.action))

    with jax.debug_key_reuse(False):
        final, reward = jax.jit(play)(jax.random.key(3))
    chex.assert_trees_all_equal(final.play.market, episode.final)
    np.testing.assert_allclose(np.asarray(reward), np.asarray(paid)[:, Agent.ARBITRAGEUR], rtol=1e-6)


def test_an_execution_agent_from_outside_works_its_order():
    env = SingleAgent(PLAYABLE, Agent.EXECUTION, UNIFORM)

    def play(key):
        key_reset, key_steps = jax.random.split(key)
        seen, state = env.reset(key_reset)
        action = jnp.array([1.0, 0.4, -1.0, 1.0])

        def minute(carry, time):
            seen, after, paid, done, info = env.step(jax.random.fold_in(key_steps, time), carry, action)
            return after, (seen, paid, done, info["z"], after.play.market.accounts.inventory)

        return seen, state, jax.lax.scan(minute, state, jnp.arange(T))[1]

    first, state, (seen, paid, done, z, inventory) = jax.jit(play)(jax.random.key(11))
    assert isinstance(state, SingleState)
    chex.assert_shape([first, seen], [(WIDTHS["execution"],), (T, WIDTHS["execution"])])
    chex.assert_shape([paid, done, z], (T,))
    assert done.tolist() == [False] * (T - 1) + [True]
    assert (np.asarray(z) == 1).all()
    side = int(state.play.market.direction)
    assert side * int(inventory[-1, 0]) == PARAMS.parent_lots, "eight lots a minute, aggressively: all done"
    assert (np.asarray(inventory)[:, 1] != 0).any(), "the maker traded"


def test_execution_against_the_agents_of_a_checkpoint(workdirs):
    """The lines of docs/extending.md, traced: the belief network reads the tape, trained policies take two seats."""
    from amarl_jax.evaluation import frozen_run as runs
    from amarl_jax.learn.players import TransformerBelief, players

    run = runs.load(workdirs["run"])
    setup = run.setup
    belief = TransformerBelief(run.state.belief.params, setup)
    playable = Playable(setup.game.market_spec, setup.params, setup.weights, belief, z=1)
    env = SingleAgent(playable, Agent.EXECUTION, players(run.state, setup.game))

    def minute(key):
        key_reset, key_step = jax.random.split(key)
        seen, state = env.reset(key_reset)
        after = env.step(key_step, state, jnp.zeros(4))
        return seen, state, after

    seen, state, (seen_after, after, paid, *_) = jax.eval_shape(minute, jax.random.key(0))
    assert seen.shape == seen_after.shape == (playable.observation_sizes[Agent.EXECUTION],)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), state) == jax.tree.map(lambda x: (x.shape, x.dtype), after)
    assert paid.shape == ()
    again = pickle.loads(pickle.dumps(env))
    chex.assert_trees_all_equal(again.playable.belief.parameters, belief.parameters)
    assert jax.tree.structure(jax.eval_shape(again.reset, jax.random.key(0))[1]) == jax.tree.structure(state)
