"""Who sees what: hidden state is changed alone, and no observation moves that must not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amarl_jax.market import observe
from amarl_jax.types import Agent, Owner
from tests.market.conftest import SPEC, compiled_rollouts

HIDDEN = {
    "z": {"execution": False, "maker": False, "arbitrageur": False},
    "direction": {"execution": True, "maker": False, "arbitrageur": False},
    "value": {"execution": False, "maker": False, "arbitrageur": True},
    "private": {"execution": True, "maker": False, "arbitrageur": False},
}


@pytest.fixture(scope="module")
def state(params):
    """A market in the middle of nowhere: the end of one random episode."""
    play = compiled_rollouts("uniform")
    keys = jax.random.split(jax.random.key(11), 64)
    return jax.tree.map(lambda x: x[0], play(keys, jnp.zeros(64, jnp.int32), params).final)


def _features(state, params):
    seen = observe.views(state, jnp.float32(0.4), params, SPEC)
    return {
        "execution": observe.execution_features(seen.execution),
        "maker": observe.maker_features(seen.maker, params),
        "arbitrageur": observe.arbitrageur_features(seen.arbitrageur, params),
        "global": observe.global_features(state, seen, jnp.float32(0.4), params),
    }


CHANGES = {
    "z": lambda s: s.replace(z=1 - s.z),
    "direction": lambda s: s.replace(direction=-s.direction),
    "value": lambda s: s.replace(value=s.value + 3.0),
    "private": lambda s: s.replace(private=s.private + 1.0),
}


@pytest.mark.parametrize("name", HIDDEN)
def test_hidden_state_moves_only_the_observations_that_may_see_it(state, params, name):
    before, after = _features(state, params), _features(CHANGES[name](state), params)
    for agent, may_move in HIDDEN[name].items():
        moved = not np.array_equal(np.asarray(before[agent]), np.asarray(after[agent]))
        assert moved == may_move, f"{agent} {'does not see' if may_move else 'sees'} {name}"
    assert not np.array_equal(np.asarray(before["global"]), np.asarray(after["global"])), "the critic sees all"


def test_the_maker_does_not_see_who_owns_an_order(state, params):
    anonymous = state.book.replace(owner=jnp.where(state.book.owner == Owner.SLOT, Owner.NOISE, state.book.owner))
    swapped = state.book.replace(owner=jnp.where(state.book.owner == Owner.NOISE, Owner.SLOT, state.book.owner))
    seen = [np.asarray(_features(state.replace(book=book), params)["maker"]) for book in (anonymous, swapped)]
    np.testing.assert_array_equal(*seen)


def test_without_the_private_randomiser_the_execution_agent_sees_a_constant(state, params):
    import dataclasses

    spec = dataclasses.replace(SPEC, private_randomiser=False)
    views = [observe.views(s, jnp.float32(0.4), params, spec) for s in (state, CHANGES["private"](state))]
    left, right = (observe.execution_features(view.execution) for view in views)
    np.testing.assert_array_equal(np.asarray(left), np.asarray(right))


def test_feature_shapes(state, params):
    features = _features(state, params)
    levels, tape = SPEC.n_levels, SPEC.n_tape_events
    assert features["execution"].shape == (4 * levels + 12,)
    assert features["maker"].shape == (4 * levels + 5 * tape + 7,)
    assert features["arbitrageur"].shape == (4 * levels + 7,)
    assert features["global"].shape == (4 * levels + 21,)
    assert all(bool(jnp.all(jnp.isfinite(x))) for x in features.values())
    assert len(Agent) == 3


def test_value_and_price_carry_no_knowledge_of_z(params):
    """V and W paths are the same in both classes for the same keys, whatever the agents do."""
    play = compiled_rollouts("uniform")
    noise, informed = (play(jax.random.split(jax.random.key(7), 256), jnp.full(256, z), params) for z in (0, 1))
    np.testing.assert_array_equal(np.asarray(noise.output.value), np.asarray(informed.output.value))
    np.testing.assert_array_equal(np.asarray(noise.direction), np.asarray(informed.direction))
    np.testing.assert_array_equal(np.asarray(noise.final.news), np.asarray(informed.final.news))
