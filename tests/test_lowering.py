"""What the programs are for a GPU and for a TPU, as far as can be read without either: what their compilers are given.

experiments/accelerators compiles it, with plugins that these tests do without.
"""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import pytest

from amarl_jax import config as configuration
from amarl_jax.host import compile_ahead
from amarl_jax.lanes.layout import advance_lanes, lay_out
from amarl_jax.learn.cost import abstract_state
from amarl_jax.learn.update import advance
from amarl_jax.random_play import play

PLATFORMS = ("cuda", "tpu")
KERNELS = {"__gpu$xla.gpu.triton", "triton_kernel_call_ffi"}  # custom calls that an accelerator has code for
FORMS = {"cuda": "kernel", "tpu": "parallel"}  # of recurrences
HOST = re.compile(r"stablehlo\.(?:send|recv|infeed|outfeed)\b")


def misplaced(text):
    """What the text of a program has that an accelerator has not: calls, traffic with the host, 64-bit floats."""
    calls = set(re.findall(r"custom_call @?\"?([\w.$]+)", text)) - KERNELS
    doubles = re.findall(r"(?<![a-zA-Z_])f64\b", re.sub(r"(?<=[\dx])x(?=f64|complex)", " ", text))
    return sorted(calls | set(HOST.findall(text)) | set(doubles))


@functools.cache
def programs(platform):
    """Play, an update and a sweep of two lanes on two devices, of the smallest configuration, traced for a platform."""
    experiment = configuration.resolve(configuration.load("configs/fast_debug.py:tiny"))
    setup = experiment.setup
    setup = setup.replace(game=dataclasses.replace(setup.game, recurrence=FORMS[platform]))
    params, game, state = setup.params, setup.game, abstract_state(setup)
    layout = lay_out(2, tuple(jax.devices()[:2]))
    lanes = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((2, *x.shape), x.dtype, sharding=layout.sharding), (state, setup)
    )
    return {
        "play": play.trace(jax.random.key(0), params, spec=experiment.market_spec, n_envs=game.learn.n_envs),
        "update": advance.trace(state, setup, n_updates=1),
        "sweep": advance_lanes.trace(*lanes, layout=layout),
    }


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("name", ["play", "update", "sweep"])
def test_a_program_has_nothing_that_an_accelerator_has_not(name, platform):
    text = programs(platform)[name].lower(lowering_platforms=(platform,)).as_text()
    assert "stablehlo.while" in text
    assert any(kernel in text for kernel in KERNELS) == (platform == "cuda")
    assert not misplaced(text)


def test_the_check_sees_a_callback_a_factorisation_and_a_double():
    def text(function):
        return jax.jit(function).lower(jnp.eye(3)).as_text()

    assert misplaced(text(lambda x: jax.pure_callback(lambda y: y, x, x)))
    assert misplaced(text(jnp.linalg.eigvalsh))
    with compile_ahead._CONTEXTS["jax_enable_x64"](True):
        assert misplaced(text(lambda x: x.astype(jnp.float64) + 1.0)) == ["f64"]
    assert not misplaced(text(jnp.sin))
