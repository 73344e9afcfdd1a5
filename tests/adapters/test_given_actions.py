"""What is said of an action that cannot be played, by every adapter."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amarl_jax.adapters.given_actions import given_action, given_actions
from amarl_jax.adapters.jaxmarl import MarketEnv
from amarl_jax.adapters.playable import Playable
from amarl_jax.adapters.single_agent import SingleAgent
from amarl_jax.learn.players import Players
from amarl_jax.policies.uniform import Uniform
from amarl_jax.types import Agent
from tests.market.conftest import PARAMS, SPEC

UNIFORM = Players(*(Uniform(SPEC, agent) for agent in Agent))
SIZES = {"execution": 4, "maker": 4, "arbitrageur": 1}
WRONG = {
    "nan": ([0.0, np.nan, 0.0, 0.0], r"\(4,\).*nan"),
    "inf": (np.array([np.inf, 0, 0, 0]), r"\(4,\).*inf"),
    "short": (np.zeros(3), r"\(4,\).*\(3,\).*units='box'"),
    "long": (jnp.zeros(5), r"\(4,\).*\(5,\)"),
    "scalar": (0.5, r"\(4,\).*\(\)"),
    "batched": (np.zeros((2, 4)), r"\(4,\).*\(2, 4\)"),
    "none": (None, r"\(4,\).*object"),
    "text": (["buy"] * 4, r"\(4,\).*<U3"),
    "complex": (np.zeros(4, complex), r"\(4,\).*complex128"),
    "ragged": ([[0.0], [0.0, 1.0]], r"\(4,\).*list"),
}


@pytest.fixture(scope="module", params=WRONG)
def wrong(request):
    return WRONG[request.param]


def in_one_line(caught, agent):
    return repr(agent) in str(caught.value) and "\n" not in str(caught.value)


def test_an_action_is_refused_in_one_line_that_names_agent_and_shape(wrong):
    action, said = wrong
    with pytest.raises(ValueError, match=said) as caught:
        given_action("maker", action, 4)
    assert in_one_line(caught, "maker")


def test_actions_are_those_of_all_agents_and_of_no_other():
    good = {name: [0.25] * size for name, size in SIZES.items()}
    with pytest.raises(ValueError, match=r"'maker'.*\(4,\).*is missing"):
        given_actions({name: x for name, x in good.items() if name != "maker"}, SIZES)
    with pytest.raises(ValueError, match=r"'noise'.*no such agent.*execution, maker, arbitrageur"):
        given_actions(good | {"noise": [0.0]}, SIZES)
    with pytest.raises(ValueError, match=r"a dict with execution.*ndarray"):
        given_actions(np.zeros(9), SIZES)
    given = given_actions(dict(reversed(good.items())) | {"arbitrageur": np.array([-1e300])}, SIZES)
    assert list(given) == list(SIZES)
    assert {x.dtype for x in given.values()} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(given["arbitrageur"], [-1.0])


@pytest.mark.parametrize("homogeneous", [True, False])
def test_jaxmarls_shape_refuses_them_whatever_calls_it(wrong, homogeneous):
    env = MarketEnv(Playable(SPEC, PARAMS), homogeneous)
    state = jax.eval_shape(env.reset, jax.random.key(0))[1]  # refused before the state is looked at
    actions = {name: np.zeros(space.shape) for name, space in env.action_spaces.items()}
    for play in (env.step, env.step_env):
        with pytest.raises(ValueError, match=wrong[1]) as caught:
            play(jax.random.key(0), state, actions | {"maker": wrong[0]})
        assert in_one_line(caught, "maker")
    shaped = actions | {"arbitrageur": jnp.zeros(7)}
    with pytest.raises(ValueError, match=r"'arbitrageur'.*\(7,\)"):
        jax.eval_shape(env.step, jax.random.key(0), state, shaped)


def test_a_single_agent_refuses_them(wrong):
    env = SingleAgent(Playable(SPEC, PARAMS), Agent.EXECUTION, UNIFORM)
    state = jax.eval_shape(env.reset, jax.random.key(0))[1]  # refused before the state is looked at
    with pytest.raises(ValueError, match=wrong[1]) as caught:
        env.step(jax.random.key(1), state, wrong[0])
    assert in_one_line(caught, "execution")


def test_inside_a_trace_what_is_not_finite_pays_its_agent_nan_and_nobody_else():
    env = MarketEnv(Playable(SPEC, PARAMS), homogeneous=False)

    @jax.jit
    def paid(maker):
        state = env.reset(jax.random.key(0))[1]
        actions = {"execution": jnp.zeros(4), "maker": maker, "arbitrageur": jnp.ones(1)}
        return env.step(jax.random.key(1), state, actions)[2]

    assert all(np.isfinite(x) for x in paid(jnp.zeros(4)).values())
    for wrong in (jnp.nan, jnp.inf):
        rewards = paid(jnp.zeros(4).at[2].set(wrong))
        assert [bool(np.isnan(x)) for x in rewards.values()] == [name == "maker" for name in rewards]


@pytest.mark.parametrize("z", [5, -1, 2, 0.5, "1", np.nan])
def test_a_class_is_0_or_1(z):
    with pytest.raises(ValueError, match=r"z = .*must be 0, 1, or None"):
        Playable(SPEC, PARAMS, z=z)
    with pytest.raises(ValueError, match=r"z = .*must be 0, 1, or None"):
        dataclasses.replace(Playable(SPEC, PARAMS, z=1), z=z)


def test_a_single_agent_sits_in_one_of_three_seats():
    with pytest.raises(ValueError, match=r"agent = 'maker'.*Agent.EXECUTION, Agent.MAKER"):
        SingleAgent(Playable(SPEC, PARAMS), "maker", UNIFORM)
    with pytest.raises(ValueError, match=r"3 policies.*are 2"):
        SingleAgent(Playable(SPEC, PARAMS), Agent.MAKER, UNIFORM[:2])
