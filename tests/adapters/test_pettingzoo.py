"""The market as a PettingZoo environment: its own tests, what they miss, and copies of one that is being played."""

import copy
import importlib
import pickle
import sys

import jax
import numpy as np
import pytest

from amarl_jax.adapters.playable import Playable
from tests.market.conftest import PARAMS, SPEC

pytest.importorskip("pettingzoo", reason="pip install 'amarl_jax[adapters]'")

from pettingzoo.test import parallel_api_test, parallel_seed_test
from pettingzoo.test.state_test import test_parallel_env as their_state_test

from amarl_jax.adapters.pettingzoo import MarketParallelEnv
from amarl_jax.types import AGENT_NAMES

T = SPEC.horizon


@pytest.fixture(scope="module")
def env():
    return MarketParallelEnv(Playable(SPEC, PARAMS), render_mode="ansi")


def sampled(env):
    return {name: env.action_space(name).sample() for name in env.agents}


def test_pettingzoos_own_tests_pass(env):
    parallel_api_test(env, num_cycles=T + 4)
    parallel_seed_test(lambda: copy.deepcopy(env), num_cycles=4)
    their_state_test(env)


def test_an_episode_as_its_spaces_say(env):
    observations, infos = env.reset(seed=2)
    assert set(observations) == set(infos) == set(AGENT_NAMES)
    for time in range(T):
        assert env.agents == list(AGENT_NAMES)
        out = env.step(sampled(env))
        assert all(set(part) == set(AGENT_NAMES) for part in out), "a reward of every agent, which their test misses"
        assert all(env.observation_space(name).contains(out[0][name]) for name in AGENT_NAMES)
        assert all(isinstance(reward, float) for reward in out[1].values())
        assert set(out[2].values()) == {time == T - 1}
    assert not env.agents
    with pytest.raises(RuntimeError, match="reset"):
        env.step({})


def test_infos_have_the_class_and_the_observation_that_ended_it(env):
    classes = set()
    for seed in range(6):
        classes |= {info["z"] for info in env.reset(seed=seed)[1].values()}
    assert classes == {0, 1}
    env.reset(seed=1)
    for time in range(T):
        observations, _, _, _, infos = env.step(sampled(env))
        assert {"final_observation" in info for info in infos.values()} == {time == T - 1}
    for name in AGENT_NAMES:
        np.testing.assert_array_equal(infos[name]["final_observation"], observations[name])


def test_observations_may_be_written_to(env):
    observations, _ = env.reset(seed=2)
    first = {name: x.copy() for name, x in observations.items()}
    for x in (*observations.values(), *env.step(sampled(env))[0].values(), env.state()):
        x += 1.0
    np.testing.assert_array_equal(env.reset(seed=2)[0]["maker"], first["maker"])


def test_the_state_is_what_the_critic_sees(env):
    seen = env.reset(seed=4)[0]
    actions = sampled(env)
    actions["arbitrageur"][:] = 1.0
    for _ in range(3):
        seen = env.step(actions)[0]
    state = env.state()
    assert env.state_space.contains(state)
    assert state.shape == (4 * SPEC.n_levels + 21,)
    shared = 4 * SPEC.n_levels + 4
    np.testing.assert_array_equal(state[:shared], seen["maker"][:shared])
    np.testing.assert_array_equal(state[shared : shared + 8], seen["execution"][-8:])
    assert state[shared + 8] == env.step(actions)[4]["maker"]["z"]
    np.testing.assert_allclose(state[shared + 10], seen["arbitrageur"][-3], rtol=1e-6)  # V - mid


def test_a_render_mode_is_accepted_or_refused_by_name(env):
    env.reset(seed=0)
    assert env.render().startswith(f"minute 0 of {T}: z ")
    assert MarketParallelEnv(Playable(SPEC, PARAMS), render_mode=None).render() is None
    with pytest.raises(ValueError, match=r"render_mode = 'human': must be None or 'ansi'"):
        MarketParallelEnv(Playable(SPEC, PARAMS), render_mode="human")
    with pytest.raises(RuntimeError, match="reset"):
        MarketParallelEnv(Playable(SPEC, PARAMS)).state()


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))], ids=["copy", "pickle"])
def test_a_copy_goes_on_as_the_environment_does(env, copied):
    env.reset(seed=5)
    env.step(sampled(env))
    other = copied(env)
    actions = sampled(env)
    ours, theirs = env.step(actions), other.step(actions)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(env.reset()[0]["maker"], other.reset()[0]["maker"])
    before = env.state()
    other.step(actions)
    np.testing.assert_array_equal(env.state(), before, err_msg="one is not the other")


def test_a_wrong_action_is_named_and_nothing_is_played(env):
    env.reset(seed=6)
    before, actions = env.state(), sampled(env)
    with pytest.raises(ValueError, match=r"'maker'.*\(4,\).*nan"):
        env.step(actions | {"maker": np.full(4, np.nan)})
    with pytest.raises(ValueError, match=r"'execution'.*\(4,\).*\(3,\)"):
        env.step(actions | {"execution": np.zeros(3)})
    with pytest.raises(ValueError, match=r"'arbitrageur'.*is missing"):
        env.step({name: x for name, x in actions.items() if name != "arbitrageur"})
    np.testing.assert_array_equal(env.state(), before)


def test_without_pettingzoo_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pettingzoo", None)
    monkeypatch.delitem(sys.modules, "amarl_jax.adapters.pettingzoo", raising=False)
    with pytest.raises(ImportError, match=r"pip install -e '.\[adapters\]' in the checkout"):
        importlib.import_module("amarl_jax.adapters.pettingzoo")
