"""The trader that tilts the noise law decides as it says, and PPO scores what it drew; its market: test_table_law."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amarl_jax.market.noise import orders, size_distribution
from amarl_jax.market.observe import execution_features
from amarl_jax.market.slot import as_sent, decode_action, noise_decision
from amarl_jax.nets.tilt import start_tilt_at
from amarl_jax.policies.learned import actor
from amarl_jax.policies.mimic import noise_buys
from amarl_jax.policies.tilted import market_cells, tilt_inputs
from amarl_jax.testing import check_policy
from amarl_jax.trees import as_arrays
from amarl_jax.types import Agent
from tests.information.test_brute_force import PARAMS, SPEC
from tests.posterior import test_laws
from tests.posterior.test_table_law import LAW, NETWORK, TRAINED, UNTRAINED, settings, tilted

N_DRAWS = 500


def view(direction, gap=1.3):
    return test_laws.view(direction, 0.5, 2, news_gap=gap, n_levels=SPEC.n_levels)


@functools.cache
def _beside_noise():
    """(key, direction) to what the untrained trader sends in the market of the Beta law, and what noise would."""
    params, policy = as_arrays(PARAMS), tilted(UNTRAINED, orders)
    size_cdf = size_distribution(params, SPEC.max_order_size)

    def both(key, direction):
        seen = view(1).replace(direction=direction)
        action = policy.act(key, size_cdf, seen, params)[1].action
        noise = noise_decision(jax.random.clone(key), noise_buys(seen, params), size_cdf, params, SPEC, orders)
        return as_sent(decode_action(action, direction, SPEC)), as_sent(noise)

    return jax.jit(jax.vmap(both, (0, None)))


@pytest.mark.parametrize("direction", [1, -1])
def test_untrained_it_decides_as_noise_does_in_the_beta_law_too(direction):
    ours, theirs = _beside_noise()(jax.random.split(jax.random.key(2), 2000), jnp.int32(direction))
    chex.assert_trees_all_equal(ours, theirs)
    assert 0.3 < float(ours.acts.mean()) < 0.7


@pytest.mark.default_emitters
def test_trained_it_draws_from_its_law_and_its_mode_is_certain():
    check_policy(tilted(TRAINED), spec=SPEC, params=settings(0))
    check_policy(tilted(TRAINED, deterministic=True), spec=SPEC, params=settings(0))


def test_ppo_and_a_loaded_policy_score_and_draw_the_same_from_features_alone():
    network, params, seen = actor(Agent.EXECUTION, NETWORK), settings(0), view(-1)

    @jax.jit
    @jax.vmap
    def both(key):
        policy, features = tilted(TRAINED), execution_features(seen)
        drawn = policy.act(key, policy.init(params), seen, params)[1]
        told = tilt_inputs(features, params), market_cells(LAW, params, SPEC)
        scored = network.apply(TRAINED, *told).log_prob(drawn.latents)
        return drawn, scored, policy.decide(jax.random.clone(key), features, params)

    drawn, scored, alone = both(jax.random.split(jax.random.key(5), N_DRAWS))
    np.testing.assert_allclose(scored, drawn.log_prob, atol=2e-5)
    assert np.ptp(drawn.log_prob) > 1.0
    np.testing.assert_array_equal(drawn.action, alone.action)


def test_the_first_policy_acts_as_often_as_it_is_told():
    law = jax.jit(lambda p, seen: tilted(p).law(tilted(p).init(settings(0)), seen, settings(0)))
    for gate, along in ((0.9, 0.95), (0.2, 0.5)):
        started = start_tilt_at(UNTRAINED, gate, along, settings(0).slot_rate)
        said = [law(started, view(direction, gap=0.0)) for direction in (1, -1)]
        for one, bought in zip(said, (along, 1.0 - along), strict=True):
            assert (float(one.gate[0]), float(one.marks.buy[0])) == pytest.approx((gate, bought), abs=1e-5)
    still = start_tilt_at(UNTRAINED, float(PARAMS.slot_rate), 0.5, settings(0).slot_rate)
    chex.assert_trees_all_equal(still, UNTRAINED)
