"""The market beside the real JaxMARL: its base class, its log wrapper and its spaces."""

import inspect
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amarl_jax.adapters.jaxmarl import MarketEnv
from amarl_jax.adapters.playable import Playable
from amarl_jax.types import AGENT_NAMES
from tests.market.conftest import PARAMS, SPEC

pytest.importorskip(
    "jaxmarl", reason="its gymnax stops short of jax 0.12: installed with the test extra on Python 3.11 only"
)

from jaxmarl.environments import spaces
from jaxmarl.environments.multi_agent_env import MultiAgentEnv
from jaxmarl.wrappers.baselines import LogWrapper, get_space_dim

T = SPEC.horizon


@pytest.fixture(scope="module")
def env():
    return MarketEnv(Playable(SPEC, PARAMS, z=1))


@pytest.fixture(scope="module")
def logged(env):
    """An episode and a step through the log wrapper, as JaxMARL's learners play it, and what the base class steps to.

    Keys are of the older kind, which those learners use.
    """
    wrapped = LogWrapper(env, replace_info=True)

    def play(key):
        key_reset, key_steps = jax.random.split(key)
        _, state = wrapped.reset(key_reset)

        def minute(state, time):
            key_step = jax.random.fold_in(key_steps, time)
            actions = {name: jnp.full(4, 0.3 * (1 + i)) for i, name in enumerate(wrapped.agents)}
            theirs = MultiAgentEnv.step(env, key_step, state.env_state, actions)
            ours = wrapped.step(key_step, state, actions)
            return ours[1], (ours, theirs)

        return jax.lax.scan(minute, state, jnp.arange(T + 1))[1]

    return jax.jit(play)(jax.random.PRNGKey(3))


def test_it_has_every_member_of_the_base_class_with_its_arguments(env):
    public = [name for name in dir(MultiAgentEnv) if not name.startswith("_")]
    assert {"reset", "step", "step_env", "get_obs", "observation_space", "action_space"} <= set(public)
    for name in public:
        theirs = getattr(MultiAgentEnv, name)
        assert hasattr(env, name), name
        if callable(theirs):
            ours = inspect.signature(getattr(MarketEnv, name)).parameters
            assert list(ours) == list(inspect.signature(theirs).parameters), name
    assert set(vars(MultiAgentEnv(3))) <= set(vars(env))
    assert env.agent_classes == {name: [name] for name in AGENT_NAMES}


@pytest.mark.default_emitters
def test_its_step_is_that_of_the_base_class_reset_included(logged):
    (seen, state, paid, dones, _), (their_seen, their_state, their_paid, their_dones, _) = logged
    assert np.asarray(dones["__all__"]).tolist() == [False] * (T - 1) + [True, False]
    jax.tree.map(
        np.testing.assert_array_equal,
        (seen, state.env_state, paid, dones),
        (their_seen, their_state, their_paid, their_dones),
    )


def test_the_log_wrapper_counts_an_episodes_return_and_length(logged):
    (_, _, paid, _, info), _ = logged
    earned = np.stack([np.asarray(paid[name])[:T].sum() for name in AGENT_NAMES])
    assert (earned != 0).all()
    np.testing.assert_allclose(np.asarray(info["returned_episode_returns"])[T - 1], earned, rtol=1e-5)  # float32 sums
    np.testing.assert_array_equal(np.asarray(info["returned_episode_lengths"])[T - 1], [T] * 3)
    np.testing.assert_array_equal(np.asarray(info["returned_episode"])[:, 0], [False] * (T - 1) + [True, False])


def test_its_spaces_are_used_as_theirs(env):
    for name in env.agents:
        ours, theirs = env.action_space(name), spaces.Box(-1.0, 1.0, (4,))
        assert set(vars(theirs)) <= set(vars(ours))
        assert (ours.shape, ours.dtype, ours.low, ours.high) == (theirs.shape, theirs.dtype, theirs.low, theirs.high)
        drawn = ours.sample(jax.random.PRNGKey(0))
        np.testing.assert_array_equal(drawn, theirs.sample(jax.random.PRNGKey(0)))
        assert bool(ours.contains(drawn)) == bool(theirs.contains(drawn)) is True
        assert bool(ours.contains(drawn + 2.5)) == bool(theirs.contains(drawn + 2.5)) is False


def test_its_spaces_are_boxes_to_jaxmarl(env):
    for name in env.agents:
        assert isinstance(env.action_space(name), spaces.Box)
        assert get_space_dim(env.action_space(name)) == 4
        assert get_space_dim(env.observation_space(name)) == max(env.playable.observation_sizes) + 3


def test_it_can_be_pickled(env):
    again = pickle.loads(pickle.dumps(env))
    assert (again.playable.spec, again.playable.params, again.playable.z) == (SPEC, PARAMS, 1)
    ours, theirs = (jax.eval_shape(x.reset, jax.random.key(0)) for x in (env, again))
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    assert isinstance(again.action_space("maker"), spaces.Box)
