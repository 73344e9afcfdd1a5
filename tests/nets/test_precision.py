"""Precision by network: what is lowered of each one, backward pass included, says how it multiplies matrices."""

import functools
import re

import jax
import jax.numpy as jnp
import pytest

from amarl_jax import config as configuration
from amarl_jax.learn.ppo import values
from amarl_jax.learn.scoring import predictability_gain
from amarl_jax.learn.state import empty_episode, init_state
from amarl_jax.nets.belief import init_memory
from amarl_jax.types import Agent

NAMES = {"DEFAULT": "default", "HIGH": "tensorfloat32", "HIGHEST": "float32"}
LEARNED = ("critic", "execution", "maker", "arbitrageur")
READERS = ("belief", "belief, decoding", "predictor")


def zeros(*shape):
    return jnp.zeros(shape, jnp.float32)


def networks(setup):
    """Each network as a function of its parameters, with their shapes."""
    game, state = setup.game, jax.eval_shape(init_state, jax.random.key(0), setup)
    tape, horizon, spec = empty_episode(game).tape, game.market_spec.horizon, game.network.belief
    step, width = (
        jax.tree.map(lambda x: x[0], tape),
        lambda p: jax.tree.leaves(p["params"]["MLP_0"]["Dense_0"])[1].shape[0],
    )
    n_seen = state.critic.params["params"]["Dense_0"]["kernel"].shape[0]
    actions = (zeros(2, 3), zeros(2, 4), zeros(2, 1))
    decode = functools.partial(game.belief.apply, method="decode")
    found = {
        "critic": (lambda p: values(p, zeros(2, n_seen), actions, game), state.critic),
        "mine": (lambda p: game.statistics.apply(p, tape, zeros(horizon, spec.d_model + 1)), state.statistics),
        "belief": (lambda p: game.belief.apply(p, tape), state.belief),
        "belief, decoding": (lambda p: decode(p, init_memory(spec, horizon), step, jnp.int32(0))[1:], state.belief),
        "predictor": (lambda p: predictability_gain(p, zeros(horizon, 2), game), state.predictor),
    }
    for agent in Agent:
        parameters = state.agents[agent]
        n_inputs = width(parameters.params)
        act = functools.partial(lambda p, agent, n: game.actor(agent).apply(p, zeros(n)), agent=agent, n=n_inputs)
        found[agent.name.lower()] = (act, parameters)
    return {name: (function, network.params) for name, (function, network) in found.items()}


def precisions(function, parameters):
    """The precisions of the matrix products of a function and its gradient."""

    def total(p):
        return sum(jnp.sum(x) for x in jax.tree.leaves(function(p)))

    text = jax.jit(jax.grad(total)).lower(parameters).as_text()
    found = re.findall(r"stablehlo\.dot_general.*precision = \[(\w+), (\w+)\]", text)
    assert len(found) == text.count("stablehlo.dot_general") > 0
    return {NAMES[name] for pair in found for name in pair}


@pytest.mark.parametrize(
    ("setting", "learned", "readers", "mine"),
    [
        ("float32", {"float32"}, {"float32"}, {"float32"}),
        ("tensorfloat32", {"tensorfloat32"}, {"tensorfloat32"}, {"tensorfloat32"}),
        ("mixed", {"tensorfloat32"}, {"float32"}, {"float32", "tensorfloat32"}),  # it has a point process of its own
    ],
)
def test_each_network_multiplies_in_its_own_precision(setting, learned, readers, mine):
    experiment = configuration.resolve(configuration.load("configs/fast_debug.py:tiny", {"precision": setting}))
    before = jax.config.jax_default_matmul_precision
    with jax.default_matmul_precision(experiment.run.products):
        found = {name: precisions(*network) for name, network in networks(experiment.setup).items()}
    assert found == dict.fromkeys(LEARNED, learned) | dict.fromkeys(READERS, readers) | {"mine": mine}
    assert jax.config.jax_default_matmul_precision == before
