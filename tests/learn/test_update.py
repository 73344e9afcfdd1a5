"""The compiled update: what it freezes, what it reads, that it is one program and says the same twice."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.interpreters import partial_eval

from amarl_jax.learn.finite import finite_networks, networks
from amarl_jax.learn.game import script
from amarl_jax.learn.hypers import Hypers
from amarl_jax.learn.phases import learned_metric_names, metrics_measured
from amarl_jax.learn.players import players
from amarl_jax.learn.state import init_state
from amarl_jax.learn.update import update
from amarl_jax.market.params import EnvParams
from amarl_jax.market.rewards import RewardWeights
from amarl_jax.policies.baselines import make_baselines
from amarl_jax.policies.constant_spread import ConstantSpread
from amarl_jax.policies.learned import Learned
from amarl_jax.policies.value_rule import ValueRule
from amarl_jax.types import Agent
from tests.learn.conftest import GAME, LEARN, compiled_learning, with_key

TRAINED = {
    0: {"execution", "critic", "statistics", "predictor"},
    1: {"maker", "arbitrageur", "critic", "belief", "statistics"},
}


def _same(left, right):
    return all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True))


@pytest.mark.parametrize("phase", TRAINED)
def test_frozen_means_bit_identical_parameters_and_optimiser_state(start, setup, phase):
    learn = compiled_learning()
    after, metrics = learn(with_key(start, 1), jnp.int32(phase), setup)
    moved = {name for name, net in networks(after).items() if not _same(net.params, networks(start)[name].params)}
    stepped = {
        name for name, net in networks(after).items() if not _same(net.opt_state, networks(start)[name].opt_state)
    }
    assert moved == stepped == TRAINED[phase]
    assert not _same(after.estimator, start.estimator)
    assert _same(after.replay.storage, start.replay.storage) == (phase == 0)
    measured = set(metrics_measured(GAME.phases()[phase], GAME))
    silent = set(learned_metric_names()) - measured
    assert all(float(metrics[name]) == 0.0 for name in silent)


def test_one_trace_serves_both_phases_and_every_swept_number(start, setup):
    """Lambda, learning rates, clips, latencies and rates are leaves; a second trace would raise."""
    learn = compiled_learning()
    base, _ = learn(with_key(start, 2), jnp.int32(0), setup)
    other = setup.replace(
        hypers=setup.hypers.replace(lr_actor=jnp.float32(1e-2), clip_ratio=jnp.float32(0.1)),
        weights=setup.weights.replace(leakage_weight=jnp.float32(3.0)),
        params=setup.params.replace(latency_maker_ms=jnp.float32(30.0), noise_rate=jnp.float32(1.0)),
        game=dataclasses.replace(GAME),  # another object, and equal
    )
    moved, _ = learn(with_key(start, 2), jnp.int32(0), other)
    assert not _same(base.agents, moved.agents)


def test_same_seed_same_metrics_and_another_seed_others(start, setup):
    learn = compiled_learning()
    first, once = learn(with_key(start, 3), jnp.int32(0), setup)
    second, twice = learn(with_key(start, 3), jnp.int32(0), setup)
    chex.assert_trees_all_equal(once, twice)
    chex.assert_trees_all_equal(first.agents, second.agents)
    _, another = learn(with_key(start, 4), jnp.int32(0), setup)
    assert float(once["execution/shortfall"]) != float(another["execution/shortfall"])


def test_metrics_and_parameters_stay_finite_over_several_updates(start, setup):
    learn, state = compiled_learning(), with_key(start, 5)
    for i in range(12):
        state, metrics = learn(state, jnp.int32(i % 2), setup)
        broken = [name for name, value in metrics.items() if not np.isfinite(float(value))]
        assert not broken
    assert all(float(ok) == 1.0 for ok in finite_networks(state).values())
    assert int(state.replay.size) == 16, "the replay has filled up"
    np.testing.assert_array_equal(np.asarray(state.estimator.n_updates), 12 * LEARN.n_mine_steps)


def test_a_number_that_is_not_finite_is_named_by_network(start):
    bad = start.replace(critic=start.critic.replace(params=jax.tree.map(lambda x: x * jnp.nan, start.critic.params)))
    broken = [name for name, ok in finite_networks(bad).items() if float(ok) == 0.0]
    assert broken == ["finite/critic"]


@pytest.fixture(scope="module")
def jaxpr(start, setup):
    return jax.make_jaxpr(update)(with_key(start, 7), setup)


def test_no_callback_in_the_program(jaxpr):
    text = str(jaxpr)
    assert "callback" not in text
    assert "while" in text or "scan" in text, "the text is the program's"


def unread_leaves(jaxpr, before, setup):
    """Leaves of a setup, the last argument, that no output of a program depends on."""
    _, used = partial_eval.dce_jaxpr(jaxpr.jaxpr, [True] * len(jaxpr.jaxpr.outvars))
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(setup)]
    named = [
        name
        for bag in (Hypers, RewardWeights, EnvParams)
        for name in bag.__dataclass_fields__
        if name not in ("flow", "windows", "size_cdf")
    ]  # None here
    assert len(paths) == len(named)
    n_before = len(jax.tree.leaves(before))
    assert n_before + len(paths) == len(used)
    return {path for path, is_read in zip(paths, used[n_before:], strict=True) if not is_read}


def test_no_parameter_is_read_by_nothing(jaxpr, start, setup):
    """Every traced leaf survives dead-code elimination: of the update, or, where learning starts, of the beginning."""
    beginning = jax.make_jaxpr(init_state)(jax.random.key(0), setup)
    unread = unread_leaves(jaxpr, start, setup)
    assert unread == {f".hypers.start_{name}" for name in ("gate", "along", "size")}
    assert not unread & unread_leaves(beginning, jax.random.key(0), setup)


def test_metric_names_cover_every_agent_once():
    names = learned_metric_names()
    assert len(set(names)) == len(names)
    assert set(metrics_measured(tuple(Agent), GAME)) == set(names)


def test_scripted_agents_play_their_rules_and_never_train(start):
    game = script(GAME, {Agent.ARBITRAGEUR: ValueRule(2.0)})
    assert players(start, game).arbitrageur == ValueRule(2.0)
    assert isinstance(players(start, game).maker, Learned)
    assert game.improved(tuple(Agent)) == (Agent.EXECUTION, Agent.MAKER)
    assert players(start, script(game, {Agent.ARBITRAGEUR: ValueRule(3.0)})).arbitrageur == ValueRule(3.0)


def test_where_every_agent_plays_rules_what_reads_the_tape_still_learns(start, setup):
    twap = make_baselines(GAME.market_spec)["twap"]
    rules = {Agent.EXECUTION: twap, Agent.MAKER: ConstantSpread(), Agent.ARBITRAGEUR: ValueRule()}
    game = script(GAME, rules)
    _, metrics = jax.eval_shape(update, start, setup.replace(game=game))
    assert any(name.endswith("belief/loss") for name in metrics)
