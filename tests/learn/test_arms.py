"""What the arms of the main experiment change: where lambda comes from, where policies start, who is told what."""

import distrax
import jax
import numpy as np
import pytest

from amarl_jax.config import load, resolve
from amarl_jax.learn.setup import annealed
from amarl_jax.learn.state import init_state
from amarl_jax.nets.heads import execution_head
from amarl_jax.types import Owner
from tests.learn.conftest import compiled_play, with_key


def penalty(setup, update, weight, start, ramp):
    """Lambda of one update."""
    hypers = setup.hypers.replace(leakage_weight_start=np.float32(start), leakage_ramp_updates=np.float32(ramp))
    weights = setup.weights.replace(leakage_weight=np.float32(weight))
    return float(annealed(setup.replace(hypers=hypers, weights=weights), np.int32(update)).weights.leakage_weight)


@pytest.mark.parametrize(("update", "expected"), [(0, 0.5), (1, 1.0), (2, 1.5), (3, 2.0), (7, 2.0)])
def test_lambda_moves_in_equal_steps_and_stays(setup, update, expected):
    assert penalty(setup, update, weight=2.0, start=0.5, ramp=3.0) == pytest.approx(expected, abs=1e-6)


def test_without_a_ramp_the_start_is_read_by_nothing(setup):
    assert penalty(setup, 0, weight=0.7, start=4.0, ramp=0.0) == np.float32(0.7)


def episodes(setup, start):
    """2048 episodes of a fresh learner."""
    return compiled_play(2048)(jax.random.key(9), with_key(start, 8), setup)


def test_a_frozen_belief_is_the_prior_in_every_observation(setup, start):
    """What the critic and the maker saw of it, too; and the arbitrageur with nothing to send is not there."""
    hypers, params = setup.hypers, setup.params
    nobody = params.replace(arbitrageur_order_lots=params.arbitrageur_order_lots * 0)
    frozen = hypers.replace(belief_frozen=hypers.belief_frozen + 1.0)
    played = episodes(setup.replace(hypers=frozen, params=nobody), start)
    np.testing.assert_array_equal(played.belief, np.float32(params.informed_probability))
    np.testing.assert_array_equal(played.maker_seen[..., -2], np.float32(params.informed_probability))
    assert not np.asarray(played.output.inventory)[..., Owner.ARBITRAGEUR].any()
    assert not np.asarray(played.output.snipe_lots).any()
    usual = episodes(setup, start)
    assert np.ptp(np.asarray(usual.belief)) > 0
    assert np.asarray(usual.output.inventory)[..., Owner.ARBITRAGEUR].any()


def test_the_first_policy_acts_as_often_as_it_is_told(setup):
    """At a loud and at a quiet start; what the small last layer adds is the tolerance."""
    for gate, along in ((0.9, 0.95), (0.2, 0.5)):
        start = setup.hypers.replace(start_gate=np.float32(gate), start_along=np.float32(along))
        told = setup.replace(hypers=start)
        played = episodes(told, init_state(jax.random.key(5), told))
        slot = jax.tree.map(lambda x, p=played: np.asarray(x)[np.asarray(p.z) == 1], played.output.slot)
        direction = np.asarray(played.direction)[np.asarray(played.z) == 1][:, None]
        assert slot.acts.mean() == pytest.approx(gate, abs=0.07)
        assert (slot.side * direction == 1)[slot.acts].mean() == pytest.approx(along, abs=0.07)


@pytest.mark.parametrize(("parent", "largest"), [(20, 20), (80, 80), (20, 10)])
def test_the_first_policy_draws_its_sizes_as_noise(parent, largest):
    """5 lots with a deviation of 2, whatever the largest child; an earlier one sent a quarter of the largest."""
    own = {"agents.execution.inventory_lots": parent, "agents.execution.max_order_size": largest}
    setup = resolve(load("configs/fast_debug.py", own)).setup
    layers = init_state(jax.random.key(5), setup).agents.execution.params["params"]["MLP_0"]
    head = execution_head(layers[max(layers)]["bias"])
    law = distrax.Beta(head.beta_a[0], head.beta_b[0])
    assert float(law.mean()) * largest == pytest.approx(5.0, rel=2e-3)
    assert float(np.sqrt(law.variance())) * largest == pytest.approx(2.0, rel=2e-3)
