"""z is a decision rule and nothing else: a perfect mimic leaves no trace of it, bit for bit."""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from amarl_jax.types import Owner
from tests.market.conftest import compiled_rollouts


def _pair(execution, params):
    play = compiled_rollouts(execution)
    return [play(jax.random.split(jax.random.key(7), 256), jnp.full(256, z), params) for z in (0, 1)]


def test_mimic_tapes_are_bit_identical_across_classes_with_the_arbitrageur_on(params):
    noise, informed = _pair("mimic", params)
    for name in noise.output.tape.__dataclass_fields__:
        left, right = getattr(noise.output.tape, name), getattr(informed.output.tape, name)
        np.testing.assert_array_equal(np.asarray(left), np.asarray(right), err_msg=name)
    chex.assert_trees_all_equal(noise.output, informed.output)
    assert int(jnp.sum(jnp.abs(noise.output.inventory_change[..., Owner.SLOT]))) > 0, "the slot traded"
    assert int(jnp.sum(noise.output.arbitrageur_traded)) > 0, "the arbitrageur was on"


def test_another_execution_policy_does_change_the_tape(params):
    noise, informed = _pair("uniform", params)
    assert not np.array_equal(np.asarray(noise.output.tape.size_lots), np.asarray(informed.output.tape.size_lots))


def test_mimicry_is_exact_at_the_position_limit_too(params):
    tight = params.replace(parent_lots=jnp.int32(2))
    noise, informed = _pair("mimic", tight)
    chex.assert_trees_all_equal(noise.output.tape, informed.output.tape)
    assert int(jnp.max(jnp.abs(noise.output.inventory[..., Owner.SLOT]))) == 2
