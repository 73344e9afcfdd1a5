"""TWAP by hand, and in a market where nothing else happens."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from amarl_jax.market import observe
from amarl_jax.market.env import Actions
from amarl_jax.policies.twap import Twap
from amarl_jax.types import Owner
from tests.market.conftest import SPEC

MAX_LOTS = SPEC.max_order_size


@pytest.fixture(scope="module")
def view(market, params):
    """What the execution agent sees at the start."""
    state = market.reset(jax.random.key(0), params, jnp.int32(1))
    return observe.views(state, jnp.float32(0.5), params, SPEC).execution


def lots_sent(policy, view, params, filled_share=1.0):
    """Lots of every step of a day in which each order is filled to a share (the rest of an order is lost)."""
    remaining, sent = int(params.parent_lots), []
    for step in range(SPEC.horizon):
        public = view.public.replace(time_left=jnp.float32(1.0 - step / SPEC.horizon))
        seen = view.replace(public=public, remaining=jnp.int32(remaining))
        _, decision = policy.act(jax.random.key(step), policy.init(params), seen, params)
        size_frac, _, logit = np.asarray(decision.action)
        assert size_frac >= 0, "never against its side"
        assert logit < 0, "market orders only"
        sent.append(round(float(size_frac) * MAX_LOTS))
        remaining -= int(sent[-1] * filled_share)
    return sent


@pytest.mark.parametrize(
    ("window", "clip_lots", "schedule"),
    [
        (1, 1, [12]),  # an impatient sweep
        (5, 1, [3, 2, 3, 2, 2]),  # the line 2.4, 4.8, 7.2, 9.6, 12 lots, rounded up
        (5, 4, [0, 5, 0, 5, 2]),  # nothing smaller than a clip before the deadline
        (None, 1, [1, 0] * 12),  # half a lot per step over the 24 of the day
    ],
)
def test_schedule_by_hand(window, clip_lots, schedule, view, params):
    sent = lots_sent(Twap(SPEC, window, clip_lots), view, params)
    assert sent[: len(schedule)] == schedule
    assert sum(sent) == int(params.parent_lots)


def test_it_catches_up_with_its_line_after_poor_fills_and_never_asks_beyond_the_rest(view, params):
    sent = lots_sent(Twap(SPEC, 4), view, params, filled_share=0.5)
    # due 3, 6, 9, 12 and from then on all that is left, of which half is filled, rounded down
    assert sent[:6] == [3, 5, 6, 6, 3, 2]


def test_an_order_larger_than_the_largest_child_is_cut_to_it(view, params):
    large = params.replace(parent_lots=jnp.int32(50))
    assert lots_sent(Twap(SPEC, 1), view, large)[:4] == [20, 20, 10, 0]


@pytest.fixture(scope="module")
def quiet(params):
    """A market in which nobody but the slot may trade; the opening book holds 24 lots a side, the order is 12."""
    silent = {"maker_inventory_limit": 0, "arbitrageur_position_limit": 0}
    still = {"noise_rate": 0.0, "value_volatility_ticks": 0.0}
    return params.replace(
        **{name: jnp.int32(value) for name, value in silent.items()},
        **{name: jnp.float32(value) for name, value in still.items()},
    )


@pytest.fixture(scope="module")
def played_step(market):
    """One step in which the execution agent acts on what it sees; returns its position too."""

    def play(key, state, size_frac, params):
        execution = jnp.stack([size_frac, jnp.float32(0.0), jnp.float32(-1.0)])
        state, _ = market.step(key, state, Actions(execution, jnp.zeros(4), jnp.float32(0.0)), params)
        return state, observe.views(state, jnp.float32(0.5), params, SPEC).execution

    return jax.jit(play)


@pytest.mark.parametrize(("window", "positions"), [(1, [12] * 24), (4, [3, 6, 9] + [12] * 21)])
def test_in_a_quiet_market_the_order_is_done_by_its_window_and_no_lot_beyond(
    window, positions, market, played_step, view, quiet
):
    policy, state, seen, position = Twap(SPEC, window), market.reset(jax.random.key(0), quiet, jnp.int32(1)), view, []
    for step in range(SPEC.horizon):
        _, decision = policy.act(jax.random.key(0), (), seen, quiet)
        state, seen = played_step(jax.random.key(step), state, decision.action[0], quiet)
        position.append(int(state.direction * state.accounts.inventory[Owner.SLOT]))
    assert position == positions
