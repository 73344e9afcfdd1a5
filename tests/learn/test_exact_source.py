"""The exact leakage source: what it pays, what it freezes, that it is one program and costs nobody else anything."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amarl_jax.learn.exact_source import exact_log_posterior
from amarl_jax.learn.finite import networks
from amarl_jax.learn.game import script
from amarl_jax.learn.phases import play, play_and_learn
from amarl_jax.learn.players import players
from amarl_jax.learn.scoring import score
from amarl_jax.learn.update import update
from amarl_jax.policies.mimic import Mimic
from amarl_jax.types import Agent
from tests.learn.conftest import GAME, with_key
from tests.learn.test_update import TRAINED, unread_leaves

LEARN = dataclasses.replace(GAME.learn, leakage_source="exact", exact_particles=8, exact_private=2)
EXACT = dataclasses.replace(GAME, learn=LEARN)


@functools.cache
def compiled():
    def learn(state, phase, setup):
        return play_and_learn(state, phase, setup)

    return jax.jit(chex.assert_max_traces(learn, n=1))  # counted by function: one of our own


@jax.jit
def scored(key, state, setup):
    """Episodes and their scores as an update makes them, for a policy that is scripted or learned."""
    key_play, key_exact = jax.random.split(key)
    episodes = play(key_play, state, setup, 32)
    exact = exact_log_posterior(key_exact, players(state, setup.game).execution, episodes, setup)
    return episodes, score(state, episodes, setup, exact)


@pytest.mark.parametrize("phase", TRAINED)
def test_frozen_means_bit_identical_with_the_exact_source_too(start, setup, phase):
    after, metrics = compiled()(with_key(start, 1), jnp.int32(phase), setup.replace(game=EXACT))
    moved = {
        name
        for name, net in networks(after).items()
        if not all(map(np.array_equal, jax.tree.leaves(net.params), jax.tree.leaves(networks(start)[name].params)))
    }
    assert moved == TRAINED[phase]
    assert all(np.isfinite(float(value)) for value in metrics.values())


def test_it_plays_what_every_other_source_plays_and_pays_something_else(start, setup):
    """Records change nothing that is played; the same keys give the same market."""
    keys = jax.random.key(3), jax.random.key(3)
    for_exact = jax.jit(lambda k: play(k, start, setup.replace(game=EXACT), 8))(keys[0])
    for_mine = jax.jit(lambda k: play(k, start, setup, 8))(keys[1])
    assert for_mine.output.record is None
    bare = for_exact.replace(output=for_exact.output.replace(record=None, slot_row=None))
    chex.assert_trees_all_equal(bare.output, for_mine.output)
    assert for_exact.output.record.value.shape == (8, EXACT.market_spec.horizon)


def test_leakage_telescopes_to_the_exact_posterior_and_is_zero_for_the_mimic(start, setup):
    episodes, scores = scored(jax.random.key(4), start, setup.replace(game=EXACT))
    claimed = 0.5 * (np.clip(np.asarray(scores.log_posterior)[:, -1], np.log(0.02), np.log(0.98)) - np.log(0.5))
    np.testing.assert_allclose(np.asarray(scores.leakage).sum(axis=1), claimed, atol=1e-5)
    assert np.abs(np.asarray(scores.leakage)).max() > 0.01, "a learner that favours its side is seen"
    mimic = script(EXACT, {Agent.EXECUTION: Mimic(EXACT.market_spec)})
    _, of_mimic = scored(jax.random.key(4), start, setup.replace(game=mimic))
    np.testing.assert_allclose(np.asarray(of_mimic.leakage), 0.0, atol=1e-6)
    assert episodes.z.sum() == 16


def test_a_scripted_policy_without_a_law_is_refused_in_one_line(start, setup):
    @dataclasses.dataclass(frozen=True)
    class Lawless:
        def init(self, params):
            return ()

        def act(self, key, carry, view, params):
            raise AssertionError("not reached")

    game = script(EXACT, {Agent.EXECUTION: Lawless()})
    with pytest.raises(ValueError, match=r"leakage_source = 'exact', .* needs .* Lawless"):
        exact_log_posterior(jax.random.key(0), players(start, game).execution, None, setup.replace(game=game))


def test_lanes_are_the_single_run(start, setup):
    """Two lanes of different lambda: each rollout's rewards are those of the run alone."""

    def rewards(key, weight):
        state = start.replace(key=key)
        of_lane = setup.replace(game=EXACT, weights=setup.weights.replace(leakage_weight=weight))
        _, metrics = play_and_learn(state, jnp.int32(0), of_lane)
        return metrics["execution/leakage"], metrics["execution/reward"]

    weights = jnp.array([0.0, 4.0])
    raw = jax.random.key_data(jax.random.split(jax.random.key(6), 2))
    lanes = jax.jit(jax.vmap(lambda k, w: rewards(jax.random.wrap_key_data(k), w)))(raw, weights)
    alone = jax.jit(lambda k, w: rewards(jax.random.wrap_key_data(k), w))
    for i in range(2):
        expected = alone(raw[i], weights[i])
        np.testing.assert_allclose([x[i] for x in lanes], expected, atol=1e-5)


def test_no_parameter_is_read_by_nothing_and_nothing_calls_back(start, setup):
    jaxpr = jax.make_jaxpr(update)(with_key(start, 7), setup.replace(game=EXACT))
    assert unread_leaves(jaxpr, start, setup) == {f".hypers.start_{name}" for name in ("gate", "along", "size")}
    assert "callback" not in str(jaxpr)
