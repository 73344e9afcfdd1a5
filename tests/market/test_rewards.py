"""Rewards on episodes small enough to work by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from amarl_jax.market import rewards
from amarl_jax.market.env import StepOutput
from amarl_jax.market.params import EnvParams
from amarl_jax.market.rewards import RewardWeights

PARAMS = EnvParams(parent_lots=10, is_unit_ticks=4.0, terminal_penalty_ticks=3.0)


def _output(cash, lots, value, mid2, traded):
    """Three steps with the given changes per owner [T, O], values [T + 1], doubled mids [T]."""
    cash, lots, value = jnp.array(cash, jnp.int32), jnp.array(lots, jnp.int32), jnp.array(value, jnp.float32)
    return StepOutput(
        cash_change=cash,
        inventory=jnp.cumsum(lots, axis=0),
        inventory_change=lots,
        value=value[:-1],
        value_next=value[1:],
        mid2=jnp.array(mid2, jnp.int32),
        mid2_next=jnp.array([*mid2[1:], mid2[-1] + 2], jnp.int32),
        tape=None,
        slot=None,
        quotes=None,
        traded_lots=None,
        arbitrageur_traded=jnp.array(traded),
        snipe_lots=None,
        n_messages=None,
        resting_orders=None,
    )


# Step 0: slot (owner 0) buys 4 at 2 from the maker (owner 1). Step 1: the arbitrageur (2) buys 5 at 3 from the maker.
# Step 2: slot sells 1 at 6 to noise (3).
OUTPUT = _output(
    cash=[[-8, 8, 0, 0, 0], [0, 15, -15, 0, 0], [6, 0, 0, -6, 0]],
    lots=[[4, -4, 0, 0, 0], [0, -5, 5, 0, 0], [-1, 0, 0, 1, 0]],
    value=[0.0, 1.0, 5.0, 7.0],
    mid2=[3, 5, 11],
    traded=[False, True, False],
)


def test_shortfall_counts_fills_against_the_opening_and_the_remainder_at_the_horizon():
    # fills: (4 * 2 - 1 * 6) / 10; remainder 10 - 3 = 7 lots at V_T = 7 plus kappa = 3
    paid = rewards.shortfall_ticks(OUTPUT, jnp.int32(1), PARAMS, "horizon")
    np.testing.assert_allclose(np.asarray(paid), [0.8, 0.0, -0.6 + 0.7 * 10.0], rtol=1e-6)


def test_a_seller_is_measured_the_other_way_round():
    # side -1: done is -3 lots, the remainder 13 lots at -V_T + kappa = -4
    paid = rewards.shortfall_ticks(OUTPUT, jnp.int32(-1), PARAMS, "horizon")
    np.testing.assert_allclose(np.asarray(paid), [0.8, 0.0, -0.6 + 1.3 * -4.0], rtol=1e-6)


def test_what_is_left_is_marked_to_value_step_by_step_and_adds_up_to_the_same():
    # left over: 6, 6 and 7 lots of 10 at V + kappa = 4, 8 and 10
    paid = np.asarray(rewards.shortfall_ticks(OUTPUT, jnp.int32(1), PARAMS))
    np.testing.assert_allclose(paid, [0.8 + 2.4, 4.8 - 2.4, -0.6 + 7.0 - 4.8], rtol=1e-6)
    for side in (1, -1):
        settled = rewards.shortfall_ticks(OUTPUT, jnp.int32(side), PARAMS, "horizon")
        marked = rewards.shortfall_ticks(OUTPUT, jnp.int32(side), PARAMS)
        np.testing.assert_allclose(np.sum(marked), np.sum(settled), rtol=1e-5)


def test_selling_what_was_to_be_bought_costs_at_once_where_it_is_marked():
    sold = _output(cash=[[10, -10, 0, 0, 0]], lots=[[-5, 5, 0, 0, 0]], value=[2.0, 2.0], mid2=[4], traded=[False])
    # 5 lots at 2: the cash is 1 tick per lot of the order, what is left grows by half of it at 2 + kappa
    charged = rewards.shortfall_ticks(sold, jnp.int32(1), PARAMS)[0] - (2.0 + 3.0)
    np.testing.assert_allclose(charged, -1.0 + 0.5 * 5.0, rtol=1e-6)


def test_maker_earns_its_spread_and_the_revaluation_of_what_it_holds():
    # step 0: sells 4 at 2 over mid 1.5, then -4 lots at dV = 1; step 1: 5 at 3 over 2.5, -9 * 4; step 2: -9 * 2
    np.testing.assert_allclose(np.asarray(rewards.maker_pnl(OUTPUT)), [2.0 - 4.0, 2.5 - 36.0, -18.0])


def test_adverse_selection_is_value_less_mid_over_what_it_sold():
    np.testing.assert_allclose(np.asarray(rewards.adverse_selection(OUTPUT)), [4 * (0 - 1.5), 5 * (1 - 2.5), 0.0])


def test_with_alpha_one_the_mid_cancels_and_profit_is_marked_to_value():
    # PnL - AdvSel = sum q D (p - V) + inventory dV
    expected = [4 * (2 - 0) - 4 * 1, 5 * (3 - 1) - 9 * 4, -9 * 2]
    net = rewards.maker_pnl(OUTPUT) - rewards.adverse_selection(OUTPUT)
    np.testing.assert_allclose(np.asarray(net), expected)


def test_total_profit_marked_to_value_sums_to_zero_over_owners():
    """What the slot, maker, arbitrageur and noise make, marked to V_T, is nothing in total."""
    cash, lots = np.asarray(OUTPUT.cash_change).sum(axis=0), np.asarray(OUTPUT.inventory)[-1]
    assert (cash + lots * 7.0).sum() == 0.0


def test_arbitrageur_profit_telescopes_to_cash_plus_inventory_at_value():
    steps = np.asarray(rewards.arbitrageur_pnl(OUTPUT))
    np.testing.assert_allclose(steps, [0.0, -15 + 5 * 1 + 5 * 4, 5 * 2])
    assert steps.sum() == pytest.approx(-15 + 5 * 7)


def test_markout_is_the_move_of_mid_after_what_the_maker_sold():
    # mids after the steps: 2.5, 5.5, 6.5; it sold 4, then 5, and looks 1 step ahead, no further than the last mid
    moves = np.asarray(rewards.maker_markout(OUTPUT, steps=1))
    np.testing.assert_allclose(moves, [4 * 3.0, 5 * 1.0, 0.0])
    np.testing.assert_allclose(np.asarray(rewards.maker_markout(OUTPUT, steps=9)), [4 * 4.0, 5 * 1.0, 0.0])


def test_belief_lag_is_paid_one_step_late():
    belief = jnp.array([0.5, 0.6, 0.9])
    np.testing.assert_allclose(np.asarray(rewards.belief_lag(OUTPUT, belief)), [0.0, 0.0, 0.3], rtol=1e-6)


def test_rewards_compose_with_their_weights():
    hypers = RewardWeights(
        leakage_weight=2.0,
        predictability_weight=0.5,
        adverse_selection_weight=1.0,
        belief_entropy_weight=0.3,
        belief_accuracy_weight=0.6,
        belief_lag_weight=0.1,
    )
    terms = rewards.market_terms(OUTPUT, jnp.int32(1), PARAMS)
    belief, leakage = jnp.array([0.5, 0.6, 0.9]), jnp.array([0.1, 0.2, -0.1])
    predicted = jnp.array([0.0, 0.4, 0.2])
    reward = np.asarray(rewards.compose(terms, OUTPUT, jnp.int32(1), belief, leakage, predicted, hypers))
    unit, entropy = 10 * 4.0, -(0.6 * np.log(0.6) + 0.4 * np.log(0.4))
    assert reward.shape == (3, 3)
    assert reward[1, 0] == pytest.approx(-2.4 / 4.0 - 2.0 * 0.2 - 0.5 * 0.4, rel=1e-5)
    maker = (2.5 - 36.0 - 5 * (1 - 2.5)) / unit - 0.3 * entropy / 3 + 0.6 * 0.6 / 3
    assert reward[1, 1] == pytest.approx(maker, rel=1e-5)
    assert reward[2, 2] == pytest.approx(10.0 / unit + 0.1 * 0.3, rel=1e-5)
    wrong = np.asarray(rewards.compose(terms, OUTPUT, jnp.int32(0), belief, leakage, predicted, hypers))
    assert reward[2, 1] - wrong[2, 1] == pytest.approx(0.6 * (0.9 - 0.1) / 3, rel=1e-4)
