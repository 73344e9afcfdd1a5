"""A single agent as a Gymnasium environment: Gymnasium's own check, a learner that takes one, and copies."""

import copy
import pickle
import re
import warnings

import jax
import numpy as np
import pytest

from amarl_jax.adapters.playable import Playable
from amarl_jax.adapters.single_agent import SingleAgent
from amarl_jax.learn.players import Players
from amarl_jax.policies.uniform import Uniform
from amarl_jax.types import Agent
from tests.market.conftest import PARAMS, SPEC

pytest.importorskip("gymnasium", reason="pip install 'amarl_jax[adapters]'")

import gymnasium
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env

from amarl_jax.adapters.gymnasium import MarketGymnasiumEnv

T = SPEC.horizon
UNIFORM = Players(*(Uniform(SPEC, agent) for agent in Agent))
UNBOUNDED = re.compile(r"space (minimum|maximum) value is -?infinity")  # observations have no bounds


def single(agent):
    return SingleAgent(Playable(SPEC, PARAMS, z=1), agent, UNIFORM)


@pytest.fixture(scope="module")
def env():
    spec = EnvSpec("amarl_jax/Market-v0", MarketGymnasiumEnv, kwargs={"single": single(Agent.EXECUTION)})
    return gymnasium.make(spec, render_mode="ansi", disable_env_checker=True).unwrapped


def test_gymnasiums_own_check_has_nothing_to_say(env):
    assert isinstance(env, gymnasium.Env)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_env(env)
    assert not [str(w.message) for w in caught if not UNBOUNDED.search(str(w.message))]


def test_an_episode_ends_by_termination_and_pays_what_the_pure_one_does(env):
    seen, info = env.reset(seed=3)
    assert info == {"z": 1}
    state, action = copy.deepcopy(env)._state, env.action_space.sample()
    key = jax.random.fold_in(jax.random.split(jax.random.key(env._seed))[1], 0)
    pure = jax.jit(env.single.step)(key, state, action)
    seen, reward, terminated, truncated, info = env.step(action)
    np.testing.assert_array_equal(seen, pure[0])
    assert (reward, terminated, truncated, info) == (float(pure[2]), False, False, {"z": 1})
    seen += 1.0  # of our own
    for time in range(1, T):
        _, _, terminated, truncated, _ = env.step(env.action_space.sample())
        assert (terminated, truncated) == (time == T - 1, False)
    assert env.render().startswith(f"minute {T} of {T}")
    with pytest.raises(RuntimeError, match="reset"):
        env.step(action)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))], ids=["copy", "pickle"])
def test_a_copy_goes_on_as_the_environment_does(env, copied):
    env.reset(seed=5)
    other, action = copied(env), env.action_space.sample()
    ours, theirs = env.step(action), other.step(action)
    np.testing.assert_array_equal(ours[0], theirs[0])
    assert ours[1:] == theirs[1:]
    np.testing.assert_array_equal(env.reset()[0], other.reset()[0])


def test_a_wrong_action_or_render_mode_is_named(env):
    env.reset(seed=6)
    with pytest.raises(ValueError, match=r"'execution'.*\(4,\).*\(3,\)"):
        env.step(np.zeros(3))
    with pytest.raises(ValueError, match=r"'execution'.*\(4,\).*inf"):
        env.step(np.full(4, np.inf))
    assert env._state.play.market.time == 0, "nothing was played"
    with pytest.raises(ValueError, match="render_mode = 'human'"):
        MarketGymnasiumEnv(single(Agent.MAKER), render_mode="human")


def test_stable_baselines3_trains_on_it(env):
    stable_baselines3 = pytest.importorskip("stable_baselines3", reason="pip install stable-baselines3, with torch")
    from stable_baselines3.common.env_checker import check_env as their_check

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Your observation .* has an unconventional shape")
        their_check(env)
    learner = stable_baselines3.PPO("MlpPolicy", copy.deepcopy(env), n_steps=2 * T, batch_size=T, n_epochs=2, seed=0)
    before = [x.detach().numpy().copy() for x in learner.policy.parameters()]
    learner.learn(4 * T)
    after = [x.detach().numpy() for x in learner.policy.parameters()]
    assert any((a != b).any() for a, b in zip(before, after, strict=True))
    assert all(np.isfinite(x).all() for x in after)
    assert [episode["l"] for episode in learner.ep_info_buffer] == [T] * 4
    action, _ = learner.predict(env.reset(seed=1)[0], deterministic=True)
    assert np.isfinite(env.step(action)[1])
