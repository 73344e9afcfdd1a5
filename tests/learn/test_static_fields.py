"""No static setting is read by nothing: each changes the built program, or what a run writes."""

import dataclasses

import jax
import numpy as np
import pytest

from amarl_jax.learn.game import Game
from amarl_jax.learn.phases import play
from amarl_jax.learn.state import init_state
from amarl_jax.learn.update import update
from amarl_jax.market.params import MarketSpec
from tests.learn.conftest import GAME, LEARN, MARKET, NETWORK

MARKET_CHANGES = {
    "horizon": 11,
    "book_capacity": 33,
    "max_noise_orders": 5,
    "max_order_size": 19,
    "n_levels": 3,
    "n_tape_events": 5,
    "initial_levels": 2,
    "initial_sizes": (5, 4),
    "offset_min_ticks": -1,
    "offset_max_ticks": 4,
    "private_randomiser": False,
}
REPORTS_ONLY = ("tick_size", "initial_mid_price")
NETWORK_CHANGES = {
    "execution_hidden": (9,),
    "execution_head": "tilt",
    "maker_hidden": (9,),
    "arbitrageur_hidden": (9,),
    "critic_hidden": (9,),
    "critic_head_hidden": 5,
    "statistics_hidden": (9,),
    "predictor_hidden": 5,
    "products": "tensorfloat32",
}
BELIEF_CHANGES = {"d_model": 10, "n_heads": 4, "n_layers": 2, "d_ff": 9, "max_seq_len": 5, "cache": "bfloat16"}
LEARN_CHANGES = {
    "n_envs": 12,
    "n_epochs": 3,
    "n_minibatches": 4,
    "execution_phase_steps": 20,
    "maker_arbitrageur_phase_steps": 20,
    "alternating": False,
    "n_mine_steps": 3,
    "n_belief_steps": 1,
    "belief_microbatch": 2,
    "replay_capacity": 17,
    "replay_batch": 8,
    "belief_target": "exact",
    "leakage_source": "belief",
    "leakage_credit": "level",
    "shortfall_credit": "horizon",
    "frozen": "execution",
    "mi_estimator": "nwj",
}
EXACT_CHANGES = {"exact_particles": 8, "exact_private": 2}  # read where the leakage source is exact
OF_SEVERAL_DEVICES = ("n_devices",)  # a program on one knows no others: test_split.py


def _program(function, game, setup):
    """Text and constants of a program on the learner of a game."""
    setup = setup.replace(game=game)
    state = jax.eval_shape(init_state, jax.random.key(0), setup)
    closed = jax.make_jaxpr(function)(state, setup)
    return str(closed), [np.asarray(constant) for constant in closed.consts]


def _differs(left, right):
    same_constants = len(left[1]) == len(right[1]) and all(map(np.array_equal, left[1], right[1]))
    return left[0] != right[0] or not same_constants


def _play(state, setup):
    return play(state.key, state, setup).belief


@pytest.fixture(scope="module")
def base_play(setup):
    return _program(_play, GAME, setup)


@pytest.fixture(scope="module")
def base_update(setup):
    return _program(update, GAME, setup)


def test_every_static_field_is_listed_here():
    assert set(MARKET_CHANGES) | set(REPORTS_ONLY) == {field.name for field in dataclasses.fields(MARKET)}
    assert set(NETWORK_CHANGES) | {"belief"} == {field.name for field in dataclasses.fields(NETWORK)}
    assert set(BELIEF_CHANGES) == {field.name for field in dataclasses.fields(NETWORK.belief)}
    assert {*LEARN_CHANGES, *EXACT_CHANGES, *OF_SEVERAL_DEVICES} == {field.name for field in dataclasses.fields(LEARN)}


def test_the_same_game_builds_the_same_program(base_play, setup):
    again = _program(_play, Game(dataclasses.replace(MARKET), NETWORK, LEARN), setup)
    assert not _differs(base_play, again), "or every comparison below would be empty"


@pytest.mark.parametrize("name", MARKET_CHANGES)
def test_market_sizes_change_the_rollout(base_play, setup, name):
    game = Game(dataclasses.replace(MARKET, **{name: MARKET_CHANGES[name]}), NETWORK, LEARN)
    if name == "initial_sizes":
        assert not np.array_equal(game.market.opening_book.cumulative, GAME.market.opening_book.cumulative)
        return
    assert _differs(base_play, _program(_play, game, setup))


@pytest.mark.parametrize("name", [*NETWORK_CHANGES, *BELIEF_CHANGES])
def test_network_sizes_change_the_learner_or_the_rollout(base_play, setup, name):
    if name in BELIEF_CHANGES:
        network = dataclasses.replace(
            NETWORK, belief=dataclasses.replace(NETWORK.belief, **{name: BELIEF_CHANGES[name]})
        )
    else:
        network = dataclasses.replace(NETWORK, **{name: NETWORK_CHANGES[name]})
    game = Game(MARKET, network, LEARN)
    shapes = [
        [leaf.shape for leaf in jax.tree.leaves(jax.eval_shape(init_state, jax.random.key(0), setup.replace(game=g)))]
        for g in (GAME, game)
    ]
    assert shapes[0] != shapes[1] or _differs(base_play, _program(_play, game, setup))


@pytest.mark.slow
@pytest.mark.parametrize("name", LEARN_CHANGES)
def test_learner_settings_change_the_update(base_update, setup, name):
    game = Game(MARKET, NETWORK, dataclasses.replace(LEARN, **{name: LEARN_CHANGES[name]}))
    assert _differs(base_update, _program(update, game, setup))


@pytest.mark.slow
def test_settings_of_the_exact_source_change_the_update_that_it_pays(setup):
    base = dataclasses.replace(LEARN, leakage_source="exact")
    changed = [base, *(dataclasses.replace(base, **{name: value}) for name, value in EXACT_CHANGES.items())]
    programs = [_program(update, Game(MARKET, NETWORK, learn), setup) for learn in changed]
    assert all(_differs(programs[0], program) for program in programs[1:])


def test_tick_and_opening_mid_give_the_report_its_basis_points():
    assert MarketSpec().tick_bps == pytest.approx(1.0)
    assert MarketSpec(tick_size=0.02).tick_bps == pytest.approx(2.0)
    assert MarketSpec(initial_mid_price=50.0).tick_bps == pytest.approx(2.0)
