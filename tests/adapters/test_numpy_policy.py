"""Scripted policies called from NumPy decide what they decide inside, in every state of an episode."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amarl_jax.adapters.numpy_policy import NumPyPolicy, execution_view
from amarl_jax.market import observe
from amarl_jax.policies.baselines import make_baselines
from amarl_jax.policies.camouflage import Camouflage
from amarl_jax.policies.mimic import Mimic
from amarl_jax.policies.twap import Twap
from amarl_jax.policies.vwap import Vwap
from tests.market.conftest import PARAMS, SPEC, compiled_rollouts, params

__all__ = ["params"]

T = SPEC.horizon


@pytest.fixture(scope="module")
def seen(params):
    """Features [T, D] of the execution agent in an episode of random play."""
    episodes = compiled_rollouts("uniform")(jax.random.split(jax.random.key(1), 16), jnp.ones(16, jnp.int32), params)
    working = np.asarray(jnp.abs(episodes.execution_seen[..., -3]).sum(1))  # steps with an order at rest
    return np.array(episodes.execution_seen[int(working.argmax())])


def test_the_view_is_read_back_from_the_features(seen, params):
    again = jax.vmap(lambda x: observe.execution_features(execution_view(x, params)))(jnp.asarray(seen))
    np.testing.assert_allclose(again, seen, rtol=1e-6, atol=1e-6)
    views = jax.vmap(lambda x: execution_view(x, params))(jnp.asarray(seen))
    left = np.asarray(views.remaining)
    assert left[0] == PARAMS.parent_lots
    assert (left != left[0]).any()
    assert (np.asarray(views.child_lots) > 0).any()


@pytest.mark.parametrize("policy", [Twap(SPEC), Vwap(SPEC), Camouflage(Twap(SPEC), Mimic(SPEC), 0.5)], ids=str)
def test_it_decides_as_the_policy_does_on_the_view(policy, seen, params):
    called = NumPyPolicy(policy, SPEC, PARAMS, seed=7)
    called.reset(PARAMS.parent_lots, arrival_price=50.0)
    act = jax.jit(lambda key, carry, x: policy.act(key, carry, execution_view(x, params), params))
    key, carry, sizes = jax.random.key(7), policy.init(params), set()
    for row in seen:
        remaining = round(PARAMS.parent_lots * float(row[-7]))
        mid = 50.0 + SPEC.tick_size * observe.PRICE_SCALE * float(row[-11])
        action, log_prob, entropy = called.act(row, remaining, float(row[-12]), mid)
        key, key_act = jax.random.split(key)
        carry, decision = act(key_act, carry, row)
        np.testing.assert_allclose(action, decision.action, rtol=1e-6)
        assert (action.dtype, action.shape, log_prob, entropy) == (np.float32, (3,), 0.0, 0.0)
        action += 1.0  # of the caller's own
        sizes.add(round(float(action[0]), 3))
    assert len(sizes) > 1


def test_what_is_told_counts_and_not_what_is_observed(seen):
    """The last minute: TWAP sends what is left, of a parent order of another size, cut to the largest child."""
    called = NumPyPolicy(Twap(SPEC), SPEC, PARAMS)
    called.reset(100)
    for remaining, share in ((3, 3 / 20), (40, 1.0), (0, 0.0)):
        action, _, _ = called.act(seen[0], remaining, 1 / T, 100.0)
        np.testing.assert_allclose(action, [share, 0.0, -1.0], rtol=1e-6)
    assert called.act(seen[0], 100, 1.0, 100.0)[0][0] == np.float32(5 / 20), "ceil(100 / 24) of the first minute"


def test_every_baseline_can_be_called_and_wrong_input_is_named(seen):
    policies = {name: NumPyPolicy(policy, SPEC, PARAMS) for name, policy in make_baselines(SPEC).items()}
    assert len(policies) > 10
    shape = jax.eval_shape(
        policies["mimic_forced"]._act, jax.random.key(0), *_arguments(policies["mimic_forced"], seen)
    )
    assert shape[2].shape == (3,)
    twap = policies["twap"]
    for wrong in (seen[0][:-1], seen[:2], np.full_like(seen[0], np.nan)):
        with pytest.raises(ValueError, match=rf"'execution': must be \({seen.shape[1]},\)"):
            twap.act(wrong, 10, 0.5, 100.0)
    with pytest.raises(ValueError, match="remaining, time_remaining, mid = 10, nan"):
        twap.act(seen[0], 10, np.nan, 100.0)
    with pytest.raises(ValueError, match="initial_inventory = 0"):
        twap.reset(0)


def _arguments(policy, seen):
    return policy._carry, seen[0], np.float32([10, 0.5, 0.0]), policy.params
