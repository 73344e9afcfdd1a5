"""A single agent as a gymnax environment: its base class and wrappers, and PureJaxRL's loop, which trains on it."""

import importlib
import pickle
import sys
from typing import NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from amarl_jax.adapters.playable import Playable
from amarl_jax.adapters.single_agent import SingleAgent
from amarl_jax.learn.players import Players
from amarl_jax.market.params import EnvParams
from amarl_jax.policies.uniform import Uniform
from amarl_jax.types import Agent, Array
from tests.market.conftest import PARAMS, SPEC

pytest.importorskip("gymnax", reason="it stops short of jax 0.12: installed with the test extra on Python 3.11 only")

from gymnax.environments import environment, spaces
from gymnax.wrappers.compat import LegacyStepAPIWrapper
from gymnax.wrappers.purerl import LogWrapper

from amarl_jax.adapters.gymnax import MarketGymnaxEnv

T = SPEC.horizon
WIDTH = 4 * SPEC.n_levels + 7
UNIFORM = Players(*(Uniform(SPEC, agent) for agent in Agent))


@pytest.fixture(scope="module")
def env():
    return MarketGymnaxEnv(SingleAgent(Playable(SPEC, PARAMS), Agent.ARBITRAGEUR, UNIFORM))


@pytest.fixture(scope="module")
def played(env):
    """An episode and two steps of two markets through gymnax's log wrapper, which pass on six values."""
    wrapped, params = LogWrapper(env), env.default_params

    def play(key):
        key_reset, key_steps = jax.random.split(key)
        first, state = wrapped.reset(key_reset, params)

        def minute(state, key):
            out = wrapped.step(key, state, jnp.array([0.7]), params)
            return out[1], out

        return first, jax.lax.scan(minute, state, jax.random.split(key_steps, T + 2))[1]

    return jax.jit(jax.vmap(play))(jax.random.split(jax.random.PRNGKey(1), 2))


def test_it_is_an_environment_with_gymnaxs_spaces(env):
    assert isinstance(env, environment.Environment)
    params = env.default_params
    assert isinstance(params, EnvParams)
    observed, acted = env.observation_space(params), env.action_space(params)
    assert isinstance(observed, spaces.Box)
    assert isinstance(acted, spaces.Box)
    assert (observed.shape, acted.shape, acted.low, acted.high) == ((WIDTH,), (1,), -1.0, 1.0)
    assert env.num_actions == 1
    assert acted.contains(acted.sample(jax.random.key(0)))
    state = jax.eval_shape(env.reset, jax.random.key(0), params)
    chex.assert_trees_all_equal_shapes_and_dtypes(
        state, jax.eval_shape(pickle.loads(pickle.dumps(env)).reset, jax.random.key(0))
    )


def test_a_step_has_gymnaxs_values_and_resets_itself_by_termination(played):
    first, (seen, state, reward, terminated, truncated, info) = played
    chex.assert_shape([first, seen, info["final_observation"]], [(2, WIDTH), (2, T + 2, WIDTH), (2, T + 2, WIDTH)])
    chex.assert_type([seen, reward, terminated, truncated], [jnp.float32, jnp.float32, bool, bool])
    assert np.asarray(terminated).tolist() == [[False] * (T - 1) + [True, False, False]] * 2
    assert not np.asarray(truncated).any()
    assert np.asarray(state.env_state.play.market.time).tolist() == [[*range(1, T), 0, 1, 2]] * 2
    time_left = 4 * SPEC.n_levels
    np.testing.assert_array_equal(np.asarray(seen)[:, T - 1, time_left], 1.0)
    np.testing.assert_array_equal(np.asarray(info["final_observation"])[:, T - 1, time_left], 0.0)
    earned = np.asarray(reward)[:, :T].sum(axis=1)
    np.testing.assert_allclose(np.asarray(info["returned_episode_returns"])[:, T - 1], earned, rtol=1e-5)
    assert set(np.asarray(info["z"]).ravel()) <= {0, 1}


def test_params_are_the_markets_constants_and_may_be_swept(env):
    keys = jax.random.split(jax.random.key(2), 64)

    def last(informed, key):
        key_reset, key_step = jax.random.split(key)
        params = env.default_params.replace(informed_probability=informed)
        _, state = env.reset(key_reset, params)
        return env.step(key_step, state, jnp.zeros(1), params)[-1]["z"]

    z = jax.jit(jax.vmap(jax.vmap(last, (None, 0)), (0, None)))(jnp.array([0.0, 0.5, 1.0]), keys)
    totals = np.asarray(z).sum(axis=1)
    assert totals[0] == 0
    assert 20 < totals[1] < 44
    assert totals[2] == 64


def test_a_wrong_action_is_named(env):
    state = jax.eval_shape(env.reset, jax.random.key(0))[1]
    with pytest.raises(ValueError, match=r"'arbitrageur'.*\(1,\).*\(\)"):
        env.step(jax.random.key(0), state, 0.5)
    with pytest.raises(ValueError, match=r"'arbitrageur'.*\(1,\).*nan"):
        env.step(jax.random.key(0), state, np.array([np.nan]))


def test_without_gymnax_the_error_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnax.environments.environment", None)
    monkeypatch.delitem(sys.modules, "amarl_jax.adapters.gymnax", raising=False)
    with pytest.raises(ImportError, match=r"pip install 'gymnax>=1\.0'"):
        importlib.import_module("amarl_jax.adapters.gymnax")


# PureJaxRL's loop: five values of vmapped reset and step in a scan, old keys, an unclipped Gaussian policy

N_ENVS, N_STEPS, N_UPDATES, N_EPOCHS, N_BATCHES = 32, T, 12, 4, 4
GAMMA, GAE_LAMBDA, CLIP, LEARNING_RATE = 0.9, 0.95, 0.2, 1e-2


class ActorCritic(nn.Module):
    """Mean and log deviation of the action, and the value."""

    @nn.compact
    def __call__(self, x):
        hidden = nn.tanh(nn.Dense(32)(x))
        log_std = self.param("log_std", nn.initializers.zeros, ())
        return (
            nn.Dense(1, kernel_init=nn.initializers.zeros)(hidden),
            log_std,
            nn.Dense(1)(nn.tanh(nn.Dense(32)(x)))[..., 0],
        )


class Transition(NamedTuple):
    done: Array
    action: Array
    value: Array
    reward: Array
    log_prob: Array
    obs: Array
    info: dict


def log_prob(mean, log_std, action):
    return jnp.sum(-0.5 * ((action - mean) / jnp.exp(log_std)) ** 2 - log_std, axis=-1)


def advantages(batch, last_value):
    def back(carry, step):
        gae, next_value = carry
        delta = step.reward + GAMMA * next_value * (1 - step.done) - step.value
        gae = delta + GAMMA * GAE_LAMBDA * (1 - step.done) * gae
        return (gae, step.value), gae

    return jax.lax.scan(back, (jnp.zeros_like(last_value), last_value), batch, reverse=True)[1]


def loss(parameters, network, batch, gae, target):
    mean, log_std, value = network.apply(parameters, batch.obs)
    ratio = jnp.exp(log_prob(mean, log_std, batch.action) - batch.log_prob)
    gae = (gae - gae.mean()) / (gae.std() + 1e-8)
    surrogate = jnp.minimum(ratio * gae, jnp.clip(ratio, 1 - CLIP, 1 + CLIP) * gae)
    return jnp.mean((value - target) ** 2) - jnp.mean(surrogate)


def make_train(env, env_params):
    vec_reset, vec_step = jax.vmap(env.reset, in_axes=(0, None)), jax.vmap(env.step, in_axes=(0, 0, 0, None))
    network, optimiser = ActorCritic(), optax.adam(LEARNING_RATE)

    def env_step(carry, _):
        parameters, state, obs, rng = carry
        rng, rng_act, rng_step = jax.random.split(rng, 3)
        mean, log_std, value = network.apply(parameters, obs)
        action = mean + jnp.exp(log_std) * jax.random.normal(rng_act, mean.shape)
        after, state, reward, done, info = vec_step(jax.random.split(rng_step, N_ENVS), state, action, env_params)
        row = Transition(done, action, value, reward, log_prob(mean, log_std, action), obs, info)
        return (parameters, state, after, rng), row

    def update(carry, _):
        parameters, memory, state, obs, rng = carry
        (_, state, obs, rng), batch = jax.lax.scan(env_step, (parameters, state, obs, rng), None, N_STEPS)
        gae = advantages(batch, network.apply(parameters, obs)[2])
        flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), (batch, gae, gae + batch.value))

        def minibatch(carry, rows):
            grads = jax.grad(loss)(carry[0], network, *jax.tree.map(lambda x: x[rows], flat))
            changes, memory = optimiser.update(grads, carry[1])
            return (optax.apply_updates(carry[0], changes), memory), None

        rng, rng_rows = jax.random.split(rng)
        rows = [jax.random.permutation(key, N_ENVS * N_STEPS) for key in jax.random.split(rng_rows, N_EPOCHS)]
        rows = jnp.stack(rows).reshape(N_EPOCHS * N_BATCHES, -1)
        (parameters, memory), _ = jax.lax.scan(minibatch, (parameters, memory), rows)
        return (parameters, memory, state, obs, rng), batch.info

    def train(rng):
        rng, rng_init, rng_reset = jax.random.split(rng, 3)
        parameters = network.init(rng_init, jnp.zeros(env.observation_space(env_params).shape))
        obs, state = vec_reset(jax.random.split(rng_reset, N_ENVS), env_params)
        return jax.lax.scan(update, (parameters, optimiser.init(parameters), state, obs, rng), None, N_UPDATES)

    return train


def test_purejaxrls_loop_trains_on_it(env):
    five_valued = LegacyStepAPIWrapper(LogWrapper(env))
    (parameters, *_), info = jax.jit(make_train(five_valued, env.default_params))(jax.random.PRNGKey(30))
    chex.assert_tree_all_finite(parameters)
    finished = np.asarray(info["returned_episode"])
    assert finished.sum(axis=(1, 2)).tolist() == [N_ENVS] * N_UPDATES, "every market once an update"
    returns = np.asarray(info["returned_episode_returns"])
    earned = np.array([returns[i][finished[i]].mean() for i in range(N_UPDATES)])
    noise = returns[0][finished[0]].std() / np.sqrt(N_ENVS)
    assert earned[-3:].mean() > earned[0] + 4 * noise, "it learned to trade along V - mid"
